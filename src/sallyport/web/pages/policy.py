"""The policy in force, and what it would say to a statement."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from sallyport.core.errors import ConfigError, RefusedError
from sallyport.core.subject import Subject
from sallyport.policy.explain import Explanation
from sallyport.web.console import FormError, Visit

_MAX_SQL = 20_000


async def show(visit: Visit) -> Response:
    return _page(visit)


def _page(visit: Visit, status: int = 200, **values: Any) -> Response:
    gateway = visit.services.gateway
    defaults: dict[str, Any] = {"explained": None, "problem": "", "refusal": None, "asked": _Asked()}
    policy = gateway.policy()
    return visit.page(
        "policy.html",
        status,
        policy=policy,
        lines=policy.text.splitlines(),
        targets=[t.name for t in gateway.targets()],
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
    asked = _Asked(*(str(visit.form.get(name, ""))[:_MAX_SQL] for name in _Asked.__slots__))
    try:
        who = subject_of(asked.subject, asked.groups, asked.agent, asked.claims)
        if not asked.sql.strip():
            raise FormError("Write a statement.")
        found = await visit.services.gateway.explain(who, asked.target, asked.sql)
    except RefusedError as error:
        return _page(visit, asked=asked, refusal=error.refusal)
    except (FormError, ConfigError) as error:
        return _page(visit, 422, asked=asked, problem=str(error))
    return _page(visit, asked=asked, explained=found)


def subject_of(id_: str, groups: str, agent: str, claims: str) -> Subject:
    """A subject to try. ``groups``: separated by commas. ``claims``: a JSON object or "". Raises FormError."""
    try:
        given = json.loads(claims) if claims.strip() else {}
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise FormError('Claims: a JSON object, like {"team": "billing"}.')
    names = frozenset(group.strip() for group in groups.split(",") if group.strip())
    return Subject(id_.strip() or "someone", "", names, agent=agent.strip(), claims=given)


def explanation_data(explanation: Explanation) -> dict[str, Any]:
    """As ``sallyport policy explain --json`` prints it."""
    refusal = explanation.refusal
    return {
        "outcome": explanation.outcome.value,
        "rule": explanation.rule,
        "refusal": None
        if refusal is None
        else {
            "code": refusal.code.id,
            "sqlstate": refusal.sqlstate,
            "message": refusal.message,
            "detail": refusal.detail,
            "hint": refusal.hint,
            "position": refusal.position,
        },
        "needs": list(explanation.needs),
        "columns": [
            {"name": c.name, "sources": list(c.sources), "mask": c.mask or None, "why": c.why}
            for c in explanation.columns
        ],
        "rules": [
            {"rule": r.rule, "effect": r.effect, "matched": r.matched, "why": r.why}
            for r in explanation.rules
        ],
        "policy_version": explanation.policy_version,
    }
