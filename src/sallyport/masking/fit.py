"""Masks that do not fit the type of a column: they show NULL there, which is safe and seldom what was meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sallyport.masking.maskers import Family, base_type, classify
from sallyport.policy.bound import BoundPolicy
from sallyport.policy.model import applies_to_target

_TIMES = frozenset({Family.DATE, Family.TIMESTAMP, Family.TIMESTAMPTZ})
#: What each kind treats, and that in words. Kinds that are not here fit everything.
_FITTING: Mapping[str, tuple[frozenset[Family], str]] = {
    "partial": (frozenset({Family.TEXT}), "texts"),
    "email": (frozenset({Family.TEXT}), "texts"),
    "hash": (frozenset({Family.TEXT, Family.UUID}), "texts and uuid"),
    "date": (_TIMES, "dates and timestamps"),
    "bucket": (frozenset({Family.INTEGER, Family.FLOAT, Family.NUMERIC}), "numbers"),
}


def unfit_masks(bound: BoundPolicy) -> Iterator[str]:
    """A warning for each column that a mask of the policy's own file can only show as NULL."""
    catalog = bound.catalog
    for entry in bound.masks:
        mask, fitting = entry.mask, _FITTING.get(entry.mask.spec.kind)
        if fitting is None or mask.pack or not applies_to_target(mask.targets, bound.target):
            continue
        families, words = fitting
        for id_ in sorted(entry.columns):
            column = catalog.column(id_)
            if column is None:
                continue
            oid = base_type(column.type_oid, catalog.types)
            if classify(oid, 0, catalog.types)[0] not in families:
                type_ = catalog.types.get(column.type_oid)
                yield (
                    f"mask (line {mask.line}): {mask.spec.kind} is for {words} and shows {catalog.column_name(id_)}, "
                    f"which is {type_.name if type_ else 'of another type'}, as NULL"
                )
