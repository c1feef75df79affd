"""Who may make and run code that the gateway does not read: functions, triggers, DO, CALL.

What such code does is not known, so it could read, change or copy what masks and rules protect. It
is for subjects for whom nothing on the target is protected in that way: no masks, no deny or hold
rules (open or outside their window), no columns that are watched as untrusted, no bound on rows or
bytes (a notice carries as many). Nor may the database decide by who is asking: such code can say
for the length of a transaction that it is somebody else (``set_config('sallyport.subject', ...,
true)``), which nothing shows afterwards. A rule that names
relations protects all others; so only who may run DO, which no such rule gives, may run what
was made. For everybody else a function runs where policy lists it under ``functions``.
"""

from __future__ import annotations

from collections.abc import Sequence

from sallyport.core.errors import Refusal, refuse
from sallyport.policy.checks.needs import chain
from sallyport.policy.decide import BoundRule
from sallyport.policy.decision import Outcome
from sallyport.policy.model import Mask, SubjectLimits
from sallyport.sql.facts import StatementFacts
from sallyport.sql.utility.custom_settings import ANY
from sallyport.sql.utility.settings import IDENTITY

#: Limits on what a subject reads: a NOTICE of such code is no row.
_BOUNDS = (
    "rows",
    "bytes",
    "rows_per_session",
    "bytes_per_session",
    "rows_per_hour",
    "bytes_per_hour",
)

_HINT = "Ask an administrator to run it outside the gateway; policy can list a function by name."


def obstacle(
    rules: Sequence[BoundRule],
    masks: Sequence[Mask],
    watches: bool,
    limits: SubjectLimits,
    read_settings: frozenset[str],
) -> str:
    """What stands on the target that such code could get around, for one subject; "" for nothing.
    ``rules``: of the subject on this target, whether in force or not. ``watches``: some columns are
    untrusted or looked through. ``read_settings``: by what is in the database
    (:attr:`CatalogSnapshot.read_settings`).
    """
    if masks:
        return "your policy has masks"
    for bound in rules:
        if bound.rule.effect is not Outcome.ALLOW:
            effect = "deny" if bound.rule.effect is Outcome.DENY else "hold"
            return f'your policy has the {effect} rule "{bound.rule.name}"'
    if watches:
        return "your policy has columns that are watched for untrusted text"
    bounds = [name for name in _BOUNDS if getattr(limits, name) is not None]
    if bounds:
        return f"your policy has the limit {bounds[0]}"
    read = sorted(read_settings & IDENTITY)
    if read:
        return f"a row-security policy, view or function of the database reads {read[0]}"
    if ANY in read_settings:
        return "a row-security policy, view or function of the database may read any setting"
    return ""


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
                f"The gateway does not read such code, and {code_obstacle}, which"
                " it could get around.",
                _HINT,
            )
    return None
