"""Calls of functions that give a relation's counters: NULL for relations with masks, as the views
over them show.
"""

from __future__ import annotations

from collections.abc import Sequence

from sallyport.sql.catalog.system_views import hidden_relations
from sallyport.sql.rewrite.cuts import Cut
from sallyport.sql.rewrite.ranges import cannot_rewrite, reference_end
from sallyport.sql.text.identifiers import quoted
from sallyport.sql.text.tokens import Tokens


def counter_cuts(tokens: Tokens, position: int, masked: Sequence[int]) -> list[Cut]:
    """The cuts that put a subselect around a call. ``position``: of the function's name.
    ``masked``: OIDs of relations with masks.
    """
    first = tokens.at(position)
    last = reference_end(tokens, first)
    opening = last + 1
    closing = tokens.closing(opening) if tokens.text(opening) == b"(" else -1
    if first < 0 or closing < 0:
        raise cannot_rewrite("The gateway cannot locate a function call in the statement's text.")
    name = tokens.text(last).decode().strip('"')
    before = (
        f"(SELECT CASE WHEN t.o OPERATOR(pg_catalog.=) ANY ({hidden_relations(masked)}) THEN NULL"
        f" ELSE pg_catalog.{quoted(name.lower())}(t.o) END AS {quoted(name.lower())} FROM (SELECT ("
    )
    behind = ")::pg_catalog.oid) AS t(o))"
    return [
        Cut(tokens.starts[first], tokens.ends[opening], before.encode()),
        Cut(tokens.starts[closing], tokens.ends[closing], behind.encode()),
    ]
