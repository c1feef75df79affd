"""What the policy says about one statement for one subject, rule by rule: the values behind ``sallyport
policy explain``.

Says exactly what the gateway would do, by the same functions, plus the rules that were not even considered
and why.
"""

from __future__ import annotations

from dataclasses import dataclass

from sallyport.core.errors import Refusal
from sallyport.policy.bind import SubjectPolicy
from sallyport.policy.decision import ColumnMask, MaskSpec, Outcome, RuleTrace
from sallyport.policy.needs import needs_of
from sallyport.policy.outcome import outcome_of
from sallyport.sql.facts import Dependence, OutputColumn, StatementFacts


@dataclass(frozen=True, slots=True)
class ColumnExplanation:
    """One result column: its ``sources`` by real name, and how it comes back (``mask``: "" when as it is)."""

    name: str
    sources: tuple[str, ...]
    mask: str
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """``needs``: every permission, as ``delete on public.orders``. ``rules``: considered first, then those
    for others.
    """

    outcome: Outcome
    rule: str
    refusal: Refusal | None
    needs: tuple[str, ...]
    rules: tuple[RuleTrace, ...]
    columns: tuple[ColumnExplanation, ...]
    policy_version: str


def explain(policy: SubjectPolicy, facts: StatementFacts, sql: str) -> Explanation:
    """Explain one statement of the script ``sql``."""
    catalog = policy.standing.catalog
    decision, refusal = outcome_of(policy, facts, sql)
    outcome = decision.outcome if refusal is decision.refusal else Outcome.DENY
    return Explanation(
        outcome=outcome,
        rule=decision.rule,
        refusal=refusal,
        needs=tuple(
            need.text(catalog) + (" (through a view)" if need.indirect else "") for need in needs_of(facts)
        ),
        rules=(*decision.trace, *policy.standing.skipped),
        columns=tuple(_column(policy, column) for column in facts.columns or ()),
        policy_version=policy.standing.policy_version,
    )


def _column(policy: SubjectPolicy, column: OutputColumn) -> ColumnExplanation:
    catalog = policy.standing.catalog
    sources = tuple(sorted(catalog.column_name(c) for c in column.sources))
    masked = {c: m for c in sorted(column.sources) if (m := policy.masks.get(c)) is not None}
    if not masked:
        return ColumnExplanation(column.name, sources, "", "no masked column goes into it")
    names = ", ".join(catalog.column_name(c) for c in masked)
    specs = {m.spec for m in masked.values()}
    if column.dependence is Dependence.IDENTITY and len(specs) == 1:
        mask = next(iter(masked.values()))
        return ColumnExplanation(
            column.name, sources, spec_text(mask.spec), f"mask of {names}{_origin(mask)}"
        )
    return ColumnExplanation(column.name, sources, "redact", f"computed from {names}, which is masked")


def _origin(mask: ColumnMask) -> str:
    return f" ({mask.origin})" if mask.origin else ""


def spec_text(spec: MaskSpec) -> str:
    """A mask as the policy writes it: ``partial(keep_last 4)``."""
    shown = {
        "partial": [f"{n} {getattr(spec, n)}" for n in ("keep_first", "keep_last") if getattr(spec, n)],
        "hash": [f"key {spec.key}"] if spec.key else [],
        "date": [spec.precision],
        "bucket": [f"size {spec.size:g}"],
        "constant": [repr(spec.value)],
    }.get(spec.kind, [])
    return spec.kind + (f"({', '.join(shown)})" if shown else "")
