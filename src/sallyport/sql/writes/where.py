"""WHERE of UPDATE and DELETE."""

from __future__ import annotations

from typing import Any

from sallyport.sql.analysis import Analysis
from sallyport.sql.catalog.snapshot import Relation
from sallyport.sql.expressions.equality import compared_by_equality, gives_key, note_comparisons
from sallyport.sql.facts import Clause
from sallyport.sql.names.scope import Scope
from sallyport.sql.text.parse import Node
from sallyport.sql.values.conversions import note_condition_cast


def where(
    analysis: Analysis, node: Node, target: Relation | None, variable: int, scope: Scope
) -> None:
    """Which rows of the target are written. ``node``: the statement's. ``variable``: the byte
    offset of the target's name.
    """
    condition = node.get("whereClause")
    analysis.have_where.append(_selective(condition))
    if condition is None:
        analysis.are_by_key.append(False)
        return
    analysis.are_by_key.append(
        target is not None and gives_key(analysis, condition, scope, target, variable)
    )
    with analysis.place(Clause.WHERE, compared_by_equality(analysis, condition, scope)):
        note_condition_cast(analysis, analysis.expression(condition, scope))
    note_comparisons(analysis, condition, scope)


def _selective(condition: Node | None) -> bool:
    """Whether a WHERE can leave out a row: ``WHERE true`` cannot, and counts as none."""
    waiting: list[Any] = [condition]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if item.keys() & {"ColumnRef", "SubLink", "CurrentOfExpr"}:
                return True
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return False
