"""The record as one stream of events for other systems: logins, statements, ends, gaps, decisions
and management actions. ``login`` is what came of a login: a session that began, a sign-in to the
console, and what was refused at every entrance.

:func:`audit_events` reads recording after recording, oldest first, in memory that does not grow
with them. Texts are those of the recordings, where values of masked columns are masked already. An
event's id (``session:number``) never changes, so that a receiver can drop what it got twice; an
:class:`ExportCursor` says what was read, so that the next export goes on from there.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
from msgspec import Struct

from sallyport.audit import events as ev
from sallyport.audit.archive import RecordingError
from sallyport.audit.display import show_parameters
from sallyport.audit.keyfiles import ShreddedError
from sallyport.audit.ports import ACTIONS, LIVE, SessionQuery, SessionRow, kind_of
from sallyport.audit.refusedlogins import LOGINS
from sallyport.audit.replay import ErrorFields, error_fields
from sallyport.audit.verify import VerificationProblem
from sallyport.core.clock import rfc3339
from sallyport.core.errors import SallyportError
from sallyport.operations.sessions import (
    NOT_INDEXED,
    OUTCOME_UNKNOWN,
    Sessions,
    UnknownSessionError,
    counted_rows,
)

LOGIN, STATEMENT, END, GAP = "login", "statement", "end", "gap"
ACTION, DECISION = "action", "decision"
KINDS: Final = (LOGIN, STATEMENT, END, GAP, ACTION, DECISION)
#: The action by which a reviewer decides about a held statement.
_DECIDE: Final = "approvals.decide"
#: Rows of the index that are read at once.
_PAGE: Final = 1000
#: Statements of one session that wait for their end.
_OPEN: Final = 1000
#: Sessions that began so recently (seconds) may reach the index after others that began later.
_SETTLING: Final = 60.0
#: A cursor that says more was not made here.
_LONGEST_CURSOR: Final = 16 << 20


class AuditEvent(Struct, frozen=True):
    """``time``: Unix seconds. ``session``: id of the recording; ``position``: the event's number in
    it, from 0. ``login``: who, of a session; of an action, the login of the gateway's own
    recording. ``event``: a Login, Statement, End, Gap or Action. ``complete`` and ``error``: of a
    statement, how it ended and what the client was told, None where that is not recorded.
    """

    kind: str
    time: float
    session: str
    position: int
    login: ev.Login
    event: ev.Event
    complete: ev.Complete | None = None
    error: ErrorFields | None = None
    recovered: bool = False

    @property
    def id(self) -> str:
        return f"{self.session}:{self.position}"

    @property
    def subject(self) -> ev.SubjectFields:
        """Who did it."""
        return self.event.subject if isinstance(self.event, ev.Action) else self.login.subject


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """Which events; "", None and () mean any. ``since``, ``until``: Unix seconds, the second
    excluded. ``subject``: id or e-mail. ``session``: id, or enough of its beginning. ``kinds``: of
    :data:`KINDS`. ``verdict``: allow | hold | deny.
    """

    since: float | None = None
    until: float | None = None
    subject: str = ""
    target: str = ""
    session: str = ""
    kinds: tuple[str, ...] = ()
    verdict: str = ""

    def matches(self, event: AuditEvent) -> bool:
        who = event.subject
        return (
            (self.since is None or event.time >= self.since)
            and (self.until is None or event.time < self.until)
            and self.subject in ("", who.id, who.email)
            and self.target in ("", event.login.target)
            and (not self.kinds or event.kind in self.kinds)
            and (
                not self.verdict
                or (isinstance(event.event, ev.Statement) and event.event.outcome == self.verdict)
            )
        )


@dataclass(slots=True)
class ExportCursor:
    """What was exported: everything of sessions that began before ``mark`` (Unix seconds), but of
    those in ``read`` only so many events. As text it is opaque and grows with sessions that are
    live or began within the last minute.
    """

    mark: float = -math.inf
    read: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        text = json.dumps([1, None if self.mark == -math.inf else self.mark, self.read])
        return base64.urlsafe_b64encode(zlib.compress(text.encode())).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> ExportCursor:
        """Raises SallyportError for what is not a cursor."""
        text = text.strip()
        try:
            inflate = zlib.decompressobj()
            packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            plain = inflate.decompress(packed, _LONGEST_CURSOR)
            version, mark, read = msgspec.json.decode(
                plain, type=tuple[int, float | None, dict[str, int]]
            )
        except (ValueError, zlib.error):
            version, mark, read = 0, None, {}
        if version != 1 or any(count < 0 for count in read.values()):
            raise SallyportError(
                "this is not a cursor of 'sallyport audit export'. Give the text after 'cursor:'"
                " that an export printed, or leave --since out to export everything"
            )
        return cls(-math.inf if mark is None else mark, read)


def audit_events(
    sessions: Sessions,
    query: ExportQuery,
    cursor: ExportCursor,
    now: float,
    on_problem: Callable[[str, str], None],
) -> Iterator[AuditEvent]:
    """Events behind ``cursor``, which says where to go on once all of them were taken. ``now``:
    Unix seconds. ``on_problem`` is told a session and what is wrong with its recording, which is
    then read again next time. Raises SallyportError.
    """
    mark = max(cursor.mark, now - _SETTLING)
    already = dict(cursor.read)
    for row in _rows(sessions, query, cursor.mark, already):
        source = _Source(sessions, row, on_problem)
        read = already.get(row.id, 0)
        for event in source.events():
            if event.position < read:
                continue
            read = event.position + 1
            if query.matches(event):
                yield event
        if source.is_complete and row.started < mark:
            cursor.read.pop(row.id, None)
        else:
            cursor.read[row.id] = read
    cursor.mark = mark


def _rows(
    sessions: Sessions, query: ExportQuery, mark: float, already: dict[str, int]
) -> Iterator[SessionRow]:
    """Recordings that can have such events, oldest first; those that were read in part come
    before.
    """
    if query.session:
        yield sessions.find(query.session)
        return
    for id_ in sorted(already):
        try:
            yield sessions.find(id_)
        except UnknownSessionError:
            continue  # deleted since then
    sessions_query = SessionQuery(
        since=None if mark == -math.inf else mark,
        running_since=query.since,
        until=query.until,
        limit=_PAGE,
        oldest_first=True,
    )
    while True:
        page = sessions.search(sessions_query)
        yield from (match.row for match in page.matches if match.row.id not in already)
        if page.after is None:
            return
        sessions_query = replace(sessions_query, after=page.after)


@dataclass(slots=True)
class _Open:
    """A statement whose end was not read yet. ``reply``: the last piece of what the client got."""

    statement: ev.Statement
    reply: bytes = b""
    complete: ev.Complete | None = None
    recovered: bool = False


class _Source:
    """One recording. ``is_complete``, once it was read: nothing can follow."""

    def __init__(
        self, sessions: Sessions, row: SessionRow, on_problem: Callable[[str, str], None]
    ) -> None:
        self._sessions, self._row, self._on_problem = sessions, row, on_problem
        self.is_complete = row.status not in (LIVE, NOT_INDEXED)

    def events(self) -> Iterator[AuditEvent]:
        problems: list[VerificationProblem] = []
        joiner = EventJoiner(self._row.id)
        try:
            for event in self._sessions.events(self._row.id, problems.append):
                yield from joiner.take(event)
        except ShreddedError:
            return  # nothing was lost that should be there
        except RecordingError as error:
            self._on_problem(self._row.id, str(error))
            self.is_complete = False
        for problem in problems:
            self._on_problem(self._row.id, str(problem))
        self.is_complete = self.is_complete or joiner.has_ended
        if self.is_complete or problems:
            yield from joiner.finish()
        self.is_complete = self.is_complete and not problems


class EventJoiner:
    """Makes audit events of a recording's events. Statements leave in the order they came in, each
    once its end is known. What a recording begins with always comes out the same way, so that
    positions do not change while it grows. ``has_ended``: its end was among them.
    """

    def __init__(self, session: str) -> None:
        self.has_ended = False
        self._session = session
        self._login: ev.Login | None = None
        self._waiting: OrderedDict[int, _Open] = OrderedDict()
        self._position = 0

    def take(self, event: ev.Event) -> Iterator[AuditEvent]:
        """What can be said now that this came; nothing where no login is at the beginning."""
        if self._login is None:
            if not isinstance(event, ev.Login):
                return
            self._login = event
        yield from self._take(self._login, event)

    def finish(self) -> Iterator[AuditEvent]:
        """Statements whose end will not come any more."""
        if self._login is not None:
            yield from self._flush(self._login, 0)

    def _take(self, login: ev.Login, event: ev.Event) -> Iterator[AuditEvent]:
        match event:
            case ev.Statement():
                self._waiting[event.number] = _Open(event)
                yield from self._flush(login, _OPEN)
            case ev.Reply() | ev.Complete() | ev.Recovered():
                statement = self._waiting.get(event.number)
                if statement is None:
                    return
                if isinstance(event, ev.Reply):
                    statement.reply = event.data
                    return
                if isinstance(event, ev.Recovered):
                    statement.recovered = True
                else:
                    statement.complete = event
                yield from self._flush(login, _OPEN)
            case ev.Login():
                if kind_of(login.session) != ACTIONS:
                    yield self._event(LOGIN, login, event)
            case ev.Action():
                yield self._event(_action_kind(event.name), login, event)
            case ev.Gap():
                yield self._event(GAP, login, event)
            case ev.End():
                self.has_ended = True
                yield from self._flush(login, 0)
                if kind_of(login.session) != ACTIONS:
                    yield self._event(END, login, event)

    def _flush(self, login: ev.Login, maximum: int) -> Iterator[AuditEvent]:
        """Those that are over, and the oldest of more than ``maximum``."""
        while self._waiting:
            first = next(iter(self._waiting.values()))
            if not (first.complete or first.recovered or len(self._waiting) > maximum):
                return
            self._waiting.popitem(last=False)
            error = (
                error_fields(first.reply) if first.complete and first.complete.sqlstate else None
            )
            yield self._event(
                STATEMENT, login, first.statement, first.complete, error, first.recovered
            )

    def _event(self, kind: str, login: ev.Login, event: ev.Event, *end: Any) -> AuditEvent:
        """``end``: of a statement, the last three attributes."""
        position, self._position = self._position, self._position + 1
        return AuditEvent(
            kind, login.started + event.at - login.at, self._session, position, login, event, *end
        )


def _action_kind(name: str) -> str:
    """A login's, too: sign-ins to the console, and logins that were refused, are not sessions."""
    if name in LOGINS:
        return LOGIN
    return DECISION if name == _DECIDE else ACTION


