"""Which columns the literals and parameters of a statement are compared with or written to.

For the record: a literal that meets only columns that nobody masks may stand in it as it was sent.
What is not noted here met something that was not followed, and whoever records it has to hide it.
Only the statement's own text counts, not those of views and functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sallyport.sql.analysis import Analysis
from sallyport.sql.facts import ConstantUse, Dependence
from sallyport.sql.lineage import Sources, Value
from sallyport.sql.nodes import position_of, strings, tag_of
from sallyport.sql.text.parse import Node

#: Operators that compare a value with the whole of another.
_EQUALITY = frozenset({"=", "<>"})
_COMPARISONS = _EQUALITY | {
    "<",
    ">",
    "<=",
    ">=",
    "~~",
    "!~~",
    "~~*",
    "!~~*",
    "~",
    "!~",
    "~*",
    "!~*",
}
#: Nodes with a value that is computed from these parts of theirs alone, each of which adds to its
#: sources.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "A_ArrayExpr": ("elements",),
    "A_Expr": ("lexpr", "rexpr"),
    "BoolExpr": ("args",),
    "BooleanTest": ("arg",),
    "CaseExpr": ("arg", "args", "defresult"),
    "CaseWhen": ("expr", "result"),
    "CoalesceExpr": ("args",),
    "CollateClause": ("arg",),
    "FuncCall": ("args",),
    "List": ("items",),
    "MinMaxExpr": ("args",),
    "NamedArgExpr": ("arg",),
    "NullTest": ("arg",),
    "RowExpr": ("args",),
    "TypeCast": ("arg",),
}
_BESIDE_ARGUMENTS = frozenset({"agg_filter", "agg_order", "over"})
_CONSTANTS = frozenset({"A_Const", "ParamRef"})
_REFERRING = frozenset({"ColumnRef", "SubLink"})
_QUOTING = _CONSTANTS | {"SubLink"}
#: Parts of a SELECT from which constants may come into its output columns.
_QUOTED_FROM = frozenset({"withClause", "valuesLists", "intoClause"})
#: Looking a member up in its class takes as long as several calls of a function (CPython 3.11).
_OPAQUE = Dependence.OPAQUE
#: Nodes of an operand that are looked at; in a larger one nothing is told.
_MOST = 64


def note_compared(
    analysis: Analysis,
    names: tuple[str, ...],
    nodes: Sequence[Node],
    values: Sequence[Value],
    listed: bool = False,
) -> None:
    """A comparison of these operands, a list of constants among them as one. ``listed``: the tree
    may not have all of that list.
    """
    if "ColumnRef" in nodes[-1] and "ColumnRef" in nodes[0]:  # of most joins
        return
    if not names or names[-1] not in _COMPARISONS or not _is_told(analysis):
        return
    sources: Sources = frozenset()
    columns, bare = 0, False
    for node, value in zip(nodes, values, strict=False):
        if value.constant:
            continue
        if value.dependence is _OPAQUE or value.denied:
            return
        if value.sources:
            sources = sources | value.sources if columns else value.sources
            columns, bare = columns + 1, value.bare
        elif _refers(node):  # not computed alone, as now() - interval '1 day' is
            return
    if columns:
        note(analysis, nodes, sources, columns == 1 and bare and names[-1] in _EQUALITY, listed)


def note(
    analysis: Analysis,
    nodes: Iterable[Node],
    columns: Sources,
    compares_whole: bool = False,
    listed: bool = False,
) -> None:
    """The constants among ``nodes`` meet the values of these columns. ``compares_whole``: where one
    stands by itself, it is a whole value.
    """
    if not _is_told(analysis):
        return
    constants = analysis.constants
    for node in nodes:
        if "ColumnRef" in node:  # what most operands are
            continue
        stands_alone = compares_whole and _is_constant(node)
        positions = _constants(analysis, node)
        if positions is None:
            analysis.constants_lost = True
            return
        for position in positions:
            use = constants.get(position)
            if use is None:
                constants[position] = ConstantUse(position, columns, stands_alone, listed)
            else:
                both = use.columns | columns
                constants[position] = ConstantUse(
                    position, both, use.is_value and stands_alone, use.listed and listed
                )


def _is_told(analysis: Analysis) -> bool:
    """Whether somebody asks: of a subject without masks everything is recorded as it was sent."""
    return bool(analysis.context.masked) and not (
        analysis.following or analysis.views or analysis.indirect
    )


def _refers(node: Node) -> bool:
    return _holds(node, _REFERRING)


def _holds(node: Node, tags: frozenset[str]) -> bool:
    """Whether a node of these kinds is among those of the expression, or may be: it is too large to
    be looked through.
    """
    waiting: list[Any] = [node]
    for _ in range(8 * _MOST):
        if not waiting:
            return False
        item = waiting.pop()
        if type(item) is dict:
            if not tags.isdisjoint(item):
                return True
            if "ColumnRef" not in item:  # which holds names alone
                waiting.extend(item.values())
        elif type(item) is list:
            waiting.extend(item)
    return True


def _is_constant(node: Node) -> bool:
    """A constant, or a list of constants."""
    tag, body = tag_of(node)
    if tag == "TypeCast":
        return _is_constant(body.get("arg", {}))
    if tag in ("List", "A_ArrayExpr"):
        return all(_is_constant(item) for item in body.get("items") or body.get("elements") or ())
    return tag in _CONSTANTS


def _constants(analysis: Analysis, node: Node) -> list[int] | None:
    """Positions of the constants that an operand is computed from, all of whose columns its sources
    tell; None where it is too large.
    """
    tag, body = tag_of(node)
    if tag in _CONSTANTS:
        return [position_of(body)]
    positions: list[int] = []
    waiting: list[Any] = [node]
    left = 8 * _MOST
    while waiting:
        item = waiting.pop()
        left -= 1
        if left < 0:
            return None
        if isinstance(item, list):
            waiting.extend(item)
            continue
        for tag, body in item.items():
            if tag in _CONSTANTS:
                positions.append(position_of(body))
            elif tag != "FuncCall" or _computes_alone(analysis, body):
                waiting.extend(body[part] for part in _PARTS.get(tag, ()) if part in body)
    return positions


def _computes_alone(analysis: Analysis, call: Node) -> bool:
    """Whether a call is of PostgreSQL's own and has nothing beside its arguments: FILTER, ORDER BY
    and windows choose by more than its sources tell, and so do bodies that users wrote.
    """
    if call.keys() & _BESIDE_ARGUMENTS:
        return False
    names = strings(call.get("funcname", []))
    functions = analysis.catalog.functions_by_name.get(names[-1], ()) if names else ()
    return bool(functions) and all(function.schema == "pg_catalog" for function in functions)


def note_quoting(analysis: Analysis, node: Node) -> None:
    """Note which output columns of a SELECT have expressions that hold constants or subqueries
    themselves, and where those constants stand. Nothing is noted where constants may come from
    elsewhere in the text: a WITH query, a subquery in FROM, VALUES, UNION.
    """
    if (
        not analysis.context.masked
        or node.get("op") != "SETOP_NONE"
        or not _QUOTED_FROM.isdisjoint(node)
    ):
        return
    sources = list(node.get("fromClause", ()))
    while sources:
        tag, body = tag_of(sources.pop())
        if tag == "JoinExpr":
            sources += (body["larg"], body["rarg"])
        elif tag != "RangeVar":
            return
    values = [target["ResTarget"]["val"] for target in node.get("targetList", ())]
    quoting = frozenset(number for number, value in enumerate(values) if _holds(value, _QUOTING))
    if quoting and len(values) != len(analysis.columns or ()):  # a star stands for several
        return
    analysis.quoting = quoting
    analysis.quoted = frozenset(
        position for number in quoting for position in _constants(analysis, values[number]) or ()
    )
