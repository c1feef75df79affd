"""Operations of the REST interface: locks, containments, and the record of what people did."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.concurrency import run_in_threadpool

from sallyport.core.errors import RefusedError
from sallyport.operations.actions import ActionQuery, action_data, find_actions
from sallyport.operations.containments import (
    ContainmentError,
    ContainmentOperations,
    containment_data,
    release_details,
)
from sallyport.operations.locks import LockError, LockOperations, LockRequest, lock_data
from sallyport.web.api.operations import (
    ANY_OBJECT,
    LIMIT,
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
from sallyport.web.pages.actions import OUTCOMES, place, place_of
from sallyport.web.pages.locks import lock_details, not_stored


class LockBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``kind``: subject (the token's sub), agent (its azp or client_id), token (its jti, or the id
    of a session token) or issuer. ``issuer``: of its tokens; "" means any. ``minutes``: 0 means
    until it is released. ``reason``: whoever is locked reads it.
    """

    kind: Annotated[str, Meta(pattern="^(subject|agent|token|issuer)$")]
    name: Annotated[str, Meta(min_length=1, max_length=1024)]
    reason: Annotated[str, Meta(min_length=1, max_length=500)]
    issuer: Annotated[str, Meta(max_length=1000)] = ""
    minutes: Annotated[int, Meta(ge=0, le=5_256_000)] = 0


class LockList(msgspec.Struct, frozen=True):
    """Newest first."""

    locks: list[dict[str, Any]]


class Locked(msgspec.Struct, frozen=True):
    """``sessions``: how many live sessions it ended."""

    lock: dict[str, Any]
    sessions: int


class ContainmentList(msgspec.Struct, frozen=True):
    """Newest first."""

    containments: list[dict[str, Any]]


class ActionList(msgspec.Struct, frozen=True):
    """Newest first. ``next``: the value of ``after`` for the page behind this one; null at the end.
    ``damaged``: recordings that cannot be read to their end.
    """

    actions: list[dict[str, Any]]
    next: str | None
    damaged: list[str]


def _lock_operations(call: Call) -> LockOperations:
    return LockOperations(call.services.locks, call.services.gateway)


async def list_locks(call: Call) -> Any:
    """``GET /locks``."""
    ops, status = _lock_operations(call), call.choice("status", "all")
    limit = call.number("limit", 50, 1, 500)
    if status == "all":
        locks = await run_in_threadpool(ops.recent, call.principal, limit)
    else:
        locks = ops.list(call.principal)[:limit]
    return {"locks": [lock_data(lock) for lock in locks]}


async def lock(call: Call) -> Any:
    """``POST /locks``."""
    body = call.body
    request = LockRequest(body.kind, body.name, body.reason, body.issuer, body.minutes)
    try:
        made, ended = await _lock_operations(call).lock(call.principal, request)
    except LockError as error:
        raise invalid(str(error)) from None
    except RefusedError as error:
        raise ProblemError(503, "Not stored", not_stored(error)) from None
    call.doing.object_id, call.doing.details = made.id, lock_details(made, ended)
    return {"lock": lock_data(made), "sessions": ended}


async def release_lock(call: Call) -> Any:
    """``POST /locks/{id}/release``."""
    try:
        lock = await _lock_operations(call).release(call.principal, call.path("id"))
    except LockError as error:
        raise not_found(str(error)) from None
    except RefusedError as error:
        raise ProblemError(503, "Not stored", f"The lock stays: {error.refusal.text}") from None
    call.doing.add({lock.kind: lock.name})
    return lock_data(lock)


def _containment_operations(call: Call) -> ContainmentOperations:
    return ContainmentOperations(call.services.gateway.containments)


async def list_containments(call: Call) -> Any:
    """In force, or with ``status=all`` also those that are over."""
    ops, limit = _containment_operations(call), call.number("limit", 50, 1, 500)
    if call.choice("status", "all") == "all":
        containments = await run_in_threadpool(ops.recent, call.principal, limit)
    else:
        containments = ops.list(call.principal)[:limit]
    return {"containments": [containment_data(containment) for containment in containments]}


async def release_containment(call: Call) -> Any:
    """As JSON, released."""
    try:
        released = await _containment_operations(call).release(call.principal, call.path("id"))
    except ContainmentError as error:
        if error.missing:
            raise not_found(str(error)) from None
        raise ProblemError(409, "Not released", str(error)) from None
    except RefusedError as error:
        raise ProblemError(503, "Not stored", f"It stays: {error.refusal.text}") from None
    call.doing.add(release_details(released))
    return containment_data(released)


async def list_actions(call: Call) -> Any:
    """``GET /actions``."""
    try:
        after = place_of(call.text("after"))
    except FormError:
        raise invalid("after: the value of 'next' of the page before") from None
    query = ActionQuery(
        subject=call.text("subject"),
        name=call.text("name"),
        object_id=call.text("object"),
        outcome=call.choice("outcome", *OUTCOMES),
        address=call.text("address"),
        since=call.seconds("since"),
        after=after,
        limit=call.number("limit", 50, 1, 500),
    )
    page = await run_in_threadpool(find_actions, call.sessions, query)
    return {
        "actions": [action_data(recorded) for recorded in page.actions],
        "next": None if page.after is None else place(page.after),
        "damaged": page.damaged,
    }


_OVER = {"type": "string", "enum": ["all"]}
_STATUS = Parameter("status", "'all': those that are over, too.", _OVER)

MANAGEMENT: tuple[Operation, ...] = (
    Operation(
        "GET", "/locks", "listLocks", "locks.read", "Locks in force, newest first.",
        list_locks, LockList,
        (_STATUS, LIMIT),
    ),
    Operation(
        "POST", "/locks", "lock", "locks.lock",
        "Keep a subject or agent out from now on, and end its live sessions.", lock, Locked,
        body=LockBody, errors=(503,),
    ),
    Operation(
        "POST", "/locks/{id}/release", "releaseLock", "locks.release", "Release the lock.",
        release_lock, ANY_OBJECT, errors=(404, 503),
    ),
    Operation(
        "GET", "/containments", "listContainments", "containments.read",
        "Who read untrusted text and is contained, newest first.",
        list_containments, ContainmentList,
        (_STATUS, LIMIT),
    ),
    Operation(
        "POST", "/containments/{id}/release", "releaseContainment", "containments.release",
        "Let a subject and its agent go.",
        release_containment, ANY_OBJECT, errors=(404, 409, 503),
    ),
    Operation(
        "GET", "/actions", "listActions", "audit.actions",
        "What people did in the console, over REST and in Slack, and refused logins, newest first.",
        list_actions, ActionList,
        (
            Parameter("subject", "Part of the id or e-mail of who did it.", TEXT),
            Parameter("name", "An action (sessions.replay), or what it is about (sessions).", TEXT),
            Parameter("object", "The id of what it was done to.", TEXT),
            Parameter("outcome", "Only these.", {"type": "string", "enum": list(OUTCOMES)}),
            Parameter("address", "The address that they came from.", TEXT),
            Parameter("since", "Then or later: RFC 3339, or Unix seconds.", TIME),
            Parameter(
                "after", "'next' of the page before.",
                {"type": "string", "pattern": r"^[a-z0-9_]{1,64}~\d{1,12}$"},
            ),
            LIMIT,
        ),
    ),
)  # fmt: skip
