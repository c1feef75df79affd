"""The operations of the REST interface on sessions and what they recorded."""

from __future__ import annotations

import base64
from dataclasses import dataclass, fields
from typing import Any

import msgspec
import structlog
from starlette.concurrency import run_in_threadpool

from sallyport.audit import replay as rp
from sallyport.audit.archive import RecordingError
from sallyport.audit.ports import SESSION, SessionQuery, SessionRow
from sallyport.core.errors import RefusedError
from sallyport.operations.history import VERDICTS
from sallyport.operations.jsondata import row_data, struct_data
from sallyport.operations.sessions import UnknownSessionError
from sallyport.web.api.operations import (
    FAR,
    LIMIT,
    POSITION,
    TEXT,
    TIME,
    Call,
    Operation,
    Parameter,
    ProblemError,
    invalid,
    not_found,
)
from sallyport.web.console import FormError
from sallyport.web.pages.sessions import SEARCH_SECONDS, after_of, kill_reason, place

log = structlog.get_logger("sallyport.web")
_EVENT_BYTES = 1 << 20


@dataclass(slots=True)
class FoundSession(SessionRow):
    """``statement``: number of its first statement that was looked for; null when none was."""

    statement: int | None = None


class SessionPage(msgspec.Struct, frozen=True):
    """``next``: the value of ``after`` for the page behind this one; null at the end. A search for
    statements stops after some seconds: a page may be short, or empty, and there is more while
    ``next`` is not null. ``unread``: sessions whose recordings could not be searched.
    """

    sessions: list[FoundSession]
    next: str | None
    unread: list[str]


class EventPage(msgspec.Struct, frozen=True):
    """``next``: the value of ``start`` for the next page; null when there is nothing more (of a
    live session: yet).
    """

    events: list[dict[str, Any]]
    start: int
    next: int | None


class Killed(msgspec.Struct, frozen=True):
    """The session that was ended."""

    killed: str


async def list_sessions(call: Call) -> Any:
    """``GET /sessions``."""
    limit = call.number("limit", 50, 1, 500)
    status = call.choice("status", "live", "ended", "interrupted")
    refused = call.choice("refused", "true", "false")
    try:
        after = after_of(call.text("after"))
        if after is None and "after" in call.request.query_params:
            raise FormError("empty")
    except FormError:
        raise invalid("after: the value of 'next' of the page before") from None
    query = SessionQuery(
        subject=call.text("subject"),
        target=call.text("target"),
        status=status,
        since=call.seconds("since"),
        until=call.seconds("until"),
        refused=refused == "true",
        after=after,
        limit=limit,
        text=call.text("text"),
        relation=call.text("relation"),
        verdict=call.choice("verdict", *VERDICTS),
        kind=SESSION,
    )
    page = await run_in_threadpool(call.sessions.search, query, SEARCH_SECONDS)
    return {
        "sessions": [
            {
                **row_data(match.row),
                "statement": None if match.statement is None else match.statement.number,
            }
            for match in page.matches
        ],
        "next": None if page.after is None else place(page.after),
        "unread": page.unread,
    }


async def get_session(call: Call) -> Any:
    """``GET /sessions/{id}``."""
    return row_data(await run_in_threadpool(_row, call))


def _row(call: Call) -> SessionRow:
    id_ = call.path("id")
    try:
        row = call.sessions.find(id_)
    except UnknownSessionError as error:
        raise not_found(str(error)) from None
    if row.id != id_:
        raise not_found(f"There is no session {id_}; whole ids only.")
    return row


async def session_events(call: Call) -> Any:
    """``GET /sessions/{id}/events``."""
    start, limit = call.number("start", 0, 0, FAR), call.number("limit", 200, 1, 1000)
    row = await run_in_threadpool(_row, call)
    try:
        page = await call.console.replay_page(call.principal, row.id, start, limit, _EVENT_BYTES)
    except RecordingError as error:
        raise not_found(str(error)) from None
    return {
        "events": [step_data(step) for step in page.items],
        "start": page.start,
        "next": page.next,
    }


def step_data(step: rp.Step) -> dict[str, Any]:
    """A step as JSON values: ``kind`` and its fields; bytes as base64."""
    data: dict[str, Any] = {"kind": rp.kind_of(step)}
    for field in fields(step):
        data[field.name] = _plain(getattr(step, field.name))
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, msgspec.Struct):
        return {name: _plain(item) for name, item in struct_data(value).items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


async def kill_session(call: Call) -> Any:
    """``POST /sessions/{id}/kill``."""
    id_, who = call.path("id"), call.principal.subject
    log.warning(
        "session killed", session=id_, by=who.id, issuer=who.issuer, address=call.principal.address
    )
    try:
        is_ended = call.services.gateway.kill(id_, kill_reason(who.email or who.id))
    except RefusedError as error:
        raise ProblemError(503, "Not ended", error.refusal.text) from None
    if not is_ended:
        raise not_found(f"No session {id_} is connected.")
    return {"killed": id_}


SESSIONS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/sessions",
        "listSessions",
        "sessions.list",
        "Sessions, newest first, one page.",
        list_sessions,
        SessionPage,
        (
            Parameter("subject", "Part of subject, label or agent.", TEXT),
            Parameter("target", "The target's name.", TEXT),
            Parameter(
                "status",
                "Only these.",
                {"type": "string", "enum": ["live", "ended", "interrupted"]},
            ),
            Parameter("refused", "Only those with a refused statement.", {"type": "boolean"}),
            Parameter(
                "text",
                "Part of a statement's SQL, whatever case and layout. Needs sessions.read.",
                TEXT,
            ),
            Parameter(
                "relation",
                "A relation that the statement touches, with or without its schema. Needs"
                " sessions.read.",
                TEXT,
            ),
            Parameter(
                "verdict",
                "The statement's verdict: of the same statement as text and relation.",
                {"type": "string", "enum": list(VERDICTS)},
            ),
            Parameter("since", "Started then or later: RFC 3339, or Unix seconds.", TIME),
            Parameter("until", "Started before: RFC 3339, or Unix seconds.", TIME),
            Parameter(
                "after",
                "'next' of the page before.",
                {"type": "string", "pattern": r"^\d{1,12}(\.\d{1,9})?~[a-z0-9_]{1,64}$"},
            ),
            LIMIT,
        ),
    ),
    Operation(
        "GET",
        "/sessions/{id}",
        "getSession",
        "sessions.read",
        "One session.",
        get_session,
        SessionRow,
        errors=(404,),
    ),
    Operation(
        "GET",
        "/sessions/{id}/events",
        "listSessionEvents",
        "sessions.replay",
        "What the agent asked and saw, step by step, one page.",
        session_events,
        EventPage,
        (
            Parameter("start", "Position of the first step.", POSITION),
            Parameter(
                "limit",
                "The maximum number of steps.",
                {"type": "integer", "minimum": 1, "maximum": 1000, "default": 200},
            ),
        ),
        errors=(404,),
    ),
    Operation(
        "POST",
        "/sessions/{id}/kill",
        "killSession",
        "sessions.kill",
        "End a live session.",
        kill_session,
        Killed,
        errors=(404,),
    ),
)
