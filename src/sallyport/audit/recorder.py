"""Records sessions: cheap calls on the event loop, one thread that writes.

A :class:`~sallyport.audit.recording.SessionRecording` (one per session) encodes events into a
chunk; a :class:`Recorder` owns one thread that hashes and compresses the chunks and appends them to
the sessions' files, one block for each chunk.

- Calls cost about a microsecond, never block and never raise. Those of one Recorder come from one
  thread (the event loop's).
- The thread wakes every ``interval`` seconds while there is something to write, or at once when
  ``wake_bytes`` have piled up, and then writes only the sessions with much of it. The more sessions
  are active, the longer it waits between passes over all of them, up to ``max_interval``: so that
  it takes about ``_SHARE`` of a core, and each session's events gather in one block.
- ``backlog`` is what was accepted and is not yet on disk. Who feeds the recorder stops while a
  session is above ``HIGH_WATER`` or the Recorder above ``HIGH_WATER_TOTAL``; that bounds memory.
- What cannot be written sets ``failed`` on the session and on the Recorder within one pass. Events
  are kept and tried again every ``RETRY`` seconds; ``failed`` is False again only after a
  successful write, which also records the outage as a ``Gap``. Events are dropped only when a
  failing session exceeds ``DROP_AT`` (its feeder ignored ``backlog``), and the Gap says how many.
- A session whose own file cannot be written while others can (deleted, cut short, replaced; or any
  error that repeats although a probe beside it succeeds) is lost: it stays ``failed``, counts in
  ``lost`` and is told to ``on_lost``. The Recorder does not fail. Files of live sessions are
  compared with what was written every ``CHECK`` seconds, and when they are opened.
- The index hears of a session when it begins, when it is over, and every ``SAVE`` seconds while it
  is active.
- A bug in the writer fails every session for good: nothing runs unrecorded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from msgspec.structs import astuple

from sallyport.audit import events as ev
from sallyport.audit.archive import relative_path
from sallyport.audit.chunks import ChunkWriter, Intake
from sallyport.audit.journal import Journal
from sallyport.audit.keys import KeyEncryptionKey
from sallyport.audit.ports import WHOLE, NoIndex, SessionIndex
from sallyport.audit.recording import HandoverGate, SessionRecording, VerdictEncodings
from sallyport.audit.summary import row_of_login
from sallyport.audit.writing import RecordingWriter
from sallyport.core.clock import Clock, SystemClock
from sallyport.core.subject import Subject

#: Seconds between comparisons of live sessions' files with what was written.
CHECK: Final = 2.0
#: Seconds between reports of active sessions to the index.
SAVE: Final = 1.0
#: Of a core, which the thread takes at most for passes over all sessions (unless ``max_interval``
#: says more).
_SHARE: Final = 0.01
#: Of the time, which such passes take at most.
_BUSY: Final = 0.25
_NO_DETAILS: Final = ev.LoginDetails()

_log = structlog.get_logger("sallyport.audit")


class Recorder:
    """All recordings of a gateway.

    ``data_dir``: recordings go to ``data_dir/recordings``, or to ``directory``. ``fsync``: every
    block reaches the disk before it leaves the backlog. ``interval``: seconds between passes of the
    writer, which grow to ``max_interval`` (both to be read together with the module's text).
    ``max_open``: files that are open at once. ``gateway``: the process that records, in each login
    and row. ``kek``: wraps the keys of new recordings; None: they
    are not encrypted.
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
        max_interval: float = 0.75,
        wake_bytes: int = 1 << 20,
        max_open: int = 64,
        gateway: str = "",
        kek: KeyEncryptionKey | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.directory = directory or data_dir / "recordings"
        self._index: SessionIndex = index or NoIndex()
        self._gateway = gateway
        self._kek = kek
        self._interval, self._max_interval, self._wake_bytes = interval, max_interval, wake_bytes
        self._wake = threading.Event()
        self._intake = Intake(self._wake.set, wake_bytes)
        self._writer = RecordingWriter(
            self.directory, self._index, self.clock, self._intake, fsync=fsync, max_open=max_open
        )
        self._encodings = VerdictEncodings()
        #: Where statements that may change something are written first; set before any session.
        self.journal: Journal | None = None
        self.handover = HandoverGate()
        self._sessions: dict[ChunkWriter, SessionRecording] = {}
        self._open: set[str] = set()  # their ids
        self._deferred: list[ChunkWriter] = []  # dirty ones that the last pass left out
        self._checked = self._saved = 0.0  # monotonic
        self._stopping = False
        self._thread: threading.Thread | None = None

    # -- the event loop's side -----------------------------------------------------------

    @property
    def gateway(self) -> str:
        """The process that records."""
        return self._gateway

    def is_open(self, session_id: str) -> bool:
        """Whether something may still be written into this recording. Any thread."""
        return session_id in self._open

    @property
    def failed(self) -> bool:
        """Some session cannot be recorded; let nobody in."""
        return self._writer.failed

    @failed.setter
    def failed(self, value: bool) -> None:
        self._writer.failed = value

    @property
    def lost(self) -> int:
        """Sessions whose own recording could not be written any more, since start."""
        return self._writer.lost

    @property
    def on_lost(self) -> Callable[[str], None] | None:
        """Called on the writer's thread with the id of a session that was lost."""
        return self._writer.on_lost

    @on_lost.setter
    def on_lost(self, function: Callable[[str], None] | None) -> None:
        self._writer.on_lost = function

    @property
    def max_open(self) -> int:
        """Files that are open at once."""
        return self._writer.appender.max_open

    @max_open.setter
    def max_open(self, value: int) -> None:
        self._writer.appender.max_open = value

    @property
    def accepted(self) -> int:
        """Bytes of events since start."""
        return self._intake.accepted

    @property
    def backlog(self) -> int:
        """Bytes of all sessions that were accepted and are not yet on disk."""
        return self._intake.accepted - self._writer.written

    def start(self) -> None:
        """Start the writer thread. Sessions opened before are kept until then."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="sallyport-recorder", daemon=True
            )
            self._thread.start()

    def close(self, timeout: float = 30.0) -> None:
        """End sessions that are still open, write everything, stop the thread. Waits up to
        ``timeout`` seconds.
        """
        for session in list(self._sessions.values()):
            session.end("the gateway stopped")
        self._stopping = self._writer.stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                _log.error("recorder did not finish in time", backlog=self.backlog)
            self._thread = None

    def open_session(
        self,
        session_id: str,
        subject: Subject,
        target: str,
        client_address: str,
        application_name: str = "",
        details: ev.LoginDetails = _NO_DETAILS,
    ) -> SessionRecording:
        """Begin a recording with its login event.

        ``session_id``: from :func:`sallyport.core.ids.new_id`, used once. Raises ValueError when it
        is unfit for a file name. The session is ``failed`` from the start while the Recorder is.
        """
        started, at = self.clock.now(), self.clock.monotonic()
        file = relative_path(session_id, started)
        login = ev.Login(
            at, started, session_id, ev.subject_fields(subject), target, client_address,
            application_name, self._gateway, details.entrance, details.role,
            dict(details.settings), dict(details.claims),
        )  # fmt: skip
        row = row_of_login(login, file)
        row.searchable = WHOLE
        session = SessionRecording(
            row,
            self.directory / file,
            self._intake,
            self.clock.monotonic,
            self._encodings,
            self.journal,
            self.handover,
            self._kek,
        )
        session.failed = self.failed
        self._open.add(session_id)
        self._sessions[session.chunks] = session
        session.open((ev.LOGIN, *astuple(login)))
        self._index.save(row)
        return session

    # -- the writer thread -----------------------------------------------------------

    def _run(self) -> None:
        try:
            due = 0.0
            while not self._stopping:
                self._wait(due)
                began, spent = time.monotonic(), time.thread_time()
                complete = began >= due or self._stopping
                self._pass(complete=complete)
                if complete:
                    due = time.monotonic() + self._pause(
                        time.monotonic() - began, time.thread_time() - spent
                    )
                self._tend(began)
            self._pass(complete=True)
            self._writer.finish()
        except BaseException:
            # A bug: nothing may run unrecorded, and the traceback must be seen (threading prints
            # it).
            self.failed = True
            for session in list(self._sessions.values()):
                session.failed = session.broken = True
            raise
        finally:
            self._writer.appender.close_all()

    def _pause(self, seconds: float, cpu_seconds: float) -> float:
        """Seconds from the end of a pass that took so long to the next one."""
        pause = max(self._interval, seconds * (1 / _BUSY - 1), cpu_seconds / _SHARE)
        return min(pause, self._max_interval)

    def _wait(self, due: float) -> None:
        """Until the next pass is due, or enough bytes wait, or (when there is nothing at all)
        something happens.
        """
        intake = self._intake
        if not intake.dirty and not self._deferred and not self._writer.failing:
            intake.idle = True
            # again: an event may have come before idle was seen
            if not intake.dirty and not self._stopping:
                self._wake.wait(min(CHECK, SAVE) if self._sessions else None)
            intake.idle = False
            self._wake.clear()
            due = max(due, time.monotonic() + self._interval)  # let a batch gather
        timeout = due - time.monotonic()
        if timeout > 0 and not self._stopping:
            self._wake.wait(timeout)
        self._wake.clear()  # before the pass: what is set from now on wakes the next one

    def _pass(self, *, complete: bool) -> None:
        """Write what is waiting; only the sessions with much of it when the pass is not
        ``complete``.
        """
        dirty = self._intake.dirty
        count = len(dirty)
        writers = self._deferred + dirty[:count]
        del dirty[:count]
        self._deferred = []
        for chunks in writers:
            session = self._sessions.get(chunks)
            if session is None:
                self._writer.discard_late(chunks)
            elif complete or chunks.waiting > self._wake_bytes // 4 or session.problem:
                self._flush(session)
            else:
                self._deferred.append(chunks)
        for session in list(self._writer.failing.values()):
            self._flush(session)

    def _flush(self, session: SessionRecording) -> None:
        self._writer.flush(session)
        if session.file.over:
            self._sessions.pop(session.chunks, None)
            self._open.discard(session.id)
        elif session.chunks.waiting and not session.failed:
            self._deferred.append(session.chunks)  # an event was just being written

    def _tend(self, now: float) -> None:
        if now - self._checked >= CHECK:
            self._checked = now
            self._writer.check_files(list(self._sessions.values()))
        live = now - self._saved >= SAVE
        self._writer.save_rows(live=live)
        if live:
            self._saved = now
