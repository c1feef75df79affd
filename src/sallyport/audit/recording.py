"""The caller's side of recording: one object per session whose calls only append to a list.

:class:`SessionRecording` implements :class:`sallyport.session.ports.SessionRecorder`. Each call costs well
under a microsecond, never blocks and never raises. All calls of one Recorder's sessions come from one thread
(the event loop's); the writer thread of :mod:`sallyport.audit.recorder` takes from ``pending`` at the same
time, which works because it only ever removes from the front what it has copied, and because each counter
here is written by one side only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sallyport.audit import events as ev
from sallyport.audit.archive import Output
from sallyport.audit.chain import Chain
from sallyport.audit.ports import SessionRow
from sallyport.audit.texts import StatementTexts

if TYPE_CHECKING:
    from sallyport.audit.recorder import Recorder

#: Replies from this size on count towards waking the writer early.
_LARGE = 8192
#: Replies larger than this are recorded in pieces.
PIECE = 1 << 20


def _pieces(event: ev.RawEvent) -> list[ev.RawEvent]:
    if event[0] not in (ev.REPLY, ev.COPY_IN) or len(event[3]) <= PIECE:
        return [event]
    tag, at, number, data = event
    view = memoryview(data)
    return [(tag, at, number, view[start : start + PIECE]) for start in range(0, len(view), PIECE)]


class SessionRecording:
    """Records one session; made by :meth:`sallyport.audit.recorder.Recorder.open_session`.

    ``failed`` and ``backlog`` are what the port says. Attributes named ``w_...`` belong to the writer thread.
    """

    __slots__ = (
        "_append",
        "_now",
        "_recorder",
        "accepted",
        "broken",
        "chain",
        "dirty",
        "ending",
        "failed",
        "output",
        "pending",
        "refused",
        "row",
        "rows",
        "statements",
        "texts",
        "w_batch",
        "w_lost",
        "w_reason",
        "w_retry_at",
        "w_since",
        "written",
    )

    def __init__(self, recorder: Recorder, row: SessionRow, path: Path) -> None:
        self._recorder = recorder
        self._now = recorder.clock.monotonic
        self.pending: list[ev.RawEvent] = []
        self._append = self.pending.append
        self.accepted = 0  # written by the caller only
        self.written = 0  # written by the writer only
        self.dirty = False
        self.w_batch: list[ev.RawEvent] = []  # the writer's: taken and not yet on disk
        self.w_lost: tuple[int, int] = (0, 0)
        self.w_reason = ""
        self.w_since: float | None = None  # of the outage, monotonic
        self.w_retry_at = 0.0
        self.broken = False
        self.failed = recorder.failed
        self.chain = Chain.start(row.id)
        self.output = Output(path)
        self.texts = StatementTexts()
        self.ending: str | None = None
        self.row = row
        self.statements = self.refused = self.rows = 0

    @property
    def backlog(self) -> int:
        """Bytes accepted and not yet on disk (about: headers of events are estimated)."""
        return self.accepted - self.written

    def open(self, login: ev.RawEvent) -> None:
        """Begin with the login event."""
        self._append(login)
        self.accepted += 512
        self._recorder.accepted += 512
        self._recorder.notice(self)

    def take(self) -> list[ev.RawEvent]:
        """For the writer: remove and return what is pending, replies in pieces that fit a block."""
        pending = self.pending
        count = len(pending)
        taken = pending[:count]
        del pending[:count]
        if self.accepted - self.written > PIECE:
            return [piece for event in taken for piece in _pieces(event)]
        return taken

    def statement(
        self,
        number: int,
        sql: str,
        *,
        outcome: str,
        rule: str = "",
        code: str = "",
        policy_version: str = "",
        epoch: str = "",
        protocol: str = "simple",
        binds: Sequence[bytes | None] | None = None,
        bind_formats: Sequence[int] = (),
        relations: tuple[str, ...] = (),
        masked: tuple[str, ...] = (),
        bind_types: tuple[int, ...] = (),
    ) -> None:
        size = len(sql) + 128 + 32 * (len(relations) + len(masked))
        if binds is not None:
            binds = tuple(binds)
            size += sum([len(value) for value in binds if value is not None])
            bind_formats = tuple(bind_formats)
        self._append(
            (
                ev.STATEMENT, self._now(), number, sql, outcome, rule, code, policy_version, epoch, protocol,
                binds, bind_formats, relations, masked, bind_types,
            )
        )  # fmt: skip
        self.statements += 1
        if outcome == "deny":
            self.refused += 1
        self.accepted += size
        self._recorder.accepted += size
        if not self.dirty:
            self._recorder.notice(self)

    def reply(self, number: int, data: bytes) -> None:
        if type(data) is not bytes:
            data = bytes(data)
        self._append((ev.REPLY, self._now(), number, data))
        size = len(data) + 32
        self.accepted += size
        self._recorder.accepted += size
        if size > _LARGE:
            self._recorder.notice_large()
        if not self.dirty:
            self._recorder.notice(self)

    def copy_in(self, number: int, data: bytes) -> None:
        if type(data) is not bytes:
            data = bytes(data)
        self._append((ev.COPY_IN, self._now(), number, data))
        size = len(data) + 32
        self.accepted += size
        self._recorder.accepted += size
        if size > _LARGE:
            self._recorder.notice_large()
        if not self.dirty:
            self._recorder.notice(self)

    def complete(self, number: int, tag: str, rows: int, sqlstate: str, seconds: float) -> None:
        self._append((ev.COMPLETE, self._now(), number, tag, rows, sqlstate, seconds))
        self.rows += rows
        self.accepted += 64
        self._recorder.accepted += 64
        if not self.dirty:
            self._recorder.notice(self)

    def answered(self, number: int, data: bytes, tag: str, rows: int, seconds: float) -> None:
        self._append((ev.ANSWERED, self._now(), number, data, tag, rows, seconds))
        self.rows += rows
        size = len(data) + 96
        self.accepted += size
        self._recorder.accepted += size
        if size > _LARGE:
            self._recorder.notice_large()
        if not self.dirty:
            self._recorder.notice(self)

    def note(self, kind: str, text: str) -> None:
        self._append((ev.NOTE, self._now(), kind, text))
        size = len(text) + 64
        self.accepted += size
        self._recorder.accepted += size
        if not self.dirty:
            self._recorder.notice(self)

    def end(self, reason: str) -> None:
        """Calling it again does nothing."""
        if self.ending is not None:
            return
        self._append((ev.END, self._now(), reason))
        self.row.ended = self._recorder.clock.now()
        self.row.reason = reason
        self.ending = reason
        self.accepted += 64
        self._recorder.accepted += 64
        if not self.dirty:
            self._recorder.notice(self)
