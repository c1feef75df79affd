# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""What a session did since somebody last asked, in numbers: a small tally per verdict, so that a
statement costs a dictionary look-up and a few additions, and memory is bounded.

Runs compiled, for the lane (:mod:`sallyport.server.plain`, types in ``activity.pxd``), or as it
stands. No text of a statement that ran is kept; of one that was refused, until
:meth:`Activity.take`.
"""

from __future__ import annotations

from typing import Any

try:
    import cython
except ImportError:
    from sallyport.wire import interpreted as cython

#: Whether the compiled module is running.
COMPILED = bool(cython.compiled)

#: Verdicts that are counted apart, and refused statements that are kept, between two calls of
#: :meth:`Activity.take`; bytes of a refused statement that are kept.
_MAX_TALLIES = 512
_MAX_REFUSALS = 256
_LONGEST = 4096


class Tally:
    """Statements of one verdict. size: bytes of their rows. most: rows of the largest result.
    first, last: their numbers in the session. repeats: how often text or bind values were those of
    the time before.
    """

    def __init__(self, verdict: Any, number: int) -> None:
        self.verdict = verdict
        self.count = self.rows = self.size = self.largest = self.failed = self.repeats = 0
        self.first = number
        self.last = number
        self.variant = 0


class RefusedStatement:
    """code: why. sql: its text, cut."""

    def __init__(self, number: int, code: str, relations: tuple[str, ...], sql: bytes) -> None:
        self.number = number
        self.code = code
        self.relations = relations
        self.sql = sql


class Activity:
    """Of one session. lost: what was not counted, as there were too many."""

    def __init__(self) -> None:
        self.tallies: dict[int, Tally] = {}  # by the id of the verdict, which the tally keeps alive
        self.recent: Any = None  # the tally of the statement before
        self.refusals: list[RefusedStatement] = []
        self.lost = 0

    def completed(
        self,
        verdict: Any,
        number: int,
        rows: int,
        size: int,
        failed: bool,
        variant: int,
    ) -> None:
        """A statement ran. size: bytes of its rows. variant: a hash of its text or bind values."""
        tally = self.recent
        if tally is None or tally.verdict is not verdict:
            tally = self._tally(verdict, number)
            if tally is None:
                self.lost += 1
                return
            self.recent = tally
        tally.count += 1
        tally.rows += rows
        tally.size += size
        if rows > tally.largest:
            tally.largest = rows
        tally.last = number
        if failed:
            tally.failed += 1
        if tally.count > 1 and variant == tally.variant:
            tally.repeats += 1
        tally.variant = variant

    def _tally(self, verdict: Any, number: int) -> Any:
        """The verdict's own; None where there are too many."""
        identity = id(verdict)
        tally = self.tallies.get(identity)
        if tally is None and len(self.tallies) < _MAX_TALLIES:
            tally = Tally(verdict, number)
            self.tallies[identity] = tally
        return tally

    def refused(self, number: int, code: str, relations: tuple[str, ...], sql: bytes) -> None:
        """A statement was refused, or sent for approval."""
        if len(self.refusals) >= _MAX_REFUSALS:
            self.lost += 1
        else:
            self.refusals.append(RefusedStatement(number, code, relations, sql[:_LONGEST]))

    def take(self) -> tuple[list[Tally], list[RefusedStatement]]:
        """What was counted since the last call."""
        if not self.tallies and not self.refusals:
            return [], []
        tallies, refusals = list(self.tallies.values()), self.refusals
        self.tallies = {}
        self.recent = None
        self.refusals = []
        return tallies, refusals
