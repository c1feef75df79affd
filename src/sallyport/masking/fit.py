"""Masks that do not fit the type of a column: they show NULL there, which is safe and seldom what
was meant.
"""

from __future__ import annotations

from collections.abc import Iterator

from sallyport.masking.maskers import NATIVE_MASKS, base_type, classify
from sallyport.policy.bound import BoundPolicy
from sallyport.policy.model import applies_to_target


def unfit_masks(bound: BoundPolicy) -> Iterator[str]:
    """A warning for each column that a mask of the policy's own file can only show as NULL."""
    catalog = bound.catalog
    for entry in bound.masks:
        mask, native = entry.mask, NATIVE_MASKS[entry.mask.spec.kind]
        if (
            not native.types_in_words
            or mask.pack
            or not applies_to_target(mask.targets, bound.target)
        ):
            continue
        for id_ in sorted(entry.columns):
            column = catalog.column(id_)
            if column is None:
                continue
            oid = base_type(column.type_oid, catalog.types)
            if classify(oid, 0, catalog.types)[0] not in native.families:
                type_ = catalog.types.get(column.type_oid)
                yield (
                    f"mask (line {mask.line}): {mask.spec.kind} is for {native.types_in_words} and"
                    f" shows {catalog.column_name(id_)}, which is"
                    f" {type_.name if type_ else 'of another type'}, as NULL"
                )
