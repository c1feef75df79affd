"""Which relations and columns of a catalog snapshot a pattern means, found by name instead of by
trying each.

One index per snapshot, shared by every policy that is bound to it: a part without a wildcard is
looked up, one with a wildcard is tried on the names that begin (or end) like it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

from sallyport.policy.file.patterns import Pattern, has_wildcard, is_system_schema
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId, Relation

_WILDCARD = re.compile(r"[*?]")
#: Of so few relations the columns are tried one by one: with a wildcard, and by name.
_FEW, _VERY_FEW = 100, 4


class SortedNames:
    """Distinct names, to find those that a pattern's part means."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    @cached_property
    def _forwards(self) -> list[str]:
        return sorted(self._names)

    @cached_property
    def _backwards(self) -> list[str]:
        return sorted(name[::-1] for name in self._names)

    def matching(self, part: str, regex: re.Pattern[str]) -> Iterable[str]:
        """The names that ``regex``, made of the pattern's ``part``, matches."""
        if not has_wildcard(part):
            return (part,) if part in self._names else ()
        if part == "*":
            return self._names
        texts = _WILDCARD.split(part)
        begin, end = texts[0], texts[-1]
        if len(begin) >= len(end):
            names = _beginning(self._forwards, begin)
        else:
            names = [name[::-1] for name in _beginning(self._backwards, end[::-1])]
        return [name for name in names if regex.fullmatch(name)]


def _beginning(names: list[str], text: str) -> Sequence[str]:
    if not text:
        return names
    first = last = bisect_left(names, text)
    while last < len(names) and names[last].startswith(text):
        last += 1
    return names[first:last]


_T = TypeVar("_T")


def _changed(before: frozenset[_T], lost: Collection[_T], more: Collection[_T]) -> frozenset[_T]:
    """``before`` itself where nothing is lost and nothing more."""
    kept = before.difference(lost) if lost else before
    return kept.union(more) if more else kept


