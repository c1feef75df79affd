"""Cuts: pieces of a text that other text takes the place of, and where a position in the result was
before.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import NamedTuple


class Cut(NamedTuple):
    """Bytes ``start`` to ``end`` of a text become ``text``; an insertion where both are equal.

    ``skeleton``: the same with ``(SELECT)`` for a subselect, whose own text was proved apart
    (:mod:`sallyport.sql.rewrite.proof`).
    """

    start: int
    end: int
    text: bytes
    skeleton: bytes = b""


def _place(cut: Cut) -> tuple[int, int]:
    return cut.start, cut.end


class Rewritten:
    """A text with cuts made. Raises ValueError when two of them overlap. Offsets are bytes of
    UTF-8.
    """

    __slots__ = ("_starts", "cuts", "original", "text")

    def __init__(self, original: bytes, cuts: Iterable[Cut]) -> None:
        self.original = original
        self.cuts = tuple(sorted(cuts, key=_place))
        self.text, self._starts = self._made(len(original) + 1)  # with an insertion at the end

    def _made(self, until: int) -> tuple[bytes, list[int]]:
        parts, starts = [], []
        position = length = 0
        for cut in self.cuts:
            if cut.start >= until:
                break
            if cut.start < position:
                raise ValueError("two cuts overlap")
            parts += [self.original[position : cut.start], cut.text]
            starts.append(length + cut.start - position)
            length = starts[-1] + len(cut.text)
            position = cut.end
        parts.append(self.original[position:until])
        return b"".join(parts), starts

    def skeleton(self) -> Rewritten:
        """The same with skeletons for subselects."""
        return Rewritten(
            self.original, [cut._replace(text=cut.skeleton or cut.text) for cut in self.cuts]
        )

    def until(self, offset: int) -> bytes:
        """The new text of what stands before ``offset`` in the original, which is at no cut."""
        return self._made(offset)[0]

    def is_made(self, offset: int) -> bool:
        """Whether the byte at ``offset`` of the new text stands in a cut's text."""
        number = bisect_right(self._starts, offset) - 1
        return number >= 0 and offset < self._starts[number] + len(self.cuts[number].text)

    def is_changed(self, start: int, end: int) -> bool:
        """Whether a cut was made between these bytes of the new text."""
        number = bisect_left(self._starts, start)
        return number < len(self._starts) and self._starts[number] <= end

    def before(self, offset: int) -> int:
        """Where the byte at ``offset`` of the new text was in the original; inside a cut's text,
        where the cut begins.
        """
        number = bisect_right(self._starts, offset) - 1
        if number < 0:
            return offset
        cut = self.cuts[number]
        behind = offset - self._starts[number] - len(cut.text)
        return cut.start if behind < 0 else cut.end + behind

    def character(self, position: int) -> int:
        """The 1-based character of the original that an error's position (1-based, in characters)
        in the new text means.
        """
        offset = len(self.text.decode("utf-8", "replace")[: max(position - 1, 0)].encode())
        return len(self.original[: self.before(offset)].decode("utf-8", "replace")) + 1
