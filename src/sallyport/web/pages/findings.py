"""Findings, and what each agent usually does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from sallyport.core.errors import RefusedError
from sallyport.operations.findings import (
    MAX_REASON,
    FindingError,
    FindingOperations,
    FindingQuery,
    id_of,
)
from sallyport.watch.baseline import HOURS, Baseline
from sallyport.watch.detectors import DETECTORS
from sallyport.watch.finding import AgentKey, Finding, Severity
from sallyport.watch.watcher import AgentSummary
from sallyport.web.console import Visit
from sallyport.web.pages import plots

_SEVERITIES = tuple(severity.value for severity in Severity)
_PAGE = 100
_FIELDS = ("severity", "detector", "agent", "session", "status")
#: Days of an agent's page, and rows of its matrix.
_DAYS = 60
_ROWS = 40
_LEVELS = 5


def operations(visit: Visit) -> FindingOperations:
    """Raises HTTPException (404) where nothing is watched."""
    services = visit.services
    if services.watching is None:
        raise HTTPException(404, "Unusual behaviour is not watched here: watch.enabled is false.")
    return FindingOperations(services.watching)


async def index(visit: Visit) -> Response:
    """Newest first, filtered."""
    asked = {name: visit.request.query_params.get(name, "").strip()[:200] for name in _FIELDS}
    ops = operations(visit)
    query = FindingQuery(
        severity=asked["severity"],
        detector=asked["detector"],
        agent=asked["agent"],
        session=asked["session"],
        open_only=asked["status"] == "open",
        limit=_PAGE,
    )
    listed = await run_in_threadpool(ops.list, visit.principal, query)
    agents = await run_in_threadpool(ops.agents, visit.principal)
    return visit.page(
        "findings.html",
        findings=listed,
        agents=[(key, id_of(key)) for key in agents[:_PAGE]],
        id_of=id_of,
        asked=asked,
        severities=_SEVERITIES,
        detectors=tuple(DETECTORS),
        limit=_PAGE,
    )


async def show(visit: Visit) -> Response:
    """One finding, and the form to acknowledge it."""
    try:
        finding = await run_in_threadpool(
            operations(visit).get, visit.principal, visit.request.path_params["id"]
        )
    except FindingError as error:
        raise HTTPException(404, str(error)) from None
    return _finding_page(visit, finding)


def _finding_page(visit: Visit, finding: Finding, problem: str = "", status: int = 200) -> Response:
    return visit.page(
        "finding.html",
        status,
        finding=finding,
        agent_id=id_of(finding.key),
        problem=problem,
        max_reason=MAX_REASON,
    )


async def acknowledge(visit: Visit) -> Response:
    """Somebody has looked at it."""
    ops, id_ = operations(visit), visit.request.path_params["id"]
    reason, expected = visit.field("reason", MAX_REASON), visit.field("expected") == "yes"
    try:
        finding = await run_in_threadpool(ops.checked, visit.principal, id_, reason)
        ops.acknowledge(visit.principal, finding, reason, expected=expected)
    except FindingError as error:
        if error.missing:
            raise HTTPException(404, str(error)) from None
        visit.doing.reason = str(error)
        finding = await run_in_threadpool(ops.get, visit.principal, id_)
        return _finding_page(visit, finding, str(error), 422)
    except RefusedError as error:
        raise HTTPException(503, f"Not stored: {error.refusal.message}.") from None
    return RedirectResponse(f"/findings/{id_}", 303)


async def agent(visit: Visit) -> Response:
    """What an agent usually does, and what it does today."""
    ops = operations(visit)
    try:
        key = await run_in_threadpool(ops.agent, visit.principal, visit.request.path_params["id"])
        summary = ops.summary(visit.principal, key)
    except FindingError as error:
        raise HTTPException(404, str(error)) from None
    query = FindingQuery(agent=key.agent or key.subject, limit=_PAGE)
    findings = await run_in_threadpool(ops.list, visit.principal, query)
    return visit.page(
        "agent.html",
        key=key,
        agent_id=id_of(key),
        findings=[finding for finding in findings if finding.key == key],
        summary=summary,
        learning=ops.learning,
        **_agent_values(key, summary, visit.services.clock.now()),
    )


def _agent_values(key: AgentKey, summary: AgentSummary, now: float) -> dict[str, Any]:
    baseline = summary.baseline
    days = [
        (_date(day), {"allow": statements - refused, "deny": refused})
        for day, statements, refused, _ in baseline.history[-_DAYS:]
    ]
    rows = [(_date(day), "", rows) for day, _, _, rows in baseline.history[-_DAYS:]]
    actions, matrix = _matrix(summary, now)
    return {
        "statements": plots.stacked("Statements a day by verdict", days),
        "rows": plots.bars("Rows a day", rows[::-1][:14]),
        "has_days": bool(days),
        "actions": actions,
        "matrix": matrix,
        "hours": _hours(baseline),
        "masked": sorted(baseline.masked.weights)[:_ROWS],
        "refusal_share": baseline.share_refused(),
    }


def _matrix(summary: AgentSummary, now: float) -> tuple[list[str], list[dict[str, Any]]]:
    """Relations by actions: the share of each in the past, and what is new at present."""
    shares = dict(summary.baseline.relations.shares())
    new: set[str] = set()
    if summary.recent is not None:
        new = set(summary.recent.episode.new_relations)
    actions = sorted({name.partition(" ")[0] for name in (*shares, *new)})
    relations: dict[str, float] = {}
    for name in (*shares, *new):
        relation = name.partition(" ")[2]
        relations[relation] = relations.get(relation, 0.0) + shares.get(name, 0.0)
    ranked = sorted(relations, key=lambda relation: (-relations[relation], relation))[:_ROWS]
    baseline = summary.baseline
    rows = []
    for relation in ranked:
        names = [f"{action} {relation}" for action in actions]
        cells = [(shares.get(name, 0.0), name in new) for name in names]
        today = summary.recent.day.rows_of.get(relation, 0) if summary.recent is not None else 0
        rows.append(
            {
                "relation": relation,
                "cells": cells,
                "today": today,
                "largest": round(baseline.peak(f"day {relation}", now)),
            }
        )
    return actions, rows


def _hours(baseline: Baseline) -> list[tuple[str, list[int]]]:
    """Levels from 0 to 5 for each hour of each day of the week."""
    shares = [baseline.hours.share(str(hour)) for hour in range(HOURS)]
    maximum = max(shares) or 1.0
    names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    levels = [0 if not share else max(1, round(_LEVELS * share / maximum)) for share in shares]
    return [(name, levels[24 * day : 24 * day + 24]) for day, name in enumerate(names)]


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86400.0, UTC).strftime("%m-%d")


async def reset(visit: Visit) -> Response:
    """Learn an agent from the beginning."""
    ops, id_ = operations(visit), visit.request.path_params["id"]
    try:
        key = await run_in_threadpool(ops.agent, visit.principal, id_)
    except FindingError as error:
        raise HTTPException(404, str(error)) from None
    ops.reset(visit.principal, key)
    visit.doing.add({"subject": key.subject, "agent": key.agent, "target": key.target})
    return RedirectResponse(f"/agents/{id_}", 303)
