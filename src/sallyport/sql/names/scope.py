"""Names that are visible where an expression stands, as PostgreSQL's parse_relation.c finds them.

A :class:`Scope` is one query level: its FROM items (the "namespace") and its CTEs; ``parent`` is
the enclosing level. Whether an item answers to its name and whether its columns answer unqualified
are separate, as for the two sides of a JOIN.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from sallyport.sql.catalog.snapshot import ColumnId
from sallyport.sql.expressions.grouping import GroupingLevel
from sallyport.sql.lineage import Field, Value, as_row
from sallyport.sql.text.parse import Node

#: System columns (heap.c) with attribute number and type.
SYSTEM_COLUMNS: dict[str, tuple[int, int]] = {
    "ctid": (-1, 27),
    "xmin": (-2, 28),
    "cmin": (-3, 29),
    "xmax": (-4, 28),
    "cmax": (-5, 29),
    "tableoid": (-6, 26),
}


class Ambiguous(Exception):
    """More than one thing answers to this name."""


class AmbiguousItem(Ambiguous):
    """More than one item of FROM answers to this name, which is its only argument."""


def index_fields(fields: tuple[Field, ...]) -> dict[str, int]:
    """Position by name; -1 where a name occurs twice."""
    index: dict[str, int] = {}
    for number, item in enumerate(fields):
        index[item.name] = -1 if item.name in index else number
    return index


class Item(Struct):
    """One namespace item. ``relation``: OID of a table or view named directly (for system columns
    and schema.table), else 0.

    ``schema`` is set only when the relation has no alias. ``row_type``: type OID of its whole-row
    value, or 0. ``scalar``: a function in FROM whose whole-row value is its only column.
    ``variable``: the position of its range variable. ``nullable``: an outer join may put NULLs in
    the place of its rows. ``unexpanded``: positions of fields that a star leaves out.
    """

    name: str
    fields: tuple[Field, ...]
    relation: int = 0
    schema: str = ""
    row_type: int = 0
    system: bool = False
    visible: bool = True
    columns_visible: bool = True
    scalar: bool = False
    variable: int = -1
    nullable: bool = False
    unexpanded: frozenset[int] = frozenset()
    positions: dict[str, int] | None = None  # of fields by name, once somebody asked

    @property
    def index(self) -> dict[str, int]:
        """Position by name; -1 where a name occurs twice."""
        if self.positions is None:
            self.positions = index_fields(self.fields)
        return self.positions

    @property
    def expanded(self) -> tuple[Field, ...]:
        """What a star stands for."""
        if not self.unexpanded:
            return self.fields
        return tuple([f for number, f in enumerate(self.fields) if number not in self.unexpanded])

    def column(self, name: str) -> Value | None:
        number = self.index.get(name)
        if number is not None:
            if number < 0:
                raise Ambiguous(name)
            return self.fields[number].value
        if self.system and name in SYSTEM_COLUMNS:
            attnum, type_ = SYSTEM_COLUMNS[name]
            return Value(origin=ColumnId(self.relation, attnum), type=type_)
        return None

    def whole(self) -> Value:
        if self.scalar:
            return replace(self.fields[0].value, origin=None)
        origin = ColumnId(self.relation, 0) if self.relation else None
        return as_row(self.fields, self.row_type, origin)

    def shown(self, visible: bool, columns_visible: bool) -> Item:
        if self.visible == visible and self.columns_visible == columns_visible:
            return self
        return replace(self, visible=visible, columns_visible=columns_visible)

    def made_nullable(self) -> Item:
        """The same on the side of an outer join that may be NULL."""
        return replace(self, nullable=True)


def raw_item(item: Item) -> Item:
    """``item`` with values for which no subselect can stand."""
    return replace(
        item, fields=tuple([Field(f.name, replace(f.value, raw=True)) for f in item.fields])
    )


class Cte(Struct):
    """A WITH query. ``fields`` None: not known yet, or returns no rows. ``node``: its body until it
    was walked, in ``scope``.
    """

    name: str
    fields: tuple[Field, ...] | None
    node: Node | None
    scope: Scope
    recursive: bool = False
    started: bool = False
    referenced: bool = False
    added: int = 0  # how many of its last columns are those of SEARCH and CYCLE


class Scope(Struct):
    """One query level. ``union_hook`` is told the columns of a UNION's left side before its right
    side is walked (recursion).
    """

    parent: Scope | None = None
    items: list[Item] = []
    ctes: dict[str, Cte] = {}
    union_hook: Callable[[tuple[Field, ...]], None] | None = None
    level: int = 0  # a number of its own, once it has range variables
    grouping: GroupingLevel | None = None
    grouped: list[Value] = []

    def cte(self, name: str) -> Cte | None:
        scope: Scope | None = self
        while scope is not None:
            cte = scope.ctes.get(name)
            if cte is not None:
                return cte
            scope = scope.parent
        return None

    def breadth(self) -> int:
        """Items that are looked through for a name, at most."""
        count = 0
        scope: Scope | None = self
        while scope is not None:
            count += len(scope.items)
            scope = scope.parent
        return count

    def column(self, name: str) -> tuple[Value, bool] | None:
        """An unqualified column, innermost level first, and whether it is of this level. Raises
        Ambiguous.
        """
        scope: Scope | None = self
        while scope is not None:
            value = scope.local_column(name)
            if value is not None:
                return value, scope is self
            scope = scope.parent
        return None

    def local_column(self, name: str) -> Value | None:
        match: Value | None = None
        for item in self.items:
            if item.columns_visible:
                value = item.column(name)
                if value is not None:
                    if match is not None:
                        raise Ambiguous(name)
                    match = value
        return match

    def qualified(self, name: str, column: str) -> Value | None:
        """A column of the item that answers to ``name``; None where there is no such item, or no
        such column in it. Raises Ambiguous.
        """
        scope: Scope | None = self
        while scope is not None:
            match: Item | None = None
            for item in scope.items:
                if item.name == name and item.visible:
                    if match is not None:
                        raise AmbiguousItem(name)
                    match = item
            if match is not None:
                number = (match.positions or match.index).get(column)
                if number is None:
                    return None  # perhaps a system column
                if number < 0:
                    raise Ambiguous(column)
                return match.fields[number].value
            scope = scope.parent
        return None

    def item(self, name: str, relation: int = 0) -> Item | None:
        """The item that answers to ``name`` (or, with ``relation``, to schema.name). Raises
        Ambiguous.
        """
        scope: Scope | None = self
        while scope is not None:
            match: Item | None = None
            for item in scope.items:
                if not item.visible:
                    continue
                if (item.relation == relation and item.schema) if relation else item.name == name:
                    if match is not None:
                        raise AmbiguousItem(name)
                    match = item
            if match is not None:
                return match
            scope = scope.parent
        return None
