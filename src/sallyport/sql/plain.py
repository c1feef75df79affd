"""Statements over one relation in which nothing can store, order or decide by a row's masked
columns.

Such a statement goes to the server as it came, and its rows are masked on the way back. The shape
is stated positively, on the raw parse tree, so that it trusts no name resolution: what is not
listed here is not plain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sallyport.sql.facts import PlainShape, RangeVariable
from sallyport.sql.nodes import position_of, string, tag_of
from sallyport.sql.text.parse import Node

_SELECT = frozenset(
    {
        *("targetList", "fromClause", "whereClause", "sortClause"),
        *("limitCount", "limitOffset", "limitOption", "op"),
    }
)
_RANGE_VAR = frozenset(
    {"catalogname", "schemaname", "relname", "inh", "relpersistence", "alias", "location"}
)
#: Nodes that read other rows, keep rows, or stand for whole rows.
_STORING = frozenset({"SubLink", "A_Star", "WindowDef", "GroupingFunc", "CurrentOfExpr"})


def plain_shape(tag: str, node: Node, variables: Mapping[int, RangeVariable]) -> PlainShape | None:
    """The shape of a query, where it is plain but for which columns are masked. ``variables``: by
    position.
    """
    if tag != "SelectStmt" or not node.keys() <= _SELECT or node.get("op") != "SETOP_NONE":
        return None
    sources = node.get("fromClause", [])
    if len(sources) != 1 or "RangeVar" not in sources[0]:
        return None
    source = sources[0]["RangeVar"]
    variable = variables.get(position_of(source))
    if variable is None or not variable.relation or not source.keys() <= _RANGE_VAR:
        return None
    if "colnames" in source.get("alias", {}):
        return None
    outputs: list[str] = []
    names: set[str] = set()
    labels: set[str] = set()
    for target in node.get("targetList", []):
        body = target["ResTarget"]
        name = _column(body["val"])
        if name:
            outputs.append(name)
        elif not _gather(body["val"], names):
            return None
        labels.add(body.get("name", ""))
    order = []
    for item in node.get("sortClause", []):
        name = _column(item["SortBy"]["node"])
        if not name or name == "*" or name in labels or "useOp" in item["SortBy"]:
            return None
        order.append(name)
    for key in ("whereClause", "limitCount", "limitOffset"):
        if key in node and not _gather(node[key], names):
            return None
    names.update(order)
    own = {variable.name, source.get("relname", "")}
    if not own.isdisjoint(names) or not own.isdisjoint(outputs):
        return None  # it may be the whole row
    is_limited = not node.keys().isdisjoint(("limitCount", "limitOffset"))
    shape = (variable.relation, tuple(outputs), frozenset(names), tuple(order))
    return PlainShape(*shape, is_limited=is_limited)


def _column(node: Node) -> str:
    """The column's name of ``c``, ``t.c``; "*" of a star; "" for anything else."""
    tag, body = tag_of(node)
    if tag != "ColumnRef":
        return ""
    last = body["fields"][-1]
    return "*" if "A_Star" in last else string(last)


def _gather(node: Any, names: set[str]) -> bool:
    """Add every identifier in ``node`` to ``names``; False where it holds something that is not
    plain.
    """
    level = [node]
    while level:
        item = level.pop()
        if isinstance(item, list):
            level.extend(item)
        elif isinstance(item, dict):
            if not _STORING.isdisjoint(item) or "over" in item:
                return False
            text = item.get("String")
            if isinstance(text, dict):
                names.add(text.get("sval", ""))
            level.extend(item.values())
    return True
