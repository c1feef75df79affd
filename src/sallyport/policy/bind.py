"""A policy meets a catalog snapshot: patterns become relation OIDs and column ids, once per (policy,
catalog, target).

``bind`` gives a :class:`BoundPolicy`; its ``for_subject`` gives the :class:`SubjectPolicy` that judges
statements: which masks, which rules, which limits. A mask on a column is also a mask on the columns of the
same name below it (partitions, children) and above it (parents), so that nobody reads around it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sallyport.core.subject import Subject
from sallyport.policy.decide import BoundRule, Standing, decide
from sallyport.policy.decision import REDACT, ColumnMask, Decision, Filter, Outcome, RuleTrace
from sallyport.policy.model import Limits, Mask, Policy, Rule, applies_to_target
from sallyport.policy.patterns import Pattern, is_system_schema
from sallyport.sql.catalog import CatalogSnapshot, ColumnId, Function, Relation
from sallyport.sql.facts import StatementFacts

_REMEMBERED_SUBJECTS = 512
_STRICTNESS = {Filter.DENY: 0, Filter.EQUALITY: 1, Filter.ALLOW: 2}


@dataclass(frozen=True, slots=True)
class SubjectPolicy:
    """What the policy says to one subject on one target, now.

    key: two with the same key (and policy version and catalog epoch) decide every statement alike; for the
    verdict cache. masks: for columns the subject may not see. may_connect: some allow or hold rule is for
    this subject on this target. search_paths: values that SET search_path may take. valid_until: Unix
    seconds; from then on ask again, because a window may have opened or closed, or a condition has ``now``.
    """

    key: Hashable
    masks: Mapping[ColumnId, ColumnMask]
    may_connect: bool
    search_paths: frozenset[tuple[str, ...]]
    limits: Limits
    standing: Standing
    functions: tuple[Pattern, ...] = ()
    valid_until: float = math.inf
    #: what the policy says of everybody: a name that changes, changes for all
    whole: BoundPolicy | None = field(default=None, repr=False, compare=False)

    def decide(self, facts: StatementFacts) -> Decision:
        """Allow, hold or deny one statement (masks, unknowns and settings are checked apart:
        :mod:`sallyport.policy.influence`).
        """
        return decide(self.standing, facts)

    def trusts_function(self, function: Function) -> bool:
        """Whether policy names this function as safe to call. System functions are never trusted here."""
        return self.trusts_name(function.schema, function.name)

    def trusts_name(self, schema: str, name: str) -> bool:
        """As :meth:`trusts_function`, for every overload of a name."""
        return not is_system_schema(schema) and any(p.matches(schema, name) for p in self.functions)


@dataclass(frozen=True, slots=True)
class _BoundMask:
    """``origins``: for each of the columns, what of the entry matched it."""

    mask: Mask
    columns: frozenset[ColumnId]
    origins: Mapping[ColumnId, str]


@dataclass(frozen=True, slots=True)
class _Remembered:
    subject: Subject
    since: float
    policy: SubjectPolicy

    def holds(self, subject: Subject, now: float) -> bool:
        return self.subject is subject and self.since <= now < self.policy.valid_until


@dataclass(slots=True)
class BoundPolicy:
    """A policy bound to one catalog snapshot and one target. ``warnings``: patterns that match nothing
    there.
    """

    policy: Policy
    catalog: CatalogSnapshot
    target: str
    rules: tuple[BoundRule, ...]
    masks: tuple[_BoundMask, ...]
    column_tags: Mapping[ColumnId, tuple[str, ...]]
    warnings: tuple[str, ...] = ()
    _remembered: OrderedDict[int, _Remembered] = field(default_factory=OrderedDict)

    @property
    def version(self) -> str:
        return self.policy.version

    def masked_columns(self) -> list[tuple[str, str, str, tuple[str, ...], tuple[str, ...], str, str]]:
        """(``schema.relation.column``, mask, filter, tags, exempt groups, for whom, except for whom), once for each mask that names
        the column; sorted.
        """
        out = []
        for bound in self.masks:
            mask = bound.mask
            exempt = tuple(sorted(mask.exempt.groups)) if mask.exempt else ()
            for column in bound.columns:
                tags = self.column_tags.get(column, ())
                name = self.catalog.column_name(column)
                whom, but = mask.subjects.words(), mask.exempt.words() if mask.exempt else "nobody"
                out.append((name, mask.spec.kind, mask.filter.value, tags, exempt, whom, but))
        return sorted(out)

    def unmasked_columns(self) -> list[tuple[str, tuple[str, ...]]]:
        """(``schema.relation.column``, tags) of columns that are classified and that no mask names; sorted."""
        masked = {column for bound in self.masks for column in bound.columns}
        tagged = self.column_tags.items()
        return sorted((self.catalog.column_name(one), tags) for one, tags in tagged if one not in masked)

    def for_subject(self, subject: Subject, now: float) -> SubjectPolicy:
        """The part of the policy that is for this subject at this moment (Unix seconds). Cheap when asked
        again.
        """
        known = self._remembered.get(id(subject))
        if known is not None and known.holds(subject, now):
            return known.policy
        made = self._make(subject, now)
        self._remembered[id(subject)] = _Remembered(subject, now, made)
        while len(self._remembered) > _REMEMBERED_SUBJECTS:
            self._remembered.popitem(last=False)
        return made

    def _make(self, subject: Subject, now: float) -> SubjectPolicy:
        in_force: list[int] = []
        closed: list[int] = []
        skipped: list[RuleTrace] = []
        for i, bound in enumerate(self.rules):
            why = "" if applies_to_target(bound.rule.targets, self.target) else "is for other targets"
            why = why or bound.rule.subjects.misses(subject)
            if why:
                skipped.append(RuleTrace(bound.rule.name, bound.rule.effect.value, False, why))
            elif bound.rule.windows and not any(w.contains(now) for w in bound.rule.windows):
                closed.append(i)
            else:
                in_force.append(i)
        masks = [i for i, m in enumerate(self.masks) if self._mask_applies(m.mask, subject)]
        limits = [i for i, e in enumerate(self.policy.limits) if self._limit_applies(i, subject)]
        rules = tuple(self.rules[i] for i in in_force)
        concerned = [self.rules[i].rule for i in (*in_force, *closed)]
        own = self._own_part(concerned, subject, now)
        standing = Standing(
            self.policy.version,
            self.target,
            self.catalog,
            subject,
            now,
            rules,
            tuple(self.rules[i] for i in closed),
            tuple(skipped),
        )
        return SubjectPolicy(
            key=(self.target, tuple(in_force), tuple(closed), tuple(masks), tuple(limits), own),
            masks=self._combined(masks),
            may_connect=any(b.rule.effect is not Outcome.DENY for b in rules),
            search_paths=self.policy.search_paths,
            limits=self._limits(limits),
            standing=standing,
            functions=self.policy.functions,
            valid_until=_valid_until(concerned, now),
            whole=self,
        )

    def _own_part(self, rules: Iterable[Rule], subject: Subject, now: float) -> Hashable:
        """What else the decision depends on, because a condition mentions it."""
        uses: set[str] = set()
        for rule in rules:
            uses |= rule.when.uses if rule.when else frozenset()
        person: Hashable = ()
        if "subject" in uses:
            claims = repr(sorted(subject.claims.items(), key=lambda item: item[0]))
            person = (subject.id, subject.issuer, subject.agent, tuple(sorted(subject.groups)), claims)
        return (person, int(now) if "now" in uses else 0)

    def _mask_applies(self, mask: Mask, subject: Subject) -> bool:
        if not applies_to_target(mask.targets, self.target) or not mask.subjects.matches(subject):
            return False
        return mask.exempt is None or not mask.exempt.matches(subject)

    def _limit_applies(self, index: int, subject: Subject) -> bool:
        entry = self.policy.limits[index]
        return applies_to_target(entry.targets, self.target) and entry.subjects.matches(subject)

    def _limits(self, indexes: list[int]) -> Limits:
        limits = Limits()
        for i in indexes:
            limits = limits.stricter(self.policy.limits[i].limits)
        return limits

    def _combined(self, indexes: list[int]) -> Mapping[ColumnId, ColumnMask]:
        out: dict[ColumnId, ColumnMask] = {}
        for i in indexes:
            bound = self.masks[i]
            for column in bound.columns:
                tags, origin = self.column_tags.get(column, ()), bound.origins[column]
                new = ColumnMask(bound.mask.spec, bound.mask.filter, tags, origin)
                out[column] = stricter_mask(out[column], new) if column in out else new
        return MappingProxyType(out)


def _valid_until(rules: Iterable[Rule], now: float) -> float:
    """Windows move on whole minutes (of any time zone), conditions on ``now`` see whole seconds."""
    period = math.inf
    for rule in rules:
        if rule.when is not None and "now" in rule.when.uses:
            period = 1.0
        elif rule.windows:
            period = min(period, 60.0)
    return math.inf if period == math.inf else (now // period + 1) * period


def stricter_mask(a: ColumnMask, b: ColumnMask) -> ColumnMask:
    """Two masks on one column: the stricter filter; two different specs become ``redact``."""
    spec = a.spec if a.spec == b.spec else REDACT
    filter_ = min(a.filter, b.filter, key=_STRICTNESS.__getitem__)
    origin = a.origin if a.origin == b.origin else f"{a.origin}; {b.origin}"
    return ColumnMask(spec, filter_, tuple(dict.fromkeys((*a.tags, *b.tags))), origin)


def bind(policy: Policy, catalog: CatalogSnapshot, target: str) -> BoundPolicy:
    """Resolve a policy's patterns against a catalog snapshot, for one target."""
    return _Binder(policy, catalog, target).bound()