def event_data(event: AuditEvent) -> dict[str, Any]:
    """An event as JSON values. Keys are added in later versions, never changed."""
    who = event.subject
    data: dict[str, Any] = {
        "id": event.id,
        "time": rfc3339(event.time),
        "kind": event.kind,
        "session": event.session,
        "subject": who.id,
        "issuer": who.issuer,
        "email": who.email,
        "groups": list(who.groups),
        "agent": who.agent,
        "actors": list(who.actors),
    }
    if not isinstance(event.event, ev.Action):
        login = event.login
        data |= {
            "label": who.label, "target": login.target, "client": login.client,
            "application": login.application,
            "gateway": login.gateway,
        }  # fmt: skip
    return data | _details(event)


def _details(event: AuditEvent) -> dict[str, Any]:
    match event.event:
        case ev.Statement():
            return _statement_data(event, event.event)
        case ev.Action() as action:
            return {
                "action": action.name, "object": action.object, "outcome": action.outcome,
                "reason": action.reason,
                "address": action.address, "channel": action.channel,
                "details": dict(action.details),
            }  # fmt: skip
        case ev.Login():
            return {
                "action": LOGIN, "outcome": ev.DONE, "channel": event.event.entrance or "wire",
                "role": event.event.role, "settings": dict(event.event.settings),
                "claims": dict(event.event.claims),
            }  # fmt: skip
        case ev.End(reason=reason):
            return {"reason": reason}
        case ev.Gap() as gap:
            return {
                "seconds": gap.seconds,
                "events": gap.events,
                "bytes": gap.bytes,
                "reason": gap.reason,
            }
        case _:
            return {}