class NameIndex:
    """The names of one catalog snapshot. What was looked up once is kept."""

    def __init__(self, catalog: CatalogSnapshot, before: NameIndex | None = None) -> None:
        """``before``: of a snapshot that shares most relations with this; its answers are taken
        over.
        """
        self._catalog = catalog
        self._relations: dict[tuple[str, ...], tuple[Pattern, frozenset[int]]] = {}
        self._columns: dict[tuple[str, ...], tuple[Pattern, frozenset[ColumnId]]] = {}
        self._in_schema: dict[str, dict[str, int]] = {}
        self._names: dict[str, SortedNames] = {}
        changed, old = frozenset(catalog.relations), catalog.relations
        related: frozenset[int] = frozenset()
        partitioned: frozenset[int] = frozenset()
        holding: frozenset[int] = frozenset()
        if before is not None:
            changed, old = catalog.changed_relations(before._catalog), before._catalog.relations
            self._in_schema, self._names = dict(before._in_schema), dict(before._names)
            related, partitioned = before.related, before.partitioned
            holding = before.holding
        gone = [old[oid] for oid in changed if oid in old] if before is not None else []
        come = [catalog.relations[oid] for oid in changed if oid in catalog.relations]
        self._rename(gone, come)
        self._schemas = SortedNames(self._in_schema)
        #: relations that have a parent or child
        self.related: frozenset[int] = _changed(
            related, changed, [r.oid for r in come if r.parents or r.children]
        )
        self.partitioned: frozenset[int] = _changed(
            partitioned, changed, [r.oid for r in come if r.partition_key]
        )
        #: those with a column of rows, or of arrays of or domains over rows
        self.holding: frozenset[int] = _changed(
            holding, changed, [r.oid for r in come if any(self._holds_rows(r))]
        )
        #: columns of :attr:`related`
        self.related_columns = frozenset(
            [
                ColumnId(oid, column.attnum)
                for oid in self.related
                for column in catalog.relations[oid].columns
            ]
        )
        if before is not None:
            self._take_over(before, gone, come)

    def _holds_rows(self, relation: Relation) -> Iterator[bool]:
        if is_system_schema(relation.schema):
            return
        for column in relation.columns:
            type_ = self._catalog.types.get(column.type_oid)
            while type_ is not None and not type_.relation:
                type_ = self._catalog.types.get(type_.element or type_.base)
            yield type_ is not None

    def _rename(self, gone: Sequence[Relation], come: Sequence[Relation]) -> None:
        """Names by schema; those of schemas in which nothing changes are shared."""
        own = {relation.schema for relation in (*gone, *come)}
        for schema in own:
            self._in_schema[schema] = dict(self._in_schema.get(schema, {}))
        for relation in gone:
            self._in_schema[relation.schema].pop(relation.name, None)
        for relation in come:
            self._in_schema[relation.schema][relation.name] = relation.oid
        for schema in own:
            if self._in_schema[schema]:
                self._names[schema] = SortedNames(self._in_schema[schema])
            else:
                del self._in_schema[schema]
                self._names.pop(schema, None)

    @classmethod
    def of(cls, catalog: CatalogSnapshot, before: CatalogSnapshot | None = None) -> NameIndex:
        """The index of this snapshot, made when it is first asked for. ``before``: one that shares
        most relations with it, whose answers are taken over.
        """
        index: NameIndex | None = catalog.lookups.get(cls)
        if index is None:
            index = cls(catalog, before.lookups.get(cls) if before is not None else None)
            catalog.keep(cls, index)
        return index

    def _take_over(
        self, before: NameIndex, gone: Sequence[Relation], come: Sequence[Relation]
    ) -> None:
        lost = frozenset([relation.oid for relation in gone])
        lost_columns = frozenset(
            [ColumnId(r.oid, column.attnum) for r in gone for column in r.columns]
        )

        def matching(pattern: Pattern) -> list[int]:
            return [r.oid for r in come if pattern.matches_relation(r.schema, r.name)]

        # lists: another thread may ask the old index meanwhile
        for key, (pattern, oids) in list(before._relations.items()):
            self._relations[key] = pattern, _changed(oids, oids & lost, matching(pattern))
        for parts, (pattern, ids) in list(before._columns.items()):
            more = list(self._columns_of(matching(pattern), pattern.regexes[2].fullmatch))
            self._columns[parts] = pattern, _changed(ids, ids & lost_columns, more)

    def relations(self, pattern: Pattern) -> frozenset[int]:
        """OIDs of the relations that ``schema.relation``, the first two parts of the pattern,
        means.
        """
        key = pattern.parts[:2]
        answer = self._relations.get(key)
        if answer is None:
            answer = self._relations[key] = pattern, frozenset(self._search(pattern))
        return answer[1]

    def _search(self, pattern: Pattern) -> Iterator[int]:
        (in_schema, in_name), regexes = pattern.parts[:2], pattern.regexes
        for schema in self._schemas.matching(in_schema, regexes[0]):
            if is_system_schema(schema) and has_wildcard(in_schema):
                continue
            named = self._in_schema[schema]
            for name in self._names[schema].matching(in_name, regexes[1]):
                yield named[name]

    def columns(self, pattern: Pattern) -> frozenset[ColumnId]:
        """The columns that ``schema.relation.column`` means."""
        answer = self._columns.get(pattern.parts)
        if answer is None:
            answer = self._columns[pattern.parts] = (
                pattern,
                frozenset(self._search_columns(pattern)),
            )
        return answer[1]

    def _search_columns(self, pattern: Pattern) -> Iterator[ColumnId]:
        relations = self.relations(pattern)
        if len(relations) < (_FEW if has_wildcard(pattern.parts[2]) else _VERY_FEW):
            yield from self._columns_of(relations, pattern.regexes[2].fullmatch)
            return
        by_name, names = self._by_name
        meant = frozenset(names.matching(pattern.parts[2], pattern.regexes[2]))
        for name in meant:
            yield from self._columns_of(relations.intersection(by_name[name]), name.__eq__)

    def _columns_of(
        self, relations: Iterable[int], matches: Callable[[str], Any]
    ) -> Iterator[ColumnId]:
        for oid in relations:
            for column in self._catalog.relations[oid].columns:
                if matches(column.name):
                    yield ColumnId(oid, column.attnum)

    @cached_property
    def _by_name(self) -> tuple[dict[str, list[int]], SortedNames]:
        """OIDs of the relations that have a column of a name, and these names."""
        by_name: dict[str, list[int]] = {}
        for oid, relation in self._catalog.relations.items():
            for column in relation.columns:
                by_name.setdefault(column.name, []).append(oid)
        return by_name, SortedNames(by_name)
