"""EXPLAIN of what reads or writes relations with masks: without what tells how large their values
are.
"""

from __future__ import annotations

from sallyport.core.errors import RefusedError, refuse
from sallyport.sql.facts import StatementFacts
from sallyport.sql.rewrite.cuts import Cut
from sallyport.sql.rewrite.ranges import cannot_rewrite
from sallyport.sql.text.tokens import Tokens

#: Pages and bytes that running the statement touched.
_SIZES = ("buffers", "wal")


def explain_cuts(tokens: Tokens, facts: StatementFacts, writes: bool) -> list[Cut]:
    """What switches BUFFERS off, which ANALYZE includes since PostgreSQL 18. ``writes``: a relation
    with masks is written.

    Raises RefusedError (SP1201) for options that tell sizes.
    """
    options = dict(facts.explain_options)
    asked = [name for name in _SIZES if options.get(name)]
    if asked:
        raise RefusedError(
            refuse(
                "SP1201",
                f"EXPLAIN ({asked[0].upper()}) would reveal the size of masked values",
                "It counts the pages and bytes that are read and written, masked columns included.",
                f"Leave {asked[0].upper()} out.",
            )
        )
    if not options.get("analyze"):
        return []
    if writes:
        raise RefusedError(
            refuse(
                "SP1201",
                "EXPLAIN ANALYZE of a write to a table with masked columns is not allowed",
                "The cost of writing a row depends on the values in the row.",
                "Use EXPLAIN without ANALYZE.",
            )
        )
    if "buffers" in options:
        return []
    first = tokens.at(facts.start)
    if tokens.word(first) != b"explain":
        raise cannot_rewrite("The gateway cannot locate EXPLAIN in the statement's text.")
    if tokens.text(first + 1) == b"(":
        position = tokens.ends[first + 1]
        return [Cut(position, position, b"BUFFERS OFF, ")]
    last = first + 1
    while tokens.word(last + 1) in (b"verbose", b"analyze", b"analyse"):
        last += 1
    words = [tokens.text(number) for number in range(first + 1, last + 1)]
    text = b"(" + b", ".join((*words, b"BUFFERS OFF")) + b")"
    return [Cut(tokens.starts[first + 1], tokens.ends[last], text)]
