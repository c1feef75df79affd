"""Which columns the literals and parameters of a statement are compared with or written to.

For the record: a literal that meets only columns that nobody masks may stand in it as it was sent. What is not noted here met something
that was not followed, and whoever records it has to hide it. Only the statement's own text counts, not those of views and functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sallyport.sql.analysis import Analysis
from sallyport.sql.facts import ConstantUse, Dependence
from sallyport.sql.lineage import Sources, Value
from sallyport.sql.nodes import position, strings, tag_of
from sallyport.sql.parse import Node

#: Operators that compare a value with the whole of another.
_EQUALITY = frozenset({"=", "<>"})
_COMPARISONS = _EQUALITY | {"<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~", "!~", "~*", "!~*"}
#: Nodes with a value that is computed from these parts of theirs alone, each of which adds to its sources.
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
#: Nodes of an operand that are looked at; in a larger one nothing is told.
_MOST = 64


def note_compared(
    a: Analysis, names: tuple[str, ...], nodes: Sequence[Node], values: Sequence[Value], listed: bool = False
) -> None:
    """A comparison of these operands, a list of constants among them as one. ``listed``: the tree may not have all of that list."""
    if names[-1:] and names[-1] in _COMPARISONS:
        pairs = zip(nodes, values, strict=False)
        used = [value for node, value in pairs if not (value.constant or _is_computed_alone(node, value))]
        whole = names[-1] in _EQUALITY and len(used) == 1 and used[0].bare
        sources = _sources(used)
        if sources:
            note(a, nodes, sources, whole, listed)


def note(
    a: Analysis, nodes: Iterable[Node], columns: Sources, whole: bool = False, listed: bool = False
) -> None:
    """The constants among ``nodes`` meet the values of these columns. ``whole``: where one stands by itself, it is a whole value."""
    if a.following or a.views or a.indirect:
        return
    for node in nodes:
        if "ColumnRef" in node:  # what most operands are
            continue
        stands_alone = whole and _is_constant(node)
        found = _constants(a, node)
        if found is None:
            a.constants_lost = True
            return
        for at in found:
            known = a.constants.get(at)
            use = ConstantUse(at, columns, stands_alone, listed)
            if known is not None:
                both = known.columns | columns
                use = ConstantUse(at, both, known.whole and stands_alone, known.listed and listed)
            a.constants[at] = use


def _sources(values: Iterable[Value]) -> Sources:
    """The columns under all of these values; none where one of them was not followed, or comes from no column."""
    columns: Sources = frozenset()
    for value in values:
        if value.dependence is Dependence.OPAQUE or value.denied or not value.sources:
            return frozenset()
        columns |= value.sources
    return columns


def _is_computed_alone(node: Node, value: Value) -> bool:
    """Whether an operand is computed from no column and no query: ``now() - interval '1 day'``."""
    return not value.sources and value.dependence is not Dependence.OPAQUE and not _refers(node)


def _refers(node: Node) -> bool:
    waiting: list[Any] = [node]
    for _ in range(8 * _MOST):
        if not waiting:
            return False
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            if item.keys() & {"ColumnRef", "SubLink"}:
                return True
            waiting.extend(item.values())
    return True


def _is_constant(node: Node) -> bool:
    """A constant, or a list of constants."""
    tag, body = tag_of(node)
    if tag == "TypeCast":
        return _is_constant(body.get("arg", {}))
    if tag in ("List", "A_ArrayExpr"):
        return all(_is_constant(item) for item in body.get("items") or body.get("elements") or ())
    return tag in ("A_Const", "ParamRef")


def _constants(a: Analysis, node: Node) -> list[int] | None:
    """Positions of the constants that an operand is computed from, all of whose columns its sources tell; None where it is too large."""
    found: list[int] = []
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
            if tag in ("A_Const", "ParamRef"):
                found.append(position(body))
            elif tag != "FuncCall" or _computes_alone(a, body):
                waiting.extend(body[part] for part in _PARTS.get(tag, ()) if part in body)
    return found


def _computes_alone(a: Analysis, call: Node) -> bool:
    """Whether a call is of PostgreSQL's own and has nothing beside its arguments: FILTER, ORDER BY and windows choose by more than its
    sources tell, and so do bodies that users wrote.
    """
    if call.keys() & _BESIDE_ARGUMENTS:
        return False
    names = strings(call.get("funcname", []))
    functions = a.catalog.functions_by_name.get(names[-1], ()) if names else ()
    return bool(functions) and all(function.schema == "pg_catalog" for function in functions)
