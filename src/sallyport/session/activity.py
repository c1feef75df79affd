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
#: Statements that ran as before, and rows of theirs, that may wait to be looked at; more rows where
#: there are many: a sixteenth of those of a period, in seconds.
_FEW = 4
_FEW_ROWS = 100
_PERIOD = 600.0
#: Verdicts whose statements may wait.
_MAX_USUAL = 256


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
    """Of one session. lost: what was not counted, as there were too many. usual: ids of verdicts
    whose statements may wait, see :meth:`is_due`; of one that is gone, another may have the id, and
    waits as well. count, rows: of what waits. few_rows: so many may. is_unusual: something may not.
    """

    def __init__(self) -> None:
        self.tallies: dict[int, Tally] = {}  # by the id of the verdict, which the tally keeps alive
        self.recent: Any = None  # the tally of the statement before
        self.refusals: list[RefusedStatement] = []
        self.usual: set[int] = set()
        self.lost = self.count = self.rows = self.rows_taken = 0
        self.few_rows = _FEW_ROWS
        self.began = 0.0
        self.is_unusual = False

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
        self.count += 1
        self.rows += rows
        tally.count += 1
        tally.rows += rows
        tally.size += size
        if rows > tally.largest:
            tally.largest = rows
        tally.last = number
        if failed:
            tally.failed += 1
            self.is_unusual = True
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
            if identity not in self.usual:
                self.is_unusual = True
        return tally

    def refused(self, number: int, code: str, relations: tuple[str, ...], sql: bytes) -> None:
        """A statement was refused, or sent for approval."""
        self.is_unusual = True
        if len(self.refusals) >= _MAX_REFUSALS:
            self.lost += 1
        else:
            self.refusals.append(RefusedStatement(number, code, relations, sql[:_LONGEST]))

    def is_due(self) -> bool:
        """Whether what was counted has to be looked at now: something else than a few statements
        that ran as before.
        """
        return self.is_unusual or self.count >= _FEW or self.rows >= self.few_rows

    def take(self, now: float) -> tuple[list[Tally], list[RefusedStatement]]:
        """What was counted since the last call; a few more statements of the same verdicts may
        wait. now: seconds, by any clock.
        """
        if not self.tallies and not self.refusals:
            return [], []
        tallies, refusals = list(self.tallies.values()), self.refusals
        if len(self.usual) > _MAX_USUAL:
            self.usual.clear()
        self.usual.update(self.tallies)
        if now - self.began > _PERIOD:
            self.began, self.rows_taken = now, 0
        self.rows_taken += self.rows
        self.few_rows = max(_FEW_ROWS, self.rows_taken >> 4)
        self.tallies = {}
        self.recent = None
        self.refusals = []
        self.count = self.rows = 0
        self.is_unusual = False
        return tallies, refusals
