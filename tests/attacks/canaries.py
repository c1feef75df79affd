"""Canaries: the masked values of the worlds, looked for in every byte that a client gets."""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Iterator

_GRAM, _DIGITS, _LONG_GRAM = 6, 8, 12
#: Words of PostgreSQL in which a canary is found by chance.
_ORDINARY = b" rangevargetrelidextended"


def _fours(raw: bytes) -> Iterator[int]:
    """Every four bytes in a row, as a number: a set takes them without a step of Python each."""
    for start in range(4):
        end = start + (len(raw) - start) // 4 * 4
        yield from memoryview(raw[start:end]).cast("I")


class Canaries:
    """What must not be in what a client receives: values, and what is easily computed from them."""

    def __init__(self) -> None:
        #: With their first four bytes.
        self.wholes: dict[bytes, int] = {}
        self.grams: set[bytes] = set()
        self.digit_grams: set[bytes] = set()
        self.long_grams: set[bytes] = set()
        #: Four bytes with which a gram may begin: most data have few of them.
        self._heads: set[int] = set()

    def text(self, value: str) -> str:
        """Any six characters of it in a row, forwards or backwards; twelve of its hex, base64 and
        md5.
        """
        raw = value.lower().encode()
        self._cut(raw, self.grams, _GRAM)
        self._cut(raw[::-1], self.grams, _GRAM)
        digest = hashlib.md5(value.encode()).hexdigest().encode()
        for derived in (raw.hex().encode(), base64.b64encode(value.encode()).lower(), digest):
            self._cut(derived, self.long_grams, _LONG_GRAM)
        return value

    def number(self, value: str) -> None:
        """Any eight digits of it in a row: fewer are found in any long number."""
        self._cut(value.encode(), self.digit_grams, _DIGITS)

    def whole(self, value: bytes | str) -> None:
        raw = value.lower().encode() if isinstance(value, str) else value
        self.wholes[raw] = next(_fours(raw))

    def _cut(self, raw: bytes, into: set[bytes], size: int) -> None:
        into.update(raw[i : i + size] for i in range(len(raw) - size + 1))
        self._heads.update(_fours(raw))

    def found(self, data: bytes, said: bytes = b"") -> bytes | None:
        """A canary in ``data`` that the client did not say itself (``said``)."""
        low, spoken = data.lower(), said.lower() + _ORDINARY
        fours = set(_fours(low))
        for four in self._heads & fours:
            head = four.to_bytes(4, sys.byteorder)
            at = low.find(head)
            while at >= 0:
                for window in self._grams_at(low, at):
                    if window not in spoken:
                        return window
                at = low.find(head, at + 1)
        fours.update(_fours(data))
        for raw, four in self.wholes.items():
            if four in fours and (raw in data or raw in low) and raw not in spoken:
                return raw
        return None

    def _grams_at(self, low: bytes, at: int) -> Iterator[bytes]:
        for size, grams in (
            (_GRAM, self.grams),
            (_DIGITS, self.digit_grams),
            (_LONG_GRAM, self.long_grams),
        ):
            if (window := low[at : at + size]) in grams:
                yield window
