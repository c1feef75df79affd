"""Everything a policy has to say about one statement, in the order in which it is said: one place for the judge and for ``explain``.

A rule that denies speaks first, for it was written for this very statement; then what was not understood, functions and settings; then missing
permission and holds; last what masked columns would give away.
"""

from __future__ import annotations

from sallyport.core.errors import Refusal, refuse
from sallyport.policy.bind import SubjectPolicy
from sallyport.policy.decision import Decision, Outcome
from sallyport.policy.influence import (
    check_flows,
    check_functions,
    check_influence,
    check_settings,
    check_unknowns,
)
from sallyport.policy.renames import check_names
from sallyport.sql.facts import StatementFacts


def outcome_of(policy: SubjectPolicy, facts: StatementFacts, sql: str) -> tuple[Decision, Refusal | None]:
    """The decision by rules, and what is refused in the end (None: it runs)."""
    decision = policy.decide(facts)
    if decision.outcome is Outcome.DENY and decision.rule and decision.refusal is not None:
        return decision, decision.refusal
    refusal = (
        check_unknowns(facts, sql)
        or check_functions(facts, policy, sql)
        or check_settings(facts, policy, sql)
    )
    if refusal is None and decision.outcome is not Outcome.ALLOW:
        refusal = decision.refusal or _WITHOUT_REASON
    if refusal is None and policy.masks:
        catalog = policy.standing.catalog
        refusal = check_flows(facts, policy.masks, catalog, sql, policy.whole) or check_influence(
            facts, policy.masks, catalog, sql
        )
    if refusal is None:
        refusal = check_names(facts, policy)
    return decision, refusal


_WITHOUT_REASON = refuse("SP1001", "no rule allows this")
