"""A relation with its partitions and children, whose rows are read and written with its own."""

from __future__ import annotations

from collections.abc import Iterator

from sallyport.sql.catalog.snapshot import CatalogSnapshot, Relation


def with_descendants(catalog: CatalogSnapshot, oid: int) -> Iterator[Relation]:
    """The relation and everything under it; what is not in the snapshot is left out."""
    waiting, seen = [oid], {oid}
    while waiting:
        member = catalog.relations.get(waiting.pop())
        if member is None:
            continue
        yield member
        waiting.extend(child for child in member.children if child not in seen)
        seen.update(member.children)
