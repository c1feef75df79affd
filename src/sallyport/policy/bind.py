"""A policy meets a catalog snapshot: patterns become relation OIDs and column ids, once per
(policy, catalog, target).

A mask on a column is also a mask on the columns of the same name below it (partitions, children)
and above it (parents), so that nobody reads around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sallyport.core.errors import RefusedError
from sallyport.core.yamltext import suggest
from sallyport.policy.bound import BoundPolicy, EarlierMasks
from sallyport.policy.bound_mask import BoundMask, in_relations
from sallyport.policy.decide import BoundRule
from sallyport.policy.file.patterns import Pattern, has_wildcard, is_system_schema
from sallyport.policy.model import Mask, Policy, Rule, addressee, applies_to_target
from sallyport.policy.name_index import NameIndex
from sallyport.policy.target_warnings import partition_key_warnings, target_warnings
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId
from sallyport.sql.names.resolve import NameResolver
from sallyport.sql.queries.relation_items import view_facts


def bind(
    policy: Policy, catalog: CatalogSnapshot, target: str, before: BoundPolicy | None = None
) -> BoundPolicy:
    """Resolve a policy's patterns against a catalog snapshot, for one target. ``before``: what was
    bound to a snapshot that shares most relations with it, of which as much as possible is kept.
    """
    return _Binder(policy, catalog, target, before).bound()


#: pg_type OIDs of numbers, truth values, times, intervals and UUIDs.
_WITHOUT_TEXT = frozenset(
    (16, 20, 21, 23, 26, 700, 701, 790, 1082, 1083, 1114, 1184, 1186, 1266, 1700, 2950)
)


class _Binder:
    def __init__(
        self, policy: Policy, catalog: CatalogSnapshot, target: str, before: BoundPolicy | None
    ) -> None:
        self.policy, self.catalog, self.target = policy, catalog, target
        self.warnings: list[str] = []
        self._index = NameIndex.of(catalog, None if before is None else before.catalog)
        #: by the same policy, for the same target: masks of other relations are the same
        self._before = (
            before
            if before is not None and before.policy is policy and before.target == target
            else None
        )
        self._closed: dict[frozenset[ColumnId], frozenset[ColumnId]] = {}
        self._relatives: dict[frozenset[int], frozenset[int]] = {}

    def bound(self) -> BoundPolicy:
        tags = {tag: self._all_columns(patterns) for tag, patterns in self.policy.tags.items()}
        column_tags: dict[ColumnId, tuple[str, ...]] = {}
        for tag, columns in tags.items():
            for column in columns:
                column_tags[column] = (*column_tags.get(column, ()), tag)
        rules = tuple(self._rule(rule, tags) for rule in self.policy.rules)
        mask_columns = [self._mask_columns(mask, tags) for mask in self.policy.masks]
        touched = self._touched(mask_columns, column_tags)
        masks = tuple(
            self._mask(i, columns, column_tags, touched) for i, columns in enumerate(mask_columns)
        )
        untrusted = self._untrusted()
        self.warnings += target_warnings(self.policy, self.catalog, self.target)
        self.warnings += partition_key_warnings(
            [(m.mask, m.columns) for m in masks], self.catalog, self.target, self._index.partitioned
        )
        stored = self._stored_rows(frozenset().union(*mask_columns)) if masks else {}
        earlier = None
        # which columns masks of stored rows depend on is not looked for
        if self._before is not None and not (stored or self._before.stored_rows):
            lost = in_relations(touched, self._before.catalog)
            earlier = EarlierMasks(self._before.combined_masks(), touched, lost)
        return BoundPolicy(
            policy=self.policy,
            catalog=self.catalog,
            target=self.target,
            rules=rules,
            masks=masks,
            addressed=tuple(dict.fromkeys(map(addressee, self.policy.rules))),
            column_tags=column_tags,
            warnings=tuple(dict.fromkeys(self.warnings)),
            untrusted=untrusted,
            scanned=self._scanned(),
            stored_rows=stored,
            _earlier=earlier,
        )

    def _stored_rows(self, masked: frozenset[ColumnId]) -> dict[ColumnId, frozenset[ColumnId]]:
        """Columns that hold rows of other relations, and those relations' columns. ``masked``: all
        that have a mask.
        """
        names = NameResolver(self.catalog, ("pg_catalog",))
        stored: dict[ColumnId, frozenset[ColumnId]] = {}
        for oid in self._index.holding:
            for column in self.catalog.relations[oid].columns:
                held = self._held(column.type_oid, names, masked)
                if held:
                    own = ColumnId(oid, column.attnum)
                    stored[own] = held - {own}
        return stored

    def _held(
        self, type_oid: int, names: NameResolver, masked: frozenset[ColumnId]
    ) -> frozenset[ColumnId]:
        """The columns of the rows that values of a type hold: in arrays, domains and other rows as
        well. Each relation is looked at once, however often it is held.
        """
        held: set[ColumnId] = set()
        waiting, relations = [type_oid], set[int]()
        while waiting:
            type_ = self.catalog.types.get(waiting.pop())
            if type_ is None:
                continue
            if not type_.relation:
                waiting += [oid for oid in (type_.element, type_.base) if oid]
                continue
            relation = self.catalog.relations.get(type_.relation)
            if relation is None or relation.oid in relations:
                continue
            relations.add(relation.oid)
            held.update(ColumnId(relation.oid, column.attnum) for column in relation.columns)
            waiting += [column.type_oid for column in relation.columns]
            if relation.kind in ("v", "m"):
                try:
                    held |= view_facts(names, relation).read
                except RefusedError:  # what it reads is not known
                    held |= masked
        return frozenset(held)

    def _untrusted(self) -> frozenset[ColumnId]:
        """With the columns of partitions, children and parents, which share their rows."""
        patterns = self.policy.untrusted
        self._warn(patterns, self._index.columns, "untrusted")
        return self._close(self._all_columns(patterns)) if patterns else frozenset()

    def _scanned(self) -> frozenset[ColumnId]:
        """Those of the columns to be looked through that can hold text."""
        scan = self.policy.injection
        if scan is None:
            return frozenset()
        if scan.columns != self.policy.untrusted:
            self._warn(scan.columns, self._index.columns, "injection")
        catalog = self.catalog
        return frozenset(
            id_
            for id_ in self._close(self._all_columns(scan.columns))
            if (column := catalog.column(id_)) and column.type_oid not in _WITHOUT_TEXT
        )

    def _rule(self, rule: Rule, tags: Mapping[str, frozenset[ColumnId]]) -> BoundRule:
        relations = columns = None
        mine = applies_to_target(rule.targets, self.target) and not rule.pack
        if rule.relations:
            relations = _union([self._index.relations(pattern) for pattern in rule.relations])
            if mine:
                self._warn(
                    rule.relations, self._index.relations, f'rule "{rule.name}" (line {rule.line})'
                )
        if rule.columns or rule.tags:
            columns = _union([self._all_columns(rule.columns), *(tags[t] for t in rule.tags)])
            if mine:
                self._warn(
                    rule.columns, self._index.columns, f'rule "{rule.name}" (line {rule.line})'
                )
        reach_columns = None if columns is None else self._close(columns)
        return BoundRule(
            rule,
            relations,
            columns,
            None if relations is None else self._relatives_of(relations),
            reach_columns,
            (
                None
                if reach_columns is None
                else frozenset([column.relation for column in reach_columns])
            ),
        )

    def _mask_columns(
        self, mask: Mask, tags: Mapping[str, frozenset[ColumnId]]
    ) -> frozenset[ColumnId]:
        """What the mask's entry names, with relatives."""
        columns = _union([self._all_columns(mask.columns), *(tags[t] for t in mask.tags)])
        if not mask.pack and applies_to_target(mask.targets, self.target):
            self._warn(mask.columns, self._index.columns, f"mask (line {mask.line})")
            for tag in mask.tags:
                if not tags[tag]:
                    self.warnings.append(
                        f"mask (line {mask.line}): no column of target {self.target} has the tag"
                        f" {tag!r}"
                    )
        return self._close(columns)

    def _touched(
        self,
        mask_columns: Sequence[frozenset[ColumnId]],
        column_tags: Mapping[ColumnId, tuple[str, ...]],
    ) -> frozenset[int]:
        """OIDs of the relations of which a mask, a name or a tag may differ from before: those that
        changed, and those that inheritance ties to them.
        """
        before = self._before
        if before is None:
            return frozenset()
        differing: set[ColumnId] = set()
        for bound, columns in zip(before.masks, mask_columns, strict=True):
            if bound.columns is not columns:
                differing |= bound.columns ^ columns
        if column_tags or before.column_tags:
            differing.update(
                [column for column, _ in column_tags.items() ^ before.column_tags.items()]
            )
        return self.catalog.changed_relations(before.catalog).union(
            [column.relation for column in differing]
        )

    def _mask(
        self,
        number: int,
        columns: frozenset[ColumnId],
        column_tags: Mapping[ColumnId, tuple[str, ...]],
        touched: frozenset[int],
    ) -> BoundMask:
        """``number``: of the policy's masks."""
        mask = self.policy.masks[number]
        if self._before is None:
            return BoundMask(mask, columns, self._origins(mask, columns, column_tags))
        bound = self._before.masks[number]
        origins = dict(bound.origins)
        for column in in_relations(touched, self._before.catalog):
            origins.pop(column, None)
        renewed = columns.intersection(in_relations(touched, self.catalog))
        origins.update(self._origins(mask, renewed, column_tags))
        return BoundMask(mask, columns, origins)

    def _origins(
        self,
        mask: Mask,
        columns: frozenset[ColumnId],
        column_tags: Mapping[ColumnId, tuple[str, ...]],
    ) -> Mapping[ColumnId, str]:
        if len(mask.columns) + len(mask.tags) == 1:  # whatever matched, it was that
            return dict.fromkeys(columns, mask.origin(mask.tags))
        origins: dict[ColumnId, str] = {}
        by_tags: dict[tuple[str, ...], str] = {}
        for column in columns:
            of_column = column_tags.get(column, ())
            if mask.columns:
                origins[column] = mask.origin(of_column, *self._names(column))
            else:
                origin = by_tags.get(of_column)
                origins[column] = origin = origin or mask.origin(of_column)
                by_tags[of_column] = origin
        return origins

    def _names(self, id_: ColumnId) -> tuple[str, str, str]:
        relation, column = self.catalog.relations[id_.relation], self.catalog.column(id_)
        return relation.schema, relation.name, column.name if column is not None else ""

    def _all_columns(self, patterns: Iterable[Pattern]) -> frozenset[ColumnId]:
        return _union([self._index.columns(pattern) for pattern in patterns])

    def _close(self, columns: frozenset[ColumnId]) -> frozenset[ColumnId]:
        if columns not in self._closed:
            near = columns & self._index.related_columns
            more = close_over_inheritance(near, self.catalog) if near else columns
            self._closed[columns] = columns if more <= columns else columns | more
        return self._closed[columns]

    def _relatives_of(self, relations: frozenset[int]) -> frozenset[int]:
        if relations not in self._relatives:
            near = relations & self._index.related
            self._relatives[relations] = (
                relations | relatives(near, self.catalog) if near else relations
            )
        return self._relatives[relations]

    def _warn(
        self, patterns: Iterable[Pattern], meant: Callable[[Pattern], frozenset[Any]], where: str
    ) -> None:
        for pattern in patterns:
            if not meant(pattern):
                near = self._nearest(pattern)
                self.warnings.append(
                    f"{where}: {pattern.text} matches nothing in target"
                    f" {self.target}{'. ' if near else ''}{near}".rstrip()
                )

    def _nearest(self, pattern: Pattern) -> str:
        """The nearest real name, where the pattern names one column."""
        if len(pattern.parts) != 3 or any(has_wildcard(part) for part in pattern.parts):
            return ""
        relations = [r for r in self.catalog.relations.values() if not is_system_schema(r.schema)]
        same = [r for r in relations if (r.schema, r.name) == pattern.parts[:2]] or relations
        return suggest(
            ".".join(pattern.parts),
            [f"{r.qualified}.{column.name}" for r in same for column in r.columns],
        )