class _Binder:
    def __init__(self, policy: Policy, catalog: CatalogSnapshot, target: str) -> None:
        self.policy, self.catalog, self.target = policy, catalog, target
        self.warnings: list[str] = []
        self._relations: dict[Pattern, frozenset[int]] = {}
        self._columns: dict[Pattern, frozenset[ColumnId]] = {}
        # Many relations share few column names, so names are matched first.
        self._by_name: dict[str, list[tuple[Relation, int]]] = {}
        for relation in catalog.relations.values():
            for column in relation.columns:
                self._by_name.setdefault(column.name, []).append((relation, column.attnum))

    def bound(self) -> BoundPolicy:
        tags = {tag: self._all_columns(patterns) for tag, patterns in self.policy.tags.items()}
        column_tags: dict[ColumnId, tuple[str, ...]] = {}
        for tag, columns in tags.items():
            for column in columns:
                column_tags[column] = (*column_tags.get(column, ()), tag)
        rules = tuple(self._rule(rule, tags) for rule in self.policy.rules)
        masks = tuple(self._mask(mask, tags, column_tags) for mask in self.policy.masks)
        self._warn_functions()
        return BoundPolicy(
            policy=self.policy,
            catalog=self.catalog,
            target=self.target,
            rules=rules,
            masks=masks,
            column_tags=column_tags,
            warnings=tuple(dict.fromkeys(self.warnings)),
        )

    def _rule(self, rule: Rule, tags: Mapping[str, frozenset[ColumnId]]) -> BoundRule:
        relations = columns = None
        mine = applies_to_target(rule.targets, self.target) and not rule.pack
        if rule.relations:
            relations = frozenset[int]().union(*(self._matching_relations(p) for p in rule.relations))
            if mine:
                self._warn(rule.relations, self._relations, f'rule "{rule.name}" (line {rule.line})')
        if rule.columns or rule.tags:
            columns = self._all_columns(rule.columns).union(*(tags[t] for t in rule.tags))
            if mine:
                self._warn(rule.columns, self._columns, f'rule "{rule.name}" (line {rule.line})')
        return BoundRule(
            rule,
            relations,
            columns,
            None if relations is None else relatives(relations, self.catalog),
            None if columns is None else close_over_inheritance(columns, self.catalog),
        )

    def _mask(
        self,
        mask: Mask,
        tags: Mapping[str, frozenset[ColumnId]],
        column_tags: Mapping[ColumnId, tuple[str, ...]],
    ) -> _BoundMask:
        columns = self._all_columns(mask.columns).union(*(tags[t] for t in mask.tags))
        if not mask.pack and applies_to_target(mask.targets, self.target):
            self._warn(mask.columns, self._columns, f"mask (line {mask.line})")
            for tag in mask.tags:
                if not tags[tag]:
                    self.warnings.append(
                        f"mask (line {mask.line}): no column of target {self.target} has the tag {tag!r}"
                    )
        closed = close_over_inheritance(columns, self.catalog)
        origins = {id_: mask.origin(column_tags.get(id_, ()), *self._names(id_)) for id_ in closed}
        return _BoundMask(mask, closed, origins)

    def _names(self, id_: ColumnId) -> tuple[str, str, str]:
        relation, column = self.catalog.relations[id_.relation], self.catalog.column(id_)
        return relation.schema, relation.name, column.name if column is not None else ""

    def _matching_relations(self, pattern: Pattern) -> frozenset[int]:
        if pattern not in self._relations:
            found = (r.oid for r in self.catalog.relations.values() if pattern.matches(r.schema, r.name))
            self._relations[pattern] = frozenset(found)
        return self._relations[pattern]

    def _all_columns(self, patterns: Iterable[Pattern]) -> frozenset[ColumnId]:
        return frozenset[ColumnId]().union(*(self._matching_columns(p) for p in patterns))

    def _matching_columns(self, pattern: Pattern) -> frozenset[ColumnId]:
        if pattern not in self._columns:
            found = (
                ColumnId(relation.oid, attnum)
                for name in self._by_name
                if pattern.regexes[-1].fullmatch(name)
                for relation, attnum in self._by_name[name]
                if pattern.matches(relation.schema, relation.name, name)
            )
            self._columns[pattern] = frozenset(found)
        return self._columns[pattern]

    def _warn(self, patterns: Iterable[Pattern], found: Mapping[Pattern, frozenset], where: str) -> None:  # type: ignore[type-arg]
        for pattern in patterns:
            if not found[pattern]:
                self.warnings.append(f"{where}: {pattern.text} matches nothing in target {self.target}")

    def _warn_functions(self) -> None:
        for pattern in self.policy.functions:
            if not any(pattern.matches(f.schema, f.name) for f in self.catalog.functions.values()):
                self.warnings.append(f"functions: {pattern.text} matches nothing in target {self.target}")


