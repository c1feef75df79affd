"""What decided which rows a materialized view holds, and in which order: no mask can stand in the
place of a value any more that did when it was refreshed.
"""

from __future__ import annotations

from typing import Any

from sallyport.sql.analysis import Analysis, Context, Work
from sallyport.sql.catalog.snapshot import ColumnId, Relation
from sallyport.sql.names.resolve import NameResolver
from sallyport.sql.names.scope import Scope
from sallyport.sql.nodes import string, tag_of
from sallyport.sql.queries.definitions import definition_tree, inside
from sallyport.sql.text.parse import MAX_LENGTH, Node

#: Clauses that make what the outputs are count for the rows as well: rows are told apart by them.
_BY_OUTPUTS = frozenset({"distinctClause", "valuesLists", "windowClause", "larg", "rarg"})


def deciding_columns(names: NameResolver, view: Relation) -> frozenset[ColumnId]:
    """Columns that the definition of a materialized view computes with other than for an output
    alone: those have masks of their own. Kept with ``names``.
    """
    columns: frozenset[ColumnId] | None = names.stored_rows.get(view.oid)
    if columns is None:
        inner = inside(Analysis(names, Context((), max_length=MAX_LENGTH), Work()), view)
        tree = definition_tree(inner, view.view_definition) if view.view_definition else None
        if tree is not None:
            inner.output(inner.query(_without_outputs(inner, tree), Scope()))
        facts = inner.facts(0, 0)
        columns = names.stored_rows[view.oid] = facts.computed_with | facts.read_in_functions
    return columns


def _without_outputs(inner: Analysis, tree: Node) -> Node:
    """The query without those of its outputs that decide about no row."""
    tag, select = tag_of(tree)
    if tag != "SelectStmt" or not _BY_OUTPUTS.isdisjoint(select):
        return tree
    sets = inner.names.set_returning
    outputs = [target for target in select.get("targetList", []) if _decides(target, sets)]
    return {tag: {**select, "targetList": outputs}}


def _decides(output: Node, sets: frozenset[str]) -> bool:
    """Whether an output sorts rows (a window does) or makes more of them, or none."""
    level: list[Any] = [output]
    while level:
        item = level.pop()
        if isinstance(item, list):
            level.extend(item)
        elif isinstance(item, dict):
            if "over" in item or ("funcname" in item and string(item["funcname"][-1]) in sets):
                return True
            level.extend(item.values())
    return False
