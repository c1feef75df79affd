"""Writes what sessions recorded, and knows which of them cannot be written. Runs on the recorder's
thread.

What :mod:`sallyport.audit.recorder` promises of ``failed``, ``lost`` and gaps is kept here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import structlog
import zstandard

from sallyport.audit.appender import Appender
from sallyport.audit.archive import RecordingLostError, relative_path
from sallyport.audit.chunks import ChunkWriter, Intake
from sallyport.audit.ports import ENDED, INTERRUPTED, LIVE, PART, WHOLE, SessionIndex
from sallyport.audit.probe import StorageProbe
from sallyport.audit.recording import SessionRecording
from sallyport.audit.recordingfile import Outage, RecordingFile
from sallyport.core.clock import Clock

#: Bytes of one session, and of all, at which its feeder should stop reading.
HIGH_WATER: Final = 8 << 20
HIGH_WATER_TOTAL: Final = 64 << 20
#: Bytes at which a session that cannot be written drops new events.
DROP_AT: Final = 2 * HIGH_WATER
#: Seconds between attempts to write a session that failed.
RETRY: Final = 0.5
#: Failures in a row after which a session is lost when others can be written.
OWN_FAILURES: Final = 2
#: zstd level of recordings; docs/recording.md has the measurements.
LEVEL: Final = -1

_log = structlog.get_logger("sallyport.audit")


class RecordingWriter:
    """``failed``, ``lost``, ``on_lost``: see :class:`~sallyport.audit.recorder.Recorder`.
    ``written``: bytes of events that were written or dropped. ``failing``: recordings to be tried
    again. ``stopping``: try at once.
    """

    def __init__(
        self,
        directory: Path,
        index: SessionIndex,
        clock: Clock,
        intake: Intake,
        *,
        fsync: bool,
        max_open: int,
    ) -> None:
        self.failed = False
        self.lost = 0
        self.on_lost: Callable[[str], None] | None = None
        self.written = 0
        self.failing: dict[str, SessionRecording] = {}
        self.stopping = False
        self.appender = Appender(fsync=fsync, max_open=max_open)
        self._directory = directory
        self._index = index
        self._clock = clock
        self._intake = intake
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True)
        self._probe = StorageProbe(RETRY)
        self._unsaved: dict[RecordingFile, None] = {}

    def flush(self, session: SessionRecording) -> None:
        """Write what waits of a session, or find out that it cannot be written."""
        if session.broken:
            self._discard(session)
            return
        if session.problem:
            self._break(session, session.problem)
            return
        file, now = session.file, self._clock.monotonic()
        outage = file.outage
        if outage is not None and now < outage.retry_at and not self.stopping:
            self._drop_excess(session, outage)
            return
        try:
            self._write(file)  # what was kept, before the gap
            file.write_gap(now, self.appender, self._compressor)
            file.take(session.chunks)
            self._write(file)
        except OSError as error:
            self._fail(session, error, now)
            return
        except (ValueError, OverflowError) as error:
            self._break(session, str(error))
            return
        if session.failed:
            self._recover(session)
        self._index_texts(session)
        self._finish_session(session)

    def discard_late(self, chunks: ChunkWriter) -> None:
        """What came after the end of a session is not recorded."""
        while (chunk := chunks.take()) is not None:
            self.written += chunk.size

    def save_rows(self, *, live: bool) -> None:
        """Tell the index of sessions that are over, and of ``live`` ones too, as far as they
        changed.
        """
        files = [file for file in self._unsaved if live or file.row.status != LIVE]
        if files:
            self._index.save_all([file.describe() for file in files])
            for file in files:
                del self._unsaved[file]

    def check_files(self, sessions: Iterable[SessionRecording]) -> None:
        """Find files of live sessions that were deleted, cut short or replaced."""
        for session in sessions:
            if session.broken:
                continue
            try:
                session.file.check()
            except RecordingLostError as error:
                self._lose(session, error)
            except OSError:
                continue  # the next write says what is wrong

    def finish(self) -> None:
        """After the last flush. What still could not be written is lost; that is logged, and the
        index says interrupted.
        """
        for session in list(self.failing.values()):
            session.row.status = INTERRUPTED
            self._changed(session.file)
            _log.error(
                "recording incomplete at shutdown", session=session.row.id, bytes=session.backlog
            )
        self.save_rows(live=True)

    def _write(self, file: RecordingFile) -> None:
        while file.taken:
            self.written += file.write_next(self.appender, self._compressor)
        self._changed(file)

    def _changed(self, file: RecordingFile) -> None:
        self._unsaved[file] = None

    def _index_texts(self, session: SessionRecording) -> None:
        """What is on disk can be found. Once something was left out, the recording is read
        instead.
        """
        row, texts = session.row, session.texts
        if row.searchable == WHOLE:
            chosen = texts.take()
            taken = self._index.statements(row.id, chosen) if chosen else True
            if not taken or not texts.whole:
                row.searchable = PART
        if row.searchable != WHOLE:
            self._stop_indexing(session)

    def _stop_indexing(self, session: SessionRecording) -> None:
        session.chunks.indexing = False
        session.texts.offered.clear()

    def _finish_session(self, session: SessionRecording) -> None:
        """When its end is on disk."""
        if session.ending is not None and not session.chunks.waiting:
            session.row.status = ENDED
            session.file.over = True
            self.appender.close(session.output)

    # -- when it cannot be written -----------------------------------------------------------

    def _fail(self, session: SessionRecording, error: OSError, now: float) -> None:
        file = session.file
        file.own_failures = file.own_failures + 1 if self._is_own(error) else 0
        if isinstance(error, RecordingLostError) or file.own_failures >= OWN_FAILURES:
            self._lose(session, error)
            return
        session.failed = True
        session.row.searchable = PART
        if file.outage is None:
            file.outage = Outage(now, error.strerror or str(error))
        file.outage.retry_at = now + RETRY
        self.failing[session.row.id] = session
        if not file.own_failures and not self.failed:
            self.failed = True
            _log.error(
                "recordings cannot be written; statements stop until they can",
                session=session.row.id,
                file=session.output.filename,
                error=str(error),
            )
        self._drop_excess(session, file.outage)

    def _is_own(self, error: OSError) -> bool:
        """Whether only this session's file is at fault: where new recordings go, a probe can be
        written.
        """
        path = self._directory / relative_path("probe", self._clock.now())
        return self._probe.succeeds(error, path.parent)

    def _drop_excess(self, session: SessionRecording, outage: Outage) -> None:
        """Keep memory bounded when nobody heeds the backlog: drop what came last."""
        everyone = self._intake.accepted - self.written
        if session.backlog <= DROP_AT and everyone <= 2 * HIGH_WATER_TOTAL:
            return
        events, size = session.file.drop(session.chunks)
        if not events:  # an event is just being written
            return
        if not outage.events:
            _log.error("recorded events were dropped", session=session.row.id, events=events)
        outage.events += events
        outage.bytes += size
        self.written += size

    def _recover(self, session: SessionRecording) -> None:
        session.failed = False
        session.file.own_failures = 0
        self.failing.pop(session.row.id, None)
        self._heal()

    def _heal(self) -> None:
        """The Recorder fails only while a session does whose own file is not to blame."""
        if self.failed and all(session.file.own_failures for session in self.failing.values()):
            self.failed = False
            _log.warning("recordings can be written again")

    def _lose(self, session: SessionRecording, error: OSError) -> None:
        """The session's file cannot be written any more; this session ends, the others do not
        notice.
        """
        reason = error.strerror or str(error)
        self.lost += 1
        _log.error(
            "a recording is lost; its session ends",
            session=session.row.id,
            file=session.output.filename,
            error=reason,
        )
        self._stop(session, reason)

    def _break(self, session: SessionRecording, error: str) -> None:
        """An event that cannot be encoded is a bug of the caller: the session stays failed."""
        _log.error(
            "an event cannot be recorded; the session is stopped",
            session=session.row.id,
            error=error,
        )
        self._stop(session, "an event could not be encoded")

    def _stop(self, session: SessionRecording, reason: str) -> None:
        """Fail a session for good and say so."""
        session.failed = session.broken = True
        session.row.status, session.row.searchable = INTERRUPTED, PART
        session.row.reason = session.file.broken_off = f"the recording broke off: {reason}"
        self._stop_indexing(session)
        self.failing.pop(session.row.id, None)
        self._discard(session)
        self._heal()
        if self.on_lost is not None:
            self.on_lost(session.row.id)

    def _discard(self, session: SessionRecording) -> None:
        """Of a session that is broken."""
        file = session.file
        self.written += file.drop(session.chunks, all_of_it=True)[1]
        session.row.reason = file.broken_off  # the session's end put its own there
        self.appender.close(session.output)
        file.over = session.ending is not None
        self._changed(file)
