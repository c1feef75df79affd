"""The proof that a statement was judged. What writes a statement to a target takes one, and nobody
but the judge makes them.

A permit is necessary, not sufficient: a limit, a recording that failed or a name that may have
moved still refuse what has one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from sallyport.core.errors import Refusal

#: The modules that decide.
_MAKERS: Final = frozenset(
    f"sallyport.judge.{name}" for name in ("permit", "statements", "verdict")
)


class ParsePermit:
    """``sql`` was judged and may be prepared, described and bound. It may not run: perhaps it waits
    for approval.

    Raises TypeError when anything outside the judge makes one.
    """

    __slots__ = ("sql",)

    def __init__(self, sql: bytes) -> None:
        maker = sys._getframe(1).f_globals.get("__name__")
        if maker not in _MAKERS:
            raise TypeError(f"{maker} makes a permit; only the judge may")
        self.sql = sql

    def __init_subclass__(cls) -> None:
        if cls.__module__ != __name__:
            raise TypeError(f"{cls.__module__} makes a kind of permit; only the judge may")


class RunPermit(ParsePermit):
    """``sql`` was judged and may run."""

    __slots__ = ()


def permit_approved(held: ParsePermit, spend: Callable[[], Refusal | None]) -> RunPermit | Refusal:
    """The permit for a held statement that people let run. ``spend``: uses up their approval, or
    says why it does not hold.
    """
    refusal = spend()
    return RunPermit(held.sql) if refusal is None else refusal
