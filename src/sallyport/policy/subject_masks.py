"""The masks of one subject, and what is asked of all of them together: made once for all subjects
that have the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
        if not self.visible:
            return dict(self)
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

    def with_relations(
        self,
        touched: frozenset[int],
        gone: Collection[ColumnId],
        renewed: Mapping[ColumnId, ColumnMask],
    ) -> SubjectMasks:
        """These masks with others for the columns of the ``touched`` relations: without those that
        are ``gone``, all of those they had, and with the ``renewed``. What is derived is made of
        what was derived, which is cheaper than making all of it.
        """
        self.derive()
        masks = SubjectMasks(self)
        for column in gone:
            del masks[column]
        masks.update(renewed)
        part = SubjectMasks(renewed)
        masks.relations = (self.relations - touched) | part.relations
        kept = [oid for oid in self.ordered_relations if oid not in touched]
        masks.ordered_relations = tuple(sorted([*kept, *part.relations]))
        masks.compared_relations = (self.compared_relations - touched) | part.compared_relations
        masks.visible = self.visible.difference(gone) | part.visible
        applied = dict(self.applied)
        for column in gone:
            applied.pop(column, None)
        applied.update(part.applied)
        masks.applied = applied
        return masks
