"""CREATE TABLE, columns and constraints.

No data moves into a new table, so it may be LIKE any other, inherit and be a partition: a mask on a
parent's column covers the child's. What is computed when rows are written, DEFAULT, GENERATED and
CHECK, is judged here as every expression is, because nobody judges it later.
"""

from __future__ import annotations

from typing import NamedTuple

from sallyport.sql.analysis import STATEMENTS, Analysis
from sallyport.sql.catalog.snapshot import TEMPORARY, ColumnId, Relation
from sallyport.sql.ddl.changes import (
    access_method,
    changes_schema,
    existing_target,
    index_element,
    new_relation,
    new_temporary,
    operator_class,
)
from sallyport.sql.expressions.calls import operator, type_oid
from sallyport.sql.facts import Clause
from sallyport.sql.lineage import Field, Sources, Value
from sallyport.sql.names.missing import missing_column_of
from sallyport.sql.names.scope import Ambiguous, Scope
from sallyport.sql.nodes import fields, strings, tag_of
from sallyport.sql.queries.from_items import RANGE_VAR, make_item
from sallyport.sql.text.parse import Node
from sallyport.sql.values.conversions import note_condition_cast
from sallyport.sql.writes.constraints import note_entries
from sallyport.sql.writes.hidden_code import computing

on = STATEMENTS.on

_SERIAL = frozenset({"serial", "serial2", "serial4", "serial8", "bigserial", "smallserial"})
_COLUMN = fields("colname typeName is_local constraints collClause compression storage_name")
_CONSTRAINT = fields(
    "contype conname is_enforced initially_valid skip_validation raw_expr keys including pktable"
    " pk_attrs fk_attrs fk_matchtype fk_upd_action fk_del_action fk_del_set_cols fk_with_period"
    " pk_with_period without_overlaps generated_when generated_kind nulls_not_distinct deferrable"
    " initdeferred is_no_inherit options indexname access_method exclusions where_clause"
)
_PLAIN = frozenset(
    {
        "CONSTR_NULL",
        "CONSTR_ATTR_DEFERRABLE",
        "CONSTR_ATTR_NOT_DEFERRABLE",
        "CONSTR_ATTR_DEFERRED",
        "CONSTR_ATTR_IMMEDIATE",
        "CONSTR_ATTR_ENFORCED",
        "CONSTR_ATTR_NOT_ENFORCED",
    }
)
_UNIQUE = frozenset({"CONSTR_PRIMARY", "CONSTR_UNIQUE"})
_BOUND = fields("strategy is_default modulus remainder listdatums lowerdatums upperdatums")
_PARTITION_ELEMENT = fields("name expr collation opclass")
_RANGE_ENDS = frozenset({"minvalue", "maxvalue"})
_OPTION = fields("defnamespace defname arg defaction")
_STORAGE = frozenset({"fillfactor", "toast_tuple_target", "parallel_workers", "oids"})
_STORAGE_FAMILIES = ("autovacuum_", "vacuum_", "log_autovacuum_")
_SEQUENCE = frozenset(
    {
        "as",
        "increment",
        "minvalue",
        "maxvalue",
        "start",
        "cache",
        "cycle",
        "restart",
        "owned_by",
        "sequence_name",
        "logged",
    }
)


class Table(NamedTuple):
    """What is being defined or changed. ``scope``: its columns as expressions in it see them.
    ``relation``: None while it does not exist.
    """

    schema: str
    name: str
    scope: Scope
    relation: Relation | None = None

    def column(self, analysis: Analysis, name: str) -> Sources:
        """What a column's values come from; an Unknown where there is none of this name."""
        item = self.scope.items[0]
        try:
            value = item.column(name)
        except Ambiguous:
            value = None
        if value is None:
            missing_column_of(analysis, name, self.name, [f.name for f in item.fields], -1)
            return frozenset()
        return value.sources

    def columns(self, analysis: Analysis, names: list[Node]) -> Sources:
        return frozenset[ColumnId]().union(
            *(self.column(analysis, name) for name in strings(names))
        )


@on(
    "CreateStmt",
    "relation tableElts if_not_exists oncommit inhRelations partbound partspec options",
)
def _create_table(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "create_table")
    schema, name = new_relation(analysis, node["relation"])
    if node.get("oncommit", "ONCOMMIT_NOOP") != "ONCOMMIT_NOOP" and schema != TEMPORARY:
        analysis.unknown("SP1102", "ON COMMIT can only be used on temporary tables")
    storage(analysis, node.get("options", []))
    parents = [
        parent_relation
        for item in node.get("inhRelations", [])
        if (parent_relation := parent(analysis, item["RangeVar"])) is not None
    ]
    for relation in parents:
        only_beside(analysis, relation, schema)
    columns = [_empty(c.name, c.type_oid) for relation in parents for c in relation.columns]
    constraints: list[tuple[Node, str]] = []
    for item in node.get("tableElts", []):
        tag, body = tag_of(item)
        if tag == "ColumnDef":
            columns = [c for c in columns if c.name != body.get("colname")]
            columns.append(_empty(body.get("colname", ""), column_type(analysis, body)))
            constraints += [
                (definition["Constraint"], body.get("colname", ""))
                for definition in body.get("constraints", [])
            ]
        elif tag == "Constraint":
            constraints.append((body, ""))
        elif tag == "TableLikeClause":
            columns += _like(analysis, body)
        else:
            analysis.unknown(
                "SP1102", f"{tag} in CREATE TABLE is not supported", "List the columns."
            )
    table = Table(schema, name, Scope(items=[make_item(name, tuple(columns))]))
    for body, column in constraints:
        constraint(analysis, body, table, column)
    if "partbound" in node:
        bound(analysis, node["partbound"], parents)
        for relation in parents:
            unprotected(analysis, relation)
    if "partspec" in node:
        _partition_key(analysis, node["partspec"], table)


