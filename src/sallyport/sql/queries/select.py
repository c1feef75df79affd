"""SELECT, VALUES, TABLE and set operations (analyze.c, transformSelectStmt and
transformSetOperationStmt).
"""

from __future__ import annotations

from itertools import islice

from msgspec.structs import replace

from sallyport.core.errors import RefusedError, refuse
from sallyport.sql.analysis import MAX_COLUMNS, QUERIES, Analysis
from sallyport.sql.expressions.columns import star
from sallyport.sql.expressions.constant_uses import note
from sallyport.sql.expressions.equality import note_comparisons
from sallyport.sql.expressions.expression import distinct_rows, order, spread
from sallyport.sql.expressions.function_calls import window
from sallyport.sql.expressions.grouping import GroupingLevel
from sallyport.sql.lineage import Field, Value, is_raw, union
from sallyport.sql.names.names_of import figure
from sallyport.sql.names.scope import Scope
from sallyport.sql.nodes import fields, position, string, tag_of
from sallyport.sql.queries.ctes import with_clause
from sallyport.sql.queries.from_items import RANGE_VAR, from_clause
from sallyport.sql.queries.setops import combined
from sallyport.sql.text.parse import Node
from sallyport.sql.values.conversions import converts
from sallyport.sql.values.types import INT8

SELECT_FIELDS = (
    "distinctClause targetList fromClause whereClause groupClause groupDistinct havingClause"
    " windowClause valuesLists sortClause limitOffset limitCount limitOption lockingClause"
    " withClause op all larg rarg"
)
_SELECT = fields(SELECT_FIELDS)
_RES_TARGET = fields("name val")
_SORT_BY = fields("node sortby_dir sortby_nulls useOp")
_GROUPING_SET = fields("kind content")
_LOCKING = fields("lockedRels strength waitPolicy")


