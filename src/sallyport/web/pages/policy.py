"""The policy in force, what it would say to a statement, and what was in force before."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sallyport.core.errors import ConfigError, RefusedError
from sallyport.core.subject import Subject
from sallyport.operations.policies import UnknownVersionError, compared
from sallyport.web.console import FormError, Visit

_MAX_SQL = 20_000
_VERSIONS = 50


async def show(visit: Visit) -> Response:
    """The policy in force, and its versions."""
    return await _page(visit)


async def _page(visit: Visit, status: int = 200, **values: Any) -> Response:
    gateway, kept = visit.services.gateway, visit.services.policies
    members = visit.services.members
    defaults: dict[str, Any] = {
        "explained": None,
        "problem": "",
        "refusal": None,
        "asked": _Asked(),
    }
    policy = gateway.policy()
    return visit.page(
        "policy.html",
        status,
        policy=policy,
        lines=policy.text.splitlines(),
        targets=[t.name for t in gateway.targets()],
        versions=await run_in_threadpool(kept.recent, _VERSIONS) if kept is not None else [],
        members=await run_in_threadpool(members.members) if members is not None else [],
        **{**defaults, **values},
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    target: str = ""
    subject: str = ""
    groups: str = ""
    agent: str = ""
    claims: str = ""
    sql: str = ""


async def explain(visit: Visit) -> Response:
    """What the policy would say of a statement."""
    asked = _Asked(*(str(visit.form.get(name, ""))[:_MAX_SQL] for name in _Asked.__slots__))
    try:
        who = subject_of(asked.subject, asked.groups, asked.agent, asked.claims)
        if not asked.sql.strip():
            raise FormError("Write a statement.")
        explanations = await visit.services.gateway.explain(who, asked.target, asked.sql)
    except RefusedError as error:
        visit.doing.reason = error.refusal.text
        return await _page(visit, asked=asked, refusal=error.refusal)
    except (FormError, ConfigError) as error:
        visit.doing.reason = str(error)
        return await _page(visit, 422, asked=asked, problem=str(error))
    return await _page(visit, asked=asked, explained=explanations)


async def version(visit: Visit) -> Response:
    """One version, and what it changed of the one before, or of the one that ``against`` names."""
    kept = visit.services.policies
    if kept is None:
        raise HTTPException(404, "Versions of the policy are not kept in this gateway.")
    against = visit.request.query_params.get("against", "")
    try:
        shown, against_version, lines = await run_in_threadpool(
            compared,
            kept,
            version_id(visit.request.path_params["id"]),
            version_id(against) if against else None,
        )
    except UnknownVersionError as error:
        raise HTTPException(404, str(error)) from None
    return visit.page(
        "policy-version.html",
        version=shown,
        other=against_version,
        against=bool(against),
        diff=lines,
        added=sum(line.kind == "added" for line in lines),
        removed=sum(line.kind == "removed" for line in lines),
        lines=shown.text.splitlines(),
        versions=await run_in_threadpool(kept.recent, _VERSIONS),
    )


def version_id(text: str) -> int:
    """The number of a version. Raises UnknownVersionError."""
    if not text.isascii() or not text.isdecimal() or len(text) > 12:
        raise UnknownVersionError("Versions of the policy have numbers.")
    return int(text)


def subject_of(id_: str, groups: str, agent: str, claims: str) -> Subject:
    """A subject to try. ``groups``: separated by commas. ``claims``: a JSON object or "". Raises
    FormError.
    """
    try:
        claim_values = json.loads(claims) if claims.strip() else {}
    except (ValueError, RecursionError):
        claim_values = None
    if not isinstance(claim_values, dict):
        raise FormError('Claims: a JSON object, like {"team": "billing"}.')
    names = frozenset(group.strip() for group in groups.split(",") if group.strip())
    return Subject(id_.strip() or "someone", "", names, agent=agent.strip(), claims=claim_values)
