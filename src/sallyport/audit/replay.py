"""Turns a recording's events into what the agent saw, step by step.

:func:`steps` reads events (:func:`sallyport.audit.verify.read_events`) and yields values: who came,
what was asked and decided, columns, rows, errors, notices, COPY data, the end. ``at`` is seconds
since login. Rows are yielded one by one, so memory does not grow with the result. Texts are as
recorded: whoever shows them passes them through :func:`sallyport.audit.display.inert`.

Backend messages are those of PostgreSQL's protocol 3 (section 54.7, Message Formats); a message may
be spread over several Reply events. One longer than ``LONGEST`` is counted, not shown.
"""

from __future__ import annotations

import re
import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from sallyport.audit import events as ev
from sallyport.audit.display import show_parameters, show_value

#: What became of a statement that only the journal had.
RECOVERED: Final = (
    "was recovered from the journal after a crash: it may have run, its outcome is not known"
)
#: Bytes of one message that are still decoded.
LONGEST: Final = 16 << 20
#: The gateway's own NOTICE about masks (SP2001), whole; older recordings have it without DETAIL and
#: HINT. One of the server's names the place in its source behind them (F, L, R).
_MASKS: Final = re.compile(
    rb"N(.{4})(SNOTICE\0VNOTICE\0C00000\0M(\[SP2001\][^\0]*)\0(?:D[^\0]*\0)?(?:H[^\0]*\0)?\0)",
    re.DOTALL,
)
_WORD_STARTS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
#: Result descriptions remembered per session, for statements that are executed again without
#: Describe.
_REMEMBERED: Final = 500

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Opened:
    """The session begins."""

    at: float
    login: ev.Login


@dataclass(frozen=True, slots=True)
class Asked:
    """A statement with its verdict. ``binds``: parameter values as text, None is NULL. ``binary``:
    which of them are shown as ``\\x`` and hex, because nobody said what type the binary value has.
    """

    at: float
    statement: ev.Statement
    binds: tuple[str | None, ...]
    binary: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Columns:
    """A result begins."""

    at: float
    number: int
    names: tuple[str, ...]
    types: tuple[int, ...]
    formats: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A row of the result. ``names``: of its columns."""

    at: float
    number: int
    values: tuple[str | None, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """ErrorResponse or NoticeResponse. ``severity``: as PostgreSQL names it, not localised."""

    at: float
    number: int
    severity: str
    sqlstate: str
    message: str
    detail: str
    hint: str


@dataclass(frozen=True, slots=True)
class Copied:
    """COPY data. ``direction``: out (to the client) or in."""

    at: float
    number: int
    direction: str
    data: bytes


@dataclass(frozen=True, slots=True)
class CommandCompleted:
    """CommandComplete: the command tag as the client saw it."""

    at: float
    number: int
    tag: str


@dataclass(frozen=True, slots=True)
class StatementEnded:
    """The gateway's own account of a statement's end."""

    at: float
    complete: ev.Complete


@dataclass(frozen=True, slots=True)
class Remark:
    """Anything else: notes, gaps, notifications."""

    at: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over."""

    at: float
    reason: str


Step = (
    Opened
    | Asked
    | Columns
    | ResultRow
    | Diagnostic
    | Copied
    | CommandCompleted
    | StatementEnded
    | Remark
    | Closed
)


def kind_of(step: Step) -> str:
    """Its name in JSON: ``result_row`` of a ResultRow."""
    return _WORD_STARTS.sub("_", type(step).__name__).lower()


def is_notice(step: Step) -> bool:
    """Whether it may come amid a result without ending it."""
    return isinstance(step, Diagnostic) and step.severity not in ("ERROR", "FATAL", "PANIC")


def steps(events: Iterable[ev.Event]) -> Iterator[Step]:
    """What happened, in order. Messages that make no sense become remarks; nothing raises."""
    player = _Player()
    for event in events:
        yield from player.play(event)


