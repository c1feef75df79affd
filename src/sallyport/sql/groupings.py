"""What GROUP BY leaves ungrouped because a primary key in it determines it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from sallyport.sql.catalog.snapshot import ColumnId


class UngroupedColumn(Struct, frozen=True):
    """A column of a range variable that stands outside aggregates and not in GROUP BY, as the
    primary key in it permits.

    ``reference``: the names by which it can be referred to in this query. ``positions``: byte
    offsets of its references, of a ``*`` that stands for it too; -1 in a reference to a whole row.
    """

    column: ColumnId
    variable: int
    reference: tuple[str, ...]
    positions: tuple[int, ...]


class StarColumn(Struct, frozen=True):
    """A column that a ``*`` of the select list stands for.

    ``column``: of the table, None for one that is not a table's. ``variable``: the range variable
    that it comes from, or -1. ``reference``: the names by which it can be referred to beside the
    star. ``item``: the range variable that the first of two names is of, or -1.
    """

    column: ColumnId | None
    variable: int
    reference: tuple[str, ...]
    item: int


class Grouping(Struct, frozen=True):
    """A GROUP BY that holds the whole primary key of a relation. ``position``: byte offset of its
    first expression. ``rows``: of references to whole rows that stand outside aggregates.
    ``stars``: what each ``*`` stands for, by its byte offset.
    """

    position: int
    columns: tuple[UngroupedColumn, ...]
    rows: frozenset[int]
    stars: Mapping[int, tuple[StarColumn, ...]]