def _empty(name: str, type_: int) -> Field:
    """A column in which there is nothing yet."""
    return Field(name, Value(type=type_))


def parent(analysis: Analysis, node: Node) -> Relation | None:
    """A table that gets a child or a partition: its rows will include those of the new one."""
    relation = existing_target(analysis, node)
    if relation is not None and relation.kind not in "rp":
        analysis.unknown(
            "SP1102",
            f"cannot inherit from {relation.qualified}, which is not a table",
            "Inherit from a table.",
        )
    return relation


def only_beside(analysis: Analysis, above: Relation, schema: str) -> None:
    """Who reads a table must not find rows of one session among its own."""
    if (above.schema == TEMPORARY) != (schema == TEMPORARY):
        analysis.unsupported(
            "a temporary and a permanent table cannot inherit from each other through the gateway",
            "Write LIKE instead of INHERITS.",
        )


def _like(analysis: Analysis, node: Node) -> list[Field]:
    """LIKE takes columns and, INCLUDING, definitions; never rows. Functions in those are judged as
    when they are called.
    """
    analysis.check("TableLikeClause", node, fields("relation options"))
    analysis.check("RangeVar", node["relation"], RANGE_VAR)
    relation = analysis.named_relation(node["relation"])
    if relation is None:
        return []
    analysis.read_relation(relation)
    if node.get("options"):
        computing(analysis, relation)
    return [_empty(column.name, column.type_oid) for column in relation.columns]


def column_type(analysis: Analysis, node: Node) -> int:
    """The type of a column definition; 0 where a partition's column takes its parent's."""
    analysis.check("ColumnDef", node, _COLUMN)
    if "typeName" not in node:
        return 0
    names = strings(node["typeName"].get("names", []))
    if len(names) == 1 and names[0] in _SERIAL and not node["typeName"].get("arrayBounds"):
        return 23
    return type_oid(analysis, node["typeName"])


# constraints


def constraint(analysis: Analysis, node: Node, table: Table, column: str = "") -> None:
    """A constraint of a column or of the table. On rows that are there it fails or not, which tells
    about them.
    """
    analysis.check("Constraint", node, _CONSTRAINT)
    kind = node.get("contype", "CONSTR_NULL")
    if table.schema == TEMPORARY and "conname" in node:
        new_temporary(analysis, node["conname"])  # of the index, where it has one
    if "options" in node and kind != "CONSTR_IDENTITY":
        index_options(analysis, node["options"])
    if kind == "CONSTR_DEFAULT":
        value = analysis.expression(node["raw_expr"], Scope())  # functions in it may read
        analysis.flow(None, value.sources, into=(table.schema, table.name, column))
    elif kind == "CONSTR_GENERATED":
        value = analysis.expression(node["raw_expr"], table.scope)
        analysis.flow(None, value.sources, into=(table.schema, table.name, column))
    elif kind == "CONSTR_CHECK":
        analysis.influence(analysis.expression(node["raw_expr"], table.scope).sources, Clause.CHECK)
    elif kind == "CONSTR_FOREIGN":
        _reference(analysis, node, table, column)
    elif kind in _UNIQUE:
        _unique(analysis, node, table, column)
    elif kind == "CONSTR_EXCLUSION":
        _exclusion(analysis, node, table)
    elif kind == "CONSTR_NOTNULL":
        keys = (
            table.columns(analysis, node.get("keys", []))
            if "keys" in node
            else table.column(analysis, column)
        )
        analysis.influence(keys, Clause.CHECK)
    elif kind == "CONSTR_IDENTITY":
        sequence_options(analysis, node.get("options", []))
    elif kind not in _PLAIN:
        analysis.unknown("SP1102", f"{kind.removeprefix('CONSTR_')} constraints are not supported")


def _unique(analysis: Analysis, node: Node, table: Table, column: str) -> None:
    if "indexname" in node:
        # the index is unique already; a primary key forbids NULL in its columns
        oid, constraints = (
            (table.relation.oid, table.relation.constraints)
            if table.relation is not None
            else (0, ())
        )
        keys = frozenset(
            ColumnId(oid, number)
            for existing in constraints
            if existing.kind == "u" and existing.name == node["indexname"]
            for number in existing.columns
        )
    else:
        keys = (
            table.columns(analysis, node["keys"])
            if "keys" in node
            else table.column(analysis, column)
        )
        note_entries(analysis, keys | table.columns(analysis, node.get("including", [])))
    analysis.influence(keys, Clause.UNIQUE)