class _Player:
    def __init__(self) -> None:
        self.began: float | None = None
        self.out, self.copy = _Stream(), _Stream()
        self.sql: OrderedDict[int, str] = OrderedDict()
        self.columns: Columns | None = None
        self.known: OrderedDict[str, Columns] = OrderedDict()
        self.described = 0  # statement number that ``columns`` was shown for

    def play(self, event: ev.Event) -> Iterator[Step]:
        if self.began is None:
            self.began = event.at
        at = event.at - self.began
        match event:
            case ev.Reply():
                for kind, body in self.out.feed(event.data):
                    yield from self.message(at, event.number, kind, body)
            case ev.CopyIn():
                for kind, body in self.copy.feed(event.data):
                    if kind == "d" and body is not None:
                        yield Copied(at, event.number, "in", bytes(body))
            case ev.Statement():
                _remember(self.sql, event.number, event.sql)
                yield Asked(at, event, *_binds(event))
            case ev.Complete():
                yield StatementEnded(at, event)
            case ev.Login():
                yield Opened(at, event)
            case ev.Action():
                who = event.subject.email or event.subject.id or "nobody"
                text = f"{event.name} {event.object}".strip()
                why = f": {event.reason}" if event.reason else ""
                yield Remark(
                    at,
                    "action",
                    f"{who} ({event.channel}, {event.address}) {text}, {event.outcome}{why}",
                )
            case ev.Recovered():
                yield Remark(at, "recovered", f"statement {event.number} {RECOVERED}")
            case ev.Note():
                yield Remark(at, event.kind, event.text)
            case ev.Gap():
                lost = (
                    f"{event.events} events ({event.bytes} bytes) were lost"
                    if event.events
                    else "nothing was lost"
                )
                yield Remark(
                    at,
                    "gap",
                    f"could not be written for {event.seconds:.1f} s ({event.reason}): {lost}",
                )
            case ev.End():
                yield Closed(at, event.reason)

    def message(self, at: float, number: int, kind: str, body: memoryview | None) -> Iterator[Step]:
        if body is None:
            yield Remark(at, "message", f"a message of type {kind!r} is too long to show")
            return
        try:
            yield from self.decoded(at, number, kind, body)
        except (struct.error, IndexError, ValueError):
            yield Remark(at, "message", f"a message of type {kind!r} could not be decoded")

    def decoded(self, at: float, number: int, kind: str, body: memoryview) -> Iterator[Step]:
        if kind == "D":
            yield from self.row(at, number, body)
        elif kind == "T":
            self.columns = _row_description(at, number, bytes(body))
            self.described = number
            if number in self.sql:
                _remember(self.known, self.sql[number], self.columns)
            yield self.columns
        elif kind == "C":
            yield CommandCompleted(at, number, _text(bytes(body).rstrip(b"\0")))
        elif kind in "EN":
            yield _diagnostic(at, number, bytes(body))
        elif kind == "d":
            yield Copied(at, number, "out", bytes(body))
        elif kind == "A":
            channel, payload, _ = bytes(body[4:]).split(b"\0", 2)
            yield Remark(at, "notification", f"{_text(channel)}: {_text(payload)}")

    def row(self, at: float, number: int, body: memoryview) -> Iterator[Step]:
        values = _values(body)
        columns = self.columns
        # executed again without Describe, or described apart from this execution
        if self.described != number and (sql := self.sql.get(number, "")) in self.known:
            columns = self.known[sql]
            _remember(self.known, sql, columns)
        if columns is None or len(columns.names) != len(values):
            names = tuple(f"column {place}" for place in range(1, len(values) + 1))
            columns = Columns(at, number, names, (0,) * len(values), (0,) * len(values))
        if self.described != number or columns is not self.columns:
            self.columns, self.described = columns, number
            yield Columns(at, number, columns.names, columns.types, columns.formats)
        yield ResultRow(
            at,
            number,
            tuple(
                None if value is None else show_value(value, oid, format_code)
                for value, oid, format_code in zip(
                    values, columns.types, columns.formats, strict=True
                )
            ),
            columns.names,
        )


