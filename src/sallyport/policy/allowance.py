"""How much one subject may still read: bounds of policy per result, per session and per hour.

Counted in rows and bytes as the client gets them: how long masked values are must not show. What is
over a bound is withheld and the statement cancelled; once a session's or an hour's bound is
reached, further statements are refused. Pure: time is given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sallyport.core.counts import Counts, CountsFullError

_HOUR = 3600.0
_GRAIN = 60.0
#: What was read where it cannot be counted: more than any bound allows.
_UNKNOWN = 1 << 62


@dataclass(frozen=True, slots=True)
class Bounds:
    """0: no bound."""

    rows: int = 0
    bytes: int = 0
    rows_per_session: int = 0
    bytes_per_session: int = 0
    rows_per_hour: int = 0
    bytes_per_hour: int = 0

    @property
    def any(self) -> bool:
        return any(getattr(self, name) for name in self.__slots__)


@dataclass(slots=True)
class HourlyUse:
    """What a subject read in the last hour, over all its sessions, in steps of a minute. ``rows``,
    ``bytes``: in this process. ``counts``: where all processes of the gateway keep it, by ``key``.
    """

    now: Callable[[], float]
    counts: Counts
    key: str
    rows: int = 0
    bytes: int = 0
    _steps: deque[tuple[float, int, int]] = field(default_factory=deque)
    _is_lost: bool = False

    def __post_init__(self) -> None:
        before = self.counts.own(self.key)  # of the process that was here before
        if before.first or before.second:
            self._steps.append((before.at // _GRAIN, before.first, before.second))
            self.rows, self.bytes = before.first, before.second

    def used(self) -> tuple[int, int]:
        """Rows and bytes, in all processes, those of other gateways included."""
        if self._is_lost or self.counts.is_stale:
            return _UNKNOWN, _UNKNOWN
        total = self.counts.total(self.key)
        return total.first, total.second

    def add(self, rows: int, size: int) -> None:
        """Count what was just read."""
        step = self.now() // _GRAIN
        if self._steps and self._steps[-1][0] == step:
            _, more_rows, more_size = self._steps.pop()
            self._steps.append((step, more_rows + rows, more_size + size))
        else:
            self._steps.append((step, rows, size))
        self.rows += rows
        self.bytes += size
        self._tell()

    def forget(self) -> None:
        """Let go of what is more than an hour old."""
        oldest = (self.now() - _HOUR) // _GRAIN
        if not self._steps or self._steps[0][0] >= oldest:
            return
        while self._steps and self._steps[0][0] < oldest:
            _, rows, size = self._steps.popleft()
            self.rows -= rows
            self.bytes -= size
        self._tell()

    def _tell(self) -> None:
        newest = int(self._steps[-1][0] * _GRAIN) if self._steps else 0
        try:
            self.counts.put(self.key, self.rows, self.bytes, newest)
            self._is_lost = False
        except CountsFullError:
            self._is_lost = True


@dataclass(slots=True)
class Allowance:
    """One session's part in it. ``hour`` is shared by the subject's sessions on the target."""

    bounds: Bounds
    hour: HourlyUse
    rows: int = 0
    bytes: int = 0

    def take(self, rows: int, size: int, result_rows: int, result_bytes: int) -> str:
        """Count what just arrived, if that passes no bound; which one it passes, in words, or "".
        ``result_...``: of the running result, this included.
        """
        bounds = self.bounds
        if (bounds.rows and result_rows > bounds.rows) or (
            bounds.bytes and result_bytes > bounds.bytes
        ):
            return _words(bounds.rows, bounds.bytes, "a result")
        what = self._passed_by(rows, size)
        if not what:
            self.rows += rows
            self.bytes += size
            self.hour.add(rows, size)
        return what

    def spent(self) -> str:
        """Which bound leaves nothing for another statement, in words, or ""."""
        self.hour.forget()
        return self._passed_by(1, 1)

    def _passed_by(self, more_rows: int, more_bytes: int) -> str:
        bounds = self.bounds
        hour = self.hour.used() if bounds.rows_per_hour or bounds.bytes_per_hour else (0, 0)
        for rows, size, used, what in (
            (
                bounds.rows_per_session,
                bounds.bytes_per_session,
                (self.rows, self.bytes),
                "a session",
            ),
            (
                bounds.rows_per_hour,
                bounds.bytes_per_hour,
                hour,
                "an hour",
            ),
        ):
            if (rows and used[0] + more_rows > rows) or (size and used[1] + more_bytes > size):
                return _words(rows, size, what)
        return ""


def _words(rows: int, size: int, what: str) -> str:
    parts = ([f"{rows} rows"] if rows else []) + ([f"{size} bytes"] if size else [])
    return f"{' and '.join(parts)} for {what}"