def _statement_data(event: AuditEvent, statement: ev.Statement) -> dict[str, Any]:
    end, error = event.complete, event.error
    shown = show_parameters(statement.binds or (), statement.bind_formats, statement.bind_types)
    command = end.command if end is not None else OUTCOME_UNKNOWN if event.recovered else ""
    return {
        "number": statement.number,
        "sql": statement.sql,
        "sent": statement.sent,
        "parameters": None if statement.binds is None else [value for value, _ in shown],
        "verdict": statement.outcome,
        "code": statement.code,
        "rule": statement.rule,
        "policy_version": statement.policy_version,
        "catalog_epoch": statement.epoch,
        "relations": list(statement.relations),
        "masked": list(statement.masked),
        "columns": list(statement.columns),
        "command": command,
        "rows": None if end is None else counted_rows(end),
        "sqlstate": "" if end is None else end.sqlstate,
        "seconds": None if end is None else end.seconds,
        "message": "" if error is None else error.message,
        "detail": "" if error is None else error.detail,
        "hint": "" if error is None else error.hint,
    }


def json_line(event: AuditEvent) -> str:
    """One line of JSON (RFC 8259), ASCII only, without its line feed: nothing in it acts on a
    terminal or ends the line.
    """
    return json.dumps(event_data(event), allow_nan=False).replace("\x7f", "\\u007f")
