"""New names and places: RENAME and SET SCHEMA.

Renaming, moving and taking out of an inheritance tree change which masks and rules match: the
relations as they are afterwards are in the facts (``after``), and policy compares.
"""

from __future__ import annotations

from dataclasses import replace

from sallyport.sql.analysis import STATEMENTS, Analysis
from sallyport.sql.catalog.snapshot import TEMPORARY, Relation
from sallyport.sql.ddl.changes import (
    THINGS,
    changes_schema,
    concerned,
    creation_schema,
    family,
    index_table,
    new_temporary,
    object_type,
    scope_of,
    spots,
)
from sallyport.sql.ddl.refused import NOT_ALTERED
from sallyport.sql.ddl.tables import Table
from sallyport.sql.names.resolve import SYSTEM
from sallyport.sql.nodes import strings
from sallyport.sql.queries.from_items import RANGE_VAR
from sallyport.sql.text.parse import Node

on = STATEMENTS.on
_RENAMED_RELATIONS = frozenset({"table", "view", "materialized_view", "sequence", "foreign_table"})
_RENAMED_PARTS = frozenset({"tabconstraint", "trigger", "rule"})
_TYPES = frozenset({"type", "domain"})


def named(a: Analysis, node: Node) -> Relation | None:
    """The relation, under the action of what it is: ALTER TABLE may name views, sequences and so on
    as well.
    """
    relation = a.relation(node.get("schemaname", ""), node.get("relname", ""))
    if relation is not None and relation.kind in THINGS:
        a.kind = f"alter_{THINGS[relation.kind]}"
    return concerned(a, node)


def now(a: Analysis, relation: Relation) -> Relation:
    """The relation as the statement leaves it, as far as it was read."""
    return a.after.get(relation.oid, relation)


def becomes(a: Analysis, relation: Relation, **what: object) -> None:
    """``what``: fields of the relation that the statement changes."""
    a.after[relation.oid] = replace(now(a, relation), **what)  # type: ignore[arg-type]


@on("RenameStmt", "renameType relationType relation object subname newname behavior missing_ok")
def _rename(a: Analysis, node: Node, at: int) -> None:
    kind = object_type(node.get("renameType", ""))
    changes_schema(a, "rename")
    new = node.get("newname", "")
    if node.get("behavior") == "DROP_CASCADE":
        a.unknown(
            "SP1102", "cannot determine what RENAME CASCADE would change", "Rename without CASCADE."
        )
    if kind in _RENAMED_RELATIONS:
        _rename_relation(a, node["relation"], new)
    elif kind in ("column", "attribute"):
        _rename_column(a, node["relation"], node.get("subname", ""), new)
    elif kind in _RENAMED_PARTS:
        relation = named(a, node["relation"])
        if kind == "tabconstraint" and relation is not None and relation.schema == TEMPORARY:
            new_temporary(a, new)  # with the constraint goes its index
        a.also.update({f"alter_{kind}"} if kind != "tabconstraint" else ())
    elif kind == "index":
        _rename_index(a, node["relation"], new)
    elif kind in _TYPES:
        _rename_type(a, kind, strings(node["object"]["List"]["items"]), new, "")
    elif kind == "domconstraint":
        a.kind = "alter_domain"
        for place in spots(a, strings(node["object"]["List"]["items"])):
            a.name(a.kind, *place)
    elif kind == "schema":
        _rename_schema(a, node.get("subname", ""), new)
    else:
        a.kind = f"alter_{kind}"
        a.name(a.kind)
        a.unknown(
            "SP1102",
            f"RENAME of {kind.replace('_', ' ').upper()} is not supported through the gateway",
            NOT_ALTERED["names"],
        )
    a.also.add("rename")


def _rename_relation(a: Analysis, node: Node, new: str) -> None:
    relation = named(a, node)
    if relation is not None:
        if relation.schema == TEMPORARY:
            new_temporary(a, new)
        a.name(a.kind, relation.schema, new)
        becomes(a, relation, name=new)


