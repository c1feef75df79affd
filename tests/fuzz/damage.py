"""Bytes as they must not be: a few random faults in a stream, from a seeded source."""

from __future__ import annotations

import random
from collections.abc import Callable

_Fault = Callable[[random.Random, bytearray], None]


def _span(source: random.Random, data: bytearray) -> tuple[int, int]:
    start = source.randrange(len(data))
    return start, min(len(data), start + source.choice([1, 1, 4, 5, 17, 200]))


def _flip(source: random.Random, data: bytearray) -> None:
    data[source.randrange(len(data))] ^= 1 << source.randrange(8)


def _overwrite(source: random.Random, data: bytearray) -> None:
    """Lengths and counts as extremes."""
    start, _ = _span(source, data)
    extreme = source.choice([0, 1, 3, 4, -1, 0x7FFFFFFF, -0x80000000, 0xFFFF, 0x10000])
    data[start : start + 4] = (extreme & 0xFFFFFFFF).to_bytes(4, "big")


def _remove(source: random.Random, data: bytearray) -> None:
    start, end = _span(source, data)
    del data[start:end]


def _repeat(source: random.Random, data: bytearray) -> None:
    start, end = _span(source, data)
    data[end:end] = data[start:end]


def _insert(source: random.Random, data: bytearray) -> None:
    start, _ = _span(source, data)
    data[start:start] = source.randbytes(source.choice([1, 4, 5, 40]))


def _cut(source: random.Random, data: bytearray) -> None:
    del data[source.randrange(len(data)) :]


_FAULTS: tuple[_Fault, ...] = (
    _flip,
    _flip,
    _overwrite,
    _overwrite,
    _remove,
    _repeat,
    _insert,
    _cut,
)


def damaged(source: random.Random, data: bytes, most: int = 3) -> bytes:
    """``data`` with one to ``maximum`` faults."""
    out = bytearray(data)
    for _ in range(source.randint(1, most)):
        if out:
            source.choice(_FAULTS)(source, out)
    return bytes(out)


def pieces(source: random.Random, data: bytes) -> list[bytes]:
    """The same bytes, as they might arrive."""
    size = source.choice([1, 7, 64, 1 << 20, 1 << 20])
    if size < 8 and len(data) > 400:
        size = 64
    return [data[start : start + size] for start in range(0, len(data), size)]
