"""What waits for a person: the inbox (live), one request with all a reviewer needs, and the
decision.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from sse_starlette.sse import EventSourceResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sallyport.approvals.preview.sampling import Sample
from sallyport.approvals.problems import DecisionError
from sallyport.approvals.states import Request, Status
from sallyport.audit.archive import RecordingError
from sallyport.core.errors import Refusal, RefusedError
from sallyport.operations.approvals import HTTP_STATUS, ApprovalOperations, request_data
from sallyport.operations.sessions import StatementLine, UnknownSessionError
from sallyport.web.console import FormError, Visit

_REFRESH_SECONDS = 1.0
_MAX_STREAMS = 8
_RECENT = 25
_SESSION_SO_FAR = 25


def operations(visit: Visit) -> ApprovalOperations:
    """Raises HTTPException (404) when this gateway has no approvals."""
    if visit.services.approvals is None:
        raise HTTPException(404, "Approvals are not configured in this gateway.")
    return ApprovalOperations(visit.services.approvals, "web", visit.services.gateway)


async def _inbox_values(visit: Visit) -> dict[str, Any]:
    if visit.services.approvals is None:
        return {"pending": [], "recent": [], "grants": []}
    ops, who = operations(visit), visit.principal
    pending = await ops.list(who, pending=True)
    recent = await ops.list(who, limit=_RECENT)
    grants = await run_in_threadpool(ops.grants, who) if who.may("approvals.read") else []
    return {
        "pending": pending,
        "recent": [r for r in recent if r.status is not Status.PENDING],
        "grants": grants,
    }


async def inbox(visit: Visit) -> Response:
    """What waits, and what was decided last."""
    return visit.page("approvals.html", **await _inbox_values(visit))


async def stream(visit: Visit) -> Response:
    """The inbox as server-sent events: the whole of it, whenever something in it changed."""
    if visit.signin.streams >= _MAX_STREAMS:
        raise HTTPException(
            429, f"At most {_MAX_STREAMS} pages of one sign-in are live.", {"Retry-After": "60"}
        )
    return EventSourceResponse(_counted(visit), ping=15)


async def _counted(visit: Visit) -> AsyncIterator[dict[str, str]]:
    visit.signin.streams += 1
    try:
        async with contextlib.aclosing(_changes(visit)) as changes:
            async for change in changes:
                yield change
    finally:
        visit.signin.streams -= 1


async def _changes(visit: Visit) -> AsyncGenerator[dict[str, str], None]:
    before: object = None
    console = visit.console
    while not console.closing and await console.sign_in_of(visit.request, touch=False) is not None:
        values = await _inbox_values(visit)
        if values != before:
            before = values
            yield {
                "data": visit.fragment("approvals-inbox.html", **{**values, "path": "/approvals"})
            }
        await asyncio.sleep(_REFRESH_SECONDS)


async def show(visit: Visit) -> Response:
    """One request."""
    return await _detail(visit)


async def _detail(visit: Visit, problem: str = "", status: int = 200) -> Response:
    ops = operations(visit)
    visit.doing.reason = problem
    try:
        request = await ops.show(visit.principal, visit.request.path_params["id"])
    except DecisionError as error:
        raise HTTPException(HTTP_STATUS[error.problem], str(error.refusal.message)) from None
    session = request.binding.session
    so_far, missing = await run_in_threadpool(_so_far, visit, session) if session else ([], "")
    return visit.page(
        "approval.html",
        status,
        request=request,
        binds=request_data(request)["binds"] or [],
        plan=_plan(request),
        # sallyport.* are the gateway's own and say what stands beside them.
        settings=[s for s in request.binding.settings if not s[0].startswith("sallyport.")],
        why_not=await run_in_threadpool(ops.why_not_decide, visit.principal, request),
        so_far=so_far,
        so_far_missing=missing,
        problem=problem,
        reason=str(visit.form.get("reason", ""))[:2000],
    )


def _plan(request: Request) -> str:
    plan = request.preview.plan if request.preview else ""
    try:
        return json.dumps(json.loads(plan), indent=2, ensure_ascii=False) if plan else ""
    except (ValueError, RecursionError):
        return plan


def _so_far(visit: Visit, session: str) -> tuple[list[StatementLine], str]:
    """What the session did last, newest first; why there is nothing, when there is nothing."""
    try:
        return visit.sessions.latest(session, _SESSION_SO_FAR), ""
    except (UnknownSessionError, RecordingError) as error:
        return [], str(error)


async def status(visit: Visit) -> Response:
    """The part of the detail that changes by itself."""
    ops = operations(visit)
    try:
        request = await ops.show(visit.principal, visit.request.path_params["id"])
    except DecisionError as error:
        raise HTTPException(HTTP_STATUS[error.problem], str(error.refusal.message)) from None
    return HTMLResponse(visit.fragment("approval-status.html", request=request))


async def sample(visit: Visit) -> Response:
    """Some of the rows that it would change, masked for whoever looks: measured now, and kept
    nowhere.
    """
    ops = operations(visit)
    try:
        result = await ops.sample(visit.principal, visit.request.path_params["id"])
    except DecisionError as error:
        raise HTTPException(HTTP_STATUS[error.problem], str(error.refusal.message)) from None
    except RefusedError as error:
        result = Sample(problem=error.refusal.message)
    return HTMLResponse(visit.fragment("approval-sample.html", sample=result))


async def decide(visit: Visit) -> Response:
    """Approve or reject a request, then show it."""
    ops, id_ = operations(visit), visit.request.path_params["id"]
    try:
        await run_in_threadpool(_decide, visit, ops, id_)
    except FormError as error:
        return await _detail(visit, str(error), 422)
    except DecisionError as error:
        return await _detail(visit, _sentences(error.refusal), HTTP_STATUS[error.problem])
    except RefusedError as error:
        return await _detail(visit, _sentences(error.refusal), 503)
    return RedirectResponse(f"/approvals/{id_}", 303)


def _sentences(refusal: Refusal) -> str:
    """Message and hint, for people: the message has no full stop of its own, as PostgreSQL's have
    none.
    """
    return (
        ". ".join(part.rstrip(".") for part in (str(refusal.message), refusal.hint) if part) + "."
    )


def _decide(visit: Visit, ops: ApprovalOperations, id_: str) -> None:
    word, reason = visit.field("decision"), visit.field("reason", 2000)
    scope, minutes = visit.field("scope"), visit.field("minutes")
    if word == "deny":
        ops.deny(visit.principal, id_, reason)
    elif word != "approve":
        raise FormError("Choose approve or deny.")
    elif scope in ("", "once"):
        ops.approve(visit.principal, id_, reason)
    elif scope in ("statement", "rule"):
        if not minutes.isdecimal() or not 1 <= int(minutes[:6]) <= 1440:
            raise FormError("Minutes: a whole number from 1 to 1440.")
        ops.grant(visit.principal, id_, float(minutes), scope=scope, reason=reason)
    else:
        raise FormError("Choose what the approval is for.")


async def revoke(visit: Visit) -> Response:
    """End a grant."""
    ops = operations(visit)
    try:
        await run_in_threadpool(
            ops.revoke,
            visit.principal,
            visit.request.path_params["id"],
            visit.field("reason", 2000),
        )
    except DecisionError as error:
        raise HTTPException(HTTP_STATUS[error.problem], error.refusal.message) from None
    return RedirectResponse("/approvals", 303)
