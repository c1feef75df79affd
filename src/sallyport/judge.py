"""The one door: statement text -> facts -> decision -> mask plan -> :class:`Verdict`, and the cache of verdicts.

A :class:`Judge` serves one target. It holds the current catalog snapshot and bound policy; ``generation`` moves whenever
either changed. A :class:`View` is the judge as one kind of session sees it (a subject's rule set and masks, and a search_path):
everything a verdict depends on besides the text is fixed in it, so that its cache is keyed by the exact text alone.
Sessions that share subject rules and search_path share the view.

Fails closed: whatever cannot be parsed, resolved or decided comes back as a refusal; an unexpected error is SP1804, logged.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from sallyport.core.errors import Refusal, RefusedError, refuse
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.masking.plan import MaskPlan, build_plan
from sallyport.policy.allowance import Bounds, HourlyUse
from sallyport.policy.bind import BoundPolicy, SubjectPolicy, bind
from sallyport.policy.decision import Decision, Outcome
from sallyport.policy.model import Policy
from sallyport.policy.needs import chain
from sallyport.policy.outcome import outcome_of
from sallyport.sql import script, template
from sallyport.sql.analysis import TooMuchWork
from sallyport.sql.catalog import CatalogSnapshot
from sallyport.sql.extract import Context, analyze, explained, trusted_bodies
from sallyport.sql.facts import Dependence, Effect, EffectKind, OutputColumn, StatementFacts, TypedParameter
from sallyport.sql.parse import Parsed, parse_counted
from sallyport.sql.settings import changes_meaning, is_unreported
from sallyport.wire.scan import outline

log = structlog.get_logger("sallyport.judge")

#: Bounds of one view's cache: entries and bytes of text. When either is passed the oldest half goes.
_CACHE_ENTRIES = 4096
_CACHE_BYTES = 16 << 20

#: Names of relations that a verdict keeps, and so a recording: a partitioned table has thousands.
RELATIONS = 100

#: What :meth:`View.judge_soon` takes on: about 5 ms.
_SOON_BYTES = 32_768
_SOON_TOKENS = 500

#: Seconds after which a thread that wants the interpreter gets it: while a text is judged on another thread, and otherwise.
_SWITCH = 0.0005
_USUAL_SWITCH = sys.getswitchinterval()

_UNSEEN: Any = object()

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


@dataclass(slots=True)
class Verdict:
    """What happens to one statement. Made once, shared by every session of the view: never changed after.

    plan: masks of the rows it returns (None: it returns none, and rows that come all the same are withheld).
    inner: of PREPARE and DECLARE, the verdict whose plan EXECUTE and FETCH follow.
    scrub: its errors and notices may quote masked values. opaque: it runs code that was not read (trusted functions,
    triggers), so not even PostgreSQL's own analysis errors are told from raised ones.
    """

    facts: StatementFacts
    sql: bytes
    refusal: Refusal | None
    outcome: Outcome
    rule: str = ""
    plan: MaskPlan | None = None
    inner: Verdict | None = None
    scrub: bool = False
    opaque: bool = False
    decision: Decision | None = None
    # derived once for the hot path
    effects: tuple[Effect, ...] = ()
    changes_search_path: bool = False
    changes_settings: bool = False  # of those that change what a statement means
    unreported_settings: bool = False  # such that PostgreSQL does not report the new value
    is_ddl: bool = False
    resolves_names: bool = True
    typed_parameters: tuple[TypedParameter, ...] = ()  # whose columns are masked
    held: bool = False  # a rule holds it, and nothing else stands against it
    plain: bool = False  # allowed, and without any effect on the session: the hot path
    masked_columns: tuple[str, ...] = ()  # schema.relation.column of what is masked in its rows
    relations: tuple[
        str, ...
    ] = ()  # schema.relation of what it touches, views' relations included; at most RELATIONS
    # RowDescription body -> compiled program; bounded by the machine
    programs: dict[bytes, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ScriptVerdict:
    """Verdicts of a whole simple-query string or Parse text. ``refused``: index of the first statement that does not run, or -1.

    ``refusal`` without statements: the text could not be read at all (syntax error, too long).
    ``plain``: exactly one statement, allowed, with no effect on the session: the hot path.
    """

    sql: bytes
    statements: tuple[Verdict, ...]
    refused: int = -1
    refusal: Refusal | None = None
    plain: bool = False
    seconds: float = 0.0
    count: int = 0  # statements in the text, those behind a refused one included


class View:
    """The judge for one rule set, one search_path, one policy and one catalog. Immutable but for its cache."""

    def __init__(self, judge: Judge, subject_policy: SubjectPolicy, search_path: tuple[str, ...]) -> None:
        self.judge_ = judge
        self.generation = judge.generation
        self.subject_policy = subject_policy
        self.catalog = judge.catalog
        self.policy_version = judge.policy.version
        self.epoch = self.catalog.epoch
        self.keys = judge.keys
        self.context = Context(
            search_path=effective_search_path(search_path, self.catalog),
            role=self.catalog.role,
            max_length=judge.max_statement_bytes,
            trusted_functions=subject_policy.trusts_function,
            opaque=trusted_bodies(self.catalog, subject_policy.trusts_function),
        )
        limits = subject_policy.limits
        self.bounds = Bounds(
            limits.rows or 0,
            limits.bytes or 0,
            limits.rows_per_session or 0,
            limits.bytes_per_session or 0,
            limits.rows_per_hour or 0,
            limits.bytes_per_hour or 0,
        )
        self.hurried = replace(self.context, hurried=True)
        self.has_masks = bool(subject_policy.masks)
        self._masked_relations = frozenset(c.relation for c in subject_policy.masks)
        self.identifiers = judge.identifiers
        self.cache: dict[bytes, ScriptVerdict] = {}
        self.templates: dict[bytes | None, ScriptVerdict | None] = {}
        self._cache_bytes = 0

    def judge(self, sql: bytes, void: frozenset[int] = frozenset()) -> ScriptVerdict:
        """Judge a script; cached by exact text. Never raises: what goes wrong is a refusal.

        ``void``: numbers of the parameters that were declared to be of type void; see :attr:`Context.void`. Rare, so not cached, and
        always judged at once: long texts are refused.
        """
        if void:
            length = min(self.context.max_length, _SOON_BYTES)
            return self._judge(sql, replace(self.context, void=void, max_length=length))
        known = self.cache.get(sql)
        if known is not None:
            return known
        return self._fresh(sql, self.context)

    def _fresh(self, sql: bytes, context: Context) -> ScriptVerdict:
        """Raises TooMuchWork where the context is hurried."""
        key = template.key(sql)
        if key is not None:
            shared = self._template(key, sql, context)
            if shared is not None:
                return shared
        started = time.perf_counter()
        verdict = self._judge_script(sql, context) or self._judge(sql, context)
        verdict.seconds = time.perf_counter() - started
        self.judge_.times.add(verdict.seconds)
        self._remember(sql, verdict)
        return verdict

    def judge_elsewhere(self, sql: bytes) -> ScriptVerdict:
        """:meth:`judge` for a thread beside the event loop's, which meanwhile gets the interpreter back ten times as soon as usual."""
        sys.setswitchinterval(_SWITCH)
        try:
            return self.judge(sql)
        finally:
            sys.setswitchinterval(_USUAL_SWITCH)

    def judge_soon(self, sql: bytes) -> ScriptVerdict | None:
        """The same where it is known, or takes some milliseconds at most; None otherwise, and it is to be judged on another thread."""
        known = self.cache.get(sql)
        if known is not None:
            return known
        if len(sql) > _SOON_BYTES or outline(sql, _SOON_TOKENS, False)[0] > _SOON_TOKENS:
            return None
        try:
            return self._fresh(sql, self.hurried)
        except TooMuchWork:
            return None

    def _template(self, key: bytes, sql: bytes, context: Context) -> ScriptVerdict | None:
        """The verdict of ``sql``'s template, which is known by ``key``; None when it has none."""
        shared: ScriptVerdict | None = self.templates.get(key, _UNSEEN)
        if shared is _UNSEEN:
            shared = self._judge_template(sql, context)
            if len(self.templates) >= _CACHE_ENTRIES:
                self.templates.clear()
            self.templates[key] = shared
        return shared

    def _judge_template(self, sql: bytes, context: Context) -> ScriptVerdict | None:
        """The verdict for every text that differs from this one in its literals only; None where each must be judged by itself."""
        text = template.with_parameters(sql)
        try:
            parsed = parse_counted(text, context.max_length)
            if template.is_positional([raw.node for raw in parsed[0]]):
                return None
        except RefusedError:
            return None
        started = time.perf_counter()
        verdict = self._judge(text, context, parsed)
        verdict.seconds = time.perf_counter() - started
        self.judge_.times.add(verdict.seconds)
        return verdict if verdict.plain else None

    def _remember(self, sql: bytes, verdict: ScriptVerdict) -> None:
        if len(self.cache) >= _CACHE_ENTRIES or self._cache_bytes + len(sql) > _CACHE_BYTES:
            for key in list(self.cache)[: max(1, len(self.cache) // 2)]:
                del self.cache[key]
                self._cache_bytes -= len(key)
        self.cache[sql] = verdict
        self._cache_bytes += len(sql)

    def _judge(self, sql: bytes, context: Context, parsed: Parsed | None = None) -> ScriptVerdict:
        try:
            facts = analyze(sql, self.catalog, context, parsed)
        except RefusedError as error:
            if context.hurried and isinstance(error, TooMuchWork):
                raise
            return ScriptVerdict(sql, (), 0, error.refusal)
        except Exception as error:
            log.error("judge failed", error=type(error).__name__, exc_info=True)
            return ScriptVerdict(sql, (), 0, internal_refusal())
        return self._decide_all(sql, facts)

    def _judge_script(self, sql: bytes, context: Context) -> ScriptVerdict | None:
        """The verdict on a script in which statements repeat but for their literals: each of those is judged once.

        None where nothing repeats, or something moves what names mean: then every statement has to be seen in its place.
        """
        repeated = script.repeated(sql)
        known: dict[bytes, ScriptVerdict | None] = {}
        for piece in repeated:
            if piece.key not in known:
                known[piece.key] = self._template(piece.key, sql[piece.start : piece.end], context)
        shared = [(piece, found) for piece in repeated if (found := known[piece.key]) is not None]
        if not shared:
            return None
        rest = self._judge(script.without(sql, [piece for piece, _ in shared]), context)
        if rest.refusal is not None:
            return replace(rest, sql=sql)
        if any(v.is_ddl or v.changes_search_path or v.changes_settings for v in rest.statements):
            return None
        verdicts = list(rest.statements)
        until = verdicts[-1].facts.start if rest.refused >= 0 else len(sql)
        verdicts += [_at(found.statements[0], sql, piece) for piece, found in shared if piece.start < until]
        verdicts.sort(key=_start)
        refused = len(verdicts) - 1 if rest.refused >= 0 else -1
        return ScriptVerdict(sql, tuple(verdicts), refused, count=rest.count + len(shared))

    def _decide_all(self, sql: bytes, facts: tuple[StatementFacts, ...]) -> ScriptVerdict:
        verdicts: list[Verdict] = []
        text = sql.decode()
        refused = -1
        path_moved = ddl_before = False
        for index, one in enumerate(facts):
            verdict = self._guarded(sql, text, one)
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

    def _guarded(self, sql: bytes, text: str, facts: StatementFacts) -> Verdict:
        try:
            return self._decide(sql, text, facts)
        except Exception as error:
            log.error("judge failed", error=type(error).__name__, exc_info=True)
            return Verdict(facts, sql, internal_refusal(), Outcome.DENY)

    def explained(self, sql: bytes, prepared: bytes, void: frozenset[int]) -> Verdict | Refusal:
        """EXPLAIN EXECUTE (``sql``), judged as EXPLAIN of the text that was ``prepared``; at once, so not of what takes long."""
        try:
            facts = explained(sql, prepared, self.catalog, replace(self.hurried, void=void))
        except RefusedError as error:
            return error.refusal
        except Exception as error:
            log.error("judge failed", error=type(error).__name__, exc_info=True)
            return internal_refusal()
        return self._guarded(sql, sql.decode(), facts)

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
        """``text``: of ``sql``; decoded once for all statements of a script."""
        decision, refusal = outcome_of(self.subject_policy, facts, text)
        inner = None
        if facts.inner is not None and refusal is None:
            inner = self._inner(sql, facts.inner)
        kinds = frozenset(effect.kind for effect in facts.effects)
        moves_path = any(e.kind is EffectKind.DISCARD and e.name == "all" for e in facts.effects) or any(
            s.name.lower() in ("search_path", "") for s in facts.settings
        )
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
            changes_settings=_changes_settings(facts),
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
            and not _changes_settings(facts),
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


def _start(verdict: Verdict) -> int:
    return verdict.facts.start


def _at(verdict: Verdict, sql: bytes, piece: script.Piece) -> Verdict:
    """A verdict for every value of the literals, as that of the statement in this place."""
    facts = replace(verdict.facts, start=piece.start, end=piece.end)
    return replace(verdict, facts=facts, sql=sql[piece.start : piece.end])


def _worst(outcome: Outcome) -> Outcome:
    return Outcome.HOLD if outcome is Outcome.HOLD else Outcome.DENY


def internal_refusal() -> Refusal:
    return refuse(
        "SP1804",
        "the gateway failed while judging this statement, so it does not run",
        hint="This is a fault of the gateway; its log says more. A simpler form of the statement may pass.",
    )


AFTER_SEARCH_PATH = refuse(
    "SP1302",
    "search_path was changed earlier in the same message",
    "Names in this statement cannot be resolved before the change is confirmed by the server.",
    "Send SET search_path on its own, and this statement after it.",
)
AFTER_DDL = refuse(
    "SP1102",
    "the catalog was changed earlier in this transaction",
    "This statement came with the change, before the gateway could see what names mean after it.",
    "Send this statement when the answer to the change is there.",
)


def effective_search_path(setting: tuple[str, ...], catalog: CatalogSnapshot) -> tuple[str, ...]:
    """Schema names in lookup order: ``$user`` expanded, missing schemas dropped, pg_catalog first unless listed.

    Source: PostgreSQL, src/backend/catalog/namespace.c, recomputeNamespacePath. No temporary schema is ever included: creating
    temporary relations is refused.
    """
    unique = catalog.usable_path(setting)
    return unique if "pg_catalog" in unique else ("pg_catalog", *unique)


#: Upper bounds of the histogram of judging times (seconds).
_TIMES = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, math.inf)


@dataclass(slots=True)
class JudgeTimes:
    """How long judging took that no cache answered. ``buckets``: upper bound -> count (not cumulative)."""

    count: int = 0
    seconds: float = 0.0
    buckets: dict[float, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds
        bound = next(b for b in _TIMES if seconds <= b)
        self.buckets[bound] = self.buckets.get(bound, 0) + 1


class Judge:
    """The current catalog and policy of one target, and the views over them. ``generation`` moves with either."""

    def __init__(
        self,
        target: str,
        policy: Policy,
        catalog: CatalogSnapshot,
        keys: Mapping[str, Secret],
        *,
        max_statement_bytes: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.target = target
        self.policy = policy
        self.catalog = catalog
        self.keys = keys
        self.max_statement_bytes = max_statement_bytes
        self.generation = 0
        self.times = JudgeTimes()
        self.masked: Counter[str] = Counter()  # rows that came back masked, by masked column
        self._now = now
        self._bound: BoundPolicy = bind(policy, catalog, target)
        self._views: dict[tuple[object, tuple[str, ...]], View] = {}
        self._identifiers: frozenset[str] = frozenset()
        self._identifiers_of = ""
        self._use: dict[tuple[str, str], HourlyUse] = {}

    @property
    def identifiers(self) -> frozenset[str]:
        """Names that an error message may keep: anything else in its name fields could be data (RAISE ... USING)."""
        if self._identifiers_of != self.catalog.epoch:
            catalog = self.catalog
            found = set(catalog.schemas)
            for relation in catalog.relations.values():
                found.add(relation.name)
                found.update(column.name for column in relation.columns)
            found.update(one.name for one in catalog.types.values())
            self._identifiers, self._identifiers_of = frozenset(found), catalog.epoch
        return self._identifiers

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._bound.warnings)

    def update(self, *, policy: Policy | None = None, catalog: CatalogSnapshot | None = None) -> bool:
        """Take a new policy or catalog. Returns whether anything moved; raises ConfigError and keeps the old on a bad policy."""
        new_policy, new_catalog = policy or self.policy, catalog or self.catalog
        if new_policy.version == self.policy.version and new_catalog.epoch == self.catalog.epoch:
            return False
        new_catalog = new_catalog.following(self.catalog)
        self._bound = bind(new_policy, new_catalog, self.target)
        self.policy, self.catalog = new_policy, new_catalog
        self._views = {}
        self.generation += 1
        return True

    def beside(self, catalog: CatalogSnapshot) -> Judge:
        """A judge by the same policy over the catalog as one open transaction sees it; what is counted is counted here."""
        catalog = catalog.following(self.catalog)
        made = Judge(
            self.target,
            self.policy,
            catalog,
            self.keys,
            max_statement_bytes=self.max_statement_bytes,
            now=self._now,
        )
        made.times, made.masked, made._use = self.times, self.masked, self._use
        return made

    def tick(self) -> None:
        """Time has passed: where rules opened or closed with it (access windows), sessions look again."""
        now = self._now()
        if any(view.subject_policy.valid_until <= now for view in self._views.values()):
            self._views = {}
            self.generation += 1

    def masked_columns(self) -> list[tuple[str, str, str, tuple[str, ...], tuple[str, ...], str, str]]:
        """(column, mask, filter, tags, exempt groups, for whom, except for whom) of every column that policy masks for somebody here."""
        return self._bound.masked_columns()

    def unmasked_columns(self) -> list[tuple[str, tuple[str, ...]]]:
        """(column, tags) of every column that policy classifies and masks for nobody."""
        return self._bound.unmasked_columns()

    def hourly_use(self, subject: Subject) -> HourlyUse:
        """What the subject read in the last hour, shared by its sessions."""
        return self._use.setdefault((subject.issuer, subject.id), HourlyUse(self._now))

    def subject_policy(self, subject: Subject) -> SubjectPolicy:
        return self._bound.for_subject(subject, self._now())

    def view(self, subject: Subject, search_path: tuple[str, ...]) -> View:
        """The view for this subject now. Sessions whose rules, masks and path are equal share one."""
        subject_policy = self.subject_policy(subject)
        key = (subject_policy.key, search_path)
        view = self._views.get(key)
        if view is None:
            if len(self._views) > 256:
                self._views.clear()
            view = self._views[key] = View(self, subject_policy, search_path)
        return view
