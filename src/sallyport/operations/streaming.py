"""Streams of the record: audit events to one receiver each, at least once.

A :class:`Stream` is a thread that follows the recordings (:mod:`sallyport.operations.following`),
so it never stands in a session's way: a receiver that is slow or away makes the stream late, and
what it lacks stays in the recordings. How far it got is a cursor in a file, written after the
receiver had what is before it. What is sent twice has the same id.

``lag`` says how late it is. What must not be late (``required``) stops new statements: the gateway
asks :func:`late_streams` once a second.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from sallyport.core.errors import SallyportError
from sallyport.core.interpreter import computing_beside
from sallyport.operations.auditlog import AuditEvent, ExportCursor
from sallyport.operations.following import RecordFollower
from sallyport.operations.sessions import Sessions
from sallyport.operations.streamsinks import Entry, Sink, SinkError, entry_of

#: Events, and characters of them, that are sent together.
_BATCH: Final = 500
_BATCH_CHARACTERS: Final = 1 << 20
#: Seconds between passes over the record.
_PAUSE: Final = 0.5
#: Of a core, which a stream takes at most.
_SHARE: Final = 0.25
#: Seconds between cursors that are written although there was nothing to send.
_IDLE_KEEP: Final = 10.0
#: Seconds before a further attempt: the first, and the longest.
_FIRST_RETRY: Final = 0.5
_LAST_RETRY: Final = 30.0

_log = structlog.get_logger("sallyport.audit")


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """``name``: of its files. ``max_lag``: seconds; later than that, a ``required`` stream stops
    new statements. ``from_beginning``: the first start sends everything that was ever recorded.
    """

    name: str
    format: str = "jsonl"
    required: bool = False
    max_lag: float = 60.0
    from_beginning: bool = False


class Stream:
    """``sent``, ``failures``, ``rejected``: events that the receiver has, attempts that failed,
    events that it refused for good. ``problem``: why the last attempt failed, "".
    """

    def __init__(
        self,
        settings: StreamSettings,
        sink: Sink,
        sessions: Sessions,
        directory: Path,
    ) -> None:
        """``directory``: of cursors. Raises SallyportError for a cursor that is none."""
        self.settings = settings
        self.sent = self.failures = self.rejected = 0
        self.problem = ""
        self._sink, self._sessions = sink, sessions
        self._cursor_file = directory / f"{settings.name}.cursor"
        self._rejected_file = directory / f"{settings.name}.rejected.jsonl"
        self._caught_up = time.monotonic()
        self._last: Sequence[Entry] = ()
        self._deadline = math.inf
        self._stop = threading.Event()
        self._follower: RecordFollower | None = None
        self._kept, self._kept_at = "", -math.inf
        self._read_cursor()
        self._thread = threading.Thread(
            target=self._run, name=f"sallyport-stream-{settings.name}"[:15], daemon=True
        )

    @property
    def lag(self) -> float:
        """Seconds since everything that was recorded was with the receiver."""
        return time.monotonic() - self._caught_up

    @property
    def is_late(self) -> bool:
        """It must not be as late as it is: new statements have to wait."""
        return self.settings.required and self.lag > self.settings.max_lag

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, seconds: float = 5.0) -> None:
        """Send what is recorded, for at most so long, and stop. The rest goes next time."""
        self._deadline = time.monotonic() + seconds
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(seconds + 30.0)

    # -- the thread -----------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            with computing_beside():
                self._attempt()
            self._stop.wait(_PAUSE)
        self._attempt()  # what came until the recorder was closed
        self._sink.close()

    def _attempt(self) -> None:
        try:
            self._pass()
        except SallyportError as error:
            self._failed(str(error))
        except OSError as error:
            self._failed(f"{error.filename}: {error.strerror}")

    def _pass(self) -> None:
        """Everything that is there. Raises SallyportError, OSError; then the next one begins at the
        cursor that was kept.
        """
        follower, self._follower = self._follower or self._new_follower(), None
        began, batch, characters = time.monotonic(), [], 0
        spent = time.thread_time()
        for event in follower.events(time.time()):
            batch.append(self._entry(event))
            characters += len(batch[-1].line)
            if len(batch) >= _BATCH or characters >= _BATCH_CHARACTERS:
                self._deliver(batch, follower.cursor)
                batch, characters = [], 0
                self._stop.wait((time.thread_time() - spent) * (1 / _SHARE - 1))
                spent = time.thread_time()
        self._deliver(batch, follower.cursor)
        self._follower, self._caught_up = follower, began

    def _entry(self, event: AuditEvent) -> Entry:
        return entry_of(event, self.settings.format)

    def _deliver(self, batch: list[Entry], cursor: ExportCursor) -> None:
        """Until the receiver has it. Raises SinkError only when the stream is to end."""
        pause, repeated = _FIRST_RETRY, batch
        while batch:
            try:
                for entry, reason in self._sink.send(repeated):
                    self._reject(entry, reason)
            except SinkError as error:
                self._failed(str(error))
                self._sink.close()
                if self._stop.is_set() and time.monotonic() + pause > self._deadline:
                    raise
                if self._sink.repeats_last:
                    repeated = [*self._last, *batch]
                self._wait(pause)
                pause = min(2 * pause, _LAST_RETRY)
                continue
            self._last = batch
            self.sent += len(batch)
            if self.problem:
                _log.warning("the stream goes on", stream=self.settings.name)
                self.problem = ""
            break
        if batch or time.monotonic() - self._kept_at > _IDLE_KEEP:
            self._keep(str(cursor))

    def _wait(self, seconds: float) -> None:
        if self._stop.is_set():
            time.sleep(seconds)
        else:
            self._stop.wait(seconds)

    def _failed(self, problem: str) -> None:
        self.failures += 1
        if not self.problem:
            _log.error("a stream of the record fails; it is tried again",
                       stream=self.settings.name, reason=problem)  # fmt: skip
        self.problem = problem

    def _reject(self, entry: Entry, reason: str) -> None:
        """Kept here, since the receiver will never take it. Raises OSError."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(self._rejected_file, flags, 0o600)
        with os.fdopen(fd, "ab") as file:
            line = json.dumps({"id": entry.id, "reason": reason, "event": entry.line})
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        self.rejected += 1
        _log.error("an event was refused by its receiver", stream=self.settings.name,
                   event_=entry.id, reason=reason, kept=str(self._rejected_file))  # fmt: skip

    # -- the cursor -----------------------------------------------------------

    def _read_cursor(self) -> None:
        self._cursor_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._kept = self._cursor_file.read_text(errors="replace").strip()
        except FileNotFoundError:
            mark = -math.inf if self.settings.from_beginning else time.time()
            self._keep(str(ExportCursor(mark)))
            return
        try:
            ExportCursor.parse(self._kept)
        except SallyportError:
            raise SallyportError(
                f"{self._cursor_file} does not say how far the stream got. "
                "Delete it: the stream then begins as audit.stream.begin says"
            ) from None

    def _new_follower(self) -> RecordFollower:
        return RecordFollower(self._sessions, ExportCursor.parse(self._kept), self._on_problem)

    def _keep(self, text: str) -> None:
        """Replace the file whole. Raises OSError."""
        if text == self._kept:
            return
        draft = self._cursor_file.with_suffix(".new")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self._cursor_file)
        self._kept, self._kept_at = text, time.monotonic()

    def _on_problem(self, session: str, problem: str) -> None:
        _log.error("a recording cannot be streamed whole", stream=self.settings.name,
                   session=session, reason=problem)  # fmt: skip


def late_streams(streams: Sequence[Stream]) -> str:
    """Names of those that must not be as late as they are, "" for none."""
    return ", ".join(stream.settings.name for stream in streams if stream.is_late)
