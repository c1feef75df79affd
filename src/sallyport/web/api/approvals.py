"""The operations of the REST interface on requests for approval."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.concurrency import run_in_threadpool

from sallyport.approvals.problems import DecisionError
from sallyport.core.errors import RefusedError
from sallyport.operations.approvals import (
    HTTP_STATUS,
    ApprovalOperations,
    grant_data,
    request_data,
    sample_data,
)
from sallyport.web.api.operations import (
    ANY_OBJECT,
    LIMIT,
    Call,
    Operation,
    Parameter,
    ProblemError,
    not_found,
)


class DecisionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``reason``: needed for a denial; whoever asked reads it. ``minutes``: approve what is like it
    for so long, too. ``scope``: how like.
    """

    approve: bool
    reason: Annotated[str, Meta(max_length=2000)] = ""
    minutes: Annotated[int, Meta(ge=0, le=1440)] = 0
    scope: Annotated[str, Meta(pattern="^(statement|rule)$")] = "statement"


class ApprovalList(msgspec.Struct, frozen=True):
    """Requests, newest first."""

    approvals: list[dict[str, Any]]


def _operations(call: Call) -> ApprovalOperations:
    if call.services.approvals is None:
        raise not_found("Approvals are not configured in this gateway.")
    return ApprovalOperations(call.services.approvals, "rest", call.services.gateway)


async def list_approvals(call: Call) -> Any:
    """``GET /approvals``."""
    status, limit = call.choice("status", "pending"), call.number("limit", 50, 1, 500)
    requests = await _operations(call).list(
        call.principal, pending=status == "pending", limit=limit
    )
    return {"approvals": [request_data(request, details=False) for request in requests]}


async def get_approval(call: Call) -> Any:
    """``GET /approvals/{id}``."""
    ops = _operations(call)
    try:
        return request_data(await ops.show(call.principal, call.path("id")))
    except DecisionError as error:
        raise _decision_problem(error) from None


class SampleData(msgspec.Struct, frozen=True):
    """Values as text, null for NULL. ``masked``: columns that policy masks for whoever asks.
    ``problem``: why there are no rows.
    """

    columns: list[str]
    rows: list[list[str | None]]
    masked: list[str]
    problem: str


async def get_sample(call: Call) -> Any:
    """``GET /approvals/{id}/sample``."""
    ops = _operations(call)
    try:
        return sample_data(await ops.sample(call.principal, call.path("id")))
    except DecisionError as error:
        raise _decision_problem(error) from None
    except RefusedError as error:
        raise ProblemError(503, "Not measured", error.refusal.text) from None


async def decide(call: Call) -> Any:
    """``POST /approvals/{id}/decision``."""
    ops, body, who, id_ = _operations(call), call.body, call.principal, call.path("id")
    try:
        if body.approve and body.minutes:
            grant = await run_in_threadpool(
                ops.grant, who, id_, float(body.minutes), scope=body.scope, reason=body.reason
            )
            request = await ops.show(who, id_)
            return {**request_data(request), "granted": grant_data(grant)}
        decided = await run_in_threadpool(ops.decide, who, id_, body.approve, body.reason)
        return request_data((await ops.seen(who, [decided]))[0])
    except DecisionError as error:
        raise _decision_problem(error) from None
    except RefusedError as error:
        raise ProblemError(503, "Not recorded", error.refusal.text) from None


def _decision_problem(error: DecisionError) -> ProblemError:
    detail = f"{error.refusal.message}. {error.refusal.hint}".strip()
    return ProblemError(
        HTTP_STATUS[error.problem], error.problem.value, detail, code=error.refusal.code.id
    )


APPROVALS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/approvals",
        "listApprovals",
        "approvals.list",
        "Requests for approval.",
        list_approvals,
        ApprovalList,
        (Parameter("status", "Only these.", {"type": "string", "enum": ["pending"]}), LIMIT),
        errors=(404,),
    ),
    Operation(
        "GET",
        "/approvals/{id}",
        "getApproval",
        "approvals.read",
        "One request, whole.",
        get_approval,
        ANY_OBJECT,
        errors=(404,),
    ),
    Operation(
        "GET",
        "/approvals/{id}/sample",
        "sampleApproval",
        "approvals.read",
        "Some of the rows it would change, masked for you.",
        get_sample,
        SampleData,
        errors=(404, 503),
        action="approvals.sample",
    ),
    Operation(
        "POST",
        "/approvals/{id}/decision",
        "decideApproval",
        "approvals.decide",
        "Approve or deny.",
        decide,
        ANY_OBJECT,
        body=DecisionBody,
        errors=(404, 409, 503),
    ),
)
