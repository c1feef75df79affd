"""Texts of definitions in the catalog: of views, generated columns and what indexes compute."""

from __future__ import annotations

from sallyport.core.errors import RefusedError
from sallyport.sql.analysis import Analysis, Context, Work
from sallyport.sql.catalog.snapshot import Function, Relation
from sallyport.sql.text.parse import MAX_LENGTH, Node, parse


def _trust_all(function: Function) -> bool:
    """Inside a view, calls are gathered first and judged for every use of the view."""
    return True


def inside(analysis: Analysis, relation: Relation) -> Analysis:
    """An analysis of what stands inside a relation's definition, where names are fully
    qualified.
    """
    inner = Analysis(
        analysis.names.qualified(),
        Context((), analysis.context.role, MAX_LENGTH, _trust_all),
        Work(),
    )
    inner.views = (*analysis.views, relation.oid)
    inner.following, inner.indirect = analysis.following, True
    return inner


def definition_tree(inner: Analysis, text: str) -> Node | None:
    """The tree of one, or an unknown of ``inner`` and None."""
    try:
        statements = parse(text.encode(), MAX_LENGTH)
    except RefusedError as error:
        inner.unknown("SP1102", f"cannot parse a definition: {error.refusal.message}")
        return None
    if len(statements) != 1:
        inner.unknown("SP1102", "cannot parse a definition")
        return None
    return statements[0].node
