"""Sessions: search, one session with its statements, ending a live one, replay."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sallyport.audit import replay as rp
from sallyport.audit.archive import RecordingError
from sallyport.audit.ports import ACTIONS, SESSION, SessionQuery, SessionRow
from sallyport.core.errors import RefusedError
from sallyport.operations.ports import LiveSession
from sallyport.operations.searching import SearchPage
from sallyport.operations.sessions import UnknownSessionError
from sallyport.web.console import FormError, Visit

log = structlog.get_logger("sallyport.web")

#: How long one page of a search may read recordings.
SEARCH_SECONDS = 4.0
_PAGE = 50
_STATEMENTS = 100
_STEPS = 300
_STEP_BYTES = 256 << 10
_MAX_POSITION = 2**40


async def index(visit: Visit) -> Response:
    """Search, newest first; one page."""
    asked = visit.request.query_params
    problem, page = "", SearchPage()
    try:
        query = _query(dict(asked))
        page = await run_in_threadpool(visit.sessions.search, query, SEARCH_SECONDS)
    except FormError as error:
        problem = str(error)
    following = ""
    if page.after is not None:
        filters = {k: v for k, v in asked.items() if k in _FIELDS and v}
        following = "/sessions?" + urlencode({**filters, "after": place(page.after)})
    live = {session.id: session for session in visit.services.gateway.live()}
    return visit.page(
        "sessions.html",
        422 if problem else 200,
        found=page,
        by_statement=any(asked.get(name) for name in ("text", "relation", "verdict")),
        live=live,
        asked={name: asked.get(name, "") for name in _FIELDS},
        targets=[t.name for t in visit.services.gateway.targets()],
        following=following,
        later=bool(asked.get("after")),
        problem=problem,
    )


_FIELDS = ("text", "relation", "verdict", "subject", "target", "status", "since", "until")
_VERDICTS = {"": "", "allowed": "allow", "held": "hold", "refused": "deny"}


def _query(asked: dict[str, str]) -> SessionQuery:
    """Raises FormError."""
    status, verdict = asked.get("status", ""), _VERDICTS.get(asked.get("verdict", ""))
    if status not in ("", "live", "ended", "interrupted") or verdict is None:
        raise FormError(
            "Status is live, ended or interrupted; outcome is allowed, held or refused."
        )
    if any(len(asked.get(name, "")) > 300 for name in _FIELDS):
        raise FormError("A search field has at most 300 characters.")
    return SessionQuery(
        subject=asked.get("subject", "").strip(),
        target=asked.get("target", "").strip(),
        status=status,
        since=time_of(asked.get("since", "")),
        until=time_of(asked.get("until", "")),
        text=asked.get("text", "").strip(),
        relation=asked.get("relation", "").strip(),
        verdict=verdict,
        after=after_of(asked.get("after", "")),
        kind=SESSION,
        limit=_PAGE,
    )


def time_of(text: str) -> float | None:
    """Unix seconds of what a form's field has, None for "". Raises FormError."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise FormError("Times look like 2026-11-21T09:30 (UTC).") from None
    return at.replace(tzinfo=at.tzinfo or UTC).timestamp()


def place(after: tuple[float, str]) -> str:
    """As :func:`after_of` reads it."""
    return f"{after[0]!r}~{after[1]}"


def after_of(text: str) -> tuple[float, str] | None:
    """``started~id`` of the row before the page. Raises FormError."""
    if not text:
        return None
    started, _, id_ = text.partition("~")
    try:
        at = float(started)
    except ValueError:
        at = math.nan
    if not math.isfinite(at) or not id_ or len(id_) > 100:
        raise FormError("The address of this page is not valid. Search again.")
    return at, id_


def _find(visit: Visit) -> SessionRow:
    id_ = visit.request.path_params["id"]
    try:
        row = visit.sessions.find(id_)
    except UnknownSessionError as error:
        raise HTTPException(404, str(error)) from None
    if row.id != id_ or row.kind == ACTIONS:  # a prefix is for people who type; an address is exact
        raise HTTPException(404, f"There is no session {id_}.")
    return row


def _live(visit: Visit, session_id: str) -> LiveSession | None:
    return next(
        (session for session in visit.services.gateway.live() if session.id == session_id), None
    )


def position(text: str) -> int:
    """A place in a recording. Raises HTTPException (422)."""
    if not text.isascii() or not text.isdecimal() or len(text) > 12 or int(text) > _MAX_POSITION:
        raise HTTPException(422, "The position is a whole number.")
    return int(text)


