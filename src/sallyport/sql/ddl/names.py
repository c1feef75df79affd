"""New names and places: RENAME and SET SCHEMA.

Both change which masks and rules match: the relations as they are afterwards are in the facts
(``relations_after``), and policy compares.
"""

from __future__ import annotations

from dataclasses import replace

from sallyport.sql.analysis import STATEMENTS, Analysis
from sallyport.sql.catalog.descendants import with_descendants
from sallyport.sql.catalog.snapshot import TEMPORARY, Relation
from sallyport.sql.ddl.absent import alters_nothing
from sallyport.sql.ddl.changes import (
    THINGS,
    candidate_names,
    creation_schema,
    existing_target,
    index_table,
    new_temporary,
    object_type,
    scope_of,
)
from sallyport.sql.ddl.refused import NOT_ALTERED
from sallyport.sql.ddl.tables import Table
from sallyport.sql.names.missing import reserved_schema
from sallyport.sql.names.resolve import SYSTEM
from sallyport.sql.nodes import strings
from sallyport.sql.queries.from_items import RANGE_VAR
from sallyport.sql.text.parse import Node

on = STATEMENTS.on
_RENAMED_RELATIONS = frozenset({"table", "view", "materialized_view", "sequence", "foreign_table"})
_RENAMED_PARTS = frozenset({"tabconstraint", "trigger", "rule"})
_TYPES = frozenset({"type", "domain"})


def altered_relation(analysis: Analysis, node: Node) -> Relation | None:
    """The relation, under the action of what it is: ALTER TABLE may name views, sequences and so on
    as well.
    """
    relation = analysis.relation(node.get("schemaname", ""), node.get("relname", ""))
    if relation is not None and relation.kind in THINGS:
        analysis.kind = f"alter_{THINGS[relation.kind]}"
    return existing_target(analysis, node)


def as_changed(analysis: Analysis, relation: Relation) -> Relation:
    """The relation as the statement leaves it, as far as it was read."""
    return analysis.relations_after.get(relation.oid, relation)


def record_change(analysis: Analysis, relation: Relation, **fields: object) -> None:
    """``fields``: of the relation, as the statement changes them."""
    changed = replace(as_changed(analysis, relation), **fields)  # type: ignore[arg-type]
    analysis.relations_after[relation.oid] = changed


@on("RenameStmt", "renameType relationType relation object subname newname behavior missing_ok")
def _rename(analysis: Analysis, node: Node, position: int) -> None:
    kind = object_type(node.get("renameType", ""))
    analysis.action_aliases.add("rename")
    if alters_nothing(analysis, node, _altered(node, kind), node.get("relation", {})):
        return
    analysis.kind = "rename"
    new = node.get("newname", "")
    if node.get("behavior") == "DROP_CASCADE":
        analysis.unknown(
            "SP1102", "cannot determine what RENAME CASCADE would change", "Rename without CASCADE."
        )
    if kind in _RENAMED_RELATIONS:
        _rename_relation(analysis, node["relation"], new)
    elif kind in ("column", "attribute"):
        _rename_column(analysis, node["relation"], node.get("subname", ""), new)
    elif kind in _RENAMED_PARTS:
        relation = altered_relation(analysis, node["relation"])
        if kind == "tabconstraint" and relation is not None and relation.schema == TEMPORARY:
            new_temporary(analysis, new)  # with the constraint goes its index
        analysis.action_aliases.update({f"alter_{kind}"} if kind != "tabconstraint" else ())
    elif kind == "index":
        _rename_index(analysis, node["relation"], new)
    elif kind in _TYPES:
        _rename_type(analysis, kind, strings(node["object"]["List"]["items"]), new, "")
    elif kind == "domconstraint":
        analysis.kind = "alter_domain"
        for place in candidate_names(analysis, strings(node["object"]["List"]["items"])):
            analysis.name(analysis.kind, *place)
    elif kind == "schema":
        _rename_schema(analysis, node.get("subname", ""), new)
    else:
        analysis.kind = f"alter_{kind}"
        analysis.name(analysis.kind)
        analysis.unknown(
            "SP1102",
            f"RENAME of {kind.replace('_', ' ').upper()} is not supported through the gateway",
            NOT_ALTERED["names"],
        )


def _altered(node: Node, kind: str) -> str:
    """The kind of what is renamed, or of what it is a part of."""
    if kind == "column":
        return object_type(node.get("relationType", ""))
    return "table" if kind == "tabconstraint" else kind


