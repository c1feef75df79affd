"""``pg_settings`` with ``WHERE name = 'x'``: the rows are then as harmless as SHOW, and their values may be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sallyport.sql.analysis import Analysis
from sallyport.sql.catalog import ColumnId
from sallyport.sql.columns import item_named
from sallyport.sql.lineage import Field, Value
from sallyport.sql.nodes import string, strings, tag_of
from sallyport.sql.parse import Node
from sallyport.sql.relations import classify_relation
from sallyport.sql.scope import Ambiguous, Item, Scope
from sallyport.sql.settings import show_allowed


def shown_items(a: Analysis, where: Node | None, scope: Scope) -> list[Item]:
    """The items of a statement's outermost query as its SELECT list may read them, which is computed for rows that WHERE let through."""
    if where is None or scope.parent is not None:
        return scope.items
    shown = []
    for item in scope.items:
        relation = a.catalog.relations.get(item.relation)
        if relation is not None and classify_relation(relation).special == "settings":
            name = next((f.value for f in item.fields if f.name == "name"), None)
            if name is not None and any(_names_settings(a, node, name, scope) for node in _conditions(where)):
                fields = tuple(Field(f.name, f.value._replace(denied="")) for f in item.fields)
                item = replace(item, fields=fields)
        shown.append(item)
    return shown


def _conditions(node: Node) -> Iterator[Node]:
    """What must all be true."""
    tag, body = tag_of(node)
    if tag == "BoolExpr" and body.get("boolop") == "AND_EXPR":
        for part in body.get("args", []):
            yield from _conditions(part)
    elif tag == "A_Expr":
        yield body


def _names_settings(a: Analysis, node: Node, name: Value, scope: Scope) -> bool:
    """``name = 'x'`` or ``name IN ('x', $1)``, and each of them may be shown."""
    if node.get("kind") not in ("AEXPR_OP", "AEXPR_IN") or strings(node.get("name", [])) != ("=",):
        return False
    if _column(a, node.get("lexpr", {}), scope) != name.origin:
        return False
    tag, body = tag_of(node.get("rexpr", {}))
    items = body.get("items", []) if tag == "List" else [node.get("rexpr", {})]
    parameters = set()
    for item in items:
        text, parameter = _literal(item)
        if parameter and not a.is_nested:
            parameters.add(parameter)
        elif text is None or not show_allowed(text):
            return False
    a.setting_parameters |= parameters
    return bool(items)


def _column(a: Analysis, node: Node, scope: Scope) -> ColumnId | None:
    tag, body = tag_of(node)
    names = tuple([string(part) for part in body.get("fields", [])]) if tag == "ColumnRef" else ()
    if not names or not all(names):
        return None
    try:
        if len(names) == 1:
            value = scope.local_column(names[0])
        else:
            item = item_named(a, names[:-1], scope)
            value = item.column(names[-1]) if item is not None else None
    except Ambiguous:
        return None
    return value.origin if value is not None else None


def _literal(node: Node) -> tuple[str | None, int]:
    """The text of a string constant, or the number of a parameter."""
    tag, body = tag_of(node)
    if tag == "ParamRef":
        return None, body.get("number", 0)
    if tag == "A_Const" and "sval" in body:
        return body["sval"].get("sval", ""), 0
    return None, 0
