"""What the policy says about one statement for one subject, rule by rule: the values behind
``sallyport policy explain``.

Decides nothing: decision, refusal and masks are given, as the judge made them for the wire; this
adds where each output column comes from, and the rules that were not even considered and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sallyport.core.errors import Refusal
from sallyport.policy.bound import SubjectPolicy
from sallyport.policy.checks.needs import needs_of
from sallyport.policy.decide import traces
from sallyport.policy.decision import ColumnMask, Decision, MaskSpec, Outcome, RuleTrace
from sallyport.policy.mask_kinds import spec_text
from sallyport.sql.facts import OutputColumn, StatementFacts


@dataclass(frozen=True, slots=True)
class ColumnExplanation:
    """One result column: its ``sources`` by real name, and how it comes back (``mask``: "" when as
    it is).

    ``dependence``: identity (the value of one column), derived (computed) or opaque (not followed).
    """

    name: str
    sources: tuple[str, ...]
    mask: str
    why: str
    dependence: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """``sent``: the text that the target gets, where masks are put into it; else "".

    ``needs``: every permission, as ``delete on public.orders``. ``rules``: considered first, then
    those for others. ``rule``: the one that decided; "" when none did, or when the gateway itself
    refuses (``by_gateway``), whatever the rules say.
    """

    outcome: Outcome
    rule: str
    refusal: Refusal | None
    needs: tuple[str, ...]
    rules: tuple[RuleTrace, ...]
    columns: tuple[ColumnExplanation, ...]
    policy_version: str
    sql: str = ""
    by_gateway: bool = False
    sent: str = ""


def explain(
    policy: SubjectPolicy,
    facts: StatementFacts,
    decision: Decision,
    refusal: Refusal | None,
    specs: Sequence[MaskSpec | None] = (),
    sql: str = "",
    sent: str = "",
) -> Explanation:
    """Explain one statement. ``specs``: the mask plan of its output columns, or of those of the
    statement that it prepares or declares.
    """
    catalog = policy.standing.catalog
    columns = returned(facts)
    by_gateway = refusal is not decision.refusal
    return Explanation(
        outcome=Outcome.DENY if by_gateway else decision.outcome,
        rule="" if by_gateway else decision.rule,
        refusal=refusal,
        needs=tuple(
            need.text(catalog) + (" (through a view)" if need.indirect else "")
            for need in needs_of(facts)
        ),
        rules=traces(policy.standing, facts),
        columns=tuple(
            _column(policy, c, s, bool(sent)) for c, s in zip(columns, specs, strict=True)
        ),
        policy_version=policy.standing.policy_version,
        sql=sql,
        by_gateway=by_gateway,
        sent=sent,
    )


def returned(facts: StatementFacts) -> tuple[OutputColumn, ...]:
    """The statement's output columns; for PREPARE and DECLARE those that EXECUTE and FETCH will
    give.
    """
    if facts.columns is None and facts.inner is not None:
        return facts.inner.columns or ()
    return facts.columns or ()


def _column(
    policy: SubjectPolicy, column: OutputColumn, spec: MaskSpec | None, rewritten: bool
) -> ColumnExplanation:
    """``rewritten``: what is computed is computed from the masks' values."""
    catalog = policy.standing.catalog
    sources = tuple(sorted(catalog.column_name(c) for c in column.sources if c.attnum > 0))
    kind = column.dependence.value
    if spec is None:
        return ColumnExplanation(column.name, sources, "", "no masked column goes into it", kind)
    masked = {c: m for c in sorted(column.sources) if (m := policy.masks.get(c)) is not None}
    names = ", ".join(catalog.column_name(c) for c in masked)
    # through a view: the view's own column and the one under it, with one mask
    mask = next((m for m in masked.values() if m.spec == spec), None)
    if kind == "identity" and mask is not None and len({m.spec for m in masked.values()}) == 1:
        return ColumnExplanation(
            column.name, sources, spec_text(spec), f"mask of {names}{_origin(mask)}", kind
        )
    if rewritten:
        shown = ", ".join(dict.fromkeys(spec_text(m.spec) for m in masked.values()))
        return ColumnExplanation(
            column.name, sources, shown, f"computed from the masked values of {names}", kind
        )
    return ColumnExplanation(
        column.name, sources, spec_text(spec), f"computed from {names}, which is masked", kind
    )


def _origin(mask: ColumnMask) -> str:
    return f" ({mask.origin})" if mask.origin else ""
