"""What goes into the log: heads of recordings, taken where the recorder reports them to the index.

:class:`LoggedIndex` stands before the index. A session that is over is in the log before the index
hears of it, so a gateway that is killed leaves no session that is over and not logged. Of one that
runs, the head is logged every ``head_seconds`` (with the next checkpoint from then on); what people
do, with every checkpoint. :class:`LoggedRecovery` does the same for what recovery finds at start.

:func:`catch_up` adds, at start, sessions that are over and that the log lacks all the same: those
from before there was a log, and those of a time when it could not be written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from sallyport.audit.ports import (
    ACTIONS,
    LIVE,
    IndexUnreadableError,
    SessionIndex,
    SessionQuery,
    SessionRow,
    StatementText,
    kind_of,
)
from sallyport.audit.recovery import RecoveryIndex
from sallyport.audit.tlog.entries import Entry, Head, head_of
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.audit.tlog.reading import LogReader
from sallyport.core.clock import Clock

#: Rows in a page of :func:`catch_up`.
_PAGE: Final = 1000
#: Seconds by which the end of a session and its leaf may lie apart.
_SLACK: Final = 3600.0


@dataclass(slots=True)
class _Running:
    """A session that runs: when its head was logged last (or it was first seen), and what there is
    to log.
    """

    since: float
    head: Head | None = None


class HeadLog(Protocol):
    """The log, or what takes heads for it (:class:`~sallyport.audit.tlog.outbox.LogOutbox`)."""

    clock: Clock
    before_checkpoint: Callable[[], None]

    def append(self, *entries: Entry) -> bool: ...


class LoggedIndex:
    """A :class:`~sallyport.audit.ports.SessionIndex` in front of another one."""

    def __init__(
        self,
        index: SessionIndex,
        log: HeadLog,
        head_seconds: float = 600.0,
        search: Callable[[SessionQuery], list[SessionRow]] | None = None,
    ) -> None:
        """``search``: of the index, for recordings that a command made beside the gateway."""
        self._index, self._log, self._head_seconds = index, log, head_seconds
        self._search = search
        self._actions: set[str] = set()  # recordings of what people did that the log has
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        log.before_checkpoint = self.log_running

    def save(self, row: SessionRow) -> None:
        self.save_all([row])

    def save_all(self, rows: Sequence[SessionRow]) -> None:
        begun = [row for row in rows if row.last_hash]
        if begun:  # a login writes none yet, and does not wait for the log
            self._log_heads(begun)
        self._index.save_all(rows)

    def _log_heads(self, rows: Sequence[SessionRow]) -> None:
        now = self._log.clock.now()
        over = []
        with self._lock:
            for row in rows:
                if row.status == LIVE:
                    running = self._running.setdefault(row.id, _Running(now))
                    running.head = head_of(row, now)
                else:
                    self._running.pop(row.id, None)
                    over.append(head_of(row, now))
                if kind_of(row.id) == ACTIONS:
                    self._actions.add(row.id)
            if over:  # under the lock: no older head may come behind it
                self._log.append(*over)

    def statements(self, session_id: str, /, texts: Sequence[StatementText]) -> bool:
        return self._index.statements(session_id, texts)

    def log_running(self) -> None:
        """On the log's thread, before each checkpoint."""
        now = self._log.clock.now()
        heads = []
        of_commands = self._of_commands(now)
        with self._lock:
            heads += [head_of(row, now) for row in of_commands if row.id not in self._actions]
            self._actions.update(row.id for row in of_commands)
            for session, running in self._running.items():
                is_due = kind_of(session) == ACTIONS or now - running.since >= self._head_seconds
                if running.head is not None and is_due:
                    heads.append(running.head)
                    running.head, running.since = None, now
            if heads:
                self._log.append(*heads)

    def _of_commands(self, now: float) -> list[SessionRow]:
        """What commands recorded lately, which report to the index and not to this process: `audit
        shred`. Nothing where the index cannot be read now.
        """
        if self._search is None:
            return []
        query = SessionQuery(kind=ACTIONS, running_since=now - _SLACK, limit=_PAGE)
        try:
            rows = self._search(query)
        except IndexUnreadableError:
            return []
        return [row for row in rows if row.status != LIVE and row.last_hash]


class LoggedRecovery:
    """A :class:`~sallyport.audit.recovery.RecoveryIndex` (and what completing recordings needs of
    one) in front of another one.
    """

    def __init__(self, index: CatchUpIndex, log: HeadLog) -> None:
        self._index, self._log = index, log

    @property
    def is_dead(self) -> Callable[[str], bool]:
        return self._index.is_dead

    def unfinished(self) -> list[SessionRow]:
        return self._index.unfinished()

    def newest_start(self) -> float:
        return self._index.newest_start()

    def unknown(self, ids: Sequence[str]) -> list[str]:
        return self._index.unknown(ids)

    def get(self, session_id: str) -> SessionRow | None:
        return self._index.get(session_id)

    def restore(self, rows: Sequence[tuple[SessionRow, Sequence[StatementText]]]) -> None:
        now = self._log.clock.now()
        over = [head_of(row, now) for row, _ in rows if row.status != LIVE and row.last_hash]
        if over:
            self._log.append(*over)
        self._index.restore(rows)


class CatchUpIndex(RecoveryIndex, Protocol):
    """The part of the store that is needed at start."""

    def get(self, session_id: str) -> SessionRow | None: ...

    def search(self, query: SessionQuery, /) -> list[SessionRow]: ...


def catch_up(index: CatchUpIndex, log: TransparencyLog) -> int:
    """Add the heads of sessions that are over and that the log lacks, once recovery is through and
    before any session. How many. Reads the index and the end of the log.
    """
    if log.problem:
        return 0
    log.take_outboxes()  # without what may not be signed
    reader = LogReader(log.directory)
    newest = next((entry.time for _, entry in reader.backwards() if isinstance(entry, Head)), None)
    since = None if newest is None else newest - _SLACK
    logged = _logged(reader, since)
    query = SessionQuery(limit=_PAGE, oldest_first=True, running_since=since)
    count = 0
    while rows := index.search(query):
        heads = [
            head_of(row, log.clock.now(), late=True)
            for row in rows
            if row.status != LIVE and row.last_hash and (row.id, row.last_hash) not in logged
        ]
        log.append(*heads)
        count += len(heads)
        if heads and log.waiting >= _PAGE:
            log.make_checkpoint()
        query = replace(query, after=(rows[-1].started, rows[-1].id))
    return count


def _logged(reader: LogReader, since: float | None) -> set[tuple[str, str]]:
    logged: set[tuple[str, str]] = set()
    if since is None:
        return logged
    for _, entry in reader.backwards():
        if entry.time < since - _SLACK:
            break
        if isinstance(entry, Head):
            logged.add((entry.session, entry.head))
    return logged