def relatives(relations: frozenset[int], catalog: CatalogSnapshot) -> frozenset[int]:
    """The relations, everything below them (partitions, children), and everything above all of these."""
    out = relations
    for down in (True, False):
        found, todo = set(out), list(out)
        while todo:
            relation = catalog.relations.get(todo.pop())
            near = () if relation is None else relation.children if down else relation.parents
            todo += [oid for oid in near if oid not in found]
            found.update(near)
        out = frozenset(found)
    return out


def close_over_inheritance(columns: frozenset[ColumnId], catalog: CatalogSnapshot) -> frozenset[ColumnId]:
    """The columns, those of the same name in everything below, and those of the same name in everything
    above all of these.
    """
    down = _spread(columns, catalog, down=True)
    return _spread(down, catalog, down=False)


def _spread(columns: frozenset[ColumnId], catalog: CatalogSnapshot, *, down: bool) -> frozenset[ColumnId]:
    out = set(columns)
    todo = list(columns)
    while todo:
        id_ = todo.pop()
        relation, column = catalog.relations.get(id_.relation), catalog.column(id_)
        if relation is None or column is None:
            continue
        for oid in relation.children if down else relation.parents:
            other = catalog.relations.get(oid)
            same = next((c for c in other.columns if c.name == column.name), None) if other else None
            if other is not None and same is not None and ColumnId(other.oid, same.attnum) not in out:
                out.add(ColumnId(other.oid, same.attnum))
                todo.append(ColumnId(other.oid, same.attnum))
    return frozenset(out)
