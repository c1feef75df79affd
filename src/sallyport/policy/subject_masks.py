"""The masks of one subject, and what is asked of all of them together: made once for all subjects
that have the same.
"""

from __future__ import annotations

from functools import cached_property

from sallyport.policy.decision import EQUALITY, ColumnMask, Filter
from sallyport.sql.catalog.snapshot import ColumnId


class SubjectMasks(dict[ColumnId, ColumnMask]):
    """Masks by column. Never changed once it was given away."""

    @cached_property
    def relations(self) -> frozenset[int]:
        """OIDs of the relations that have masked columns."""
        return frozenset([column.relation for column in self])

    @cached_property
    def ordered_relations(self) -> tuple[int, ...]:
        return tuple(sorted(self.relations))

    @cached_property
    def visible(self) -> frozenset[ColumnId]:
        """Columns of whose values conditions and expressions may use (``filter: allow``)."""
        return frozenset(self._with(frozenset({Filter.ALLOW})))

    @cached_property
    def applied(self) -> dict[ColumnId, ColumnMask]:
        """The masks of all other columns."""
        return {column: self[column] for column in self if column not in self.visible}

    @cached_property
    def compared_relations(self) -> frozenset[int]:
        """OIDs of the relations with a column that may be compared with constants (``filter:
        equality``).
        """
        return frozenset([column.relation for column in self._with(EQUALITY)])

    def _with(self, filters: frozenset[Filter]) -> list[ColumnId]:
        masks = {id(mask): mask for mask in self.values()}  # many columns share few
        ids = {id_ for id_, mask in masks.items() if mask.filter in filters}
        return [column for column, mask in self.items() if id(mask) in ids] if ids else []

    def derive(self) -> None:
        """Make everything that is derived, before somebody waits for it."""
        _ = (self.relations, self.ordered_relations, self.applied, self.compared_relations)
