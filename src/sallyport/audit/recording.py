"""The caller's side of recording: one object per session, whose calls encode events into its chunk.

:class:`SessionRecording` implements :class:`sallyport.session.ports.SessionRecorder`. Calls cost
about a microsecond, never block and never raise for what they are given. All calls of one
Recorder's sessions come from one thread (the event loop's); the recorder's thread takes chunks at
the same time, see :mod:`sallyport.audit.chunks`. Native code may append to ``chunks`` itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from sallyport.audit import events as ev
from sallyport.audit.appender import Output
from sallyport.audit.chain import Chain
from sallyport.audit.chunks import ChunkWriter, Intake
from sallyport.audit.journal import Journal
from sallyport.audit.keys import KeyEncryptionKey
from sallyport.audit.ports import SessionRow
from sallyport.audit.recordingfile import RecordingFile
from sallyport.audit.texts import StatementTexts
from sallyport.session.ports import JudgedStatement, RecordedVerdict

#: Replies larger than this are recorded in pieces.
PIECE: Final = 1 << 20
#: Verdicts whose encoding is kept.
_MAX_VERDICTS: Final = 4096


class VerdictEncodings:
    """Of the verdicts that were recorded last, all sessions' together."""

    def __init__(self) -> None:
        self._encoded: dict[RecordedVerdict, ev.EncodedVerdict] = {}

    def of(self, verdict: RecordedVerdict) -> ev.EncodedVerdict:
        encoded = self._encoded.get(verdict)
        if encoded is None:
            if len(self._encoded) >= _MAX_VERDICTS:
                self._encoded.clear()
            encoded = self._encoded[verdict] = ev.encode_verdict(verdict)
        return encoded


class HandoverGate:
    """Of all sessions. ``is_late``: what must be handed over is too late, so nothing new may run.
    Set by the event loop's thread.
    """

    is_late = False


class SessionRecording:
    """Records one session; made by :meth:`sallyport.audit.recorder.Recorder.open_session`.

    ``failed`` and ``backlog`` are what the port says. ``broken``: nothing of it is recorded any
    more. ``problem``: why an event could not be encoded, "".
    """

    __slots__ = (
        "_began",
        "_encodings",
        "_now",
        "actions",
        "broken",
        "chunks",
        "ending",
        "file",
        "handover",
        "intent",
        "journal",
        "login",
        "problem",
        "row",
        "texts",
    )  # fmt: skip

    def __init__(
        self,
        row: SessionRow,
        path: Path,
        intake: Intake,
        now: Callable[[], float],
        encodings: VerdictEncodings,
        journal: Journal | None = None,
        handover: HandoverGate | None = None,
        kek: KeyEncryptionKey | None = None,
    ) -> None:
        self.row = row
        self.file = RecordingFile(row, path, kek)
        self.chunks = ChunkWriter(intake)
        self.texts = StatementTexts()
        self._now = now
        self._encodings = encodings
        self._began = 0.0  # monotonic; of the login
        self.actions = 0
        self.ending: str | None = None
        self.broken = False
        self.problem = ""
        self.journal = journal
        self.handover = handover or HandoverGate()
        self.intent = 0  # ordinal of the newest statement that went to the journal
        self.login = b""  # kept, encoded, for the journal

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def accepted(self) -> int:
        """Bytes of events since the login."""
        return self.chunks.accepted

    @property
    def written(self) -> int:
        """Bytes of events that the writer is done with."""
        return self.file.written

    @property
    def failed(self) -> bool:
        return bool(self.chunks.failed)

    @failed.setter
    def failed(self, value: bool) -> None:
        self.chunks.failed = value

    @property
    def journal_failed(self) -> bool:
        return self.journal is not None and self.journal.failed

    @property
    def handover_late(self) -> bool:
        return self.handover.is_late

    @property
    def backlog(self) -> int:
        """Bytes of events that were accepted and are not on disk."""
        return self.chunks.accepted - self.file.written

    @property
    def output(self) -> Output:
        return self.file.output

    @property
    def chain(self) -> Chain:
        return self.file.chain

    def open(self, login: ev.RawEvent) -> None:
        """Begin with the login event."""
        self._began = login[1]
        if self.journal is not None:
            self.login = ev.encode_event(login)
        self._add(login)

    def statement(self, judged: JudgedStatement) -> None:
        encoded = self._encodings.of(judged.verdict)
        if self.chunks.indexing:
            self.texts.offered.append((judged.number, judged.sql, judged.verdict))
        try:
            values = (judged.binds, judged.bind_formats, judged.bind_types)
            rest = ev.encode_statement_tail(encoded.within(self.chunks.repeats), *values)
            sql, at = judged.sql, self._now()
            try:
                self.chunks.append_statement(at, judged.number, sql, rest, encoded.refused)
            except UnicodeEncodeError:
                sql = ev.clean(sql)
                self.chunks.append_statement(at, judged.number, sql, rest, encoded.refused)
            if judged.changes and self.journal is not None and judged.verdict.outcome == "allow":
                intent = ev.encode_statement_tail(encoded, *values)  # alone: with its texts
                self.intent = self.journal.append(
                    self, ev.encode_statement(at, judged.number, sql, intent), self.accepted
                )
        except (TypeError, ValueError, OverflowError) as error:
            self._break(error)

    def reply(self, number: int, data: bytes) -> None:
        self._add_data(ev.REPLY, number, data)

    def copy_in(self, number: int, data: bytes) -> None:
        self._add_data(ev.COPY_IN, number, data)

    def complete(self, number: int, tag: str, rows: int, sqlstate: str, seconds: float) -> None:
        self._add((ev.COMPLETE, self._now(), number, tag, rows, sqlstate, seconds), rows=rows)

    def answered(self, number: int, data: bytes, tag: str, rows: int, seconds: float) -> None:
        try:
            self.chunks.append_answered(self._now(), number, data, tag, rows, seconds)
        except (TypeError, ValueError, OverflowError) as error:
            self._break(error)

    def action(self, action: ev.RawEvent) -> None:
        """What somebody did, in a recording of actions: an :class:`~sallyport.audit.events.Action`
        without tag, time and number.
        """
        self.actions += 1
        event = (ev.ACTION, self._now(), self.actions, *action)
        self._add(event, statements=1, refused=int(event[8] == ev.REFUSED))

    def note(self, kind: str, text: str) -> None:
        self._add((ev.NOTE, self._now(), kind, text))

    def end(self, reason: str) -> None:
        """Calling it again does nothing; what comes after it is not recorded."""
        if self.ending is not None:
            return
        at = self._now()
        self.row.ended = self.row.started + (at - self._began)
        self.row.reason = reason
        self.ending = reason
        self._add((ev.END, at, reason))

    def _add(
        self, event: ev.RawEvent, *, statements: int = 0, refused: int = 0, rows: int = 0
    ) -> None:
        try:
            self.chunks.append(ev.encode_event(event), statements, refused, rows)
        except (TypeError, ValueError, OverflowError) as error:
            self._break(error)

    def _add_data(self, tag: int, number: int, data: bytes) -> None:
        if type(data) is not bytes:
            data = bytes(data)
        at, size = self._now(), len(data)
        try:
            for start in range(0, size or 1, PIECE):
                self.chunks.append_data(tag, at, number, data, start, min(PIECE, size - start))
        except (TypeError, ValueError, OverflowError) as error:
            self._break(error)

    def _break(self, error: Exception) -> None:
        """An event cannot be encoded, which is a bug of the caller: the session is stopped."""
        self.failed = True
        self.problem = str(error) or type(error).__name__
        self.chunks.announce()
