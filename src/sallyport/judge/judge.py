"""The judge of one target: the catalog and policy of now, and the views over them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping

from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.judge.view import Grounds, JudgeTimes, View
from sallyport.policy.allowance import HourlyUse
from sallyport.policy.bind import BoundPolicy, SubjectPolicy, bind
from sallyport.policy.model import Policy
from sallyport.sql.catalog import CatalogSnapshot


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
            view = self._views[key] = View(self._grounds(), subject_policy, search_path, self.generation)
        return view

    def _grounds(self) -> Grounds:
        return Grounds(
            self.policy, self.catalog, self.keys, self.identifiers, self.max_statement_bytes, self.times
        )