def _rename_relation(analysis: Analysis, node: Node, new: str) -> None:
    relation = altered_relation(analysis, node)
    if relation is not None:
        if relation.schema == TEMPORARY:
            new_temporary(analysis, new)
        analysis.name(analysis.kind, relation.schema, new)
        record_change(analysis, relation, name=new)


def _rename_column(analysis: Analysis, node: Node, old: str, new: str) -> None:
    relation = altered_relation(analysis, node)
    if relation is None:
        return
    if all(column.name != old for column in relation.columns):
        Table(relation.schema, relation.name, scope_of(analysis, relation), relation).column(
            analysis, old
        )
    for part in with_descendants(analysis.catalog, relation.oid):
        columns = tuple(replace(c, name=new) if c.name == old else c for c in part.columns)
        if columns != part.columns:
            record_change(analysis, part, columns=columns)


def _rename_index(analysis: Analysis, node: Node, new: str) -> None:
    analysis.kind = "alter_index"
    analysis.check("RangeVar", node, RANGE_VAR)
    schema, name = node.get("schemaname", ""), node.get("relname", "")
    relation = index_table(analysis, schema, name)
    if relation is None:
        analysis.missing_relation(schema, name, -1, "index")
    elif relation.name == name and relation == analysis.relation(schema, name):
        _rename_relation(analysis, node, new)  # ALTER INDEX renames tables as well
    else:
        if relation.schema == TEMPORARY:
            new_temporary(analysis, new)
        analysis.access(relation.oid, analysis.kind)


def _rename_type(
    analysis: Analysis, kind: str, names: tuple[str, ...], new: str, schema: str
) -> None:
    """A type's name is in no mask; a composite type that is a table's row has the table's name."""
    analysis.kind = f"alter_{kind}"
    type_ = analysis.names.types.named(names)
    if type_ is None:
        analysis.missing("SP1110", f'type "{".".join(names)}" does not exist')
        return
    relation = analysis.catalog.relations.get(type_.relation)
    if relation is not None and relation.kind != "c":
        analysis.unknown(
            "SP1102",
            f"{relation.qualified} is the row type of a relation",
            "Use ALTER TABLE instead.",
        )
    elif relation is not None:
        analysis.access(relation.oid, analysis.kind)
        record_change(
            analysis, relation, name=new or relation.name, schema=schema or relation.schema
        )
    if type_.schema in SYSTEM:
        analysis.unknown(
            "SP1102",
            f"cannot change {type_.schema}.{type_.name}, which belongs to PostgreSQL itself",
        )
    analysis.name(analysis.kind, type_.schema, type_.name)
    analysis.name(analysis.kind, schema or type_.schema, new or type_.name)


def _rename_schema(analysis: Analysis, old: str, new: str) -> None:
    analysis.kind = "alter_schema"
    if old not in analysis.catalog.schemas:
        analysis.missing("SP1111", f'schema "{old}" does not exist')
    if old in SYSTEM or old.startswith("pg_"):
        analysis.unknown("SP1102", "cannot change PostgreSQL's own schemas")
    elif new in SYSTEM or new.startswith("pg_"):
        reserved_schema(analysis, new)
    if any(function.schema == old for function in analysis.catalog.functions.values()):
        analysis.unknown(
            "SP1102", "cannot rename a schema that contains functions", NOT_ALTERED["names"]
        )
    analysis.name(analysis.kind, old)
    analysis.name(analysis.kind, new)
    for relation in analysis.catalog.relations.values():
        if relation.schema == old:
            record_change(analysis, relation, schema=new)


@on("AlterObjectSchemaStmt", "objectType relation object newschema missing_ok")
def _set_schema(analysis: Analysis, node: Node, position: int) -> None:
    kind = object_type(node.get("objectType", ""))
    analysis.action_aliases.add("set_schema")
    if alters_nothing(analysis, node, kind, node.get("relation", {})):
        return
    schema = creation_schema(analysis, node.get("newschema", ""))
    if kind in _RENAMED_RELATIONS:
        relation = altered_relation(analysis, node["relation"])
        if relation is not None:
            analysis.name(analysis.kind, schema, relation.name)
            record_change(analysis, relation, schema=schema)
    elif kind in _TYPES:
        _rename_type(analysis, kind, strings(node["object"]["List"]["items"]), "", schema)
    else:
        analysis.name(analysis.kind)
        analysis.unknown(
            "SP1102",
            f"SET SCHEMA of {kind.replace('_', ' ').upper()} is not supported through the gateway",
            NOT_ALTERED["names"],
        )
