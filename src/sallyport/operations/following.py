"""Follows the record: every event of every recording, once, soon after it is on disk.

A :class:`RecordFollower` goes over the recordings that changed since its last pass and reads only
what was added to them. Its :class:`~sallyport.operations.auditlog.ExportCursor` says at any moment
what was given out, so whoever keeps the cursor after having kept the events loses none. One that
could not keep them makes another follower from the cursor that it kept.

What it reads is the index and the recordings. Nothing is asked of the sessions that run.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from sallyport.audit.archive import RecordingError
from sallyport.audit.ports import LIVE, SessionQuery, SessionRow
from sallyport.operations.auditlog import AuditEvent, EventJoiner, ExportCursor
from sallyport.operations.sessions import NOT_INDEXED, Sessions, UnknownSessionError

#: Sessions that began so recently (seconds) may reach the index after others that began later.
_SETTLING: Final = 60.0
#: Rows of the index that are read at once.
_PAGE: Final = 1000

#: Passes in which a recording that is there cannot be opened, before it is given up.
_ATTEMPTS: Final = 60

#: Told a session and what is wrong with its recording, once each.
OnProblem = Callable[[str, str], None]


class RecordFollower:
    """``cursor``: what was given out; it changes with every event. ``sessions``: as somebody who
    may read everything. ``texts``: as :class:`~sallyport.audit.follow.RecordingTail`'s. Used by one
    thread at a time.
    """

    def __init__(
        self,
        sessions: Sessions,
        cursor: ExportCursor,
        on_problem: OnProblem,
        *,
        texts: bool = True,
    ) -> None:
        self.cursor = cursor
        self._texts = texts
        self._sessions, self._on_problem = sessions, on_problem
        self._open: dict[str, _Recording] = {}
        self._told: set[str] = set()
        #: recordings that are over and may still be listed: (started, id), oldest first
        self._over: deque[tuple[float, str]] = deque()

    def events(self, now: float) -> Iterator[AuditEvent]:
        """One pass over what is there, to be read to its end. ``now``: Unix seconds. Raises
        SallyportError when the index cannot be read.
        """
        begun = set(self.cursor.read) - {id_ for _, id_ in self._over}
        for row in self._rows_of(begun):
            yield from self._of(row)
        for row in self._rows_behind(begun):
            yield from self._of(row)
            # They come oldest first, so whatever began before this one was read.
            self._advance(min(row.started, now - _SETTLING))
        self._advance(now - _SETTLING)

    def _rows_of(self, begun: set[str]) -> Iterator[SessionRow]:
        """Of recordings that were read in part."""
        live = self._sessions.recent(limit=None, status=LIVE) if begun else []
        yield from (row for row in live if row.id in begun)
        for id_ in sorted(begun - {row.id for row in live}):
            try:
                yield self._sessions.find(id_)
            except UnknownSessionError:
                self._forget(id_)  # deleted since then

    def _rows_behind(self, begun: set[str]) -> Iterator[SessionRow]:
        """Of recordings that began at the cursor's mark or later, oldest first."""
        since = None if self.cursor.mark == -math.inf else self.cursor.mark
        query = SessionQuery(since=since, limit=_PAGE, oldest_first=True)
        while True:
            page = self._sessions.search(query)
            read = begun | {id_ for _, id_ in self._over}
            yield from (match.row for match in page.matches if match.row.id not in read)
            if page.after is None:
                return
            query = replace(query, after=page.after)

    def _of(self, row: SessionRow) -> Iterator[AuditEvent]:
        recording = self._open.get(row.id)
        if recording is None:
            try:
                recording = self._open[row.id] = _Recording(self._sessions, row, self._texts)
            except RecordingError as error:  # the archive does not answer, say: it is tried again
                self.cursor.read.setdefault(row.id, 0)
                self._tell(row.id, str(error))
                return
        taken = self.cursor.read.setdefault(row.id, 0)
        for event in recording.events(row):
            if event.position >= taken:
                self.cursor.read[row.id] = event.position + 1
                yield event
        if recording.problem:
            self._tell(row.id, recording.problem)
        if recording.is_over:
            self._finish(row)

    def _finish(self, row: SessionRow) -> None:
        self._open.pop(row.id, None)
        self.cursor.read.setdefault(row.id, 0)
        self._over.append((row.started, row.id))

    def _tell(self, session: str, problem: str) -> None:
        if session not in self._told:
            self._told.add(session)
            self._on_problem(session, problem)

    def _forget(self, id_: str) -> None:
        self._open.pop(id_, None)
        self.cursor.read.pop(id_, None)

    def _advance(self, mark: float) -> None:
        """Of what began before ``mark``, only what is not over needs a place in the cursor."""
        if mark <= self.cursor.mark:
            return
        self.cursor.mark = mark
        kept = [entry for entry in self._over if entry[0] >= self.cursor.mark]
        if len(kept) < len(self._over):
            for started, id_ in self._over:
                if started < self.cursor.mark:
                    self.cursor.read.pop(id_, None)
            self._over = deque(kept)


class _Recording:
    """One that is being read. ``is_over``: nothing can follow."""

    def __init__(self, sessions: Sessions, row: SessionRow, texts: bool) -> None:
        self.is_over = False
        self.problem = ""
        self._sessions = sessions
        self._tail, self._joiner = sessions.tail(row, texts=texts), EventJoiner(row.id)
        self._failures = 0
        self._seen: tuple[int, str] | None = None

    def events(self, row: SessionRow) -> Iterator[AuditEvent]:
        """What is new in it, by its row."""
        if self._seen == (row.bytes, row.status):
            return
        try:
            for event in self._tail.read():
                yield from self._joiner.take(event)
        except RecordingError as error:
            if row.status == LIVE and not row.bytes:
                return  # its first block is not written yet
            self._failures += 1
            is_there = os.path.lexists(self._tail.path) or self._is_elsewhere(row)
            if is_there and self._failures < _ATTEMPTS:
                return  # too many open files, say
            self.problem = str(error)
        self.problem = self.problem or self._tail.problem
        self._seen = row.bytes, row.status
        is_live = row.status in (LIVE, NOT_INDEXED) and not self._joiner.has_ended
        self.is_over = bool(self.problem) or not is_live
        if self.is_over:
            yield from self._joiner.finish()

    def _is_elsewhere(self, row: SessionRow) -> bool:
        """The local copy went to the archive: read on from there. Raises RecordingError."""
        self._tail.path = self._sessions.tail(row).path
        return os.path.lexists(self._tail.path)
