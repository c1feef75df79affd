"""Everything a policy has to say about one statement, in the order in which it is said: one place
for the judge and for ``explain``.

A form that no rule can allow is named before rules are: a rule would send its reader to the policy
in vain. Then a rule that denies speaks first, for it was written for this very statement; then what
was not understood, functions and settings; then missing permission; then what masked columns would
give away, which nobody can approve; last a rule that holds.
"""

from __future__ import annotations

from sallyport.core.errors import Refusal, refuse
from sallyport.policy.bound import SubjectPolicy
from sallyport.policy.checks.changed_settings import check_settings
from sallyport.policy.checks.influence import (
    check_flows,
    check_form,
    check_functions,
    check_functions_read,
    check_influence,
    check_mentions,
    check_refresh,
    check_unknowns,
    check_writes,
)
from sallyport.policy.checks.renames import check_names
from sallyport.policy.checks.unread_code import check_unread_code
from sallyport.policy.decision import Decision, Outcome
from sallyport.sql.facts import StatementFacts


def outcome_of(
    policy: SubjectPolicy, facts: StatementFacts, sql: str
) -> tuple[Decision, Refusal | None]:
    """The decision by rules, and what is refused in the end (None: it runs)."""
    decision = policy.decide(facts)
    form = check_form(facts, sql)
    if form is not None:
        return decision, form
    if decision.outcome is Outcome.DENY and decision.rule and decision.refusal is not None:
        return decision, decision.refusal
    refusal = (
        check_unread_code(facts, policy.code_obstacle)
        or check_unknowns(facts, sql)
        or check_functions(facts, policy, sql)
        or check_settings(facts, policy, sql)
    )
    if refusal is None and decision.outcome is Outcome.DENY:
        refusal = decision.refusal or _WITHOUT_REASON
    if refusal is None and policy.masks:
        masks, catalog = policy.masks, policy.standing.catalog
        refusal = (
            check_flows(facts, masks, catalog, sql, policy.for_everybody)
            or check_influence(facts, masks, catalog, sql)
            or check_writes(facts, masks, catalog)
            or check_refresh(facts, masks, catalog)
            or check_functions_read(facts, masks, catalog, sql)
            or check_mentions(facts, masks, catalog, sql)
        )
    if refusal is None:
        refusal = check_names(facts, policy)
    if refusal is None and decision.outcome is not Outcome.ALLOW:
        refusal = decision.refusal or _WITHOUT_REASON
    return decision, refusal


_WITHOUT_REASON = refuse("SP1001", "no rule allows this")
