"""English that depends on values."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """``1 row``, ``2 rows``. ``noun``: one whose plural ends in s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
