"""GROUP BY that relies on a primary key: which other columns of the relation stand ungrouped
outside aggregates.

PostgreSQL permits them because the key determines them (check_functional_grouping in
pg_constraint.c). A subselect in the relation's place has no primary key, so the rewriter adds these
columns to GROUP BY.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from sallyport.sql.catalog.snapshot import ColumnId, Relation
from sallyport.sql.groupings import Grouping, StarColumn, UngroupedColumn
from sallyport.sql.lineage import Field, Value

_Key = tuple[int, int]  # position of the range variable, attribute number


class GroupingLevel:
    """One query level with GROUP BY: its range variables with a primary key, and the references to
    their columns.

    ``outer``: the level that a sublink with GROUP BY stands in, which is told of references to its
    own columns.
    """

    def __init__(self, outer: GroupingLevel | None) -> None:
        self.outer = outer
        self.keys: dict[int, frozenset[int]] = {}
        self.relations: dict[int, int] = {}
        self.references: dict[_Key, list[tuple[tuple[str, ...], int]]] = {}
        self.rows: list[_Key] = []  # range variable and byte offset of references to its whole row
        self.entry = 0  # of the select list that is walked now, from 1
        self.entries: dict[int, int] = {}  # by the position of a reference in it
        self.stars: dict[int, tuple[StarColumn, ...]] = {}  # by position

    def tagged(
        self, relation: Relation, fields: tuple[Field, ...], variable: int
    ) -> tuple[Field, ...]:
        """``fields`` of the relation, marked with its range variable where the relation has a
        primary key.
        """
        key = next((c.columns for c in relation.constraints if c.primary), ())
        if not key:
            return fields
        self.keys[variable] = frozenset(key)
        self.relations[variable] = relation.oid
        return tuple([Field(f.name, replace(f.value, variable=variable)) for f in fields])

    def note(self, value: Value, names: tuple[str, ...], position: int) -> None:
        """A reference outside aggregates."""
        if self.entry:
            self.entries[position] = self.entry
        self._note(value, names, position)

    def _note(self, value: Value, names: tuple[str, ...], position: int) -> None:
        if value.variable < 0 or value.origin is None:
            return
        if value.variable in self.keys:
            key = (value.variable, value.origin.attnum)
            self.references.setdefault(key, []).append((names, position))
        elif self.outer is not None:
            self.outer._note(value, names, position)

    def note_star(self, columns: Iterable[tuple[Field, StarColumn]], position: int) -> None:
        """``*`` or ``t.*`` in a select list; no number of GROUP BY names all that it stands for."""
        expanded = []
        for field, column in columns:
            self._note(field.value, (field.name,), position)
            expanded.append(column)
        self.stars[position] = tuple(expanded)

    def note_row(self, variable: int, position: int) -> None:
        """A reference to a whole row outside aggregates."""
        if self.entry:
            self.entries[position] = self.entry
        if variable in self.keys:
            self.rows.append((variable, position))
        elif self.outer is not None:
            self.outer.note_row(variable, position)

    def grouping(
        self,
        values: list[Value],
        numbers: frozenset[int],
        visible: Mapping[int, tuple[str, tuple[Field, ...]]],
        position: int,
    ) -> Grouping | None:
        """What must be added to GROUP BY; None for nothing.

        ``values``: those that GROUP BY has. ``numbers``: of the entries of the select list that it
        names by their number. ``visible``: name and columns of the range variables that can be
        named.
        """
        grouped = {
            (value.variable, value.origin.attnum)
            for value in values
            if value.origin is not None and value.variable in self.keys
        }
        complete = {
            v for v, key in self.keys.items() if all((v, number) in grouped for number in key)
        }
        columns = []
        for (variable, attnum), references in self.references.items():
            if variable not in complete or (variable, attnum) in grouped:
                continue
            references = [pair for pair in references if self.entries.get(pair[1]) not in numbers]
            if not references:
                continue
            id_ = ColumnId(self.relations[variable], attnum)
            reference = references[0][0]
            if variable in visible:
                name, fields = visible[variable]
                reference = (name, next((f.name for f in fields if f.value.origin == id_), ""))
            positions = tuple(dict.fromkeys(position for _, position in references))
            columns.append(UngroupedColumn(id_, variable, reference, positions))
        rows = frozenset(
            position
            for variable, position in self.rows
            if variable in complete and self.entries.get(position) not in numbers
        )
        if not columns and not rows:
            return None
        return Grouping(position, tuple(columns), rows, self.stars)
