"""Operations of the REST interface: findings, and the agents that they are about."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.concurrency import run_in_threadpool

from sallyport.core.errors import RefusedError
from sallyport.operations.findings import (
    FindingError,
    FindingOperations,
    FindingQuery,
    agent_data,
)
from sallyport.watch.detectors import DETECTORS
from sallyport.watch.finding import Severity, finding_data
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

_SEVERITIES = tuple(severity.value for severity in Severity)


class AcknowledgeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``expected``: it is usual from now on, and no finding any more."""

    reason: Annotated[str, Meta(min_length=1, max_length=500)]
    expected: bool = False


class FindingList(msgspec.Struct, frozen=True):
    """Newest first."""

    findings: list[dict[str, Any]]


class AgentList(msgspec.Struct, frozen=True):
    """The latest one first."""

    agents: list[dict[str, Any]]


def operations(call: Call) -> FindingOperations:
    """Raises ProblemError where nothing is watched."""
    services = call.services
    if services.watching is None:
        raise not_found("Unusual behaviour is not watched in this gateway (watch.enabled).")
    return FindingOperations(services.watching)


async def list_findings(call: Call) -> Any:
    """Newest first, filtered."""
    query = FindingQuery(
        severity=call.choice("severity", *_SEVERITIES),
        detector=call.choice("detector", *DETECTORS),
        agent=call.text("agent"),
        session=call.text("session"),
        open_only=call.choice("status", "open") == "open",
        since=call.seconds("since") or 0.0,
        limit=call.number("limit", 50, 1, 500),
    )
    findings = await run_in_threadpool(operations(call).list, call.principal, query)
    return {"findings": [finding_data(finding) for finding in findings]}


async def get_finding(call: Call) -> Any:
    """One finding."""
    try:
        finding = await run_in_threadpool(operations(call).get, call.principal, call.path("id"))
    except FindingError as error:
        raise not_found(str(error)) from None
    return finding_data(finding)


async def acknowledge_finding(call: Call) -> Any:
    """Somebody has looked at it."""
    body, ops = call.body, operations(call)
    try:
        finding = await run_in_threadpool(ops.checked, call.principal, call.path("id"), body.reason)
        done = ops.acknowledge(call.principal, finding, body.reason, expected=body.expected)
    except FindingError as error:
        raise (not_found if error.missing else invalid)(str(error)) from None
    except RefusedError as error:
        raise ProblemError(503, "Not stored", error.refusal.text) from None
    call.doing.add({"evidence": finding.evidence})
    return finding_data(done)


async def list_agents(call: Call) -> Any:
    """Those that are watched."""
    keys = await run_in_threadpool(operations(call).agents, call.principal)
    return {"agents": [agent_data(key) for key in keys]}


async def get_agent(call: Call) -> Any:
    """What an agent usually does."""
    ops = operations(call)
    try:
        key = await run_in_threadpool(ops.agent, call.principal, call.path("id"))
        return agent_data(key, ops.summary(call.principal, key))
    except FindingError as error:
        raise not_found(str(error)) from None


async def reset_agent(call: Call) -> Any:
    """Learn it from the beginning."""
    ops = operations(call)
    try:
        key = await run_in_threadpool(ops.agent, call.principal, call.path("id"))
    except FindingError as error:
        raise not_found(str(error)) from None
    ops.reset(call.principal, key)
    call.doing.add({"subject": key.subject, "agent": key.agent, "target": key.target})
    return agent_data(key)


FINDINGS: tuple[Operation, ...] = (
    Operation(
        "GET", "/findings", "listFindings", "findings.read",
        "Unusual behaviour of agents, newest first.", list_findings, FindingList,
        (
            Parameter("severity", "Only these.", {"type": "string", "enum": list(_SEVERITIES)}),
            Parameter("detector", "Only of this one.", {"type": "string", "enum": list(DETECTORS)}),
            Parameter("agent", "Part of the subject, actor or agent.", TEXT),
            Parameter("session", "Of this session.", TEXT),
            Parameter("status", "'open': not acknowledged.", {"type": "string", "enum": ["open"]}),
            Parameter("since", "Then or later; Unix seconds.", TIME),
            LIMIT,
        ),
        errors=(404,),
    ),
    Operation(
        "GET", "/findings/{id}", "getFinding", "findings.read", "One finding.", get_finding,
        ANY_OBJECT, errors=(404,),
    ),
    Operation(
        "POST", "/findings/{id}/acknowledge", "acknowledgeFinding", "findings.acknowledge",
        "Say that somebody has looked at it. What waits because of it goes on.",
        acknowledge_finding, ANY_OBJECT, body=AcknowledgeBody, errors=(404, 503),
    ),
    Operation(
        "GET", "/agents", "listAgents", "findings.read", "Agents that are watched.", list_agents,
        AgentList, errors=(404,),
    ),
    Operation(
        "GET", "/agents/{id}", "getAgent", "findings.read", "What an agent usually does.",
        get_agent, ANY_OBJECT, errors=(404,),
    ),
    Operation(
        "POST", "/agents/{id}/reset", "resetAgent", "baselines.reset",
        "Learn an agent from the beginning, after a deployment, say.", reset_agent, ANY_OBJECT,
        errors=(404,),
    ),
)  # fmt: skip
