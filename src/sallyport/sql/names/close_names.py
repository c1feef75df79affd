"""The name most like another: for hints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher
from itertools import islice
from typing import Final

from sallyport.sql.catalog.snapshot import TEMPORARY, CatalogSnapshot
from sallyport.sql.names.resolve import SYSTEM

#: Names that are looked through, and those of them that are compared letter by letter, which takes
#: 0.1 ms each.
_COMPARED: Final = 1000
_CLOSELY: Final = 8
#: As difflib measures it: twice the letters in common by all letters.
_LEAST: Final = 0.7


def closest(name: str, candidates: Iterable[str]) -> str:
    """The candidate most like ``name``, the first by the alphabet of several; "" where none is."""
    matcher = SequenceMatcher(b=name)
    letters, size = Counter(name), len(name)
    single = [letter for letter, number in letters.items() if number == 1]
    several = [(letter, number) for letter, number in letters.items() if number > 1]
    likely = []
    for candidate in islice(candidates, _COMPARED):
        both = size + len(candidate)
        if 2 * min(size, len(candidate)) < _LEAST * both:
            continue
        # at most these letters are in common: difflib's quick_ratio, which takes four times as long
        common = sum([letter in candidate for letter in single])
        common += sum([min(candidate.count(letter), number) for letter, number in several])
        if (bound := 2 * common / both) >= _LEAST:
            likely.append((-bound, candidate))
    best, best_ratio = "", _LEAST
    for bound, candidate in sorted(set(likely))[:_CLOSELY]:
        if -bound < best_ratio:
            break
        matcher.set_seq1(candidate)
        ratio = matcher.ratio()
        if ratio > best_ratio or (ratio == best_ratio and not best):
            best, best_ratio = candidate, ratio
    return best


def meant(name: str) -> str:
    """The hint; "" without a name."""
    return f'Perhaps you meant "{name}".' if name else ""


def relation_elsewhere(catalog: CatalogSnapshot, name: str) -> str:
    """The relation of this name that a search_path did not lead to, with its schema; the oldest of
    several, "" where there is none.
    """
    schemas = (catalog.schemas | {TEMPORARY}) - SYSTEM
    named = [catalog.relation_by_name.get((schema, name)) for schema in schemas]
    relations = [relation for relation in named if relation is not None]
    return min(relations, key=lambda relation: relation.oid).qualified if relations else ""


#: Where a catalog keeps what was closest to names, and of so many.
_KEPT: Final = "closest relations"
_MAXIMUM: Final = 64


def closest_relation(
    catalog: CatalogSnapshot, schema: str, name: str, path: tuple[str, ...]
) -> str:
    """The relation most like ``name``, as it is written under this search_path; "" where none is.
    Kept with the catalog: a statement with a name that is not there is judged again once the target
    was asked for it.
    """
    kept: dict[tuple[str, str, tuple[str, ...]], str] = catalog.lookups.get(_KEPT, {})
    key = schema, name, path
    if key not in kept:
        candidates = (
            relation.name
            if relation.schema == schema or relation.schema in path
            else relation.qualified
            for relation in catalog.relations.values()
            if relation.schema not in SYSTEM
        )
        latest = dict(list(kept.items())[1 - _MAXIMUM :])
        kept = {**latest, key: closest(name, candidates)}
        catalog.keep(_KEPT, kept)
    return kept[key]
