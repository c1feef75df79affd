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
from sallyport.sql.nodes import fields, position_of, string, tag_of
from sallyport.sql.queries.ctes import with_clause
from sallyport.sql.queries.from_items import RANGE_VAR, from_clause
from sallyport.sql.queries.setops import combined
from sallyport.sql.text.parse import Node
from sallyport.sql.values.conversions import note_condition_cast, note_implicit_cast
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
def select(analysis: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    """The columns of a query; ``scope`` is its own, new level."""
    if analysis.context.template:
        _check_positions(node)
    if "withClause" in node:
        with_clause(analysis, node["withClause"], scope)
    op = node.get("op", "SETOP_NONE")
    if op != "SETOP_NONE":
        columns = _set_operation(analysis, node, scope)
    elif "valuesLists" in node:
        columns = _values(analysis, node, scope)
    else:
        columns = _plain(analysis, node, scope)
    if scope.grouping is not None:
        outer, analysis.ungrouped = analysis.ungrouped, scope.grouping
        _sort(analysis, node.get("sortClause", []), columns, scope)
        analysis.ungrouped = outer
        _finish_grouping(analysis, node["groupClause"], scope.grouping, scope)
    else:
        _sort(analysis, node.get("sortClause", []), columns, scope)
    for key in ("limitOffset", "limitCount"):
        if key in node:
            value = analysis.expression(node[key], scope)
            note_implicit_cast(analysis, value, INT8, -1, assignment=True)
            if value.constant:
                note(analysis, (node[key],), frozenset())
    for item in node.get("lockingClause", []):
        _lock(analysis, item["LockingClause"], scope)
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


def _plain(analysis: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    if "groupClause" in node:
        scope.grouping = GroupingLevel(analysis.ungrouped)
    before = len(analysis.range_variables)
    if "fromClause" in node:
        from_clause(analysis, node["fromClause"], scope)
    if "lockingClause" in node:
        analysis.locked.update(islice(analysis.range_variables, before, None))
    outer, analysis.ungrouped = analysis.ungrouped, scope.grouping or analysis.ungrouped
    columns = target_list(analysis, node.get("targetList", []), scope)
    if "whereClause" in node:
        analysis.ungrouped = outer
        note_condition_cast(analysis, analysis.expression(node["whereClause"], scope))
        note_comparisons(analysis, node["whereClause"], scope)
        analysis.ungrouped = scope.grouping or outer
    for item in node.get("windowClause", []):
        window(analysis, item["WindowDef"], scope)
    if scope.grouping is not None:
        analysis.ungrouped = outer
        scope.grouped = [
            v for item in node["groupClause"] for v in _group(analysis, item, columns, scope)
        ]
        analysis.ungrouped = scope.grouping
    if "havingClause" in node:
        note_condition_cast(analysis, analysis.expression(node["havingClause"], scope))
    for item in node.get("distinctClause", []):
        if item:
            _sort_value(analysis, item, columns, scope)
        else:
            analysis.distinguish(columns)
    analysis.ungrouped = outer
    return columns


def _finish_grouping(
    analysis: Analysis, items: list[Node], level: GroupingLevel, scope: Scope
) -> None:
    """Every clause of the level was walked: what stands ungrouped is known."""
    if any("GroupingSet" in item for item in items):
        return  # the key is not in every grouping set, or the columns are in GROUP BY already
    visible = {i.variable: (i.name, i.fields) for i in scope.items if i.variable >= 0 and i.visible}
    constants = [
        item["A_Const"].get("ival", {}).get("ival", 0) for item in items if "A_Const" in item
    ]
    position = position_of(tag_of(items[0])[1])
    grouping = level.grouping(scope.grouped, frozenset(constants), visible, position)
    if grouping is not None:
        analysis.groupings.append(grouping)


def target_list(
    analysis: Analysis, targets: list[Node], scope: Scope, returned: bool = False
) -> tuple[Field, ...]:
    """Output columns of a SELECT list or RETURNING, stars expanded and names given.

    ``returned``: they come back from a write.
    """
    columns: list[Field] = []
    for target in targets:
        body = target["ResTarget"]
        if not _RES_TARGET.issuperset(body):
            analysis.unread("ResTarget", body, _RES_TARGET)
        value = body["val"]
        bare = value.get("ColumnRef")
        expanded = (
            star(analysis, value, scope, returned)
            if bare is not None or "A_Indirection" in value
            else None
        )
        if expanded is not None:
            columns.extend(expanded)
            analysis.work.spend(len(expanded) * 3 // 2 + 1)
            if len(columns) > MAX_COLUMNS:
                analysis.unknown("SP1105", f"target lists can have at most {MAX_COLUMNS} entries")
                break
            continue
        analysis.bare = bare
        analysis.returned = bare if returned else None
        if scope.grouping is not None:
            scope.grouping.entry = len(columns) + 1
        output = analysis.expression(value, scope)
        columns.append(Field(body.get("name") or figure(analysis, value), output))
    if scope.grouping is not None:
        scope.grouping.entry = 0
    return tuple(columns)


def _values(analysis: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    columns: tuple[Field, ...] | None = None
    for item in distinct_rows(node["valuesLists"]):
        values = [
            f.value
            for entry in item["List"].get("items", [])
            for f in spread(analysis, entry, scope)
        ]
        row = tuple(
            [Field(f"column{n}", replace(value, origin=None)) for n, value in enumerate(values, 1)]
        )
        columns = row if columns is None else combined(analysis, columns, row, "VALUES")
    return columns or ()


def _set_operation(analysis: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    # the left spine of a chain of UNIONs is walked in a loop; what is parenthesised has clauses of
    # its own
    chain = [node]
    while True:
        left = chain[-1]["larg"]
        if left.get("op", "SETOP_NONE") == "SETOP_NONE" or left.keys() - _BARE_SET_OPERATION:
            break
        chain.append(left)
    inner = Scope(scope, [], {})
    columns = _branch(analysis, chain[-1]["larg"], inner)
    for step in reversed(chain):
        if step is node and scope.union_hook is not None:
            scope.union_hook(columns)
        operation = step["op"].removeprefix("SETOP_")
        columns = combined(
            analysis, columns, _branch(analysis, step["rarg"], Scope(scope)), operation
        )
        if step.get("op") != "SETOP_UNION" or not step.get("all"):
            analysis.distinguish(columns)
        columns = tuple([Field(f.name, replace(f.value, origin=None)) for f in columns])
    return columns


_BARE_SET_OPERATION = frozenset({"op", "all", "larg", "rarg", "limitOption"})


def _branch(analysis: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    analysis.check("SelectStmt", node, _SELECT)
    return select(analysis, node, scope)


def _sort(analysis: Analysis, items: list[Node], columns: tuple[Field, ...], scope: Scope) -> None:
    for item in items:
        body = item["SortBy"]
        analysis.check("SortBy", body, _SORT_BY)
        order(
            analysis, body, _sort_value(analysis, body["node"], columns, scope), position_of(body)
        )


def _sort_value(
    analysis: Analysis, node: Node, columns: tuple[Field, ...], scope: Scope, grouping: bool = False
) -> Value:
    """findTargetlistEntrySQL92: an output column's name or number, or an expression. GROUP BY
    prefers input columns.
    """
    tag, body = tag_of(node)
    if tag == "ColumnRef" and len(body.get("fields", [])) == 1:
        name = string(body["fields"][0])
        if len(columns) > 15:
            analysis.work.spend(len(columns) >> 4)
        if name and not (grouping and _is_input(scope, name)):
            named = [f.value for f in columns if f.name == name]
            if named:
                analysis.mention(union(named), position_of(body))
                if len(named) == 1:
                    return named[0]
                return Value(
                    union(named), named[0].dependence, type=named[0].type, raw=is_raw(named)
                )
    if tag == "A_Const" and "ival" in body:
        number = int(body["ival"].get("ival", 0))
        note(analysis, (node,), frozenset())
        if 1 <= number <= len(columns):
            analysis.mention(columns[number - 1].value.sources, position_of(body))
            return columns[number - 1].value
        clause = "GROUP BY" if grouping else "ORDER BY"
        return analysis.missing(
            "SP1113", f"{clause} position {number} is not in select list", "", position_of(body)
        )
    return analysis.expression(node, scope)


def _is_input(scope: Scope, name: str) -> bool:
    return any(item.columns_visible and name in item.index for item in scope.items)


def _group(analysis: Analysis, node: Node, columns: tuple[Field, ...], scope: Scope) -> list[Value]:
    """The values that an entry of GROUP BY stands for."""
    tag, body = tag_of(node)
    if tag == "GroupingSet":
        analysis.check(tag, body, _GROUPING_SET)
        return [
            v for item in body.get("content", []) for v in _group(analysis, item, columns, scope)
        ]
    if tag == "RowExpr":
        return [v for item in body.get("args", []) for v in _group(analysis, item, columns, scope)]
    if len(scope.items) > 15:
        analysis.work.spend(len(scope.items) >> 4)
    return [_sort_value(analysis, node, columns, scope, grouping=True)]


def _lock(analysis: Analysis, node: Node, scope: Scope) -> None:
    analysis.check("LockingClause", node, _LOCKING)
    names = set()
    for item in node.get("lockedRels", []):
        analysis.check("RangeVar", item["RangeVar"], RANGE_VAR)
        names.add(item["RangeVar"].get("relname", ""))
    for item in scope.items:
        if item.relation and (not names or item.name in names):
            analysis.access(item.relation, "lock")