def _exclusion(analysis: Analysis, node: Node, table: Table) -> None:
    access_method(analysis, node.get("access_method", "btree"))
    keys = table.columns(analysis, node.get("including", []))
    for item in node.get("exclusions", []):
        element, names = item["List"]["items"]
        value = index_element(analysis, element["IndexElem"], table.scope, True)
        operator(analysis, strings(names["List"]["items"]), value, value, -1)
        keys |= value.sources
    note_entries(analysis, keys)
    if "where_clause" in node:
        note_condition_cast(analysis, analysis.expression(node["where_clause"], table.scope))


def _reference(analysis: Analysis, node: Node, table: Table, column: str) -> None:
    """REFERENCES: writing to the table tells whether a value exists in the other one, now and
    later.
    """
    own = (
        table.columns(analysis, node["fk_attrs"])
        if "fk_attrs" in node
        else table.column(analysis, column)
    )
    analysis.influence(own, Clause.FOREIGN_KEY)
    analysis.check("RangeVar", node["pktable"], RANGE_VAR)
    target = node["pktable"]
    if (target.get("schemaname", table.schema), target.get("relname")) == (
        table.schema,
        table.name,
    ) and table.relation is None:
        return  # to itself
    relation = analysis.named_relation(target)
    if relation is None:
        return
    analysis.read_relation(relation)
    names = strings(node.get("pk_attrs", []))
    if names:
        numbers = {c.attnum for c in relation.columns if c.name in names}
    else:  # its primary key: which of the unique ones that is, the snapshot does not say
        numbers = {
            number
            for candidate in relation.constraints
            if candidate.kind == "u"
            for number in candidate.columns
        }
    for number in sorted(numbers):
        id_ = frozenset((ColumnId(relation.oid, number),))
        analysis.seen.update(id_)
        analysis.influence(id_, Clause.FOREIGN_KEY, True)


# partitions


def bound(analysis: Analysis, node: Node, parents: list[Relation]) -> None:
    """FOR VALUES ...: expressions that are computed once. A default partition is searched for rows
    that belong there now.
    """
    analysis.check("PartitionBoundSpec", node, _BOUND)
    for item in (
        *node.get("listdatums", []),
        *node.get("lowerdatums", []),
        *node.get("upperdatums", []),
    ):
        tag, body = tag_of(item)
        names = strings(body.get("fields", [])) if tag == "ColumnRef" else ()
        if not (len(names) == 1 and names[0] in _RANGE_ENDS):
            # bounds stand in the catalog, for everybody
            analysis.flow(None, analysis.expression(item, Scope()).sources)
    for relation in parents:
        if relation.children:
            keys = frozenset(ColumnId(relation.oid, number) for number in relation.partition_key)
            analysis.influence(
                keys, Clause.PARTITION
            )  # rows of the default partition say whether they are within the bounds


def unprotected(analysis: Analysis, relation: Relation) -> None:
    """Who reads a partition by its own name is not under the row security of the whole."""
    if relation.row_security:
        analysis.unknown(
            "SP1102",
            f"a partition would show rows of {relation.qualified} without its row security",
            "An administrator creates partitions of tables with row security outside the gateway.",
        )


def _partition_key(analysis: Analysis, node: Node, table: Table) -> None:
    analysis.check("PartitionSpec", node, fields("strategy partParams"))
    for item in node.get("partParams", []):
        body = item["PartitionElem"]
        analysis.check("PartitionElem", body, _PARTITION_ELEMENT)
        operator_class(analysis, strings(body.get("opclass", [])))
        if "expr" in body:
            analysis.expression(body["expr"], table.scope)
        else:
            table.column(analysis, body.get("name", ""))


# options


def storage(analysis: Analysis, options: list[Node]) -> None:
    """WITH (...) of a table: how it is stored and vacuumed."""
    for item in options:
        body = item["DefElem"]
        analysis.check("DefElem", body, _OPTION)
        name = body.get("defname", "")
        is_supported = name in _STORAGE or name.startswith(_STORAGE_FAMILIES)
        if not is_supported or body.get("defnamespace", "toast") != "toast":
            analysis.unknown(
                "SP1102", f'storage parameter "{name}" is not supported', "Leave it out."
            )


def index_options(analysis: Analysis, options: list[Node]) -> None:
    """WITH (...) of an index: numbers and words for its access method."""
    for item in options:
        analysis.check("DefElem", item["DefElem"], _OPTION)


def sequence_options(analysis: Analysis, options: list[Node]) -> None:
    """Check that every option of a sequence is one that is understood."""
    for item in options:
        body = item["DefElem"]
        analysis.check("DefElem", body, _OPTION)
        name = body.get("defname", "")
        if name not in _SEQUENCE:
            analysis.unknown("SP1102", f'sequence option "{name}" is not supported')
