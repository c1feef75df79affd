"""The judge as one kind of session sees it, and its cache of verdicts."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from functools import cached_property
from typing import Any

import structlog
from msgspec.structs import replace

from sallyport.core.errors import Refusal, RefusedError
from sallyport.core.interpreter import computing_beside
from sallyport.core.secret import Secret
from sallyport.judge.literals import blanked
from sallyport.judge.parameters import check_declared_types
from sallyport.judge.statements import Statements
from sallyport.judge.verdict import ScriptVerdict, Verdict, failure, script_permit
from sallyport.masking.plan import UNREAD_ROWS, MaskPlan
from sallyport.policy.allowance import Bounds
from sallyport.policy.bound import SubjectPolicy
from sallyport.policy.model import FINGERPRINTS, FULL, LITERALS_MASKED, Policy
from sallyport.sql.analysis import TooMuchWork
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import Context, analyze, explained, trusted_bodies
from sallyport.sql.facts import OutputColumn
from sallyport.sql.rewrite.cuts import Rewritten
from sallyport.sql.text import script, template
from sallyport.sql.values.void_parameters import void_parameters
from sallyport.wire.scan import outline

log = structlog.get_logger("sallyport.judge")

#: Bounds of one subject's judge's cache: entries and bytes of text. When either is passed the
#: oldest half goes.
_CACHE_ENTRIES = 4096
_CACHE_BYTES = 16 << 20

#: What :meth:`SubjectJudge.judge_soon` takes on: about 5 ms.
_SOON_BYTES = 32_768
_SOON_TOKENS = 500
#: Texts whose recorded form waits to be taken.
_BLANKED_ENTRIES = 8

_UNSEEN: Any = object()

#: Upper bounds of the histogram of judging times (seconds).
JUDGE_BOUNDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, math.inf)


@dataclass(slots=True)
class JudgeTimes:
    """How long judging took that no cache answered. ``buckets``: upper bound -> count (not
    cumulative).
    """

    count: int = 0
    seconds: float = 0.0
    buckets: dict[float, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds
        bound = next(b for b in JUDGE_BOUNDS if seconds <= b)
        self.buckets[bound] = self.buckets.get(bound, 0) + 1


@dataclass(frozen=True, slots=True)
class Grounds:
    """What every subject's judge of one policy over one catalog stands on. ``identifiers``: names
    that an error message may keep. ``keys``: of hash masks, by name.
    """

    policy: Policy
    catalog: CatalogSnapshot
    keys: Mapping[str, Secret]
    identifiers: frozenset[str]
    max_statement_bytes: int
    times: JudgeTimes


class SubjectJudge:
    """The judge for one rule set, one search_path, one policy and one catalog. Immutable but for
    its cache.
    """

    def __init__(
        self,
        grounds: Grounds,
        subject_policy: SubjectPolicy,
        search_path: tuple[str, ...],
        generation: int,
    ) -> None:
        self.generation = generation
        self._grounds, self._path = grounds, search_path
        self.subject_policy = subject_policy
        self.policy = grounds.policy
        self.policy_version = grounds.policy.version
        self.catalog = grounds.catalog
        self.epoch = grounds.catalog.epoch
        self.keys = grounds.keys
        self.identifiers = grounds.identifiers
        self.context = Context(
            search_path=effective_search_path(search_path, self.catalog),
            role=self.catalog.role,
            max_length=grounds.max_statement_bytes,
            trusted_functions=subject_policy.trusts_function,
            runs_code=subject_policy.runs_code,
            sleeping=subject_policy.sleeping,
            opaque=trusted_bodies(self.catalog, subject_policy.lists_function),
            masked=subject_policy.masks.relations,
            compared=subject_policy.masks.compared_relations,
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
        self._statements = Statements(
            subject_policy,
            self.catalog,
            self.context.search_path,
            grounds.keys,
            grounds.policy.record_statements,
        )
        self.has_masks = self._statements.has_masks
        record = grounds.policy.record_statements
        #: whether recordings hide values of texts that the judge could not read
        self.hides_values = record == FINGERPRINTS or (self.has_masks and record != FULL)
        self._times = grounds.times
        self.cache: dict[bytes, ScriptVerdict] = {}
        self.templates: dict[bytes | None, ScriptVerdict | None] = {}
        self._cache_bytes = 0
        self._blanked: dict[bytes, str] = {}  # of texts that were refused elsewhere

    @cached_property
    def for_people(self) -> SubjectJudge:
        """The same, whose masks alone say which values of a text people may see, whatever the
        policy says of recordings.
        """
        if self.policy.record_statements == LITERALS_MASKED:
            return self
        return self._made_for_people(self.subject_policy)

    @cached_property
    def for_anybody(self) -> SubjectJudge | None:
        """As :attr:`for_people`, with every mask there is for somebody: what it shows, anybody may
        see. None where that is not known.
        """
        subject_policy, everybody = self.subject_policy, self.subject_policy.for_everybody
        if everybody is None:
            return None
        redacts = subject_policy.contained is not None and self.policy.contain.redacts
        masks = everybody.masks_of_all(redacts=redacts)
        if masks is subject_policy.masks:
            return self.for_people
        return self._made_for_people(replaced(subject_policy, masks=masks, key=None))

    def _made_for_people(self, subject_policy: SubjectPolicy) -> SubjectJudge:
        policy = replaced(self.policy, record_statements=LITERALS_MASKED)
        grounds = replaced(self._grounds, policy=policy, times=JudgeTimes())
        return SubjectJudge(grounds, subject_policy, self._path, self.generation)

    def unread_cursor(self, fetch: Verdict) -> Verdict | None:
        """The verdict for the rows of a cursor that a function opened. ``fetch``: of the FETCH.
        None where the policy protects anything from this subject that such rows could be: see
        :func:`sallyport.policy.checks.unread_code.obstacle`.
        """
        if self.subject_policy.code_obstacle:
            return None
        return replace(
            fetch,
            plan=UNREAD_ROWS,
            runs_unknown_code=True,
            changes=True,
            hidden_outputs=None if self.hides_values else frozenset(),
            hides_rows=self.hides_values or fetch.hides_rows,
            programs={},
        )

    def judge(self, sql: bytes, declared: Sequence[int] = ()) -> ScriptVerdict:
        """Judge a script; cached by exact text. Never raises: what goes wrong is a refusal.

        ``declared``: types of the parameters (pg_type OIDs; 0: not given), where Parse declares
        them. Those of type void (:attr:`Context.void`), and all where fields of a parameter are
        read (:attr:`Context.declared`), decide what the text means: that is rare, so not cached,
        and always judged at once: long texts are refused.
        """
        void = void_parameters(declared) if declared else frozenset()
        if not void:
            cached = self.cache.get(sql)
            verdict = self._safely(sql, self.context) if cached is None else cached
            if not declared or not verdict.asks_types:
                return verdict
        length = min(self.context.max_length, _SOON_BYTES)
        types = tuple(declared)
        return self._judge(sql, replace(self.context, void=void, declared=types, max_length=length))

    def check_declared_types(self, verdict: Verdict, declared: Sequence[int]) -> Refusal | None:
        """Why the statement may not be prepared with parameters of these types (pg_type OIDs; 0:
        not declared), or None.
        """
        if not verdict.facts.cast_parameters and not verdict.compared_parameters:
            return None
        try:
            return check_declared_types(
                verdict.compared_parameters, verdict.facts, declared, self.catalog
            )
        except Exception as error:  # noqa: BLE001  logged, and a refusal
            return failure(error)

    def _safely(self, sql: bytes, context: Context) -> ScriptVerdict:
        """:meth:`_fresh`, whose faults are refusals. Raises TooMuchWork where the context is
        hurried, and nothing else.
        """
        try:
            return self._fresh(sql, context)
        except TooMuchWork as error:
            if context.hurried:
                raise
            return ScriptVerdict(sql, (), 0, error.refusal)
        except Exception as error:  # noqa: BLE001  logged, and a refusal
            return fault(sql, error)

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
        self._times.add(verdict.seconds)
        self._remember(sql, verdict)
        return verdict

    def judge_elsewhere(self, sql: bytes) -> ScriptVerdict:
        """:meth:`judge` for a thread beside the event loop's. What is recorded of a text that is
        refused as a whole is made there, too.
        """
        with computing_beside():
            verdict = self.judge(sql)
            if verdict.refused >= 0 and not verdict.statements and self.hides_values:
                if len(self._blanked) >= _BLANKED_ENTRIES:  # of sessions that ended meanwhile
                    self._blanked.clear()
                self._blanked[sql] = blanked(sql, self.identifiers)
            return verdict

    def take_blanked(self, sql: bytes) -> str:
        """As :func:`sallyport.judge.literals.blanked`, of a text that could not be judged."""
        kept = self._blanked.pop(sql, None)
        return blanked(sql, self.identifiers) if kept is None else kept

    def judge_soon(self, sql: bytes) -> ScriptVerdict | None:
        """The same where it is known, or takes some milliseconds at most; None otherwise, and it is
        to be judged on another thread.
        """
        cached = self.cache.get(sql)
        if cached is not None:
            return cached
        if len(sql) > _SOON_BYTES or outline(sql, _SOON_TOKENS, False)[0] > _SOON_TOKENS:
            return None
        try:
            return self._safely(sql, self.hurried)
        except TooMuchWork:
            return None

    def _template(self, key: bytes, sql: bytes, context: Context) -> ScriptVerdict | None:
        """The verdict of ``sql``'s template, which is known by ``key``; None when it has none."""
        shared: ScriptVerdict | None = self.templates.get(key, _UNSEEN)
        if shared is _UNSEEN:
            shared = self._judge_template(key, sql, context)
            if len(self.templates) >= _CACHE_ENTRIES:
                self.templates.clear()
            self.templates[key] = shared
        return shared

    def _judge_template(self, key: bytes, sql: bytes, context: Context) -> ScriptVerdict | None:
        """The verdict for every text that differs from this one in its literals only; None where
        each must be judged by itself.
        """
        started = time.perf_counter()
        verdict = self._judge(template.with_parameters(key), replace(context, template=True))
        if not verdict.plain:
            return None
        if verdict.rewritten is not None:
            if template.converts_numbers([cut.text for cut in verdict.rewritten.cuts], sql):
                return None
            verdict.pieces = template.pieces(verdict.rewritten)
        verdict.seconds = time.perf_counter() - started
        self._times.add(verdict.seconds)
        return verdict

    def _remember(self, sql: bytes, verdict: ScriptVerdict) -> None:
        if len(self.cache) >= _CACHE_ENTRIES or self._cache_bytes + len(sql) > _CACHE_BYTES:
            for key in list(self.cache)[: max(1, len(self.cache) // 2)]:
                # a long text that is judged on another thread may be remembered at the same time
                if self.cache.pop(key, None) is not None:
                    self._cache_bytes -= len(key)
        self.cache[sql] = verdict
        self._cache_bytes += len(sql)

    def _judge(self, sql: bytes, context: Context) -> ScriptVerdict:
        try:
            facts = analyze(sql, self.catalog, context)
            return self._statements.script(sql, facts, context.template)
        except RefusedError as error:
            if context.hurried and isinstance(error, TooMuchWork):
                raise
            return ScriptVerdict(sql, (), 0, error.refusal)
        except Exception as error:  # noqa: BLE001  logged, and a refusal
            return fault(sql, error)

    def _judge_script(self, sql: bytes, context: Context) -> ScriptVerdict | None:
        """The verdict on a script in which statements repeat but for their literals: each of those
        is judged once.

        None where nothing repeats, or something moves what names mean: then every statement has to
        be seen in its place.
        """
        repeated = script.repeated(sql)
        templates: dict[bytes, ScriptVerdict | None] = {}
        for piece in repeated:
            if piece.key not in templates:
                templates[piece.key] = self._template(
                    piece.key, sql[piece.start : piece.end], context
                )
        shared = [
            (piece, template)
            for piece in repeated
            if (template := templates[piece.key]) is not None
        ]
        if not shared or any(template.rewritten is not None for _, template in shared):
            return None
        rest = self._judge(script.without(sql, [piece for piece, _ in shared]), context)
        if rest.refusal is not None:
            return replace(rest, sql=sql)
        if any(v.is_ddl or v.changes_search_path or v.changes_settings for v in rest.statements):
            return None
        verdicts = list(rest.statements)
        until = verdicts[-1].facts.start if rest.refused >= 0 else len(sql)
        verdicts += [
            _at(template.statements[0], sql, piece)
            for piece, template in shared
            if piece.start < until
        ]
        verdicts.sort(key=_start)
        refused = len(verdicts) - 1 if rest.refused >= 0 else -1
        rewritten = None if rest.rewritten is None else Rewritten(sql, rest.rewritten.cuts)
        count = rest.count + len(shared)
        permit = script_permit(sql, verdicts, refused, count)
        return ScriptVerdict(
            sql, tuple(verdicts), refused, count=count, rewritten=rewritten, permit=permit
        )

    def explained(
        self, sql: bytes, prepared: bytes, declared: Sequence[int], rewritten: bool
    ) -> Verdict | Refusal:
        """EXPLAIN EXECUTE (``sql``), judged as EXPLAIN of the text that was ``prepared``; at once,
        so not of what takes long.

        ``declared``: types of its parameters, by Parse. ``rewritten``: what was sent for that text
        has masks in it.
        """
        void, types = void_parameters(declared), tuple(declared)
        context = replace(self.hurried, void=void, declared=types)
        try:
            facts = explained(sql, prepared, self.catalog, context)
        except RefusedError as error:
            return error.refusal
        except Exception as error:  # noqa: BLE001  logged, and a refusal
            return failure(error)
        return self._statements.explained(sql, facts, rewritten)

    def plan(self, columns: tuple[OutputColumn, ...] | None) -> MaskPlan | None:
        """The masks that rows with these columns get."""
        return self._statements.plan(columns)


def fault(sql: bytes, error: Exception) -> ScriptVerdict:
    """The refusal of a text over which judging failed; logged."""
    return ScriptVerdict(sql, (), 0, failure(error))


def _start(verdict: Verdict) -> int:
    return verdict.facts.start


def _at(verdict: Verdict, sql: bytes, piece: script.Piece) -> Verdict:
    """A verdict for every value of the literals, as that of the statement in this place."""
    facts = replace(verdict.facts, start=piece.start, end=piece.end)
    text = sql[piece.start : piece.end]
    return replace(verdict, facts=facts, sql=text, sent=text)


def effective_search_path(setting: tuple[str, ...], catalog: CatalogSnapshot) -> tuple[str, ...]:
    """Schema names in lookup order: ``$user`` expanded, missing schemas dropped, pg_catalog first
    unless listed.

    Source: PostgreSQL, src/backend/catalog/namespace.c, recomputeNamespacePath. No temporary schema
    is ever included: creating temporary relations is refused.
    """
    unique = catalog.usable_path(setting)
    return unique if "pg_catalog" in unique else ("pg_catalog", *unique)
