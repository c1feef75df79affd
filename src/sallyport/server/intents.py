"""Keeps what may change something from its target until the journal has it.

Between a session and its target stands a :class:`WriteGate`. While the session's newest intent is
not written, everything for the target waits there, in order; sessions that only read never wait.
The :class:`IntentWriter` writes the intents of all sessions that came in one turn of the event loop
at once: on the loop with ``durability: standard``, since handing bytes to the operating system
takes microseconds, and on a thread with ``strict``, where whatever is queued during one fdatasync
goes with the next.

When the journal cannot be written, what waited is never sent: its sessions end with SP1801. Until a
write succeeds again, statements that may change something are refused
(:mod:`sallyport.session.clearance`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Protocol

import structlog

from sallyport.audit.journal import Batch, Journal
from sallyport.audit.recording import SessionRecording

log = structlog.get_logger("sallyport.journal")

#: Bytes that wait for the journal, beyond which their client is not read.
_HIGH_WATER: Final = 512 * 1024
#: Seconds between attempts to write a journal that failed, and between looks for segments to
#: delete.
_RETRY: Final = 0.5
_TEND: Final = 1.0
_FAILURES = (OSError, TypeError, ValueError, OverflowError)


class TargetLink(Protocol):
    """Where the bytes go: :class:`sallyport.server.upstream.UpstreamLink`."""

    on_pause: Callable[[bool], None] | None

    def send(self, data: bytes | bytearray) -> None:
        """Past the gate."""


class Gate(Protocol):
    """What waits for intents to be written."""

    def release(self, written: int) -> bool:
        """Send what waits for no later intent; whether that was all."""

    def fail_waiting(self) -> None:
        """What waits is never sent."""


class IntentWriter:
    """Writes a gateway's journal. Everything but the writes of a ``sync`` journal happens on the
    event loop.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.written = 0  # ordinal of the newest intent that is in the journal
        self._waiting: list[Gate] = []
        self._is_due = self._is_writing = self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, "sallyport-journal") if journal.sync else None

    def start(self) -> None:
        """Look after the journal's segments from now on, and try again one that could not be
        opened.
        """
        if self.journal.failed:
            self._retry()
        self._timer = asyncio.get_running_loop().call_later(_TEND, self._tend)

    def gate(
        self, recording: SessionRecording, link: TargetLink, on_failed: Callable[[], None]
    ) -> WriteGate:
        """A gate for one session; ``on_failed`` ends it."""
        return WriteGate(self, recording, link, on_failed)

    async def close(self) -> None:
        """After the last session."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.shutdown)

    def commit(self, gate: Gate) -> None:
        """Write now what is queued, and release the gate when it is written. For a gate that many
        sessions share, at the end of a turn.
        """
        if gate not in self._waiting:
            self._waiting.append(gate)
        self._flush()

    def wait(self, gate: Gate) -> None:
        """Release the gate when its intents are written."""
        self._waiting.append(gate)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_due = False
        if self.journal.failed:
            self._fail_waiting()
        elif not self._is_writing:
            batch = self.journal.take()
            if batch is None:  # it was written with what others have queued
                self._release(self.written)
            else:
                self._write(batch)

    def _write(self, batch: Batch) -> None:
        if self._thread is None:
            try:
                self.journal.write(batch)
            except _FAILURES as error:
                self._fail(error)
            else:
                self._release(batch.last)
            return
        self._is_writing = True
        writing = asyncio.get_running_loop().run_in_executor(
            self._thread, self.journal.write, batch
        )
        writing.add_done_callback(partial(self._synced, batch.last))

    def _synced(self, last: int, writing: asyncio.Future[None]) -> None:
        self._is_writing = False
        error = writing.exception()
        if error is not None:
            self._fail(error)
        else:
            self._release(last)
            self._flush()

    def _release(self, last: int) -> None:
        self.written = last
        waiting, self._waiting = self._waiting, []
        self._waiting += [gate for gate in waiting if not gate.release(last)]

    # -- when it cannot be written -----------------------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        self.journal.failed = True
        reason = getattr(error, "strerror", None) or str(error)
        log.error("the journal cannot be written; nothing changes until it can", error=reason)
        self._fail_waiting()
        asyncio.get_running_loop().call_later(_RETRY, self._retry)

    def _fail_waiting(self) -> None:
        """What waits is not sent, now or later."""
        self.journal.take()
        self.written = self.journal.appended
        waiting, self._waiting = self._waiting, []
        for gate in waiting:
            gate.fail_waiting()

    def _retry(self) -> None:
        if not self._is_closed:
            self._beside(self.journal.reopen, self._reopened)

    def _reopened(self, error: BaseException | None) -> None:
        if error is not None:
            asyncio.get_running_loop().call_later(_RETRY, self._retry)
            return
        self.journal.failed = False
        log.warning("the journal can be written again")

    def _tend(self) -> None:
        self._beside(self.journal.tend, self._tended)

    def _tended(self, error: BaseException | None) -> None:
        if error is not None:
            log.error("a segment of the journal cannot be deleted", error=str(error))
        if not self._is_closed:
            self._timer = asyncio.get_running_loop().call_later(_TEND, self._tend)

    def _beside(
        self, work: Callable[[], None], done: Callable[[BaseException | None], None]
    ) -> None:
        """Do something where the journal is written, and say how it ended."""
        if self._thread is None:
            try:
                work()
            except OSError as error:
                done(error)
            else:
                done(None)
            return
        doing = asyncio.get_running_loop().run_in_executor(self._thread, work)
        doing.add_done_callback(lambda future: done(future.exception()))


class WriteGate:
    """Holds what one session sends to its target. See the module docstring."""

    __slots__ = (
        "_after",
        "_failed",
        "_held",
        "_holds",
        "_link",
        "_on_failed",
        "_recording",
        "_size",
        "_writer",
    )

    def __init__(
        self,
        writer: IntentWriter,
        recording: SessionRecording,
        link: TargetLink,
        on_failed: Callable[[], None],
    ) -> None:
        self._writer, self._recording, self._link = writer, recording, link
        self._on_failed = on_failed
        self._held: list[tuple[int, bytes | bytearray]] = []  # with the intent that they wait for
        self._size = 0
        self._after: list[Callable[[], None]] = []
        self._failed = False
        self._holds = 0

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._size

    def keeps(self, data: bytes | bytearray) -> bool:
        """Whether the gate took the bytes; otherwise they may be sent now."""
        intent = self._recording.intent
        is_open = not self._held and not self._holds and not self._failed
        if is_open and intent <= self._writer.written:
            return False
        if self._failed:
            return True  # dropped: what stood before it was
        if not self._held:
            self._writer.wait(self)
        self._held.append((intent, data))
        self._size += len(data)
        if self._size > _HIGH_WATER and self._link.on_pause is not None:
            self._link.on_pause(True)
        return True

    def release(self, written: int) -> bool:
        """Send what waits for no later intent; whether that was all."""
        if self._holds:
            return False
        if self._size > _HIGH_WATER and self._link.on_pause is not None:
            self._link.on_pause(False)  # before sending: the transport may say otherwise
        held, sent = self._held, 0
        while sent < len(held) and held[sent][0] <= written:
            data = held[sent][1]
            sent += 1
            self._size -= len(data)
            self._link.send(data)
        del held[:sent]
        if not self._held:
            self._run_after()
        elif self._size > _HIGH_WATER and self._link.on_pause is not None:
            self._link.on_pause(True)
        return not self._held

    def hold(self) -> None:
        """Keep everything from now on, until :meth:`let_go` was called as often."""
        self._holds += 1

    def let_go(self) -> None:
        """What was waited for is done; :meth:`fail` where it could not be done."""
        self._holds -= 1
        if not self._holds and not self._failed:
            self.release(self._writer.written)

    def fail_waiting(self) -> None:
        """Drop what waits and end the session."""
        self._failed = True
        self._holds = 0
        self._held.clear()
        self._size = 0
        self._on_failed()
        self._run_after()

    def after(self, work: Callable[[], None]) -> None:
        """Do something once everything before it is sent, or dropped."""
        if self._held:
            self._after.append(work)
        else:
            work()

    def _run_after(self) -> None:
        works, self._after = self._after, []
        for work in works:
            work()