@QUERIES.on("SelectStmt", SELECT_FIELDS)
def select(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    """The columns of a query; ``scope`` is its own, new level."""
    if a.context.template:
        _check_positions(node)
    if "withClause" in node:
        with_clause(a, node["withClause"], scope)
    op = node.get("op", "SETOP_NONE")
    if op != "SETOP_NONE":
        columns = _set_operation(a, node, scope)
    elif "valuesLists" in node:
        columns = _values(a, node, scope)
    else:
        columns = _plain(a, node, scope)
    if scope.grouping is not None:
        outer, a.ungrouped = a.ungrouped, scope.grouping
        _sort(a, node.get("sortClause", []), columns, scope)
        a.ungrouped = outer
        _finish_grouping(a, node["groupClause"], scope.grouping, scope)
    else:
        _sort(a, node.get("sortClause", []), columns, scope)
    for key in ("limitOffset", "limitCount"):
        if key in node:
            value = a.expression(node[key], scope)
            converts(a, value, INT8, -1, assignment=True)
            if value.constant:
                note(a, (node[key],), frozenset())
    for item in node.get("lockingClause", []):
        _lock(a, item["LockingClause"], scope)
    return columns


#: Clauses in which a number means an output column, and nodes that only group their entries, each
#: with where it has them.
_POSITIONAL = ("sortClause", "groupClause", "distinctClause")
_GROUPS = {"GroupingSet": "content", "List": "items", "RowExpr": "args"}


def _check_positions(node: Node) -> None:
    """Raises RefusedError where a literal may have been such a number: a parameter there is a
    constant.
    """
    entries = [entry for clause in _POSITIONAL for entry in node.get(clause, ())]
    while entries:
        tag, body = tag_of(entries.pop())
        if tag == "ParamRef":
            raise RefusedError(refuse("SP1102", "a column's position cannot become a parameter"))
        if tag == "SortBy":
            entries.append(body["node"])
        elif tag in _GROUPS:
            entries.extend(body.get(_GROUPS[tag], ()))


def _plain(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    if "groupClause" in node:
        scope.grouping = GroupingLevel(a.ungrouped)
    before = len(a.range_variables)
    if "fromClause" in node:
        from_clause(a, node["fromClause"], scope)
    if "lockingClause" in node:
        a.locked.update(islice(a.range_variables, before, None))
    outer, a.ungrouped = a.ungrouped, scope.grouping or a.ungrouped
    columns = target_list(a, node.get("targetList", []), scope)
    if "whereClause" in node:
        a.ungrouped = outer
        a.condition(a.expression(node["whereClause"], scope))
        note_comparisons(a, node["whereClause"], scope)
        a.ungrouped = scope.grouping or outer
    for item in node.get("windowClause", []):
        window(a, item["WindowDef"], scope)
    if scope.grouping is not None:
        a.ungrouped = outer
        scope.grouped = [v for item in node["groupClause"] for v in _group(a, item, columns, scope)]
        a.ungrouped = scope.grouping
    if "havingClause" in node:
        a.condition(a.expression(node["havingClause"], scope))
    for item in node.get("distinctClause", []):
        if item:
            _sort_value(a, item, columns, scope)
        else:
            a.distinguish(columns)
    a.ungrouped = outer
    return columns


def _finish_grouping(a: Analysis, items: list[Node], level: GroupingLevel, scope: Scope) -> None:
    """Every clause of the level was walked: what stands ungrouped is known."""
    if any("GroupingSet" in item for item in items):
        return  # the key is not in every grouping set, or the columns are in GROUP BY already
    visible = {i.variable: (i.name, i.fields) for i in scope.items if i.variable >= 0 and i.visible}
    constants = [
        item["A_Const"].get("ival", {}).get("ival", 0) for item in items if "A_Const" in item
    ]
    at = position(tag_of(items[0])[1])
    grouping = level.grouping(scope.grouped, frozenset(constants), visible, at)
    if grouping is not None:
        a.groupings.append(grouping)


def target_list(
    a: Analysis, targets: list[Node], scope: Scope, returned: bool = False
) -> tuple[Field, ...]:
    """Output columns of a SELECT list or RETURNING, stars expanded and names given.

    ``returned``: they come back from a write.
    """
    columns: list[Field] = []
    for target in targets:
        body = target["ResTarget"]
        if not _RES_TARGET.issuperset(body):
            a.unread("ResTarget", body, _RES_TARGET)
        value = body["val"]
        bare = value.get("ColumnRef")
        expanded = (
            star(a, value, scope, returned)
            if bare is not None or "A_Indirection" in value
            else None
        )
        if expanded is not None:
            columns.extend(expanded)
            a.work.spend(len(expanded) * 3 // 2 + 1)
            if len(columns) > MAX_COLUMNS:
                a.unknown("SP1105", f"target lists can have at most {MAX_COLUMNS} entries")
                break
            continue
        a.bare = bare
        a.returned = bare if returned else None
        if scope.grouping is not None:
            scope.grouping.entry = len(columns) + 1
        output = a.expression(value, scope)
        columns.append(Field(body.get("name") or figure(a, value), output))
    if scope.grouping is not None:
        scope.grouping.entry = 0
    return tuple(columns)


def _values(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    columns: tuple[Field, ...] | None = None
    for item in distinct_rows(node["valuesLists"]):
        values = [
            f.value for entry in item["List"].get("items", []) for f in spread(a, entry, scope)
        ]
        row = tuple(
            [Field(f"column{n}", replace(value, origin=None)) for n, value in enumerate(values, 1)]
        )
        columns = row if columns is None else combined(a, columns, row, "VALUES")
    return columns or ()


def _set_operation(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    # the left spine of a chain of UNIONs is walked in a loop; what is parenthesised has clauses of
    # its own
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
        operation = step["op"].removeprefix("SETOP_")
        columns = combined(a, columns, _branch(a, step["rarg"], Scope(scope)), operation)
        if step.get("op") != "SETOP_UNION" or not step.get("all"):
            a.distinguish(columns)
        columns = tuple([Field(f.name, replace(f.value, origin=None)) for f in columns])
    return columns


_BARE_SET_OPERATION = frozenset({"op", "all", "larg", "rarg", "limitOption"})


def _branch(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    a.check("SelectStmt", node, _SELECT)
    return select(a, node, scope)


def _sort(a: Analysis, items: list[Node], columns: tuple[Field, ...], scope: Scope) -> None:
    for item in items:
        body = item["SortBy"]
        a.check("SortBy", body, _SORT_BY)
        order(a, body, _sort_value(a, body["node"], columns, scope), position(body))


def _sort_value(
    a: Analysis, node: Node, columns: tuple[Field, ...], scope: Scope, grouping: bool = False
) -> Value:
    """findTargetlistEntrySQL92: an output column's name or number, or an expression. GROUP BY
    prefers input columns.
    """
    tag, body = tag_of(node)
    if tag == "ColumnRef" and len(body.get("fields", [])) == 1:
        name = string(body["fields"][0])
        if len(columns) > 15:
            a.work.spend(len(columns) >> 4)
        if name and not (grouping and _is_input(scope, name)):
            named = [f.value for f in columns if f.name == name]
            if named:
                a.mention(union(named), position(body))
                return Value(
                    union(named), named[0].dependence, type=named[0].type, raw=is_raw(named)
                )
    if tag == "A_Const" and "ival" in body:
        number = int(body["ival"].get("ival", 0))
        note(a, (node,), frozenset())
        if 1 <= number <= len(columns):
            a.mention(columns[number - 1].value.sources, position(body))
            return columns[number - 1].value
        clause = "GROUP BY" if grouping else "ORDER BY"
        return a.missing(
            "SP1113", f"{clause} position {number} is not in select list", "", position(body)
        )
    return a.expression(node, scope)


def _is_input(scope: Scope, name: str) -> bool:
    return any(item.columns_visible and name in item.index for item in scope.items)


def _group(a: Analysis, node: Node, columns: tuple[Field, ...], scope: Scope) -> list[Value]:
    """The values that an entry of GROUP BY stands for."""
    tag, body = tag_of(node)
    if tag == "GroupingSet":
        a.check(tag, body, _GROUPING_SET)
        return [v for item in body.get("content", []) for v in _group(a, item, columns, scope)]
    if tag == "RowExpr":
        return [v for item in body.get("args", []) for v in _group(a, item, columns, scope)]
    if len(scope.items) > 15:
        a.work.spend(len(scope.items) >> 4)
    return [_sort_value(a, node, columns, scope, grouping=True)]


def _lock(a: Analysis, node: Node, scope: Scope) -> None:
    a.check("LockingClause", node, _LOCKING)
    names = set()
    for item in node.get("lockedRels", []):
        a.check("RangeVar", item["RangeVar"], RANGE_VAR)
        names.add(item["RangeVar"].get("relname", ""))
    for item in scope.items:
        if item.relation and (not names or item.name in names):
            a.access(item.relation, "lock")
