"""A policy as it is bound to a catalog snapshot (:mod:`sallyport.policy.bind`), and the part of it
that is for one subject: which masks, which rules, which limits judge its statements.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import compress
from typing import NamedTuple

from sallyport.core.subject import Subject
from sallyport.policy.bound_mask import BoundMask, in_relations
from sallyport.policy.checks.unread_code import gives_code, obstacle
from sallyport.policy.containment import Containment
from sallyport.policy.coverage import ColumnCoverage, coverage
from sallyport.policy.decide import BoundRule, DecisionContext, decide
from sallyport.policy.decision import REDACT, ColumnMask, Decision, Filter, MaskSpec
from sallyport.policy.file.patterns import Pattern, is_system_schema
from sallyport.policy.model import (
    Addressee,
    InjectionScan,
    Mask,
    Policy,
    Rule,
    SubjectLimits,
    addressee,
    applies_to_target,
)
from sallyport.policy.subject_masks import SubjectMasks
from sallyport.policy.target_warnings import is_trusted_view
from sallyport.sql.catalog.functions import SLEEPING
from sallyport.sql.catalog.snapshot import TEMPORARY, CatalogSnapshot, ColumnId, Function, Relation
from sallyport.sql.facts import StatementFacts

_REMEMBERED_SUBJECTS = 512


@dataclass(frozen=True, slots=True)
class SubjectPolicy:
    """What the policy says to one subject on one target, now.

    key: two with the same key (and policy version and catalog epoch) decide every statement alike;
    for the verdict cache. masks: for columns the subject may not see. may_connect: some allow or
    hold rule is for this subject on this target. search_paths: values that SET search_path may
    take. valid_until: Unix seconds; from then on ask again, because a window may have opened or
    closed, or a condition has ``now``. notices: the client is told by a NOTICE when a statement saw
    masked values.
    """

    key: Hashable
    masks: SubjectMasks
    may_connect: bool
    search_paths: frozenset[tuple[str, ...]]
    limits: SubjectLimits
    standing: DecisionContext
    functions: tuple[Pattern, ...] = ()
    valid_until: float = math.inf
    #: what the policy says of everybody: a name that changes, changes for all
    for_everybody: BoundPolicy | None = field(default=None, repr=False, compare=False)
    notices: bool = True
    trusted_views: tuple[Pattern, ...] = ()
    #: custom settings that may be set
    settings: frozenset[str] = frozenset()
    #: columns whose readers are contained
    untrusted: frozenset[ColumnId] = frozenset()
    #: columns whose values are looked through for instructions, and what follows
    scanned: frozenset[ColumnId] = frozenset()
    injection: InjectionScan | None = None
    #: containment closes the functions that policy trusts
    closes_functions: bool = False
    #: what code that is not read could get around; "" for nothing (policy.unread_code)
    code_obstacle: str = ""
    #: such code may run
    runs_code: bool = False

    @property
    def contained(self) -> Containment | None:
        """Why the subject and agent are contained; None: they are not."""
        return self.standing.contained

    def decide(self, facts: StatementFacts) -> Decision:
        """Allow, hold or deny one statement (masks, unknowns and settings are checked apart:
        :mod:`sallyport.policy.checks.influence`).
        """
        return decide(self.standing, facts)

    @property
    def opening_rules(self) -> tuple[Rule, ...]:
        """Rules that would let the subject connect, and whose windows are closed now."""
        rules = [bound.rule for bound in self.standing.closed]
        return tuple(rule for rule in rules if rule.gives)

    def trusts_function(self, function: Function) -> bool:
        """Whether the subject may run this function unread. System functions are never trusted
        here.
        """
        return self.trusts_name(function.schema, function.name)

    def lists_function(self, function: Function) -> bool:
        """Whether policy names this function as safe to call."""
        return self._lists_name(function.schema, function.name)

    def trusts_name(self, schema: str, name: str) -> bool:
        """As :meth:`trusts_function`, for every overload of a name."""
        is_made = schema == TEMPORARY or not is_system_schema(schema)
        return self._lists_name(schema, name) or (self.runs_code and is_made)

    def _lists_name(self, schema: str, name: str) -> bool:
        return not is_system_schema(schema) and any(p.matches(schema, name) for p in self.functions)

    @property
    def sleeping(self) -> frozenset[str]:
        """Functions of pg_catalog that only wait, and that policy names."""
        return frozenset(
            name for name in SLEEPING if any(p.matches("pg_catalog", name) for p in self.functions)
        )

    def trusts_view(self, relation: Relation) -> bool:
        """Whether policy names this view as one to read as it is, though its body computes with
        masked columns. Its columns keep their masks by lineage. False for everything that is not a
        view.
        """
        return is_trusted_view(relation, self.trusted_views)


@dataclass(frozen=True, slots=True)
class _Remembered:
    subject: Subject
    since: float
    policy: SubjectPolicy

    def holds(self, subject: Subject, now: float, contained: Containment | None) -> bool:
        is_same = _id(self.policy.standing.contained) == _id(contained)
        return self.subject is subject and is_same and self.since <= now < self.policy.valid_until


def _id(contained: Containment | None) -> str:
    return "" if contained is None else contained.id


@dataclass(frozen=True, slots=True)
class _Selection:
    """The rules for some subjects. ``indexes``: of ``rules`` in the policy. ``skipped``: those for
    others. ``uses``: what their conditions use.
    """

    indexes: tuple[int, ...]
    rules: tuple[BoundRule, ...]
    skipped: tuple[BoundRule, ...]
    uses: frozenset[str]
    has_windows: bool

    @classmethod
    def of(cls, rules: Sequence[BoundRule], selected: Sequence[bool]) -> _Selection:
        chosen = tuple(compress(rules, selected))
        return cls(
            tuple(compress(range(len(rules)), selected)),
            chosen,
            tuple([bound for bound, mine in zip(rules, selected, strict=True) if not mine]),
            frozenset[str]().union(*(b.rule.when.uses for b in chosen if b.rule.when is not None)),
            any(b.rule.windows for b in chosen),
        )


class EarlierMasks(NamedTuple):
    """Masks of subjects by the catalog before, by the policy's masks that they are made of and
    whether they are redacted. ``touched``: OIDs of the relations for which they may differ now;
    ``columns``: that these had.
    """

    combined: Mapping[tuple[tuple[int, ...], bool], SubjectMasks]
    touched: frozenset[int]
    columns: Sequence[ColumnId]


@dataclass(slots=True)
class BoundPolicy:
    """A policy bound to one catalog snapshot and one target. ``addressed``: whom its rules are for,
    each once. ``warnings``: patterns that match nothing there. ``untrusted``: columns that contain
    who reads them.
    """

    policy: Policy
    catalog: CatalogSnapshot
    target: str
    rules: tuple[BoundRule, ...]
    masks: tuple[BoundMask, ...]
    addressed: tuple[Addressee, ...]
    column_tags: Mapping[ColumnId, tuple[str, ...]]
    warnings: tuple[str, ...] = ()
    untrusted: frozenset[ColumnId] = frozenset()
    scanned: frozenset[ColumnId] = frozenset()
    #: columns that hold rows of other relations, and the columns of those
    stored_rows: Mapping[ColumnId, frozenset[ColumnId]] = field(default_factory=dict)
    _remembered: OrderedDict[int, _Remembered] = field(default_factory=OrderedDict)
    _selections: dict[tuple[bool, ...], _Selection] = field(default_factory=dict)
    _combined: dict[tuple[tuple[int, ...], bool], SubjectMasks] = field(default_factory=dict)
    _earlier: EarlierMasks | None = None

    @property
    def version(self) -> str:
        return self.policy.version

    def masked_columns(
        self,
    ) -> list[tuple[str, str, str, tuple[str, ...], tuple[str, ...], str, str]]:
        """(``schema.relation.column``, mask, filter, tags, exempt groups, for whom, except for
        whom), once for each mask that names the column; sorted.
        """
        out = []
        for bound in self._masks_here():
            mask = bound.mask
            exempt = tuple(sorted(mask.exempt.groups)) if mask.exempt else ()
            for column in bound.columns:
                tags = self.column_tags.get(column, ())
                name = self.catalog.column_name(column)
                whom, but = mask.subjects.words(), mask.exempt.words() if mask.exempt else "nobody"
                out.append((name, mask.spec.kind, mask.filter.value, tags, exempt, whom, but))
        return sorted(out)

    def unmasked_columns(self) -> list[tuple[str, tuple[str, ...]]]:
        """(``schema.relation.column``, tags) of columns that are classified and that no mask names;
        sorted.
        """
        masked = {column for bound in self._masks_here() for column in bound.columns}
        tagged = self.column_tags.items()
        return sorted(
            (self.catalog.column_name(column_id), tags)
            for column_id, tags in tagged
            if column_id not in masked
        )

    def coverage(self) -> list[ColumnCoverage]:
        """What becomes of every column of the tables there."""
        return coverage(self.catalog, self._masks_here(), self.column_tags)

    def _masks_here(self) -> list[BoundMask]:
        return [bound for bound in self.masks if applies_to_target(bound.mask.targets, self.target)]

    def for_subject(
        self, subject: Subject, now: float, contained: Containment | None = None
    ) -> SubjectPolicy:
        """The part of the policy that is for this subject at this moment (Unix seconds). Cheap when
        asked again. ``contained``: the subject and agent read untrusted text.
        """
        remembered = self._remembered.get(id(subject))
        if remembered is not None and remembered.holds(subject, now, contained):
            return remembered.policy
        made = self._make(subject, now, contained)
        self._remembered[id(subject)] = _Remembered(subject, now, made)
        while len(self._remembered) > _REMEMBERED_SUBJECTS:
            self._remembered.popitem(last=False)
        return made

    def forget(self) -> None:
        """It is not in force any more: what was made for subjects, which refers to this, is not
        kept.
        """
        self._remembered.clear()
        self._selections.clear()
        self._combined.clear()
        self._earlier = None

    def combined_masks(self) -> dict[tuple[tuple[int, ...], bool], SubjectMasks]:
        """What :meth:`masks_of` has given until now."""
        return dict(self._combined)

    def _make(self, subject: Subject, now: float, contained: Containment | None) -> SubjectPolicy:
        selected = self._select(subject)
        in_force = selected.indexes
        closed: tuple[int, ...] = ()
        if selected.has_windows:
            is_open = [self._is_open(i, now) for i in selected.indexes]
            closed = tuple([i for i, opened in zip(in_force, is_open, strict=True) if not opened])
            in_force = tuple(compress(in_force, is_open))
        contain = self.policy.contain
        redacts = contained is not None and contain.redacts
        masks = self._masks_for(subject, redacts)
        limits = [i for i, e in enumerate(self.policy.limits) if self._limit_applies(i, subject)]
        rules = tuple([self.rules[i] for i in in_force]) if closed else selected.rules
        standing = DecisionContext(
            self.policy.version,
            self.target,
            self.catalog,
            subject,
            now,
            rules,
            tuple([self.rules[i] for i in closed]),
            selected.skipped,
            contained,
            self.policy.record_results,
        )
        own = _own_part(selected.uses, subject, now)
        code_obstacle = obstacle(
            selected.rules,
            [self.masks[i].mask for i in masks],
            contained is not None or bool(self.untrusted or self.scanned),
            self._limits(limits),
            self.catalog.read_settings,
        )
        return SubjectPolicy(
            key=(self.target, in_force, closed, masks, tuple(limits), own, _id(contained)),
            masks=self.masks_of(masks, redacts=redacts),
            may_connect=any(b.rule.gives for b in rules),
            search_paths=self.policy.search_paths,
            settings=self.policy.settings,
            limits=self._limits(limits),
            standing=standing,
            functions=self.policy.functions,
            valid_until=_valid_until(selected, now, contained),
            for_everybody=self,
            notices=self.policy.notices,
            trusted_views=self.policy.trusted_views,
            untrusted=self.untrusted,
            scanned=self.scanned,
            injection=self.policy.injection,
            closes_functions=contained is not None and contain.closes_functions,
            code_obstacle=code_obstacle,
            runs_code=not code_obstacle and gives_code(rules),
        )

    def _is_open(self, index: int, now: float) -> bool:
        windows = self.rules[index].rule.windows
        return not windows or any(window.contains(now) for window in windows)

    def _select(self, subject: Subject) -> _Selection:
        """The rules for this subject, whatever the time. Many rules are for the same few groups of
        subjects.
        """
        key = tuple(
            [match.matches(subject, restricts=restricts) for match, restricts in self.addressed]
        )
        selection = self._selections.get(key)
        if selection is None:
            addressed = dict(zip(self.addressed, key, strict=True))
            mine = [
                applies_to_target(bound.rule.targets, self.target)
                and addressed[addressee(bound.rule)]
                for bound in self.rules
            ]
            selection = self._selections[key] = _Selection.of(self.rules, mine)
        return selection

    def _masks_for(self, subject: Subject, redacts: bool) -> tuple[int, ...]:
        masks = enumerate(self.masks)
        return tuple([i for i, m in masks if self._mask_applies(m.mask, subject, redacts)])

    def masks_to_come(self, subject: Subject) -> tuple[MaskSpec, ...]:
        """Masks that the subject may have under this policy, now or later: columns that they name
        may be made yet, and containment may take exceptions away.
        """
        indexes = self._masks_for(subject, self.policy.contain.redacts)
        return tuple([self.masks[index].mask.spec for index in indexes])

    def _mask_applies(self, mask: Mask, subject: Subject, redacts: bool) -> bool:
        """``redacts``: containment takes exceptions away."""
        if not applies_to_target(mask.targets, self.target) or not mask.subjects.matches(
            subject, restricts=True
        ):
            return False
        return redacts or mask.exempt is None or not mask.exempt.matches(subject, restricts=False)

    def _limit_applies(self, index: int, subject: Subject) -> bool:
        entry = self.policy.limits[index]
        return applies_to_target(entry.targets, self.target) and entry.subjects.matches(
            subject, restricts=True
        )

    def _limits(self, indexes: list[int]) -> SubjectLimits:
        limits = SubjectLimits()
        for i in indexes:
            limits = limits.stricter(self.policy.limits[i].limits)
        return limits

    def masks_of_all(self, *, redacts: bool = False) -> SubjectMasks:
        """Every mask there is on this target, whoever it is for. ``redacts``: see below."""
        here = [applies_to_target(bound.mask.targets, self.target) for bound in self.masks]
        return self.masks_of(tuple(compress(range(len(here)), here)), redacts=redacts)

    def masks_of(self, indexes: tuple[int, ...], *, redacts: bool = False) -> SubjectMasks:
        """The masks of whom these entries apply to, by column; made once. ``redacts``: each of them
        shows nothing.
        """
        masks = self._combined.get((indexes, redacts))
        if masks is None:
            masks = self._renewed(indexes, redacts)
            if masks is None:
                bound = [self.masks[i] for i in indexes]
                masks = SubjectMasks(self._combine([(b.mask, b.origins) for b in bound], redacts))
                masks.update(self._of_stored_rows(masks))
            masks.derive()
            self._combined[indexes, redacts] = masks
        return masks

    def _renewed(self, indexes: tuple[int, ...], redacts: bool) -> SubjectMasks | None:
        """Made of those by the catalog before; None where there are none."""
        if self._earlier is None:
            return None
        masks = self._earlier.combined.get((indexes, redacts))
        if masks is None:
            return None
        touched = self._earlier.touched
        columns = in_relations(touched, self.catalog)
        parts = []
        for bound in [self.masks[i] for i in indexes]:
            own = {column: bound.origins[column] for column in columns if column in bound.columns}
            parts.append((bound.mask, own))
        lost = [column for column in self._earlier.columns if column in masks]
        return masks.with_relations(touched, lost, self._combine(parts, redacts))

    def _combine(
        self, parts: Sequence[tuple[Mask, Mapping[ColumnId, str]]], redacts: bool
    ) -> dict[ColumnId, ColumnMask]:
        """``parts``: masks, with the columns they are of and what named each; in a column that
        several name, the stricter counts.
        """
        combined: dict[ColumnId, ColumnMask] = {}
        for mask, origins in parts:
            alike: dict[tuple[tuple[str, ...], str], ColumnMask] = {}
            for column, origin in origins.items():
                tags = self.column_tags.get(column, ())
                new = alike.get((tags, origin))
                if new is None:
                    new = alike[tags, origin] = _column_mask(mask, tags, origin)
                before = combined.get(column)
                combined[column] = new if before is None else stricter_mask(before, new)
        if not redacts:
            return combined
        redacted = {id(mask): redacted_mask(mask) for mask in combined.values()}
        return {column: redacted[id(mask)] for column, mask in combined.items()}

    def _of_stored_rows(self, masks: SubjectMasks) -> dict[ColumnId, ColumnMask]:
        """A column that holds rows with masked columns is masked as a whole, by all their masks:
        its constraints, indexes and counters tell of what is in it.
        """
        out: dict[ColumnId, ColumnMask] = {}
        for holder, sources in self.stored_rows.items():
            inside = [masks[source] for source in sorted(sources) if source in masks]
            if inside:
                own = [masks[holder]] if holder in masks else []
                mask = reduce(stricter_mask, dict.fromkeys([*own, *inside]))
                out[holder] = replace(mask, spec=REDACT)
        return out


def _own_part(uses: frozenset[str], subject: Subject, now: float) -> Hashable:
    """What else the decision depends on, because a condition uses it."""
    person: Hashable = ()
    if "subject" in uses:
        claims = repr(sorted(subject.claims.items(), key=lambda item: item[0]))
        who = (subject.id, subject.issuer, subject.agent, subject.client, subject.actors)
        person = (*who, tuple(sorted(subject.groups)), claims)
    return (person, int(now) if "now" in uses else 0)


def _valid_until(selected: _Selection, now: float, contained: Containment | None) -> float:
    """Windows move on whole minutes (of any time zone), conditions on ``now`` see whole seconds."""
    period = 1.0 if "now" in selected.uses else 60.0 if selected.has_windows else math.inf
    moves = math.inf if period == math.inf else (now // period + 1) * period
    return moves if contained is None else min(moves, contained.until)


def _column_mask(mask: Mask, tags: tuple[str, ...], origin: str) -> ColumnMask:
    return ColumnMask(
        mask.spec, mask.filter, tags, origin, mask.write_filter, mask.write, mask.copies
    )


def redacted_mask(mask: ColumnMask) -> ColumnMask:
    """The mask of a contained subject: nothing of the value shows, nor decides."""
    return ColumnMask(
        REDACT,
        mask.filter.stricter(Filter.MASKED),
        mask.tags,
        f"{mask.origin}; redacted by containment" if mask.origin else "redacted by containment",
        mask.write_filter,
        write=False,
        copies=mask.copies,
    )


def stricter_mask(a: ColumnMask, b: ColumnMask) -> ColumnMask:
    """Two masks on one column: the stricter of each permission; two different specs become
    ``redact``.
    """
    return ColumnMask(
        spec=a.spec if a.spec == b.spec else REDACT,
        filter=a.filter.stricter(b.filter),
        tags=tuple(dict.fromkeys((*a.tags, *b.tags))),
        origin=a.origin if a.origin == b.origin else f"{a.origin}; {b.origin}",
        write_filter=a.write_filter and b.write_filter,
        write=a.write and b.write,
        copies=a.copies and b.copies,
    )
