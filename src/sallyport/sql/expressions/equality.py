"""Which references in WHERE are only compared by ``=`` with constants: what ``filter: equality``
lets through.

Told from the text alone: a conjunct at the top of WHERE that is ``column = constant`` (either
side), ``column IN (constants)`` or ``column = ANY (constant or array of constants)``. A constant is
a literal or a parameter, maybe cast; the column is not cast. The operator is written plainly and
resolves to PostgreSQL's own or a listed extension's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from sallyport.sql.analysis import Analysis
from sallyport.sql.catalog.snapshot import ColumnId, Relation
from sallyport.sql.expressions.columns import find, item_named
from sallyport.sql.facts import Comparison
from sallyport.sql.lineage import UNKNOWN_TYPE, Value
from sallyport.sql.names.resolve import NameResolver
from sallyport.sql.names.scope import Ambiguous, Item, Scope
from sallyport.sql.nodes import position_of, string, strings, tag_of
from sallyport.sql.text.parse import Node
from sallyport.sql.values.types import ANYARRAY, ANYENUM, ANYRANGE

_EQUALS = ("=",)


def conjuncts(node: Node) -> Iterator[Node]:
    """The bodies of the comparisons that must all be true."""
    level = [node]
    while level:
        tag, body = tag_of(level.pop())
        if tag == "BoolExpr" and body.get("boolop") == "AND_EXPR":
            level.extend(body.get("args", []))
        elif tag == "A_Expr":
            yield body


def compared_by_equality(analysis: Analysis, where: Node, scope: Scope) -> frozenset[int]:
    """Byte offsets of these references in the script."""
    references = [_reference(analysis, node, scope) for node in conjuncts(where)]
    return frozenset(position_of(node) for node in references if node is not None)


def note_comparisons(analysis: Analysis, where: Node, scope: Scope) -> None:
    """Note these references where they mean columns of the query's own range variables, whose rows
    WHERE alone lets through.
    """
    if analysis.context.compared.isdisjoint(
        [item.relation for item in scope.items if item.variable >= 0]
    ):
        return
    for node, reference, item, origin in _own_comparisons(analysis, where, scope):
        position, parts = position_of(reference), len(reference.get("fields", []))
        tree = shape({"A_Expr": node})
        array = node.get("kind") == "AEXPR_OP_ANY" and "ParamRef" in node.get("rexpr", {})
        parameters = frozenset(_parameters(node.get("lexpr", {}), node.get("rexpr", {})))
        analysis.comparisons[position] = Comparison(
            origin, item.variable, position, parts, tree, parameters, array
        )


def gives_key(
    analysis: Analysis, where: Node, scope: Scope, relation: Relation, variable: int
) -> bool:
    """Whether WHERE compares every column of the primary key of this range variable (its byte
    offset) with one constant: it lets at most one row through. Where the comparison converts the
    column, more may pass, but then no index serves it.
    """
    key = relation.primary_key
    for node, _, item, origin in _own_comparisons(analysis, where, scope) if key else ():
        if item.variable == variable and node.get("kind") == "AEXPR_OP":
            key = key - {origin.attnum} if origin.relation == relation.oid else key
            if not key:
                return True
    return False


def _own_comparisons(
    analysis: Analysis, where: Node, scope: Scope
) -> Iterator[tuple[Node, Node, Item, ColumnId]]:
    """Conjuncts that compare a column of the query's own range variables with constants: the body,
    the reference, the range variable, and the column of a relation.
    """
    for node in conjuncts(where):
        reference = _reference(analysis, node, scope)
        if reference is None:
            continue
        names = strings(reference.get("fields", []))
        item = _own_item(analysis, names, scope)
        value = item.column(names[-1]) if item is not None and not item.nullable else None
        if item is not None and value is not None and value.origin is not None:
            yield node, reference, item, value.origin


def _parameters(*nodes: Node) -> Iterator[int]:
    """Numbers of the parameters among constants that are not cast."""
    for node in nodes:
        tag, body = tag_of(node)
        if tag == "ParamRef":
            yield body.get("number", 0)
        elif tag in ("List", "A_ArrayExpr"):
            for item in body.get("items") or body.get("elements") or ():
                yield from _parameters(item)


def _own_item(analysis: Analysis, names: tuple[str, ...], scope: Scope) -> Item | None:
    """The range variable of this very query that a reference means; None where that is none or not
    certain.
    """
    try:
        if len(names) > 1:
            item = item_named(analysis, names[:-1], Scope(items=scope.items))
            return item if item is not None and item.variable >= 0 else None
    except Ambiguous:
        return None
    matching = [item for item in scope.items if item.columns_visible and names[0] in item.index]
    return matching[0] if len(matching) == 1 and matching[0].variable >= 0 else None


_encode = msgspec.json.Encoder().encode


def shape(node: Any) -> bytes:
    """A parse tree as JSON without positions, to compare with another."""
    return _encode(_without_positions(node))


def _without_positions(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_positions(item) for item in node]
    if isinstance(node, dict):
        return {
            key: _without_positions(value)
            for key, value in node.items()
            if not key.endswith(("location", "_start", "_end"))
        }
    return node


def _reference(analysis: Analysis, node: Node, scope: Scope) -> Node | None:
    """The reference in one conjunct, or None."""
    if strings(node.get("name", [])) != _EQUALS:
        return None
    left, right = node.get("lexpr", {}), node.get("rexpr", {})
    kind = node.get("kind")
    if kind == "AEXPR_OP" and "ColumnRef" in right:
        left, right = right, left
    if "ColumnRef" not in left:
        return None
    if kind == "AEXPR_OP":
        types = _constants(analysis, [right])
    elif kind == "AEXPR_IN":
        types = _constants(analysis, right.get("List", {}).get("items", []))
    elif kind == "AEXPR_OP_ANY":
        types = _elements(analysis, right)
    else:
        types = []
    value = _column(analysis, left["ColumnRef"], scope)
    if (
        not types
        or value is None
        or not all(_is_built_in(analysis.names, value.type, type_) for type_ in types)
    ):
        return None
    reference: Node = left["ColumnRef"]
    return reference


def _column(analysis: Analysis, node: Node, scope: Scope) -> Value | None:
    names = tuple([string(part) for part in node.get("fields", [])])
    if not all(names):
        return None
    try:
        value, is_row = find(analysis, names, scope, -1) if len(names) < 3 else (None, False)
    except Ambiguous:
        return None
    return value if value is not None and not is_row and value.bare else None


def _constants(analysis: Analysis, nodes: list[Node]) -> list[int]:
    """The types of constants; [] unless all of them are."""
    types = [_constant(analysis, node) for node in nodes]
    resolved_types = [type_ for type_ in types if type_ is not None]
    return resolved_types if len(resolved_types) == len(types) else []


def _constant(analysis: Analysis, node: Node) -> int | None:
    """The type of a constant (0: that of a parameter); None for anything else."""
    tag, body = tag_of(node)
    if tag == "A_Const":
        return analysis.expression(node, Scope()).type
    if tag == "ParamRef":
        return 0 if analysis.parameters is None else None
    if tag != "TypeCast" or _constant(analysis, body["arg"]) is None:
        return None
    names = strings(body["typeName"].get("names", []))
    type_ = analysis.types.named(names)
    if type_ is None:
        return None
    return (type_.array or None) if body["typeName"].get("arrayBounds") else type_.oid


def _elements(analysis: Analysis, node: Node) -> list[int]:
    """The types of the elements of an array of constants."""
    array = node.get("A_ArrayExpr")
    if array is not None:
        return _constants(analysis, array.get("elements", []))
    type_ = _constant(analysis, node)
    if type_ is None:
        return []
    return [analysis.types.element(type_) or type_] if type_ else [0]


def may_be_declared(names: NameResolver, column: int, declared: int, array: bool) -> bool:
    """Whether a parameter of the type ``declared`` can be compared with a column of the type
    ``column`` by PostgreSQL's own ``=``, and without converting the column. ``array``: by ``= ANY
    (parameter)``. Types are pg_type OIDs, 0 for none.
    """
    type_ = names.types.element(declared) if array else declared
    if declared in (0, UNKNOWN_TYPE) or names.types.base(column) == names.types.base(type_):
        return True
    return type_ != 0 and _is_built_in(names, column, type_)


def _is_built_in(names: NameResolver, left: int, right: int) -> bool:
    """Whether ``=`` between these types is PostgreSQL's own or a listed extension's, whichever way
    round it was written.
    """
    for types in ((left, right), (right, left)):
        resolved = names.operator(_EQUALS, *types)
        if not resolved.exists or resolved.reason or resolved.users or not resolved.candidates:
            return False
    return right in (0, UNKNOWN_TYPE) or _takes_as_it_is(names, left, right)


def _takes_as_it_is(names: NameResolver, left: int, right: int) -> bool:
    """Whether ``=`` takes a column of the type ``left`` without converting it, which could fail by
    the value.
    """
    base = names.types.base(left)
    operand_types = {
        f.arg_types[0] for f in names.operator(_EQUALS, left, right).candidates if f.arg_types
    }
    for type_ in operand_types - {base, ANYARRAY, ANYENUM, ANYRANGE}:
        cast = names.types.cast(base, type_)
        if cast is None or cast.method != "b":
            return False
    return True
