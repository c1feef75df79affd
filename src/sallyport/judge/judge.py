"""The judge of one target: the catalog and policy of now, and the views over them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from sallyport.core.counts import Counts
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.judge.containments import Containments
from sallyport.judge.subject_judge import Grounds, JudgeTimes, SubjectJudge
from sallyport.masking.sqlmasks import hash_settings
from sallyport.policy.allowance import HourlyUse
from sallyport.policy.bind import bind
from sallyport.policy.bound import BoundPolicy, SubjectPolicy
from sallyport.policy.coverage import ColumnCoverage
from sallyport.policy.model import Policy
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Relation, Type
from sallyport.sql.utility.settings import MASKED_STARTUP


@dataclass(frozen=True, slots=True)
class Prepared:
    """A policy bound to a catalog that is not in force yet; see :meth:`Judge.prepared`."""

    before: BoundPolicy
    bound: BoundPolicy
    identifiers: frozenset[str]
    views: dict[tuple[object, tuple[str, ...]], SubjectJudge]


class Judge:
    """The current catalog and policy of one target, and the views over them. ``generation`` moves
    with either.
    """

    def __init__(
        self,
        target: str,
        policy: Policy,
        catalog: CatalogSnapshot,
        keys: Mapping[str, Secret],
        *,
        max_statement_bytes: int,
        now: Callable[[], float] = time.time,
        beside: Judge | None = None,
        containments: Containments | None = None,
        counts: Counts | None = None,
    ) -> None:
        """``beside``: one over a snapshot that shares most relations with this. ``containments``:
        of all targets; without it, of this one alone. ``counts``: likewise, and of all processes.
        """
        before = beside.catalog if beside is not None else None
        self.target = target
        self.policy = policy
        self.catalog: CatalogSnapshot = catalog
        self.keys = keys
        self.max_statement_bytes = max_statement_bytes
        self.generation = 0
        self.times = JudgeTimes()
        self.masked: Counter[str] = Counter()  # rows that came back masked, by masked column
        self._now = now
        self._bound: BoundPolicy = bind(
            policy, catalog, target, beside._bound if beside is not None else None
        )
        self._subject_judges: dict[tuple[object, tuple[str, ...]], SubjectJudge] = {}
        identifiers = beside.identifiers if beside is not None else frozenset[str]()
        self.identifiers: frozenset[str] = _identifiers(catalog, before, identifiers)
        self.counts = counts if counts is not None else Counts(slots=64, now=now)
        self._use: dict[tuple[str, str], HourlyUse] = {}
        self.containments = containments if containments is not None else Containments(now)
        if beside is None:
            self.containments.add_listener(self._on_containment)

    def _on_containment(self) -> None:
        """Somebody is contained, or no longer: every session takes its subject_judge again."""
        self.generation += 1
        for subject_judge in self._subject_judges.values():
            subject_judge.generation = self.generation

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._bound.warnings)

    def update(
        self, *, policy: Policy | None = None, catalog: CatalogSnapshot | None = None
    ) -> bool:
        """Take a new policy or catalog. Returns whether anything moved; raises ConfigError and
        keeps the old on a bad policy.
        """
        return self.take(self.prepared(policy=policy, catalog=catalog))

    def prepared(
        self, *, policy: Policy | None = None, catalog: CatalogSnapshot | None = None
    ) -> Prepared | None:
        """A new policy or catalog, bound, and the views of the sessions there are; None where
        nothing is new. Changes nothing: any thread may do it, while no other prepares. Raises
        ConfigError on a bad policy.
        """
        policy, catalog = policy or self.policy, catalog or self.catalog
        if policy.version == self.policy.version and catalog.epoch == self.catalog.epoch:
            return None
        catalog = catalog.following(self.catalog)
        bound = bind(policy, catalog, self.target, self._bound)
        identifiers = _identifiers(catalog, self.catalog, self.identifiers)
        prepared = Prepared(self._bound, bound, identifiers, {})
        grounds = self._grounds(policy, catalog, identifiers)
        now = self._now()
        for (_, path), subject_judge in list(self._subject_judges.items()):
            subject = subject_judge.subject_policy.standing.subject
            subject_policy = bound.for_subject(subject, now, self.containments.of(subject))
            prepared.views[subject_policy.key, path] = SubjectJudge(
                grounds, subject_policy, path, self.generation
            )
        return prepared

    def take(self, prepared: Prepared | None) -> bool:
        """Put what was prepared in force, at once for every session. Whether anything moved. Raises
        ValueError for what was prepared before something else was taken.
        """
        if prepared is None:
            return False
        if prepared.before is not self._bound:
            raise ValueError("another policy or catalog was taken meanwhile")
        bound, catalog = self._bound, self.catalog
        self._bound, self.identifiers = prepared.bound, prepared.identifiers
        self.policy, self.catalog = prepared.bound.policy, prepared.bound.catalog
        self._subject_judges = prepared.views
        self.generation += 1
        for subject_judge in self._subject_judges.values():
            subject_judge.generation = self.generation
        bound.forget()
        if catalog is not self.catalog:
            catalog.retire()
        return True

    def retire(self) -> None:
        """It is not used any more: a transaction's own, when that has ended."""
        self._bound.forget()
        self._subject_judges = {}
        self.catalog.retire()

    def beside(self, catalog: CatalogSnapshot) -> Judge:
        """A judge by the same policy over the catalog as one open transaction sees it; what is
        counted is counted here.
        """
        catalog = catalog.following(self.catalog)
        if catalog is self.catalog:  # what is made of it goes with the transaction
            catalog = replace(catalog)
        made = Judge(
            self.target,
            self.policy,
            catalog,
            self.keys,
            max_statement_bytes=self.max_statement_bytes,
            now=self._now,
            beside=self,
            containments=self.containments,
            counts=self.counts,
        )
        made.times, made.masked, made._use = self.times, self.masked, self._use
        return made

    def tick(self) -> None:
        """Time has passed: where rules opened or closed with it (access windows), sessions look
        again.
        """
        now = self._now()
        for use in list(self._use.values()):
            use.forget()
        if any(
            subject_judge.subject_policy.valid_until <= now
            for subject_judge in self._subject_judges.values()
        ):
            self._subject_judges = {}
            self.generation += 1

    def masked_columns(
        self,
    ) -> list[tuple[str, str, str, tuple[str, ...], tuple[str, ...], str, str]]:
        """(column, mask, filter, tags, exempt groups, for whom, except for whom) of every column
        that policy masks for somebody here.
        """
        return self._bound.masked_columns()

    def unmasked_columns(self) -> list[tuple[str, tuple[str, ...]]]:
        """(column, tags) of every column that policy classifies and masks for nobody."""
        return self._bound.unmasked_columns()

    def coverage(self) -> list[ColumnCoverage]:
        """What becomes of every column of the tables here."""
        return self._bound.coverage()

    def hourly_use(self, subject: Subject) -> HourlyUse:
        """What the subject read in the last hour, shared by its sessions."""
        who = (subject.issuer, subject.id)
        use = self._use.get(who)
        if use is None:
            key = "\0".join(("read", self.target, *who))
            use = self._use.setdefault(who, HourlyUse(self._now, self.counts, key))
        return use

    def subject_policy(self, subject: Subject) -> SubjectPolicy:
        return self._bound.for_subject(subject, self._now(), self.containments.of(subject))

    def mask_settings(self, subject: Subject) -> dict[str, str]:
        """Settings that the subject's sessions start with at the target, so that masks can be
        applied there: pinned ones, and the keys of hash masks, which are secrets.
        """
        masks = self._bound.masks_to_come(subject)
        if not masks:
            return {}
        settings = dict(MASKED_STARTUP)
        for name in {spec.key for spec in masks if spec.kind == "hash"}:
            key = self.keys.get(name)
            if key:
                settings.update(hash_settings(name, key))
        return settings

    def subject_judge(self, subject: Subject, search_path: tuple[str, ...]) -> SubjectJudge:
        """The subject's judge for this subject now. Sessions whose rules, masks and path are equal
        share one.
        """
        subject_policy = self.subject_policy(subject)
        key = (subject_policy.key, search_path)
        subject_judge = self._subject_judges.get(key)
        if subject_judge is None:
            if len(self._subject_judges) > 256:
                self._subject_judges.clear()
            grounds = self._grounds(self.policy, self.catalog, self.identifiers)
            subject_judge = self._subject_judges[key] = SubjectJudge(
                grounds, subject_policy, search_path, self.generation
            )
        return subject_judge

    def _grounds(
        self, policy: Policy, catalog: CatalogSnapshot, identifiers: frozenset[str]
    ) -> Grounds:
        return Grounds(
            policy, catalog, self.keys, identifiers, self.max_statement_bytes, self.times
        )


def _identifiers(
    catalog: CatalogSnapshot,
    before: CatalogSnapshot | None = None,
    previous: frozenset[str] = frozenset(),
) -> frozenset[str]:
    """Names that an error message may keep: anything else in its name fields could be data (RAISE
    ... USING). ``previous``: those of the catalog ``before``, which may still come.
    """
    if before is None:
        relations: Iterable[Relation] = catalog.relations.values()
        types: Iterable[Type] = catalog.types.values()
    else:
        relations = (
            r for oid in catalog.changed_relations(before) if (r := catalog.relations.get(oid))
        )
        types = (t for oid in catalog.changed_types(before) if (t := catalog.types.get(oid)))
    names = set(catalog.schemas)
    for relation in relations:
        names.add(relation.name)
        names.update([column.name for column in relation.columns])
    names.update([type_.name for type_ in types])
    return previous if names <= previous else previous | names
