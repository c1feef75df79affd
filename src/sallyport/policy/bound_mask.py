"""A mask of a policy with its patterns resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sallyport.policy.model import Mask
from sallyport.sql.catalog.snapshot import ColumnId


@dataclass(frozen=True, slots=True)
class BoundMask:
    """``origins``: for each of the columns, what of the entry matched it."""

    mask: Mask
    columns: frozenset[ColumnId]
    origins: Mapping[ColumnId, str]
