"""Grants: one reviewer's approval ahead of time, for one subject, one target and one rule, until a
fixed moment. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Literal, cast

from sallyport.approvals.fingerprint import fingerprint
from sallyport.approvals.problems import ApprovalProblem, DecisionError
from sallyport.approvals.states import (
    ApprovalRequirement,
    Binding,
    Decision,
    Grant,
    Request,
    Status,
)
from sallyport.core.errors import RefusedError
from sallyport.core.ids import new_id

#: Longest grant, in minutes.
MAX_MINUTES: Final = 8 * 60
SCOPES: Final = ("statement", "rule")
#: Seconds in which a statement that a grant approved must begin.
_USE_SECONDS: Final = 60.0


def check(request: Request, minutes: float, scope: str) -> None:
    """Raises DecisionError when no grant can be made from this request."""
    if scope not in SCOPES:
        raise DecisionError(ApprovalProblem.INVALID, f"scope must be one of {', '.join(SCOPES)}")
    if not 0 < minutes <= MAX_MINUTES:
        raise DecisionError(
            ApprovalProblem.INVALID, f"a grant can last at most {MAX_MINUTES} minutes"
        )
    for requirement in request.requirements:
        if requirement.quorum > 1:
            raise DecisionError(
                ApprovalProblem.QUORUM,
                f'rule "{requirement.rule}" needs {requirement.quorum} reviewers for each'
                " statement, and a grant has one",
                "Approve this statement only.",
            )


def check_alone(request: Request, decision: Decision) -> None:
    """Raises DecisionError when this person's word is not enough for every rule."""
    for requirement in request.requirements:
        if requirement.rule not in decision.rules:
            raise DecisionError(
                ApprovalProblem.QUORUM,
                f'rule "{requirement.rule}" holds it too and needs {requirement}, and a grant has'
                " one reviewer",
                "Approve this statement only.",
            )


def make(request: Request, decision: Decision, minutes: float, scope: str) -> Grant:
    """The grant, in force from the decision on."""
    binding = request.binding
    return Grant(
        id=new_id("gra"),
        scope=cast("Literal['statement', 'rule']", scope),
        # Of the client's text, for that is what the reviewer lets the subject send again, with any
        # constants. No mask is lost by it: each use is judged, and gets the masks that the subject
        # has in that session, under the policy and catalog bound here.
        fingerprint=fingerprint(binding.sql, binding.types) if scope == "statement" else "",
        example=binding.without_values.sql,
        rule=request.rule,
        reviewers=request.may_decide,
        subject=request.subject,
        target=binding.target,
        policy_version=binding.policy_version,
        epoch=binding.epoch,
        search_path=binding.search_path,
        role=binding.role,
        decision=decision,
        request=request.id,
        created=decision.at,
        expires_at=decision.at + minutes * 60,
        rules=tuple(requirement.rule for requirement in request.requirements),
        settings=binding.settings,
    )


def find(grants: Iterable[Grant], binding: Binding, now: float) -> Grant | None:
    """A grant in force that covers this statement: all the rules that hold it. The text is read
    only when one might.
    """
    held = set(binding.rules)
    mine = [
        g
        for g in grants
        if g.live(now) and held and held <= set(g.rules) and _environment(g) == _of(binding)
    ]
    for grant in mine:
        if grant.scope == "rule":
            return grant
    if not mine:
        return None
    try:
        print_ = fingerprint(binding.sql, binding.types)
    except RefusedError:
        return None
    return next((g for g in mine if g.scope == "statement" and g.fingerprint == print_), None)


def request_for(
    grant: Grant, binding: Binding, kind: str, touches: tuple[str, ...], now: float
) -> Request:
    """An approved request for one statement under the grant; to be used at once."""
    return Request(
        id=new_id("apr"),
        binding=binding,
        subject=grant.subject,
        rule=binding.rules[0],
        reviewers=grant.reviewers,
        quorum=1,
        kind=kind,
        touches=touches,
        created=now,
        expires_at=min(now + _USE_SECONDS, grant.expires_at),
        mode="wait" if binding.session else "async",
        status=Status.APPROVED,
        decisions=(
            replace(
                grant.decision, channel="grant", reason=f"grant {grant.id}", rules=binding.rules
            ),
        ),
        grant=grant.id,
        additional=tuple(
            ApprovalRequirement(name, grant.reviewers, 1) for name in binding.rules[1:]
        ),
    )


def _environment(grant: Grant) -> tuple[object, ...]:
    who = grant.subject
    env = (grant.policy_version, grant.epoch, grant.search_path, grant.role, grant.settings)
    return (grant.target, who.id, who.issuer, *env)


def _of(binding: Binding) -> tuple[object, ...]:
    env = (
        binding.policy_version,
        binding.epoch,
        binding.search_path,
        binding.role,
        binding.settings,
    )
    return (binding.target, binding.subject, binding.issuer, *env)
