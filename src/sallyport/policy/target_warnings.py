"""What a policy says of one target that cannot be meant, or costs more than it seems to: for
``policy check`` and the log. (Patterns of rules and masks that match nothing:
:mod:`sallyport.policy.bind`.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sallyport.policy.file.patterns import Pattern, is_system_schema
from sallyport.policy.model import Mask, Policy, applies_to_target
from sallyport.sql.catalog.functions import SLEEPING
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId, Relation


def is_trusted_view(relation: Relation, patterns: Iterable[Pattern]) -> bool:
    """Whether a relation is a view that one of the patterns names. System views never are."""
    if relation.kind not in ("v", "m") or is_system_schema(relation.schema):
        return False
    return any(pattern.matches(relation.schema, relation.name) for pattern in patterns)


def target_warnings(policy: Policy, catalog: CatalogSnapshot, target: str) -> Iterator[str]:
    """Patterns of functions and of trusted views that match nothing in the target."""
    functions = {
        (f.schema, f.name)
        for f in (catalog.functions.values() if policy.functions else ())
        if not is_system_schema(f.schema) or f.name in SLEEPING
    }
    for pattern in policy.functions:
        if not any(pattern.matches(*name) for name in functions):
            yield f"functions: {pattern.text} matches nothing in target {target}"
    views = catalog.relations.values() if policy.trusted_views else ()
    for pattern in policy.trusted_views:
        if not any(is_trusted_view(r, (pattern,)) for r in views):
            yield f"views: {pattern.text} matches no view in target {target}"


def partition_key_warnings(
    masks: Iterable[tuple[Mask, frozenset[ColumnId]]],
    catalog: CatalogSnapshot,
    target: str,
    partitioned: frozenset[int],
) -> Iterator[str]:
    """Masks, with the columns they mean, over the key of a partitioned table: rows come partition
    by partition, so their order would tell values. ``partitioned``: OIDs of those tables.
    """
    for mask, columns in masks:
        if not applies_to_target(mask.targets, target):
            continue
        where = f"mask of {mask.place}" if mask.pack else f"mask (line {mask.line})"
        for oid in sorted(partitioned):
            relation = catalog.relations[oid]
            for attnum in sorted(relation.partition_key):
                column = ColumnId(oid, attnum)
                if column in columns:
                    yield (
                        f"{where}: {catalog.column_name(column)} is in the partition key of"
                        f" {relation.qualified}. Subjects with this mask cannot read the table's"
                        " rows, because the order of the partitions tells values"
                    )
