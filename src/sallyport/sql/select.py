"""SELECT, VALUES, TABLE and set operations (analyze.c, transformSelectStmt and transformSetOperationStmt)."""

from __future__ import annotations

from dataclasses import replace

from sallyport.sql.analysis import MAX_COLUMNS, QUERIES, Analysis
from sallyport.sql.columns import star
from sallyport.sql.conversions import converts
from sallyport.sql.ctes import with_clause
from sallyport.sql.expressions import distinct_rows, order, spread
from sallyport.sql.facts import Clause
from sallyport.sql.from_items import RANGE_VAR, from_clause
from sallyport.sql.function_calls import window
from sallyport.sql.lineage import NONE, Field, Value, union
from sallyport.sql.names_of import figure
from sallyport.sql.nodes import fields, position, string, tag_of
from sallyport.sql.parse import Node
from sallyport.sql.scope import Scope
from sallyport.sql.setops import combined
from sallyport.sql.settings_rows import shown_items
from sallyport.sql.types import INT8

SELECT_FIELDS = (
    "distinctClause targetList fromClause whereClause groupClause groupDistinct havingClause windowClause "
    "valuesLists sortClause limitOffset limitCount limitOption lockingClause withClause op all larg rarg"
)
_SELECT = fields(SELECT_FIELDS)
_RES_TARGET = fields("name val")
_SORT_BY = fields("node sortby_dir sortby_nulls useOp")
_GROUPING_SET = fields("kind content")
_LOCKING = fields("lockedRels strength waitPolicy")