class _Stream:
    """Puts messages together again; each is (type, body), body None when it was too long."""

    def __init__(self) -> None:
        self.buffer = b""
        self.skip = 0

    def feed(self, data: bytes) -> Iterator[tuple[str, memoryview | None]]:
        if self.skip:
            cut = min(self.skip, len(data))
            self.skip -= cut
            data = data[cut:]
        data = self.buffer + data if self.buffer else data
        view, at = memoryview(data), 0
        while len(data) - at >= 5:
            (length,) = struct.unpack_from("!I", data, at + 1)
            end = at + 1 + max(length, 4)
            if length > LONGEST:
                yield chr(data[at]), None
                self.skip = max(end - len(data), 0)
            elif end > len(data):
                break
            else:
                yield chr(data[at]), view[at + 5 : end]
            at = min(end, len(data))
        self.buffer = data[at:]


def mask_notice(data: bytes) -> str:
    """What recorded reply bytes say of masks that an expression saw, or "". Found without decoding
    the messages before it; of a reply so large that it was recorded in pieces, one that two pieces
    share is not.
    """
    if b"[SP2001]" not in data:
        return ""
    for match in _MASKS.finditer(data):
        if int.from_bytes(match[1], "big") == len(match[2]) + 4:
            return _text(match[3])
    return ""


@dataclass(frozen=True, slots=True)
class ErrorFields:
    """Of an ErrorResponse, as the client got it: why a statement was refused or failed."""

    message: str
    detail: str = ""
    hint: str = ""


#: The beginning of an ErrorResponse: its length, and the two forms of its severity.
_ERRORS = re.compile(rb"E(.{4})(?=S[^\0]{1,40}\0V(?:ERROR|FATAL|PANIC)\0)", re.DOTALL)


def error_fields(data: bytes) -> ErrorFields | None:
    """The last ErrorResponse in recorded reply bytes; None without one. As :func:`mask_notice`,
    without decoding the messages before it.
    """
    for match in reversed(list(_ERRORS.finditer(data))):
        end = match.end(1) + int.from_bytes(match[1], "big") - 4
        if data[end - 2 : end] == b"\0\0":
            diagnostic = _diagnostic(0.0, 0, data[match.end(1) : end])
            return ErrorFields(diagnostic.message, diagnostic.detail, diagnostic.hint)
    return None


def _remember(memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _binds(event: ev.Statement) -> tuple[tuple[str | None, ...], tuple[bool, ...]]:
    shown = show_parameters(event.binds or (), event.bind_formats, event.bind_types)
    return tuple(text for text, _ in shown), tuple(not exact for _, exact in shown)


def _row_description(at: float, number: int, body: bytes) -> Columns:
    (count,) = struct.unpack_from("!h", body)
    names, types, formats, place = [], [], [], 2
    for _ in range(count):
        end = body.index(b"\0", place)
        names.append(_text(body[place:end]))
        _, _, oid, _, _, format_code = struct.unpack_from("!IhIhih", body, end + 1)
        types.append(oid)
        formats.append(format_code)
        place = end + 19
    return Columns(at, number, tuple(names), tuple(types), tuple(formats))


def _values(body: memoryview) -> list[bytes | None]:
    (count,) = struct.unpack_from("!h", body)
    values: list[bytes | None] = []
    place = 2
    for _ in range(count):
        (size,) = struct.unpack_from("!i", body, place)
        place += 4
        if size < 0:
            values.append(None)
            continue
        if place + size > len(body):
            raise ValueError("a value reaches beyond its message")
        values.append(bytes(body[place : place + size]))
        place += size
    return values


def _diagnostic(at: float, number: int, body: bytes) -> Diagnostic:
    fields = {chr(part[0]): _text(part[1:]) for part in body.split(b"\0") if part}
    return Diagnostic(
        at,
        number,
        fields.get("V") or fields.get("S", ""),
        fields.get("C", ""),
        fields.get("M", ""),
        fields.get("D", ""),
        fields.get("H", ""),
    )