_T = TypeVar("_T")


def _union(sets: Sequence[frozenset[_T]]) -> frozenset[_T]:
    """The union; of one set that set itself, which rules by the same pattern share."""
    return sets[0] if len(sets) == 1 else frozenset[_T]().union(*sets)


def relatives(relations: frozenset[int], catalog: CatalogSnapshot) -> frozenset[int]:
    """The relations, everything below them (partitions, children), and everything above all of
    these.
    """
    out = relations
    for down in (True, False):
        seen, todo = set(out), list(out)
        while todo:
            relation = catalog.relations.get(todo.pop())
            near = () if relation is None else relation.children if down else relation.parents
            todo += [oid for oid in near if oid not in seen]
            seen.update(near)
        out = frozenset(seen)
    return out


def close_over_inheritance(
    columns: frozenset[ColumnId], catalog: CatalogSnapshot
) -> frozenset[ColumnId]:
    """The columns, those of the same name in everything below, and those of the same name in
    everything above all of these.
    """
    down = _spread(columns, catalog, down=True)
    return _spread(down, catalog, down=False)


def _spread(
    columns: frozenset[ColumnId], catalog: CatalogSnapshot, *, down: bool
) -> frozenset[ColumnId]:
    out = set(columns)
    todo = list(columns)
    while todo:
        id_ = todo.pop()
        relation, column = catalog.relations.get(id_.relation), catalog.column(id_)
        if relation is None or column is None:
            continue
        for oid in relation.children if down else relation.parents:
            relative = catalog.relations.get(oid)
            same = (
                next((c for c in relative.columns if c.name == column.name), None)
                if relative
                else None
            )
            if (
                relative is not None
                and same is not None
                and ColumnId(relative.oid, same.attnum) not in out
            ):
                out.add(ColumnId(relative.oid, same.attnum))
                todo.append(ColumnId(relative.oid, same.attnum))
    return frozenset(out)
