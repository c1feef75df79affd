"""Scripts whose statements repeat: what is the same statement with other literals is found before
anything is parsed.

A restore or a seed file sent as one text has thousands of ``INSERT INTO t VALUES (...)``. Each is a
statement of its own in the answer and in the recording, but all have one verdict where that is the
verdict for every value (:mod:`sallyport.sql.text.template`). :func:`repeated` finds them,
:func:`without` gives the script with spaces in their places, so that what is left is parsed where
it stands.

Only texts are cut in which the native scanner tells for certain where statements end
(:func:`sallyport.wire.scan.outline`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from sallyport.sql.text import template
from sallyport.wire.scan import outline

#: Scripts of fewer statements are read whole; longer ones than the latter too, and so refused.
_FEW = 8
MAX_STATEMENTS = 10_000
_TOKENS = 1_000_000
_SPACE = b" \t\r\n\f\v"


class Piece(NamedTuple):
    """One statement of a script: byte offsets without the semicolon, and its template's key."""

    start: int
    end: int
    key: bytes


def repeated(sql: bytes) -> list[Piece]:
    """The statements whose key occurs more than once, in order; [] where there is nothing
    to gain.
    """
    if sql.count(b";") < _FEW:
        return []
    tokens, _, ends, _ = outline(sql, _TOKENS, False)
    if tokens > _TOKENS or ends is None or not _FEW <= len(ends) <= MAX_STATEMENTS:
        return []
    pieces = []
    start = 0
    for stop in (*ends, len(sql)):
        text = sql[start:stop].rstrip(_SPACE)
        end = start + len(text)
        text = text.lstrip(_SPACE)
        key = template.key(text) if text else None
        if key is not None:
            pieces.append(Piece(end - len(text), end, key))
        start = stop + 1
    counts = Counter(piece.key for piece in pieces)
    return [piece for piece in pieces if counts[piece.key] > 1]


def without(sql: bytes, pieces: Iterable[Piece]) -> bytes:
    """The script with spaces in the places of these statements; semicolons stay."""
    out = bytearray(sql)
    for piece in pieces:
        out[piece.start : piece.end] = b" " * (piece.end - piece.start)
    return bytes(out)
