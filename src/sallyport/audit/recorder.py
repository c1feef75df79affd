"""Records sessions: cheap calls on the event loop, one thread that writes.

:class:`~sallyport.audit.recording.SessionRecording` (one per session) only appends tuples to a list; a
:class:`Recorder` owns one thread that encodes, hashes, compresses and appends them to the session's file in
blocks.

- Calls cost well under a microsecond each, never block and never raise. Those of one Recorder come from one
  thread (the event loop's).
- The thread wakes every ``interval`` seconds while there is something to write, or at once when
  ``wake_bytes`` have piled up. When a pass takes long (many busy sessions) it waits longer, up to
  ``max_interval``, so that it never takes more than about a quarter of the time.
- ``backlog`` is what was accepted and is not yet on disk. Who feeds the recorder stops while a session is
  above ``HIGH_WATER`` or the Recorder above ``HIGH_WATER_TOTAL``; that bounds memory.
- What cannot be written sets ``failed`` on the session and on the Recorder within one pass. Events are kept
  and tried again every ``RETRY`` seconds; ``failed`` is False again only after a successful write, which
  also records the outage as a ``Gap``. Events are dropped only when a failing session exceeds ``DROP_AT``
  (its feeder ignored ``backlog``), and the Gap says how many.
- A bug in the writer fails every session for good: nothing runs unrecorded.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

import structlog
import zstandard

from sallyport.audit import events as ev
from sallyport.audit.archive import Appender, file_header, relative_path, seal
from sallyport.audit.ports import ENDED, INTERRUPTED, PART, WHOLE, NoIndex, SessionIndex, SessionRow
from sallyport.audit.recording import SessionRecording
from sallyport.core.clock import Clock, SystemClock
from sallyport.core.subject import Subject

#: Bytes of one session, and of all, at which its feeder should stop reading.
HIGH_WATER: Final = 8 << 20
HIGH_WATER_TOTAL: Final = 64 << 20
#: Bytes at which a session that cannot be written drops new events.
DROP_AT: Final = 2 * HIGH_WATER
#: Raw bytes of events in a block; readers hold one block in memory.
BLOCK_BYTES: Final = 2 << 20
#: Seconds between attempts to write a session that failed.
RETRY: Final = 0.5
#: zstd level of recordings; docs/recording.md has the measurements.
LEVEL: Final = -1

_log = structlog.get_logger("sallyport.audit")


class Recorder:
    """All recordings of a gateway.

    ``data_dir``: recordings go to ``data_dir/recordings``, or to ``directory``. ``fsync``: every block
    reaches the disk before it leaves the backlog. ``interval``: seconds between passes of the writer.
    ``failed``: some session cannot be recorded; let nobody in.
    """

    def __init__(
        self,
        data_dir: Path,
        index: SessionIndex | None = None,
        clock: Clock | None = None,
        *,
        directory: Path | None = None,
        fsync: bool = False,
        interval: float = 0.04,
        max_interval: float = 1.0,
        wake_bytes: int = 1 << 20,
        gateway: str = "",
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.directory = directory or data_dir / "recordings"
        self.failed = False
        self.accepted = 0  # bytes; written by the caller only
        self._index: SessionIndex = index or NoIndex()
        self._gateway = gateway
        self._interval, self._max_interval, self._wake_bytes = interval, max_interval, wake_bytes
        self._appender = Appender(fsync=fsync)
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True)
        self._sessions: dict[str, SessionRecording] = {}
        self._failing: dict[str, SessionRecording] = {}
        self._dirty: list[SessionRecording] = []
        self._written = 0  # bytes; written by the writer only
        self._woken = 0
        self._idle = False
        self._stopping = False
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    # -- the event loop's side ------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """Bytes of all sessions that were accepted and are not yet on disk."""
        return self.accepted - self._written

    def start(self) -> None:
        """Start the writer thread. Sessions opened before are kept until then."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sallyport-recorder", daemon=True)
            self._thread.start()

    def close(self, timeout: float = 30.0) -> None:
        """End sessions that are still open, write everything, stop the thread. Waits up to ``timeout``
        seconds.
        """
        for session in list(self._sessions.values()):
            session.end("the gateway stopped")
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                _log.error("recorder did not finish in time", backlog=self.backlog)
            self._thread = None

    def open_session(
        self, session_id: str, subject: Subject, target: str, client_address: str, application_name: str = ""
    ) -> SessionRecording:
        """Begin a recording with its login event.

        ``session_id``: from :func:`sallyport.core.ids.new_id`, used once. Raises ValueError when it is unfit
        for a file name. The session is ``failed`` from the start while the Recorder is.
        """
        started, at = self.clock.now(), self.clock.monotonic()
        file = relative_path(session_id, started)
        who = ev.subject_fields(subject)
        row = SessionRow(
            id=session_id,
            subject=who.id,
            issuer=who.issuer,
            groups=who.groups,
            agent=who.agent,
            label=who.label,
            target=target,
            client=client_address,
            application=application_name,
            started=started,
            file=file,
            searchable=WHOLE,
        )
        session = SessionRecording(self, row, self.directory / file)
        self._sessions[session_id] = session
        session.open(
            (ev.LOGIN, at, started, session_id, who, target, client_address, application_name, self._gateway)
        )
        self._index.save(row)
        return session

    def notice(self, session: SessionRecording) -> None:
        """A session has something to write for the first time since the writer looked."""
        session.dirty = True
        self._dirty.append(session)
        if self._idle:
            self._wake.set()

    def notice_large(self) -> None:
        """Much was accepted: wake the writer before its time when enough has piled up."""
        if self.accepted - self._woken >= self._wake_bytes:
            self._woken = self.accepted
            self._wake.set()

    # -- the writer thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            due = 0.0
            while not self._stopping:
                self._wait(due)
                began = time.monotonic()
                complete = began >= due or self._stopping
                self._pass(complete=complete)
                if complete:
                    took = time.monotonic() - began
                    due = began + took + min(max(self._interval, 3 * took), self._max_interval)
            self._finish()
        except BaseException:
            # A bug: nothing may run unrecorded, and the traceback must be seen (threading prints it).
            self.failed = True
            for session in list(self._sessions.values()):
                session.failed = session.broken = True
            raise
        finally:
            self._appender.close_all()

    def _wait(self, due: float) -> None:
        """Until the next pass is due, or enough bytes wait, or (when there is nothing at all) something
        happens.
        """
        if not self._dirty and not self._failing:
            self._idle = True
            if not self._dirty and not self._stopping:  # again: an event may have come before _idle was seen
                self._wake.wait()
            self._idle = False
            self._wake.clear()
            due = max(due, time.monotonic() + self._interval)  # let a batch gather
        timeout = due - time.monotonic()
        if timeout > 0 and not self._stopping:
            self._wake.wait(timeout)
        self._wake.clear()  # before the pass: what is set from now on wakes the next one

    def _pass(self, *, complete: bool) -> None:
        """Write what is waiting; only the sessions with much of it when the pass is not ``complete``."""
        count = len(self._dirty)
        sessions = self._dirty[:count]
        del self._dirty[:count]
        for session in sessions:
            if complete or session.backlog > self._wake_bytes // 4:
                session.dirty = False  # before taking: what is appended from now on announces itself again
                self._flush(session)
            else:
                self._dirty.append(session)
        for session in list(self._failing.values()):
            if not session.dirty:
                self._flush(session)

    def _flush(self, session: SessionRecording) -> None:
        if session.broken:
            self._discard(session)
            return
        now = self.clock.monotonic()
        if session.w_since is not None and now < session.w_retry_at and not self._stopping:
            self._drop_excess(session)
            return
        try:
            if session.w_since is not None:
                self._write(session)  # what was kept, before the gap
                session.w_batch = [self._gap(session, now)]
                session.w_since = None
            mark = session.accepted  # before taking: everything it counts is in ``pending`` by now
            taken = session.take()
            session.w_batch += taken
            self._write(session)
            self._index_texts(session, taken)
            self._account(session, mark - session.written)
        except OSError as error:
            self._fail(session, error, now)
            return
        except (TypeError, ValueError, OverflowError) as error:
            self._break(session, error)
            return
        if session.failed:
            self._recover(session)
        self._report(session)

    def _write(self, session: SessionRecording) -> None:
        """Write the session's batch, in blocks of about BLOCK_BYTES. Raises OSError; what is not written
        stays.
        """
        while session.w_batch:
            count, weight = _cut(session.w_batch)
            parts, hash_, raw = seal(session.chain, session.w_batch[:count], self._compressor)
            if not session.output.size:
                parts.insert(0, file_header(session.row.id))
            self._appender.append(session.output, parts)
            session.chain.advance(hash_, count)
            session.row.bytes += raw
            del session.w_batch[:count]
            if session.w_batch:
                self._account(session, min(weight, session.backlog))

    def _index_texts(self, session: SessionRecording, written: list[ev.RawEvent]) -> None:
        """What is on disk can be found. Once something was left out, the recording is read instead."""
        row = session.row
        if row.searchable != WHOLE:
            return
        found = session.texts.new(written)
        taken = self._index.statements(row.id, found) if found else True
        if not taken or not session.texts.whole:
            row.searchable = PART

    def _account(self, session: SessionRecording, size: int) -> None:
        session.written += size
        self._written += size

    def _report(self, session: SessionRecording) -> None:
        """Tell the index; forget the session when it is over."""
        row = session.row
        row.statements, row.refused, row.rows = session.statements, session.refused, session.rows
        row.last_hash = session.chain.hash.hex()
        if session.ending is not None and not session.pending:
            row.status = ENDED
            self._appender.close(session.output)
            self._sessions.pop(row.id, None)
        self._index.save(row)

    # -- when it cannot be written --------------------------------------------------------------------------

    def _fail(self, session: SessionRecording, error: OSError, now: float) -> None:
        session.failed = True
        session.row.searchable = PART
        if session.w_since is None:
            session.w_since, session.w_lost, session.w_reason = now, (0, 0), error.strerror or str(error)
        session.w_retry_at = now + RETRY
        self._failing[session.row.id] = session
        if not self.failed:
            self.failed = True
            _log.error(
                "recordings cannot be written; statements stop until they can",
                session=session.row.id,
                file=str(session.output.path),
                error=str(error),
            )
        self._drop_excess(session)

    def _drop_excess(self, session: SessionRecording) -> None:
        """Keep memory bounded when nobody heeds the backlog: drop what came last."""
        if session.backlog <= DROP_AT and self.backlog <= 2 * HIGH_WATER_TOTAL:
            return
        mark = session.accepted
        taken = session.take()
        kept = sum(map(_weight, session.w_batch))
        size = max(mark - session.written - kept, 0)
        if not session.w_lost[0]:
            _log.error("recorded events were dropped", session=session.row.id, events=len(taken))
        session.w_lost = (session.w_lost[0] + len(taken), session.w_lost[1] + size)
        self._account(session, size)

    def _gap(self, session: SessionRecording, now: float) -> ev.RawEvent:
        seconds = now - (session.w_since if session.w_since is not None else now)
        return (ev.GAP, now, seconds, *session.w_lost, session.w_reason)

    def _recover(self, session: SessionRecording) -> None:
        session.failed = False
        self._failing.pop(session.row.id, None)
        if self.failed and not self._failing:
            self.failed = False
            _log.warning("recordings can be written again", session=session.row.id)

    def _break(self, session: SessionRecording, error: Exception) -> None:
        """An event that cannot be encoded is a bug of the caller: the session stays failed."""
        session.failed = session.broken = True
        self._failing.pop(session.row.id, None)
        self.failed = bool(self._failing)
        _log.error(
            "an event cannot be recorded; the session is stopped", session=session.row.id, error=str(error)
        )
        self._discard(session)

    def _discard(self, session: SessionRecording) -> None:
        mark = session.accepted
        session.take()
        session.w_batch.clear()
        self._account(session, mark - session.written)
        session.row.status, session.row.searchable = INTERRUPTED, PART
        session.row.reason = "the recording broke off"
        if session.ending is not None:
            self._sessions.pop(session.row.id, None)
            self._appender.close(session.output)
        self._index.save(session.row)

    def _finish(self) -> None:
        """The last pass. What still cannot be written is lost; that is logged, and the index says
        interrupted.
        """
        self._pass(complete=True)
        for session in list(self._failing.values()):
            session.row.status = INTERRUPTED
            self._index.save(session.row)
            _log.error("recording incomplete at shutdown", session=session.row.id, bytes=session.backlog)


def _weight(event: ev.RawEvent) -> int:
    """Bytes of an event, as its caller counted them (about)."""
    tag = event[0]
    if tag in (ev.REPLY, ev.COPY_IN):
        return len(event[3]) + 32
    if tag == ev.ANSWERED:
        return len(event[3]) + 96
    if tag == ev.STATEMENT:
        binds = sum(len(value) for value in event[10] or () if value is not None)
        return len(event[3]) + 128 + 32 * (len(event[12]) + len(event[13])) + binds
    return 64


def _cut(batch: list[ev.RawEvent]) -> tuple[int, int]:
    """How many events from the front make the next block, and their weight."""
    weight = 0
    for count, event in enumerate(batch, 1):
        weight += _weight(event)
        if weight >= BLOCK_BYTES:
            return count, weight
    return len(batch), weight
