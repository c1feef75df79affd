"""Who may make and run code that the gateway does not read: functions, triggers, DO, CALL.

What such code does is not known, so it could read, change or copy what masks and rules protect. It
is for subjects for whom nothing on the target is protected in that way: no masks, no deny or hold
rules (open or outside their window), no columns that are watched as untrusted. A rule that names
relations protects all others; so only who may run DO, which no such rule gives, may run what
was made. For everybody else a function runs where policy lists it under ``functions``.
"""

from __future__ import annotations

from collections.abc import Sequence

from sallyport.core.errors import Refusal, refuse
from sallyport.policy.checks.needs import chain
from sallyport.policy.decide import BoundRule
from sallyport.policy.decision import Outcome
from sallyport.policy.model import Mask
from sallyport.sql.facts import StatementFacts

_HINT = "Ask an administrator to run it outside the gateway; policy can list a function by name."


def obstacle(rules: Sequence[BoundRule], masks: Sequence[Mask], watches: bool) -> str:
    """What of the policy such code could get around, for one subject; "" for nothing. ``rules``:
    of the subject on this target, whether in force or not. ``watches``: some columns are untrusted
    or looked through.
    """
    if masks:
        return "masks"
    for bound in rules:
        if bound.rule.effect is not Outcome.ALLOW:
            effect = "deny" if bound.rule.effect is Outcome.DENY else "hold"
            return f'the {effect} rule "{bound.rule.name}"'
    return "columns that are watched for untrusted text" if watches else ""


def gives_code(rules: Sequence[BoundRule]) -> bool:
    """Whether one of the rules in force allows DO, whatever it does."""
    return any(
        bound.rule.effect is Outcome.ALLOW
        and "do" in bound.rule.actions
        and bound.relations is None
        and bound.columns is None
        and bound.rule.when is None
        for bound in rules
    )


def check_unread_code(facts: StatementFacts, code_obstacle: str) -> Refusal | None:
    """SP1103 where something stands on the target that the statement's code could get around."""
    for level in chain(facts):
        if level.unread_code and code_obstacle:
            return refuse(
                "SP1103",
                f"{level.unread_code} is not allowed for you",
                f"The gateway does not read such code, and your policy has {code_obstacle}, which"
                " it could get around.",
                _HINT,
            )
    return None
