"""Deletes recordings of sessions that ended long ago, and says so in the log before it does.

Of each session the log gets an entry (:class:`sallyport.audit.tlog.entries.Deleted`), then its
recording goes, then its row with its statements. Dying in between leaves a recording that the next
pass deletes. While the log is not continued nothing is deleted. Recordings of what people did are
kept: locks are made anew from them.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog

from sallyport.audit.archive import RecordingError, recording_path
from sallyport.audit.holds import hold_on, read_holds
from sallyport.audit.keyfiles import key_path
from sallyport.audit.ports import LIVE, SESSION, IndexUnreadableError, SessionQuery, SessionRow
from sallyport.audit.recovery import TORN_SUFFIX
from sallyport.audit.tlog.entries import Deleted
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.core.errors import SallyportError

#: What the log says.
REASON: Final = "retention"
#: Seconds between passes.
PAUSE: Final = 3600.0
_DAY: Final = 86_400.0
_PAGE: Final = 500
#: Checkpoints that are made until one covers what is to be deleted.
_TRIES: Final = 5

_log = structlog.get_logger("sallyport.audit")


class RetentionIndex(Protocol):
    """The part of the store that retention needs."""

    def search(self, query: SessionQuery, /) -> list[SessionRow]: ...

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the rows of these sessions, and what is known of their statements."""
        ...


#: Deletes what the search for statements keeps of these sessions.
Forget = Callable[[Sequence[str]], object]


def delete_expired(
    directory: Path,
    index: RetentionIndex,
    log: TransparencyLog,
    before: float,
    forget: Forget | None = None,
    by_target: Mapping[str, float] | None = None,
) -> int:
    """Delete what ended before a moment (Unix seconds), at a target of ``by_target`` before that
    one (-inf: never), and is not held. How many recordings. Raises OSError, IndexUnreadableError,
    SallyportError (HoldsError).
    """
    count, by_target = 0, by_target or {}
    latest = max([before, *by_target.values()])
    if latest == -math.inf:
        return 0
    query = SessionQuery(kind=SESSION, until=latest, oldest_first=True, limit=_PAGE)
    while rows := index.search(query):
        query = SessionQuery(
            kind=SESSION,
            until=latest,
            oldest_first=True,
            limit=_PAGE,
            after=(rows[-1].started, rows[-1].id),
        )
        holds = read_holds(directory)
        expired = [
            row
            for row in rows
            if row.status != LIVE
            and _ended(row) < by_target.get(row.target, before)
            and hold_on(row, holds) is None
        ]
        now = round(log.clock.now(), 3)
        entries = [Deleted(now, row.id, row.last_hash, REASON) for row in expired]
        if not log.append(*entries) or (entries and not _is_covered(log)):
            return count
        for row in expired:
            _delete_files(directory, row)
        ids = [row.id for row in expired]
        if ids and forget is not None:
            forget(ids)
        index.delete(ids)
        count += len(expired)
    return count


def _is_covered(log: TransparencyLog) -> bool:
    """Whether a checkpoint covers what was appended. Others append as well, so that is tried."""
    for _ in range(_TRIES):
        log.make_checkpoint()
        if not log.waiting:
            return True
    return False


def _ended(row: SessionRow) -> float:
    return row.started if row.ended is None else row.ended


def _delete_files(directory: Path, row: SessionRow) -> None:
    try:
        path = recording_path(directory, row.id, row.file)
    except RecordingError:
        return  # verification names it
    path.unlink(missing_ok=True)
    path.with_suffix(TORN_SUFFIX).unlink(missing_ok=True)
    key_path(path).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # other recordings of that day are there
        path.parent.rmdir()


class Retention(threading.Thread):
    """A pass at start and then every hour. ``days``: how long recordings are kept, 0 for ever; at
    the targets of ``by_target`` so long. ``forget``: as of :func:`delete_expired`.
    """

    def __init__(
        self,
        directory: Path,
        index: RetentionIndex,
        log: TransparencyLog,
        days: float,
        forget: Forget | None = None,
        by_target: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(name="sallyport-retention", daemon=True)
        self._directory, self._index, self._transparency = directory, index, log
        self._days, self._by_target, self._forget = days, dict(by_target or {}), forget
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while True:
            before = self._before(self._days)
            targets = {name: self._before(days) for name, days in self._by_target.items()}
            try:
                count = delete_expired(
                    self._directory, self._index, self._transparency, before, self._forget, targets
                )
            except (OSError, IndexUnreadableError, SallyportError) as error:
                _log.error("old recordings cannot be deleted; tried again", reason=str(error))
            else:
                if count:
                    _log.info("old recordings were deleted", recordings=count)
            if self._stop_asked.wait(PAUSE):
                return

    def _before(self, days: float) -> float:
        """What ended earlier goes (Unix seconds); -inf: nothing."""
        return self._transparency.clock.now() - days * _DAY if days else -math.inf

    def close(self) -> None:
        """Ends after the page that it is at."""
        self._stop_asked.set()
        if self.is_alive():
            self.join()
