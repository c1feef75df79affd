"""Findings, and what each agent usually does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

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
from sallyport.watch.baseline import DAY, HOUR, HOURS, Baseline, hour_of_week
from sallyport.watch.detectors import DETECTORS
from sallyport.watch.finding import AgentKey, Finding, Severity
from sallyport.watch.watcher import AgentSummary
from sallyport.web.console import Visit
from sallyport.web.pages import plots

_SEVERITIES = tuple(severity.value for severity in Severity)
_PAGE = 100
_FIELDS = ("severity", "detector", "agent", "session", "status")
#: Days of an agent's page, rows of its matrix, and those of them that are shown at once.
_DAYS = 60
_ROWS = 40
_OFTEN = 15
_LISTED_DAYS = 14
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
    query = FindingQuery(key=key, limit=_PAGE)
    findings = await run_in_threadpool(ops.list, visit.principal, query)
    return visit.page(
        "agent.html",
        key=key,
        agent_id=id_of(key),
        findings=findings,
        summary=summary,
        learning=ops.learning,
        **_agent_values(key, summary, visit.services.clock.now()),
    )


def _agent_values(key: AgentKey, summary: AgentSummary, now: float) -> dict[str, Any]:
    baseline, days = summary.baseline, _days(summary)

    def of_day(place: int, verdict: str = "") -> str:
        start = days[place][0] * DAY
        return _sessions(key, since=start, until=start + DAY, verdict=verdict)

    def recent_day(place: int) -> str:
        return of_day(len(days) - 1 - place)

    stacks = [
        (_date(day), {"allow": statements - refused, "deny": refused})
        for day, statements, refused, _ in days
    ]
    rows = [(_date(day), "", rows) for day, _, _, rows in reversed(days)]
    actions, matrix = _matrix(summary, now)
    for row in matrix:
        row["link"] = _sessions(key, relation=row["relation"])
    return {
        "statements": plots.stacked(
            "Statements a day by verdict",
            stacks,
            lambda place, verdict: of_day(place, "refused" if verdict == "deny" else ""),
        ),
        "rows": plots.bars("Rows a day", rows[:_LISTED_DAYS], link=recent_day),
        "older_rows": plots.bars(
            "Rows a day, before",
            rows[_LISTED_DAYS:],
            link=lambda place: recent_day(place + _LISTED_DAYS),
        )
        if len(rows) > _LISTED_DAYS
        else "",
        "has_days": bool(days),
        "actions": actions,
        "matrix": matrix,
        "often": _OFTEN,
        "hours": _hours(key, baseline, now),
        "masked": sorted(baseline.masked.weights)[:_ROWS],
        "refusal_share": baseline.share_refused(),
        "sessions": _sessions(key),
    }


def _days(summary: AgentSummary) -> list[tuple[int, int, int, int]]:
    """The latest days with work: number, statements, refused, rows. The present one is among them
    as far as this gateway has seen it.
    """
    days = {day[0]: day for day in summary.baseline.history.rows()}
    today = summary.recent.day if summary.recent is not None else None
    if today is not None and today.statements:
        _, statements, refused, rows = days.get(today.number, (0, 0, 0, 0))
        days[today.number] = (
            today.number,
            statements + today.statements,
            refused + today.refused,
            rows + today.rows,
        )
    return sorted(days.values())[-_DAYS:]


def _sessions(
    key: AgentKey,
    *,
    since: float | None = None,
    until: float | None = None,
    relation: str = "",
    verdict: str = "",
) -> str:
    """The page of the agent's sessions, of a time or with a relation or verdict."""
    asked = {
        "subject": key.agent or key.subject,
        "target": key.target,
        "relation": relation,
        "verdict": verdict,
        "since": _minute(since),
        "until": _minute(until),
    }
    return "/sessions?" + urlencode({name: value for name, value in asked.items() if value})


def _minute(moment: float | None) -> str:
    if moment is None:
        return ""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M")


def _matrix(summary: AgentSummary, now: float) -> tuple[list[str], list[dict[str, Any]]]:
    """Relations by actions: the share of each in the past, and what is new at present, which comes
    first.
    """
    shares = dict(summary.baseline.relations.shares())
    new: set[str] = set()
    if summary.recent is not None:
        new = set(summary.recent.episode.new_relations)
    actions = sorted({name.partition(" ")[0] for name in (*shares, *new)})
    relations: dict[str, float] = {}
    for name in (*shares, *new):
        relation = name.partition(" ")[2]
        relations[relation] = relations.get(relation, 0.0) + shares.get(name, 0.0)
    of_new = {name.partition(" ")[2] for name in new}
    ranked = sorted(
        relations, key=lambda relation: (relation not in of_new, -relations[relation], relation)
    )[:_ROWS]
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


def _hours(
    key: AgentKey, baseline: Baseline, now: float
) -> list[tuple[str, list[tuple[int, str]]]]:
    """For each hour of each day of the week a level from 0 to 5, and where the latest such hour's
    sessions are.
    """
    shares = [baseline.hours.share(str(hour)) for hour in range(HOURS)]
    maximum = max(shares) or 1.0
    names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    cells = []
    for hour, share in enumerate(shares):
        level = max(1, round(_LEVELS * share / maximum)) if share else 0
        start = now - now % HOUR - (hour_of_week(now) - hour) % HOURS * HOUR
        link = _sessions(key, since=start, until=start + HOUR) if level else ""
        cells.append((level, link))
    return [(name, cells[24 * day : 24 * day + 24]) for day, name in enumerate(names)]


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY, UTC).strftime("%m-%d")


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
