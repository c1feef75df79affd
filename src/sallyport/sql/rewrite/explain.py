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
COSTS_TELL = refuse(
    "SP1201",
    "EXPLAIN would reveal statistics of masked values",
    "The costs of an index with a masked column depend on its values.",
    "Use EXPLAIN (COSTS OFF).",
)
MEMORY_TELLS = refuse(
    "SP1201",
    "EXPLAIN (MEMORY) would reveal statistics of masked values",
    "The planner reads statistics of masked values, whose size shows in the memory that it uses.",
    "Leave MEMORY out.",
)
#: The version of PostgreSQL since which EXPLAIN ANALYZE counts searches of indexes, and BUFFERS.
_COUNTS_SEARCHES = 180000
#: The version since which it tells how much memory nodes of the plan took that keep rows.
SHOWS_STORAGE = 180000
SEARCHES_TELL = refuse(
    "SP1201",
    "EXPLAIN ANALYZE would reveal statistics of masked values",
    "It counts the searches of an index, which depend on the values of a masked column in it.",
    "Use EXPLAIN without ANALYZE.",
)
#: Options that tell statistics, each with the version since which it does.
_TELL_STATISTICS = (
    ("costs", COSTS_TELL, 0),
    ("memory", MEMORY_TELLS, 0),
    ("analyze", SEARCHES_TELL, _COUNTS_SEARCHES),
)


def explain_cuts(
    tokens: Tokens, facts: StatementFacts, writes: bool, tells_statistics: bool, version: int
) -> list[Cut]:
    """What switches BUFFERS off, which ANALYZE includes since PostgreSQL 18, and COSTS, where
    ``tells_statistics``: an index with masked values may be used, whose cost the planner guesses
    from their statistics. ``writes``: a relation with masks is written. ``version``: the server's.

    Raises RefusedError (SP1201) for options that tell sizes or statistics.
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
    for option, refusal, since in _TELL_STATISTICS if tells_statistics else ():
        if options.get(option) and version >= since:
            raise RefusedError(refusal)
    if options.get("analyze") and writes:
        raise RefusedError(
            refuse(
                "SP1201",
                "EXPLAIN ANALYZE of a write to a table with masked columns is not allowed",
                "The cost of writing a row depends on the values in the row.",
                "Use EXPLAIN without ANALYZE.",
            )
        )
    off = [b"BUFFERS OFF"] if options.get("analyze") and "buffers" not in options else []
    if tells_statistics and "costs" not in options:
        off.append(b"COSTS OFF")
    return _switched_off(tokens, facts, off) if off else []


def _switched_off(tokens: Tokens, facts: StatementFacts, off: list[bytes]) -> list[Cut]:
    first = tokens.at(facts.start)
    if tokens.word(first) != b"explain":
        raise cannot_rewrite("The gateway cannot locate EXPLAIN in the statement's text.")
    if tokens.text(first + 1) == b"(":
        position = tokens.ends[first + 1]
        return [Cut(position, position, b", ".join((*off, b"")))]
    last = first
    while tokens.word(last + 1) in (b"verbose", b"analyze", b"analyse"):
        last += 1
    words = [tokens.text(number) for number in range(first + 1, last + 1)]
    text = b"(" + b", ".join((*words, *off)) + b")"
    if last == first:
        return [Cut(tokens.ends[first], tokens.ends[first], b" " + text)]
    return [Cut(tokens.starts[first + 1], tokens.ends[last], text)]