@QUERIES.on("SelectStmt", SELECT_FIELDS)
def select(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    """The columns of a query; ``scope`` is its own, new level."""
    if "withClause" in node:
        with_clause(a, node["withClause"], scope)
    op = node.get("op", "SETOP_NONE")
    if op != "SETOP_NONE":
        columns = _set_operation(a, node, scope)
    elif "valuesLists" in node:
        columns = _values(a, node, scope)
    else:
        columns = _plain(a, node, scope)
    _sort(a, node.get("sortClause", []), columns, scope)
    for key in ("limitOffset", "limitCount"):
        if key in node:
            value = a.expression(node[key], scope)
            converts(a, value, INT8, -1, assignment=True)
            a.influence(value.sources, Clause.LIMIT)
    for item in node.get("lockingClause", []):
        _lock(a, item["LockingClause"], scope)
    return columns


def _plain(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    if "fromClause" in node:
        from_clause(a, node["fromClause"], scope)
    shown = shown_items(a, node.get("whereClause"), scope)
    columns = target_list(a, node.get("targetList", []), replace(scope, items=shown))
    if "whereClause" in node:
        a.condition(a.expression(node["whereClause"], scope), Clause.WHERE)
    for item in node.get("windowClause", []):
        window(a, item["WindowDef"], scope)
    for item in node.get("groupClause", []):
        _group(a, item, columns, scope)
    if "havingClause" in node:
        a.condition(a.expression(node["havingClause"], scope), Clause.HAVING)
    for item in node.get("distinctClause", []):
        if item:
            value = _sort_value(a, item, columns, scope)
            a.influence(value.sources, Clause.DISTINCT)
        else:
            a.influence(union(f.value for f in columns), Clause.DISTINCT)
    return columns


def target_list(a: Analysis, targets: list[Node], scope: Scope) -> tuple[Field, ...]:
    """Output columns of a SELECT list or RETURNING, stars expanded and names given."""
    columns: list[Field] = []
    for target in targets:
        body = target["ResTarget"]
        a.check("ResTarget", body, _RES_TARGET)
        value = body["val"]
        before = a.risks
        expanded = star(a, value, scope)
        if expanded is not None:
            columns.extend([Field(f.name, _output(f.value)) for f in expanded])
            a.work.spend(len(expanded) * 3 // 2 + 1)
            if len(columns) > MAX_COLUMNS:
                a.unknown("SP1105", f"judge more than {MAX_COLUMNS} output columns")
                break
            continue
        found = a.expression(value, scope)
        if a.risks > before:
            found = found._replace(risky=True)
        columns.append(Field(body.get("name") or figure(a, value), _output(found)))
    return tuple(columns)


def _output(value: Value) -> Value:
    return value._replace(equality=NONE) if value.equality else value


def _values(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    columns: tuple[Field, ...] | None = None
    for item in distinct_rows(node["valuesLists"]):
        values = [f.value for entry in item["List"].get("items", []) for f in spread(a, entry, scope)]
        row = tuple(
            [Field(f"column{n}", _output(value)._replace(origin=None)) for n, value in enumerate(values, 1)]
        )
        columns = row if columns is None else combined(a, columns, row)
    return columns or ()


def _set_operation(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    # the left spine of a chain of UNIONs is walked in a loop; what is parenthesised has clauses of its own
    chain = [node]
    while True:
        left = chain[-1]["larg"]
        if left.get("op", "SETOP_NONE") == "SETOP_NONE" or left.keys() - _BARE_SET_OPERATION:
            break
        chain.append(left)
    inner = Scope(scope, [], {})
    columns = _branch(a, chain[-1]["larg"], inner)
    for step in reversed(chain):
        if step is node and scope.union_hook is not None:
            scope.union_hook(columns)
        columns = combined(a, columns, _branch(a, step["rarg"], Scope(scope)))
        columns = tuple([Field(f.name, f.value._replace(origin=None)) for f in columns])
        if step.get("op") != "SETOP_UNION" or not step.get("all"):
            a.influence(union(f.value for f in columns), Clause.SET_OPERATION)
    return columns


_BARE_SET_OPERATION = frozenset({"op", "all", "larg", "rarg", "limitOption"})


def _branch(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    a.check("SelectStmt", node, _SELECT)
    return select(a, node, scope)


def _sort(a: Analysis, items: list[Node], columns: tuple[Field, ...], scope: Scope) -> None:
    for item in items:
        body = item["SortBy"]
        a.check("SortBy", body, _SORT_BY)
        order(a, body, _sort_value(a, body["node"], columns, scope), Clause.ORDER_BY, position(body))


def _sort_value(
    a: Analysis, node: Node, columns: tuple[Field, ...], scope: Scope, grouping: bool = False
) -> Value:
    """findTargetlistEntrySQL92: an output column's name or number, or an expression. GROUP BY prefers input columns."""
    tag, body = tag_of(node)
    if tag == "ColumnRef" and len(body.get("fields", [])) == 1:
        name = string(body["fields"][0])
        a.work.spend(len(columns) >> 4)
        if name and not (grouping and _is_input(scope, name)):
            found = [f.value for f in columns if f.name == name]
            if found:
                return Value(union(found), found[0].dependence, type=found[0].type)
    if tag == "A_Const" and "ival" in body:
        number = int(body["ival"].get("ival", 0))
        if 1 <= number <= len(columns):
            return columns[number - 1].value
        clause = "GROUP BY" if grouping else "ORDER BY"
        return a.missing("SP1113", f"{clause} position {number} is not in select list", "", position(body))
    return a.expression(node, scope)


def _is_input(scope: Scope, name: str) -> bool:
    return any(item.columns_visible and name in item.index for item in scope.items)


def _group(a: Analysis, node: Node, columns: tuple[Field, ...], scope: Scope) -> None:
    tag, body = tag_of(node)
    if tag == "GroupingSet":
        a.check(tag, body, _GROUPING_SET)
        for item in body.get("content", []):
            _group(a, item, columns, scope)
        return
    if tag == "RowExpr":
        for item in body.get("args", []):
            _group(a, item, columns, scope)
        return
    a.work.spend(len(scope.items) >> 4)
    value = _sort_value(a, node, columns, scope, grouping=True)
    a.influence(value.sources, Clause.GROUP_BY, False, body.get("location", -1))


def _lock(a: Analysis, node: Node, scope: Scope) -> None:
    a.check("LockingClause", node, _LOCKING)
    names = set()
    for item in node.get("lockedRels", []):
        a.check("RangeVar", item["RangeVar"], RANGE_VAR)
        names.add(item["RangeVar"].get("relname", ""))
    for item in scope.items:
        if item.relation and (not names or item.name in names):
            a.access(item.relation, "lock")
