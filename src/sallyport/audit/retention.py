"""Deletes recordings of sessions that ended long ago, and the oldest where all of them take too
much room, and says so in the log before it does.

Of each session the log gets an entry (:class:`sallyport.audit.tlog.entries.Deleted`), then its
recording goes, then its row with its statements. Dying in between leaves a recording that the next
pass deletes. While the log is not continued nothing is deleted. Recordings of what people did are
kept: locks are made anew from them.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
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
#: The same, where there was no room.
REASON_SIZE: Final = "retention by size"
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
        if not _delete(directory, index, log, expired, REASON, forget):
            return count
        count += len(expired)
    return count


def delete_oldest(
    directory: Path,
    index: RetentionIndex,
    log: TransparencyLog,
    max_bytes: int,
    forget: Forget | None = None,
) -> int:
    """Delete what ended first, and is not held, until the recordings in the directory take at most
    so many bytes. How many recordings. Raises as :func:`delete_expired`.
    """
    count, excess = 0, _size_of(directory.rglob("*.sprec")) - max_bytes
    query = SessionQuery(kind=SESSION, oldest_first=True, limit=_PAGE)
    while excess > 0 and (rows := index.search(query)):
        query = SessionQuery(
            kind=SESSION, oldest_first=True, limit=_PAGE, after=(rows[-1].started, rows[-1].id)
        )
        holds, chosen = read_holds(directory), []
        for row in rows:
            size = _size_of(_files_of(directory, row))
            if excess > 0 and size and row.status != LIVE and hold_on(row, holds) is None:
                chosen.append(row)
                excess -= size
        if not _delete(directory, index, log, chosen, REASON_SIZE, forget):
            return count
        count += len(chosen)
    return count


def _delete(
    directory: Path,
    index: RetentionIndex,
    log: TransparencyLog,
    rows: Sequence[SessionRow],
    reason: str,
    forget: Forget | None,
) -> bool:
    """Whether the log took it; else nothing is deleted."""
    now = round(log.clock.now(), 3)
    entries = [Deleted(now, row.id, row.last_hash, reason) for row in rows]
    if not log.append(*entries) or (entries and not _is_covered(log)):
        return False
    for row in rows:
        _delete_files(directory, row)
    ids = [row.id for row in rows]
    if ids and forget is not None:
        forget(ids)
    index.delete(ids)
    return True


def _files_of(directory: Path, row: SessionRow) -> list[Path]:
    try:
        return [recording_path(directory, row.id, row.file)] if row.file else []
    except RecordingError:
        return []  # verification names it


def _size_of(files: Iterable[Path]) -> int:
    """Bytes of those that are there."""
    size = 0
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            size += file.lstat().st_size
    return size


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
    the targets of ``by_target`` so long. ``max_bytes``: what they may take, 0: no bound.
    ``forget``: as of :func:`delete_expired`.
    """

    def __init__(
        self,
        directory: Path,
        index: RetentionIndex,
        log: TransparencyLog,
        days: float,
        forget: Forget | None = None,
        by_target: Mapping[str, float] | None = None,
        max_bytes: int = 0,
    ) -> None:
        super().__init__(name="sallyport-retention", daemon=True)
        self._directory, self._index, self._transparency = directory, index, log
        self._days, self._by_target, self._forget = days, dict(by_target or {}), forget
        self._max_bytes = max_bytes
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while True:
            try:
                count = self._delete()
            except (OSError, IndexUnreadableError, SallyportError) as error:
                _log.error("old recordings cannot be deleted; tried again", reason=str(error))
            else:
                if count:
                    _log.info("old recordings were deleted", recordings=count)
            if self._stop_asked.wait(PAUSE):
                return

    def _delete(self) -> int:
        before = self._before(self._days)
        targets = {name: self._before(days) for name, days in self._by_target.items()}
        place = self._directory, self._index, self._transparency
        count = delete_expired(*place, before, self._forget, targets)
        if self._max_bytes:
            count += delete_oldest(*place, self._max_bytes, self._forget)
        return count

    def _before(self, days: float) -> float:
        """What ended earlier goes (Unix seconds); -inf: nothing."""
        return self._transparency.clock.now() - days * _DAY if days else -math.inf

    def close(self) -> None:
        """Ends after the page that it is at."""
        self._stop_asked.set()
        if self.is_alive():
            self.join()
