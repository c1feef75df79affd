"""Conditions that move from WHERE into the subselect of the range variable they are about."""

from __future__ import annotations

from sallyport.core.errors import RefusedError
from sallyport.sql.expressions.equality import shape
from sallyport.sql.facts import Comparison
from sallyport.sql.rewrite.cuts import Cut
from sallyport.sql.rewrite.ranges import name_end
from sallyport.sql.text.parse import parse
from sallyport.sql.text.tokens import Tokens

#: Tokens that a condition may have behind its column, and before it.
_BEHIND = 64
_BEFORE = 8


def moved_condition(
    tokens: Tokens, comparison: Comparison, column: str, type_: str
) -> tuple[Cut, str] | None:
    """The cut that leaves ``true`` in a condition's place, and its text with ``column`` for the
    reference. ``type_``: what its parameters are cast to where they stand elsewhere too, so that
    whatever type that gives them, it is not the column that is converted.

    Where a condition begins and ends the parse tree does not say: it is the shortest text around
    the reference that parses to the very same tree. None where there is none.
    """
    first = tokens.at(comparison.reference)
    if first < 0:
        return None
    last = name_end(tokens, first, comparison.parts)
    spans = [(first, last + count) for count in range(1, _BEHIND)]
    spans += [(first - count, last) for count in range(1, _BEFORE)]
    for begin, end in spans:
        if begin < 0 or end >= len(tokens.starts):
            continue
        start, stop = tokens.starts[begin], tokens.ends[end]
        if _tree(tokens.sql[start:stop]) == comparison.tree:
            words = [tokens.text(number).decode() for number in range(begin, end + 1)]
            words[first - begin : last - begin + 1] = [column]
            return Cut(start, stop, b"true"), " ".join(
                _typed(word, type_) if comparison.repeated else word for word in words
            )
    return None


def _typed(word: str, type_: str) -> str:
    return f"({word}::{type_})" if word[:1] == "$" and word[1:].isdigit() else word


def _tree(text: bytes) -> bytes:
    try:
        statements = parse(b"SELECT WHERE " + text)
    except RefusedError:
        return b""
    select = statements[0].node.get("SelectStmt", {}) if len(statements) == 1 else {}
    if select.keys() != {"whereClause", "limitOption", "op"}:
        return b""
    return shape(select["whereClause"])
