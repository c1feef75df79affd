"""A few of many ways to try something, always the same few."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TypeVar

Way = TypeVar("Way")

#: Set by ``--thorough``, before the first test module is imported.
thorough = False


def examples(number: int) -> int:
    """How many made examples a test tries: a quarter of them, or all with ``--thorough``.
    Hypothesis makes others in each run, but the same where CI is set.
    """
    return number if thorough else max(number // 4, 1)


def is_sampled(text: str, number: int, every: int) -> bool:
    """Whether ``text`` is tried in the way of this number: in one of ``every`` such, in a row."""
    return (zlib.crc32(text.encode()) + number) % every == 0


def sampled(text: str, ways: Sequence[Way]) -> Way:
    """One of ``ways``, which depends on the text alone."""
    return ways[zlib.crc32(text.encode()) % len(ways)]