async def show(visit: Visit) -> Response:
    """One session: who, and a page of its statements."""
    row = await run_in_threadpool(_find, visit)
    start = position(visit.request.query_params.get("from", "0"))
    try:
        page = await run_in_threadpool(
            visit.console.pager.page,
            ("statements", row.id, visit.principal.subject),
            lambda: visit.sessions.statements(row.id),
            start,
            _STATEMENTS,
        )
        problem = ""
    except RecordingError as error:
        page, problem = None, str(error)
    return visit.page(
        "session.html", row=row, live=_live(visit, row.id), lines=page, problem=problem
    )


async def kill(visit: Visit) -> Response:
    """End a live session; the form asked for confirmation."""
    id_ = visit.request.path_params["id"]
    if visit.field("confirm") != "yes":
        raise HTTPException(422, "Tick the box to confirm that this session should end.")
    who = visit.principal.subject
    log.warning(
        "session killed", session=id_, by=who.id, issuer=who.issuer, address=visit.principal.address
    )
    try:
        is_ended = visit.services.gateway.kill(id_, kill_reason(who.email or who.id))
    except RefusedError as error:
        raise HTTPException(503, error.refusal.text) from None
    if not is_ended:
        raise HTTPException(409, "This session is no longer connected.")
    return RedirectResponse(f"/sessions/{id_}", 303)


def kill_reason(who: str) -> str:
    """Who did it: the client reads it and the recording keeps it. The gateway adds what was
    done.
    """
    return who


async def replay(visit: Visit) -> Response:
    """The player, with the first page in it: it is readable without script, page after page."""
    row = await run_in_threadpool(_find, visit)
    return visit.page("replay.html", row=row, **await _steps(visit, row))


async def replay_steps(visit: Visit) -> Response:
    """A page of steps, for the player."""
    row = await run_in_threadpool(_find, visit)
    return HTMLResponse(visit.fragment("replay-steps.html", row=row, **await _steps(visit, row)))


async def _steps(visit: Visit, row: SessionRow) -> dict[str, Any]:
    start = position(visit.request.query_params.get("from", "0"))
    try:
        page = await visit.console.replay_page(visit.principal, row.id, start, _STEPS, _STEP_BYTES)
    except RecordingError as error:
        return {"scenes": [], "start": start, "following": None, "problem": str(error)}
    return {"scenes": scenes(page.items), "start": start, "following": page.next, "problem": ""}


@dataclass(slots=True)
class Scene:
    """Something to show at once: a step, or the rows of a result that came together. ``kind`` names
    the template's part.
    """

    kind: str
    at: float
    step: rp.Step
    columns: tuple[str, ...] = ()
    rows: list[tuple[str | None, ...]] = field(default_factory=list)
    text: str = ""

    @property
    def refused(self) -> bool:
        return isinstance(self.step, rp.Asked) and self.step.statement.outcome != "allow"

    @property
    def decided(self) -> bool:
        """Whether it is what became of a request for approval."""
        return isinstance(self.step, rp.Remark) and self.step.kind == "approval"

    @property
    def sent(self) -> str:
        """What ran in a statement's place, "" where it ran as it came."""
        return self.step.statement.sent if isinstance(self.step, rp.Asked) else ""

    @property
    def masked(self) -> tuple[str, ...]:
        """Columns that are masked in the rows of a statement."""
        return self.step.statement.masked if isinstance(self.step, rp.Asked) else ()


_KINDS: dict[type[rp.Step], str] = {
    rp.Opened: "opened",
    rp.Asked: "asked",
    rp.Columns: "rows",
    rp.ResultRow: "rows",
    rp.Diagnostic: "diagnostic",
    rp.Copied: "copied",
    rp.CommandCompleted: "completed",
    rp.StatementEnded: "ended",
    rp.Remark: "remark",
    rp.Closed: "closed",
}


def scenes(steps: tuple[rp.Step, ...]) -> list[Scene]:
    """Steps as a page shows them: rows gathered under their columns, which stand again over rows
    that come behind a notice or on the next page.
    """
    out: list[Scene] = []
    for step in steps:
        last = out[-1] if out else None
        if isinstance(step, rp.ResultRow):
            if last is None or last.kind != "rows" or len(last.columns) != len(step.values):
                _drop_header(out, step.number)
                last = Scene("rows", step.at, step, step.names)
                out.append(last)
            last.rows.append(step.values)
        elif isinstance(step, rp.Columns):
            out.append(Scene("rows", step.at, step, step.names))
        else:
            scene = Scene(_KINDS[type(step)], step.at, step)
            if isinstance(step, rp.Copied):
                scene.text = step.data[:2000].decode("utf-8", "backslashreplace")
            out.append(scene)
    return out


def _drop_header(out: list[Scene], number: int) -> None:
    """Drop the header of this statement's result while it has no rows."""
    for place in range(len(out) - 1, -1, -1):
        scene = out[place]
        if scene.kind == "rows":
            begun = scene.step
            if not scene.rows and isinstance(begun, rp.Columns) and begun.number == number:
                del out[place]
            return
