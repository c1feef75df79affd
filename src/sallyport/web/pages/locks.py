"""Locks: who is kept out, keeping somebody out, letting them in again."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from sallyport.core.errors import RefusedError
from sallyport.identity.locks import KINDS, SUBJECT, Lock
from sallyport.operations.locks import (
    MAX_MINUTES,
    MAX_REASON,
    LockError,
    LockOperations,
    LockRequest,
)
from sallyport.web.console import FormError, Visit

_RECENT = 50


def operations(visit: Visit) -> LockOperations:
    """On the locks of this gateway."""
    return LockOperations(visit.services.locks, visit.services.gateway)


async def index(visit: Visit) -> Response:
    """What is locked now, and what was."""
    return await _page(visit)


async def _page(visit: Visit, problem: str = "", status: int = 200) -> Response:
    ops, now = operations(visit), visit.services.clock.now()
    recent = await run_in_threadpool(ops.recent, visit.principal, _RECENT)
    return visit.page(
        "locks.html",
        status,
        active=ops.list(visit.principal),
        past=[lock for lock in recent if not lock.in_force(now)],
        asked=_asked(visit),
        kinds=KINDS,
        problem=problem,
        max_reason=MAX_REASON,
        max_minutes=MAX_MINUTES,
    )


async def lock(visit: Visit) -> Response:
    """Lock a subject, agent, token or issuer; the form asked for confirmation."""
    try:
        request = _request(visit)
        made, ended = await operations(visit).lock(visit.principal, request)
    except (FormError, LockError) as error:
        visit.doing.reason = str(error)
        return await _page(visit, str(error), 422)
    except RefusedError as error:
        visit.doing.reason = not_stored(error)
        return await _page(visit, not_stored(error), 503)
    visit.doing.object_id = made.id
    visit.doing.details = lock_details(made, ended)
    return RedirectResponse("/locks", 303)


def lock_details(lock: Lock, ended: int) -> dict[str, str]:
    """What is recorded of a lock: all of it, so that the record alone says who was locked."""
    until = (
        "" if lock.expires_at is None else datetime.fromtimestamp(lock.expires_at, UTC).isoformat()
    )
    details = {"issuer": lock.issuer, "expires_at": until, "sessions_ended": str(ended)}
    return {"kind": lock.kind, "name": lock.name, "reason": lock.reason, **details}


def not_stored(error: RefusedError) -> str:
    """What a lock is worth that could not be stored."""
    return (
        "The lock is in force, and is lost if the gateway stops before it can be stored: "
        f"{error.refusal.message}. {error.refusal.hint}"
    )


def _asked(visit: Visit) -> dict[str, str]:
    """The form's fields. That of a session names both its subject and its agent, and ``who`` says
    which of them is meant.
    """
    asked = {
        field: str(visit.form.get(field, ""))
        for field in ("kind", "name", "issuer", "reason", "minutes")
    }
    if not asked["name"]:
        asked["kind"] = str(visit.form.get("who", asked["kind"] or SUBJECT))
        asked["name"] = str(visit.form.get(asked["kind"], ""))
    return asked


def _request(visit: Visit) -> LockRequest:
    """Raises FormError."""
    asked, minutes = _asked(visit), visit.field("minutes", 20)
    kind, name = asked["kind"], asked["name"]
    if visit.field("confirm") != "yes":
        raise FormError("Tick the box to confirm that live sessions should end.")
    if kind not in KINDS:
        raise FormError(f"Choose one of {', '.join(KINDS)}.")
    if minutes and not (minutes.isascii() and minutes.isdecimal() and len(minutes) <= 9):
        raise FormError(
            "Minutes: a whole number, or nothing for a lock that stays until it is released."
        )
    return LockRequest(
        kind, name, visit.field("reason"), visit.field("issuer"), int(minutes or "0")
    )


async def release(visit: Visit) -> Response:
    """Let somebody in again."""
    try:
        released = await operations(visit).release(visit.principal, visit.request.path_params["id"])
    except LockError as error:
        raise HTTPException(409, str(error)) from None
    except RefusedError as error:
        raise HTTPException(
            503, f"The lock stays: {error.refusal.message}. {error.refusal.hint}"
        ) from None
    visit.doing.add({released.kind: released.name})
    return RedirectResponse("/locks", 303)