def _rename_column(a: Analysis, node: Node, old: str, new: str) -> None:
    relation = named(a, node)
    if relation is None:
        return
    if all(column.name != old for column in relation.columns):
        Table(relation.schema, relation.name, scope_of(a, relation), relation).column(a, old)
    for part in family(a, relation):
        columns = tuple(replace(c, name=new) if c.name == old else c for c in part.columns)
        if columns != part.columns:
            becomes(a, part, columns=columns)


def _rename_index(a: Analysis, node: Node, new: str) -> None:
    a.kind = "alter_index"
    a.check("RangeVar", node, RANGE_VAR)
    schema, name = node.get("schemaname", ""), node.get("relname", "")
    relation = index_table(a, schema, name)
    if relation is None:
        a.missing_relation(schema, name, -1, "index")
    elif relation.name == name and relation == a.relation(schema, name):
        _rename_relation(a, node, new)  # ALTER INDEX renames tables as well
    else:
        if relation.schema == TEMPORARY:
            new_temporary(a, new)
        a.access(relation.oid, a.kind)


def _rename_type(a: Analysis, kind: str, names: tuple[str, ...], new: str, schema: str) -> None:
    """A type's name is in no mask; a composite type that is a table's row has the table's name."""
    a.kind = f"alter_{kind}"
    type_ = a.names.types.named(names)
    if type_ is None:
        a.missing("SP1110", f'type "{".".join(names)}" does not exist')
        return
    relation = a.catalog.relations.get(type_.relation)
    if relation is not None and relation.kind != "c":
        a.unknown(
            "SP1102",
            f"{relation.qualified} is the row type of a relation",
            "Use ALTER TABLE instead.",
        )
    elif relation is not None:
        a.access(relation.oid, a.kind)
        becomes(a, relation, name=new or relation.name, schema=schema or relation.schema)
    if type_.schema in SYSTEM:
        a.unknown(
            "SP1102",
            f"cannot change {type_.schema}.{type_.name}, which belongs to PostgreSQL itself",
        )
    a.name(a.kind, type_.schema, type_.name)
    a.name(a.kind, schema or type_.schema, new or type_.name)


def _rename_schema(a: Analysis, old: str, new: str) -> None:
    a.kind = "alter_schema"
    if old not in a.catalog.schemas:
        a.missing("SP1111", f'schema "{old}" does not exist')
    if old in SYSTEM or new in SYSTEM or old.startswith("pg_") or new.startswith("pg_"):
        a.unknown("SP1102", "cannot change PostgreSQL's own schemas")
    if any(function.schema == old for function in a.catalog.functions.values()):
        a.unknown("SP1102", "cannot rename a schema that contains functions", NOT_ALTERED["names"])
    a.name(a.kind, old)
    a.name(a.kind, new)
    for relation in a.catalog.relations.values():
        if relation.schema == old:
            becomes(a, relation, schema=new)


@on("AlterObjectSchemaStmt", "objectType relation object newschema missing_ok")
def _set_schema(a: Analysis, node: Node, at: int) -> None:
    kind = object_type(node.get("objectType", ""))
    changes_schema(a, f"alter_{kind}")
    a.also.add("set_schema")
    schema = creation_schema(a, node.get("newschema", ""))
    if kind in _RENAMED_RELATIONS:
        relation = named(a, node["relation"])
        if relation is not None:
            a.name(a.kind, schema, relation.name)
            becomes(a, relation, schema=schema)
    elif kind in _TYPES:
        _rename_type(a, kind, strings(node["object"]["List"]["items"]), "", schema)
    else:
        a.name(a.kind)
        a.unknown(
            "SP1102",
            f"SET SCHEMA of {kind.replace('_', ' ').upper()} is not supported through the gateway",
            NOT_ALTERED["names"],
        )
