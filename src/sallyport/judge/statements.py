"""From facts to verdicts: what policy says, which masks the rows get, and what the session must
know of the statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import structlog

from sallyport.core.errors import Refusal, RefusedError
from sallyport.core.secret import Secret
from sallyport.judge.changes import may_change, runs_named
from sallyport.judge.literals import Literals, Masking
from sallyport.judge.masked_relations import MaskedRelations
from sallyport.judge.parameters import ComparedParameter, check_declared_types, compared_parameters
from sallyport.judge.permit import ParsePermit, RunPermit
from sallyport.judge.rewriting import Replacement, Rewriter, rewritten_text
from sallyport.judge.unknown_code import makes_temporary, runs_late_bodies, runs_unknown_code
from sallyport.judge.verdict import (
    AFTER_DDL,
    AFTER_SEARCH_PATH,
    AFTER_UNKNOWN_CODE,
    COLUMNS,
    EXPLAINS_RAW,
    LATE_NAMES,
    RELATIONS,
    Part,
    ScannedColumn,
    ScriptVerdict,
    Verdict,
    cascade_notices,
    failure,
    goes_apart,
    script_permit,
)
from sallyport.masking.plan import MaskPlan, build_plan
from sallyport.policy.bound import SubjectPolicy
from sallyport.policy.checks.needs import chain
from sallyport.policy.containment import columns_read
from sallyport.policy.decision import Decision, Outcome
from sallyport.policy.model import FINGERPRINTS, FULL, FULL_RESULTS, RESULTS
from sallyport.policy.outcome import outcome_of
from sallyport.sql.catalog.relations import STATEMENT_TEXTS
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId
from sallyport.sql.facts import Dependence, EffectKind, OutputColumn, StatementFacts
from sallyport.sql.names.resolve import name_resolver
from sallyport.sql.rewrite.cuts import Cut
from sallyport.sql.utility.settings import changes_meaning, is_unreported
from sallyport.wire.backend import notice_response

log = structlog.get_logger("sallyport.judge")

_TRANSACTION_CONTROL = frozenset(
    {
        EffectKind.BEGIN,
        EffectKind.COMMIT,
        EffectKind.ROLLBACK,
        EffectKind.SAVEPOINT,
        EffectKind.ROLLBACK_TO,
        EffectKind.RELEASE,
        EffectKind.TWO_PHASE,
    }
)

_TRANSACTION_END = frozenset({EffectKind.COMMIT, EffectKind.ROLLBACK, EffectKind.ROLLBACK_TO})

#: Effects whose statement may say something about relations that its facts do not name.
_NAMES_ANOTHER = frozenset({EffectKind.DDL, EffectKind.EXPLAIN})

_READING = frozenset({"select", "lock"})
#: Looking a member up in its class takes as long as several calls of a function (CPython 3.11).
_IDENTITY, _OPAQUE = Dependence.IDENTITY, Dependence.OPAQUE

#: pg_type OIDs of text, varchar, char(n) and name.
_TEXT = frozenset((25, 1043, 1042, 19))

#: What the NOTICE of :meth:`Statements._notice` says besides which columns.
MASKS_DETAIL = (
    'Different people can share a mask: "no rows" does not mean nobody, and equal masks do not mean'
    " the same person."
)
MASKS_HINT = "Join, group and count by a column that is not masked, such as a key."


class Statements:
    """Decides statements for one subject's rules and masks over one catalog. Never raises: what
    goes wrong is a refusal.
    """

    def __init__(
        self,
        subject_policy: SubjectPolicy,
        catalog: CatalogSnapshot,
        path: tuple[str, ...],
        keys: Mapping[str, Secret],
        record: str,
    ) -> None:
        """``keys``: of hash masks. ``record``: what the policy says of texts."""
        self._masking = Masking(subject_policy.masks, catalog, keys)
        self._record = record
        self.subject_policy, self.catalog = subject_policy, catalog
        relations = MaskedRelations(subject_policy, catalog, name_resolver(catalog, ()), path)
        self._rewriter = Rewriter(relations)
        masks, self.has_masks = subject_policy.masks, bool(subject_policy.masks)
        self._masked_relations, self._visible = masks.relations, masks.visible
        shown = (catalog.relation_by_name.get(("pg_catalog", name)) for name in STATEMENT_TEXTS)
        self._statement_texts = frozenset(
            [relation.oid for relation in shown if relation is not None]
        )

    def script(
        self, sql: bytes, facts: tuple[StatementFacts, ...], is_template: bool = False
    ) -> ScriptVerdict:
        """The verdicts of one text, in order; what comes behind a refused statement is not decided.
        ``is_template``: its parameters stand for literals.
        """
        verdicts: list[Verdict] = []
        text = sql.decode()
        refused = -1
        path_moved = ddl_before = unknown_before = False
        for index, statement_facts in enumerate(facts):
            verdict = self.statement(sql, text, statement_facts, is_template=is_template)
            if verdict.refusal is None and path_moved and verdict.resolves_names:
                verdict = self._refused(verdict, AFTER_SEARCH_PATH)
            after_ddl = ddl_before and not (verdict.is_ddl and not verdict.runs_unknown_code)
            if verdict.refusal is None and after_ddl and verdict.resolves_names:
                verdict = self._refused(verdict, AFTER_DDL)
            if verdict.refusal is None and unknown_before and verdict.resolves_names:
                verdict = self._refused(verdict, AFTER_UNKNOWN_CODE)
            unknown_before = unknown_before or verdict.runs_unknown_code
            path_moved = path_moved or verdict.changes_search_path
            ddl_before = ddl_before or verdict.is_ddl
            verdicts.append(verdict)
            if verdict.refusal is not None:
                refused = index
                break
        moves_at, ends_at = _moves_at(verdicts, refused, len(facts)), _ends_at(facts)
        needs_block = any(verdict.needs_block for verdict in verdicts)
        apart = goes_apart(verdicts, len(facts))
        is_split = moves_at >= 0 or ends_at >= 0 or needs_block or apart
        rewritten = None
        if any(verdict.cuts for verdict in verdicts):
            sent = verdicts if refused < 0 or verdicts[refused].held else verdicts[:refused]
            until = facts[len(sent)].start if len(sent) < len(facts) else len(sql)
            try:
                rewritten = self._rewriter.proved(sql[:until], facts[: len(sent)], sent)
            except RefusedError as error:
                verdicts, refused = [self._refused(verdicts[0], error.refusal)], 0
        plain = len(verdicts) == 1 and verdicts[0].plain
        return ScriptVerdict(
            sql,
            tuple(verdicts),
            refused,
            None,
            plain,
            count=len(facts),
            rewritten=rewritten,
            permit=script_permit(sql, verdicts, refused, len(facts)),
            parts=tuple(map(_part, facts)) if is_split else (),
            needs_block=needs_block,
            goes_apart=apart,
            moves_at=moves_at,
            ends_at=ends_at,
        )

    def statement(
        self,
        sql: bytes,
        text: str,
        facts: StatementFacts,
        as_sent: bool = False,
        is_template: bool = False,
    ) -> Verdict:
        """``text``: of ``sql``, the whole script; decoded once for all its statements. ``as_sent``:
        nothing is changed in it.
        """
        try:
            return self._decide(sql, text, facts, as_sent, is_template)
        except Exception as error:  # noqa: BLE001  logged, and a refusal
            return Verdict(facts, sql, failure(error), Outcome.DENY)

    @staticmethod
    def _refused(verdict: Verdict, refusal: Refusal) -> Verdict:
        return Verdict(
            verdict.facts,
            verdict.sql,
            refusal,
            Outcome.DENY,
            effects=verdict.effects,
            relations=verdict.relations,
            columns=verdict.columns,
            literals=verdict.literals,
        )

    def explained(self, sql: bytes, facts: StatementFacts, rewritten: bool) -> Verdict:
        """EXPLAIN EXECUTE of what was prepared, which is the text as it was sent. ``rewritten``:
        with masks in it.
        """
        verdict = self.statement(sql, sql.decode(), facts, as_sent=True)
        if verdict.refusal is None and not rewritten and self._reads_masked(facts):
            return self._refused(verdict, EXPLAINS_RAW)
        try:
            self._rewriter.check_executed(sql, facts)
        except RefusedError as error:
            return verdict if verdict.refusal is not None else self._refused(verdict, error.refusal)
        return verdict

    def _reads_masked(self, facts: StatementFacts) -> bool:
        masks = self.subject_policy.masks
        return any(not level.read.isdisjoint(masks) for level in chain(facts))

    def _decide(
        self, sql: bytes, text: str, facts: StatementFacts, as_sent: bool, is_template: bool
    ) -> Verdict:
        decision, refusal = outcome_of(self.subject_policy, facts, text)
        results = decision.results or RESULTS[-1]
        waits = decision.outcome is Outcome.HOLD and refusal is decision.refusal
        replacement, sent = Replacement(), sql[facts.start : facts.end]
        parameters: tuple[ComparedParameter, ...] = ()
        if (refusal is None or waits) and not as_sent:
            try:
                made = self._rewriter.statement(sql, facts)
                sent, replacement = _sent(sql, facts, made.cuts), made
                parameters = compared_parameters(self.catalog, facts, made.compared)
            except RefusedError as error:
                refusal, waits = error.refusal, False
        if facts.declared_types and parameters:
            declared = check_declared_types(parameters, facts, facts.declared_types, self.catalog)
            refusal, waits = declared or refusal, waits and declared is None
        inner = None
        if facts.inner is not None and refusal is None:
            inner = self._inner(sql, facts.inner, replacement.relations, results)
        kinds = frozenset([effect.kind for effect in facts.effects])
        moves_path = any(
            e.kind is EffectKind.DISCARD and e.name == "all" for e in facts.effects
        ) or any(
            isinstance(name, int) or name.lower() in ("search_path", "") for name in facts.set_names
        )
        changes_settings = _changes_settings(facts)
        plan = self.plan(facts.columns, replacement.relations)
        relations = self._relations(facts)
        opaque = self._opaque(facts, relations)
        literals = self._literals(sql, facts, opaque, relations, is_template)
        hidden = frozenset() if literals is None else self._hidden_outputs(facts, literals)
        unknown_code = runs_unknown_code(facts, self.catalog)
        if unknown_code and runs_late_bodies(facts) and (refusal is None or waits):
            refusal, waits = LATE_NAMES, False
        held = waits and facts.inner is None
        return Verdict(
            facts=facts,
            sql=sql[facts.start : facts.end],
            refusal=refusal,
            outcome=_outcome(decision, refusal),
            rule=decision.rule,
            plan=plan,
            masked_columns=self._masked_columns(facts),
            relations=self._relation_names(facts, relations),
            columns=self._column_names(facts),
            cuts=replacement.cuts,
            sent=sent,
            compared_parameters=parameters,
            notice=self._notice(facts, replacement.compared) if replacement.cuts else b"",
            inner=inner,
            scrub=self._scrub(facts, plan, opaque, relations),
            opaque=opaque,
            runs_unknown_code=unknown_code,
            needs_block=unknown_code and makes_temporary(facts),
            decision=decision,
            permit=RunPermit(sql) if refusal is None else ParsePermit(sql) if held else None,
            effects=facts.effects,
            changes_search_path=moves_path,
            changes_settings=changes_settings,
            unreported_settings=_changes_unreported(facts),
            is_ddl=EffectKind.DDL in kinds,
            resolves_names=not (kinds and kinds <= _TRANSACTION_CONTROL),
            held=held,
            literals=literals,
            hidden_outputs=hidden,
            results=results,
            hides_rows=hidden is None or bool(hidden) or results != FULL_RESULTS,
            untrusted=self._untrusted(facts),
            scans=self._scans(facts),
            changes=may_change(facts, self.catalog),
            runs_named=runs_named(facts),
            plain=refusal is None
            and not kinds
            and not moves_path
            and not facts.setting_parameters
            and not facts.bound_settings
            and not facts.cast_parameters
            and not changes_settings,
        )

    def _inner(
        self, sql: bytes, facts: StatementFacts, replaced: frozenset[int], results: str
    ) -> Verdict:
        """The plan of a prepared or declared statement, which was decided with the outer one."""
        plan = self.plan(facts.columns, replaced)
        relations = self._relations(facts)
        opaque = self._opaque(facts, relations)
        literals = self._literals(sql, facts, opaque, relations)
        hidden = frozenset() if literals is None else self._hidden_outputs(facts, literals)
        return Verdict(
            facts=facts,
            sql=sql,
            refusal=None,
            outcome=Outcome.ALLOW,
            plan=plan,
            permit=RunPermit(sql),
            masked_columns=self._masked_columns(facts),
            notice=self._notice(facts) if replaced else b"",
            scrub=self._scrub(facts, plan, opaque, relations),
            literals=literals,
            hidden_outputs=hidden,
            results=results,
            hides_rows=hidden is None or bool(hidden) or results != FULL_RESULTS,
            opaque=opaque,
            untrusted=self._untrusted(facts),
            scans=self._scans(facts),
            runs_unknown_code=runs_unknown_code(facts, self.catalog),
            changes=may_change(facts, self.catalog),
            runs_named=runs_named(facts),
            changes_settings=_changes_settings(facts),
            unreported_settings=_changes_unreported(facts),
        )

    def _untrusted(self, facts: StatementFacts) -> tuple[str, ...]:
        read = columns_read(facts, self.subject_policy.untrusted)
        return tuple([self.catalog.column_name(column) for column in read])

    def _scans(self, facts: StatementFacts) -> tuple[ScannedColumn, ...]:
        scanned = self.subject_policy.scanned
        if not scanned:
            return ()
        outputs = [pair for pair in enumerate(facts.columns or ()) if pair[1].sources & scanned]
        return tuple([self._scan(index, output) for index, output in outputs])

    def _scan(self, index: int, output: OutputColumn) -> ScannedColumn:
        source = min(output.sources & self.subject_policy.scanned)
        column = self.catalog.column(source)
        is_text = output.dependence is _IDENTITY and column is not None and column.type_oid in _TEXT
        return ScannedColumn(index, self.catalog.column_name(source), is_text)

    def _masked_columns(self, facts: StatementFacts) -> tuple[str, ...]:
        masks = self.subject_policy.masks
        masked = {
            source for column in facts.columns or () for source in column.sources if source in masks
        }
        return tuple(sorted(self.catalog.column_name(source) for source in masked))

    def plan(
        self, columns: tuple[OutputColumn, ...] | None, replaced: frozenset[int] = frozenset()
    ) -> MaskPlan | None:
        if columns is None:
            return None
        return build_plan(columns, self.subject_policy.masks, replaced)

    def _notice(self, facts: StatementFacts, compared: frozenset[int] = frozenset()) -> bytes:
        """The NoticeResponse that names the masks which the statement's expressions see, or whose
        values it stores; b"" for none. ``compared``: positions of references that see the value.
        """
        masks = self.subject_policy.masks
        if facts.truncates or not self.subject_policy.notices:
            return cascade_notices(facts)
        seen = {
            column
            for level in chain(facts)
            for column, at in level.mentioned
            if column in masks and at not in compared
        }
        seen |= {
            column
            for level in chain(facts)
            for flow in level.flows
            for column in flow.sources & masks.keys()
        }
        for level in chain(facts):
            seen |= (
                level.distinguished | level.mentioned_in_views | level.used_in_rows
            ) & masks.keys()
        if not seen:
            return b""
        names = sorted(f"{self.catalog.column_name(c)} ({masks[c].spec.kind})" for c in seen)
        return notice_response(
            "NOTICE",
            "00000",
            f"[SP2001] computed with masked values of {', '.join(names)}",
            detail=MASKS_DETAIL,
            hint=MASKS_HINT,
        )

    def _relations(self, facts: StatementFacts) -> set[int]:
        relations = {access.relation for access in facts.accesses}
        relations.update([column.relation for column in facts.mentioned_columns])
        if facts.inner is not None:
            relations |= self._relations(facts.inner)
        return relations

    def _relation_names(self, facts: StatementFacts, touched: set[int]) -> tuple[str, ...]:
        """What the statement itself names before what views bring in, so that the bound cuts the
        latter.
        """
        relations = self.catalog.relations
        named = {access.relation for access in facts.accesses if not access.indirect}
        order = [*sorted(named), *sorted(touched - named)]
        read = (relations[oid] for oid in order[:RELATIONS] if oid in relations)
        new = (
            f"{naming.schema}.{naming.name}"
            for naming in facts.named_objects
            if naming.schema and naming.name
        )
        name_resolver = [f"{relation.schema}.{relation.name}" for relation in read]
        return tuple(dict.fromkeys([*name_resolver, *new]))[:RELATIONS]

    def _column_names(self, facts: StatementFacts) -> tuple[str, ...]:
        """Columns that the statement returns, writes or has in its expressions."""
        used: set[ColumnId] = set()
        for level in chain(facts):
            used |= level.computed_with | level.read | level.read_in_functions
            used.update(*(access.columns for access in level.accesses))
            used.update(*(column.sources for column in level.columns or ()))
            used.update([flow.target for flow in level.flows if flow.target is not None])
        columns = (column for column in sorted(used) if self.catalog.column(column) is not None)
        return tuple(map(self.catalog.column_name, islice(columns, COLUMNS)))

    def _scrub(
        self, facts: StatementFacts, plan: MaskPlan | None, opaque: bool, relations: set[int]
    ) -> bool:
        """Whether the server meets values that a mask hides: those that it writes, those that it
        sends and the gateway masks, and those that expressions may see. All other expressions see
        the masks' values.
        """
        if not self.has_masks:
            return False
        if opaque:
            return True
        actions = {access.action for level in chain(facts) for access in level.accesses}
        if actions <= _READING:
            return (plan is not None and plan.masked) or self._computes_with_values(
                facts, relations
            )
        return not self._masked_relations.isdisjoint(relations)

    def _literals(
        self,
        sql: bytes,
        facts: StatementFacts,
        opaque: bool,
        relations: set[int],
        is_template: bool = False,
    ) -> Literals | None:
        """How the statement's values are recorded; None: as they are. It touches what is masked
        unless it is certain not to.
        """
        if self._record == FINGERPRINTS:
            return Literals(self._masking, sql, None, is_template)
        if self._record == FULL or not self.has_masks:
            return None
        if (
            opaque
            or facts.unknowns
            or not self._masked_relations.isdisjoint(relations)
            or not self._statement_texts.isdisjoint(relations)
            or any(
                effect.kind in _NAMES_ANOTHER for level in chain(facts) for effect in level.effects
            )
        ):
            return Literals(self._masking, sql, facts, is_template)
        return None

    def _hidden_outputs(self, facts: StatementFacts, literals: Literals) -> frozenset[int] | None:
        """Numbers (from 0) of the output columns that may repeat values which are not recorded;
        None: of all rows nothing is recorded, since they may quote the statement's own text, or
        that of others.
        """
        if facts.tells_text or any(level.kind == "explain" for level in chain(facts)):
            return None
        if not self._statement_texts.isdisjoint(self._relations(facts)):
            return None
        columns, quoting = facts.columns or (), facts.quoting
        computed = {
            number: column.sources
            for number, column in enumerate(columns)
            if column.dependence is not _IDENTITY and (quoting is None or number in quoting)
        }
        if not computed or not literals.hides_any:
            return frozenset()
        if literals.hides_outside:
            return frozenset(computed)
        masks = self.subject_policy.masks
        return frozenset(n for n, s in computed.items() if not s or not s.isdisjoint(masks))

    def _computes_with_values(self, facts: StatementFacts, relations: set[int]) -> bool:
        """With ``filter: allow``, and in a view that policy trusts, expressions see what masks
        hide.
        """
        if self._visible and any(
            not level.mentioned_columns.isdisjoint(self._visible) for level in chain(facts)
        ):
            return True
        for oid in relations:
            relation = self.catalog.relations.get(oid)
            if (
                relation is not None
                and relation.kind == "v"
                and self.subject_policy.trusts_view(relation)
            ):
                return True
        return False

    def _opaque(self, facts: StatementFacts, touched: set[int]) -> bool:
        if not self.has_masks:
            return False
        if facts.functions or (facts.inner is not None and facts.inner.functions):
            return True
        if any([column.dependence is _OPAQUE for column in facts.columns or ()]):
            return True
        if self.catalog.event_triggers and any(e.kind is EffectKind.DDL for e in facts.effects):
            return True
        writes = facts.kind not in ("select", "explain", "show", "copy-out")
        relations = self.catalog.relations
        return writes and any(relations[oid].has_triggers for oid in touched if oid in relations)


def _moves_at(verdicts: list[Verdict], refused: int, count: int) -> int:
    """The first statement that changes what those behind it mean, of a script that does not run as
    it is; -1 where none does before the refusal, or where that says more than that the rest is
    unknown. A held one is at that place itself.
    """
    if refused < 0:
        return -1
    moves = (i for i, verdict in enumerate(verdicts) if _moves(verdict))
    place = next(moves, -1)
    if place == refused and not (verdicts[place].held and place + 1 < count):
        return -1
    return place


def _moves(verdict: Verdict) -> bool:
    return verdict.is_ddl or verdict.changes_search_path or verdict.runs_unknown_code


def _ends_at(facts: tuple[StatementFacts, ...]) -> int:
    """The first statement that ends a transaction, or a part of it, and has others behind it; -1
    for none.
    """
    ends = (
        i
        for i, statement in enumerate(facts[:-1])
        if any(e.kind in _TRANSACTION_END for e in statement.effects)
    )
    return next(ends, -1)


def _part(facts: StatementFacts) -> Part:
    kinds = [effect.kind for effect in facts.effects]
    chains = EffectKind.BEGIN in kinds and kinds[0] is not EffectKind.BEGIN
    is_plain = not facts.effects and not facts.settings
    return Part(facts.start, facts.end, facts.kind, chains, is_plain)


def _sent(sql: bytes, facts: StatementFacts, cuts: tuple[Cut, ...]) -> bytes:
    """The statement's own part of what is sent."""
    start, end = facts.start, facts.end
    if not cuts:
        return sql[start:end]
    moved = (Cut(cut.start - start, cut.end - start, cut.text) for cut in cuts)
    return rewritten_text(sql[start:end], moved).text


def _changes_settings(facts: StatementFacts) -> bool:
    bound = any(
        isinstance(setting.name, int) or changes_meaning(setting.name)
        for setting in facts.bound_settings
    )
    return bound or any(
        changes_meaning(change.name) for level in chain(facts) for change in level.settings
    )


def _changes_unreported(facts: StatementFacts) -> bool:
    """A RESET goes back to what the session started with, so it alone makes nothing unknown."""
    changes = [change for level in chain(facts) for change in level.settings]
    bound = any(
        isinstance(setting.name, int) or is_unreported(setting.name)
        for setting in facts.bound_settings
    )
    return bound or any(
        change.value is not None and is_unreported(change.name) for change in changes
    )


def _outcome(decision: Decision, refusal: Refusal | None) -> Outcome:
    return decision.outcome if refusal is decision.refusal else Outcome.DENY
