"""From facts to verdicts: what policy says, which masks the rows get, and what the session must know of the statement."""

from __future__ import annotations

import structlog

from sallyport.core.errors import Refusal
from sallyport.judge.verdict import (
    AFTER_DDL,
    AFTER_SEARCH_PATH,
    RELATIONS,
    ScriptVerdict,
    Verdict,
    internal_refusal,
)
from sallyport.masking.plan import MaskPlan, build_plan
from sallyport.policy.bind import SubjectPolicy
from sallyport.policy.decision import Outcome
from sallyport.policy.needs import chain
from sallyport.policy.outcome import outcome_of
from sallyport.sql.catalog import CatalogSnapshot
from sallyport.sql.facts import Dependence, EffectKind, OutputColumn, StatementFacts, TypedParameter
from sallyport.sql.settings import changes_meaning, is_unreported

log = structlog.get_logger("sallyport.judge")

_TRANSACTION_CONTROL = frozenset(
    {
        EffectKind.BEGIN,
        EffectKind.COMMIT,
        EffectKind.ROLLBACK,
        EffectKind.SAVEPOINT,
        EffectKind.ROLLBACK_TO,
        EffectKind.RELEASE,
    }
)


class Statements:
    """Decides statements for one subject's rules and masks over one catalog. Never raises: what goes wrong is a refusal."""

    def __init__(self, subject_policy: SubjectPolicy, catalog: CatalogSnapshot) -> None:
        self.subject_policy, self.catalog = subject_policy, catalog
        self.has_masks = bool(subject_policy.masks)
        self._masked_relations = frozenset(c.relation for c in subject_policy.masks)

    def script(self, sql: bytes, facts: tuple[StatementFacts, ...]) -> ScriptVerdict:
        """The verdicts of one text, in order; what comes behind a refused statement is not decided."""
        verdicts: list[Verdict] = []
        text = sql.decode()
        refused = -1
        path_moved = ddl_before = False
        for index, one in enumerate(facts):
            verdict = self.statement(sql, text, one)
            if verdict.refusal is None and path_moved and verdict.resolves_names:
                verdict = self._refused(verdict, AFTER_SEARCH_PATH)
            if verdict.refusal is None and ddl_before and verdict.resolves_names and not verdict.is_ddl:
                verdict = self._refused(verdict, AFTER_DDL)
            path_moved = path_moved or verdict.changes_search_path
            ddl_before = ddl_before or verdict.is_ddl
            verdicts.append(verdict)
            if verdict.refusal is not None:
                refused = index
                break
        plain = len(verdicts) == 1 and verdicts[0].plain
        return ScriptVerdict(sql, tuple(verdicts), refused, None, plain, count=len(facts))

    def statement(self, sql: bytes, text: str, facts: StatementFacts) -> Verdict:
        """``text``: of ``sql``, the whole script; decoded once for all its statements."""
        try:
            return self._decide(sql, text, facts)
        except Exception as error:
            log.error("judge failed", error=type(error).__name__, exc_info=True)
            return Verdict(facts, sql, internal_refusal(), Outcome.DENY)

    @staticmethod
    def _refused(verdict: Verdict, refusal: Refusal) -> Verdict:
        return Verdict(
            verdict.facts,
            verdict.sql,
            refusal,
            Outcome.DENY,
            effects=verdict.effects,
            relations=verdict.relations,
        )

    def _decide(self, sql: bytes, text: str, facts: StatementFacts) -> Verdict:
        decision, refusal = outcome_of(self.subject_policy, facts, text)
        inner = None
        if facts.inner is not None and refusal is None:
            inner = self._inner(sql, facts.inner)
        kinds = frozenset(effect.kind for effect in facts.effects)
        moves_path = any(e.kind is EffectKind.DISCARD and e.name == "all" for e in facts.effects) or any(
            s.name.lower() in ("search_path", "") for s in facts.settings
        )
        changes_settings = _changes_settings(facts)
        return Verdict(
            facts=facts,
            sql=sql[facts.start : facts.end],
            refusal=refusal,
            outcome=Outcome.ALLOW if refusal is None else _worst(decision.outcome),
            rule=decision.rule,
            plan=self.plan(facts.columns),
            masked_columns=self._masked_columns(facts),
            relations=self._relation_names(facts),
            inner=inner,
            scrub=self._scrub(facts),
            opaque=self._opaque(facts),
            decision=decision,
            effects=facts.effects,
            changes_search_path=moves_path,
            changes_settings=changes_settings,
            unreported_settings=_changes_unreported(facts),
            is_ddl=EffectKind.DDL in kinds,
            resolves_names=not (kinds and kinds <= _TRANSACTION_CONTROL),
            typed_parameters=self._typed_parameters(facts),
            held=decision.outcome is Outcome.HOLD and refusal is decision.refusal and facts.inner is None,
            plain=refusal is None
            and not kinds
            and not moves_path
            and not facts.setting_parameters
            and not facts.cast_parameters
            and not changes_settings,
        )

    def _inner(self, sql: bytes, facts: StatementFacts) -> Verdict:
        """The plan of a prepared or declared statement. Its permission was decided with the outer statement's."""
        return Verdict(
            facts=facts,
            sql=sql,
            refusal=None,
            outcome=Outcome.ALLOW,
            plan=self.plan(facts.columns),
            masked_columns=self._masked_columns(facts),
            scrub=self._scrub(facts),
            opaque=self._opaque(facts),
            changes_settings=_changes_settings(facts),
            unreported_settings=_changes_unreported(facts),
        )

    def _typed_parameters(self, facts: StatementFacts) -> tuple[TypedParameter, ...]:
        masks = self.subject_policy.masks
        return tuple(one for one in facts.typed_parameters if not one.sources.isdisjoint(masks))

    def _masked_columns(self, facts: StatementFacts) -> tuple[str, ...]:
        masks = self.subject_policy.masks
        found = {source for column in facts.columns or () for source in column.sources if source in masks}
        return tuple(sorted(self.catalog.column_name(source) for source in found))

    def plan(self, columns: tuple[OutputColumn, ...] | None) -> MaskPlan | None:
        if columns is None:
            return None
        return build_plan(columns, self.subject_policy.masks)

    def _relations(self, facts: StatementFacts) -> set[int]:
        found = {access.relation for access in facts.accesses}
        found.update(column.relation for column in facts.touched)
        if facts.inner is not None:
            found |= self._relations(facts.inner)
        return found

    def _relation_names(self, facts: StatementFacts) -> tuple[str, ...]:
        """What the statement itself names before what views bring in, so that the bound cuts the latter."""
        relations = self.catalog.relations
        named = {access.relation for access in facts.accesses if not access.indirect}
        order = [*sorted(named), *sorted(self._relations(facts) - named)]
        known = (relations[oid] for oid in order[:RELATIONS] if oid in relations)
        new = (f"{one.schema}.{one.name}" for one in facts.namings if one.schema and one.name)
        names = [f"{relation.schema}.{relation.name}" for relation in known]
        return tuple(dict.fromkeys([*names, *new]))[:RELATIONS]

    def _scrub(self, facts: StatementFacts) -> bool:
        if not self.has_masks:
            return False
        return self._opaque(facts) or not self._masked_relations.isdisjoint(self._relations(facts))

    def _opaque(self, facts: StatementFacts) -> bool:
        if not self.has_masks:
            return False
        if facts.functions or (facts.inner is not None and facts.inner.functions):
            return True
        if any(column.dependence is Dependence.OPAQUE for column in facts.columns or ()):
            return True
        if self.catalog.event_triggers and any(e.kind is EffectKind.DDL for e in facts.effects):
            return True
        writes = facts.kind not in ("select", "explain", "show", "copy-out")
        relations = self.catalog.relations
        return writes and any(
            relations[oid].has_triggers for oid in self._relations(facts) if oid in relations
        )


def _changes_settings(facts: StatementFacts) -> bool:
    return any(changes_meaning(change.name) for level in chain(facts) for change in level.settings)


def _changes_unreported(facts: StatementFacts) -> bool:
    """A RESET goes back to what the session started with, so it alone makes nothing unknown."""
    changes = [change for level in chain(facts) for change in level.settings]
    return any(change.value is not None and is_unreported(change.name) for change in changes)


def _worst(outcome: Outcome) -> Outcome:
    return Outcome.HOLD if outcome is Outcome.HOLD else Outcome.DENY
