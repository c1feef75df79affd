"""A mask of a policy with its patterns resolved."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sallyport.policy.model import Mask
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId


@dataclass(frozen=True, slots=True)
class BoundMask:
    """``origins``: for each of the columns, what of the entry matched it."""

    mask: Mask
    columns: frozenset[ColumnId]
    origins: Mapping[ColumnId, str]


def in_relations(oids: Collection[int], catalog: CatalogSnapshot) -> list[ColumnId]:
    """The columns of these relations, as far as there are such."""
    relations = [catalog.relations[oid] for oid in oids if oid in catalog.relations]
    return [ColumnId(r.oid, column.attnum) for r in relations for column in r.columns]
