"""Containments: who read untrusted text and is contained, and letting them go."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from sallyport.core.errors import RefusedError
from sallyport.operations.containments import (
    ContainmentError,
    ContainmentOperations,
    release_details,
)
from sallyport.web.console import Visit

_RECENT = 50


def operations(visit: Visit) -> ContainmentOperations:
    """On the gateway's own."""
    return ContainmentOperations(visit.services.gateway.containments)


async def index(visit: Visit) -> Response:
    """Those in force, and the last that are over."""
    ops, now = operations(visit), visit.services.clock.now()
    recent = await run_in_threadpool(ops.recent, visit.principal, _RECENT)
    active = ops.list(visit.principal)
    current = {containment.id for containment in active}
    past = [kept for kept in recent if kept.id not in current and not kept.in_force(now)]
    return visit.page("containments.html", active=active, past=past)


async def release(visit: Visit) -> Response:
    """Let a subject and its agent go."""
    try:
        released = await operations(visit).release(visit.principal, visit.request.path_params["id"])
    except ContainmentError as error:
        raise HTTPException(409, str(error)) from None
    except RefusedError as error:
        problem = f"It stays: {error.refusal.message}. {error.refusal.hint}"
        raise HTTPException(503, problem) from None
    visit.doing.add(release_details(released))
    return RedirectResponse("/containments", 303)
