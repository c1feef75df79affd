"""What a write tells about rows that are already there, and what it changes elsewhere: unique
indexes, exclusion constraints, checks, foreign keys, and what PostgreSQL computes whenever a row is
written (generated columns, indexed expressions, predicates of indexes).

Whether PostgreSQL accepts a row depends on values that the statement never names: an INSERT that a
unique index refuses has found out that the value exists, an UPDATE that lets ``amount + secret``
overflow has found out something of ``secret``. Each such column is an influence of the statement;
whether an expression can fail at all is not asked. A foreign key with CASCADE or SET NULL writes
rows of another relation: an indirect access, of which all of this is asked as well.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from sallyport.sql.analysis import Analysis
from sallyport.sql.catalog.descendants import with_descendants
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Column, ColumnId, Constraint, Relation
from sallyport.sql.facts import Clause
from sallyport.sql.lineage import Value
from sallyport.sql.queries.relation_items import Computed, computations
from sallyport.sql.values.types import BPCHAR, VARCHAR

#: What tells of the rows of a new partition, by Constraint.kind.
_TESTED = {"u": Clause.UNIQUE, "x": Clause.UNIQUE, "f": Clause.FOREIGN_KEY}
#: By which a value that is written may be refused, or copied.
_REFUSES = {"c": Clause.CHECK, "f": Clause.FOREIGN_KEY, "t": Clause.TRIGGER}
#: Bytes of an entry of an index that PostgreSQL surely takes (BTMaxItemSize is 2704).
_ENTRY_SIZE = 2500
#: Bytes of a value of a type that is small, and of a character in UTF8.
_SMALL_SIZE, _LONGEST_CHARACTER = 64, 4


class _Write(NamedTuple):
    """``changed``: attribute numbers that get a value, and whether that value comes from no column.
    ``computed``: what a row computes. ``short``: those of ``changed`` that get short constants.
    """

    relation: Relation
    action: str
    changed: Mapping[int, bool]
    computed: tuple[Computed, ...]
    position: int
    short: frozenset[int] = frozenset()

    @property
    def touched(self) -> frozenset[int]:
        """What changes, generated columns included."""
        made = (
            c.target
            for c in self.computed
            if c.target and not self.changed.keys().isdisjoint(c.columns)
        )
        return frozenset((*self.changed, *made))


def note_write(
    analysis: Analysis,
    relation: int,
    action: str,
    written: Mapping[ColumnId, bool],
    position: int,
    short: Container[ColumnId] = (),
) -> None:
    """``written``: columns that get a value, and whether that value comes from no other column.
    ``action``: insert, update or delete. ``short``: columns whose new values are short constants.
    """
    target = analysis.catalog.relations.get(relation)
    if target is None:
        return
    names = {
        column.name: written[id_]
        for column in target.columns
        if (id_ := ColumnId(relation, column.attnum)) in written
    }
    for part in with_descendants(analysis.catalog, target.oid):
        changed = {
            column.attnum: names[column.name] for column in part.columns if column.name in names
        }
        few = {c.name for c in target.columns if ColumnId(relation, c.attnum) in short}
        brief = frozenset(column.attnum for column in part.columns if column.name in few)
        write = _Write(part, action, changed, computations(analysis, part), position, brief)
        _triggered(analysis, write)
        if action != "delete":
            _computed(analysis, write)
            for constraint in part.constraints:
                _own(analysis, write, constraint)
        if action != "insert":
            _referenced(analysis, part, action, changed, position)


def note_value(analysis: Analysis, target: ColumnId, value: Value, position: int) -> None:
    """A value computed from columns is written where it may be refused, or where it decides in
    which partition the row is: that tells about those columns.
    """
    relation, sources = analysis.catalog.relations.get(target.relation), value.sources
    column = analysis.catalog.column(target) if sources else None
    if relation is None or column is None:
        return
    for part in with_descendants(analysis.catalog, relation.oid):
        inherited = next((c for c in part.columns if c.name == column.name), None)
        if inherited is not None:
            _refused(analysis, part, inherited, value, position)
    source_columns = (analysis.catalog.column(source) for source in sources)
    if column.not_null and not all(
        source_column is not None and source_column.not_null for source_column in source_columns
    ):
        analysis.influence(sources, Clause.CHECK, False, position)
    if column.name in _partition_keys(analysis, relation):
        analysis.influence(sources, Clause.PARTITION, False, position)


def _refused(
    analysis: Analysis, relation: Relation, column: Column, value: Value, position: int
) -> None:
    computed = computations(analysis, relation)
    made = {c.target for c in computed if column.attnum in c.columns}
    for constraint in relation.constraints:
        reached = not {column.attnum, *made}.isdisjoint(_every(relation, constraint.columns))
        if reached and constraint.kind in "cft":
            analysis.influence(
                value.sources,
                _REFUSES[constraint.kind],
                False,
                position,
            )
        elif (
            reached
            and constraint.kind not in "ps"
            and not (value.bare or is_bounded(analysis, (column,)))
        ):
            # an index takes values up to a size
            analysis.influence(value.sources, Clause.INDEX_SIZE, False, position)
    if any(column.attnum in c.columns for c in computed):
        analysis.influence(value.sources, Clause.CHECK, False, position)


def note_partition(analysis: Analysis, relation: Relation, position: int = -1) -> None:
    """Rows of a partition, and the order of rows of the whole, tell about the columns that put them
    there.
    """
    names = _partition_keys(analysis, relation)
    for column in relation.columns if names else ():
        if column.name in names:
            # a bound says more of a value than that it is, or is not, one that was guessed
            _note(analysis, relation.oid, column.attnum, Clause.PARTITION, False, position)


def _partition_keys(analysis: Analysis, relation: Relation) -> set[str]:
    """Names of the columns that decide in which partition a row of the relation is, or whether it
    may be in this one.
    """
    if analysis.catalog.relations.get(relation.oid) is not relation:
        return _find_partition_keys(analysis.catalog, relation)
    keys = analysis.names.partition_keys
    if relation.oid not in keys:
        keys[relation.oid] = _find_partition_keys(analysis.catalog, relation)
    return keys[relation.oid]


def _find_partition_keys(catalog: CatalogSnapshot, relation: Relation) -> set[str]:
    names: set[str] = set()
    waiting, seen = [relation.oid], {relation.oid}
    while waiting:
        ancestor = catalog.relations.get(waiting.pop())
        if ancestor is None:
            continue
        names.update(c.name for c in ancestor.columns if c.attnum in ancestor.partition_key)
        waiting.extend(parent for parent in ancestor.parents if parent not in seen)
        seen.update(ancestor.parents)
    for part in with_descendants(catalog, relation.oid):
        names.update(c.name for c in part.columns if c.attnum in part.partition_key)
    return names


def _every(relation: Relation, columns: Iterable[int]) -> frozenset[int]:
    """The columns of a constraint; 0 stands for the whole row."""
    numbers = frozenset(columns)
    return frozenset(c.attnum for c in relation.columns) if 0 in numbers else numbers


def _computed(analysis: Analysis, write: _Write) -> None:
    """What is computed again because one column changes fails, or does not, by the others."""
    if write.action != "update":
        return
    for computed in write.computed:
        if not write.changed.keys().isdisjoint(computed.columns):
            for column in sorted(computed.columns - write.changed.keys()):
                _note(analysis, write.relation.oid, column, Clause.CHECK, False, write.position)


def _triggered(analysis: Analysis, write: _Write) -> None:
    """A trigger of PostgreSQL's own may leave a row out, or fail, by columns of the row that is
    there.
    """
    if write.action == "insert":
        return
    for constraint in write.relation.constraints:
        if constraint.kind == "t":
            for column in sorted(_every(write.relation, constraint.columns) - write.changed.keys()):
                _note(analysis, write.relation.oid, column, Clause.TRIGGER, False, write.position)


def _own(analysis: Analysis, write: _Write, constraint: Constraint) -> None:
    """A constraint of the relation that is written. Nothing is told when none of its columns
    changes.
    """
    relation, changed = write.relation, write.changed
    columns = _every(relation, constraint.columns)
    if write.touched.isdisjoint(columns):
        return
    if constraint.kind in "iuxn" and write.action == "update":
        _entry(analysis, write, columns)
    if constraint.kind in "ietnps":
        return
    if constraint.kind == "f":
        plain = all(changed.get(column, False) for column in columns)
        for column in constraint.referenced_columns:
            _note(
                analysis, constraint.referenced, column, Clause.FOREIGN_KEY, plain, write.position
            )
    under = columns.union(*(c.columns for c in write.computed if c.target in columns))
    derived = frozenset[int]().union(*(c.columns for c in write.computed if not c.same))
    for column in sorted(under):
        if constraint.kind in "cf":
            # these see the row alone: what the statement itself gives is no news, nor is anything
            # of a new row
            if write.action == "update" and column not in changed:
                clause = Clause.CHECK if constraint.kind == "c" else Clause.FOREIGN_KEY
                _note(analysis, relation.oid, column, clause, False, write.position)
        else:
            # what an index computes, or is limited by, tells more of the rows that are there than
            # what they are equal to
            compares_whole = constraint.kind == "u" and column not in derived
            plain = compares_whole and changed.get(column, write.action == "insert")
            _note(analysis, relation.oid, column, Clause.UNIQUE, plain, write.position)


def _entry(analysis: Analysis, write: _Write, columns: frozenset[int]) -> None:
    """An index takes entries up to a size: a value made as long as it may be tells how long the
    others of its entry are.
    """
    entry = [column for column in write.relation.columns if column.attnum in columns]
    grown = [c for c in entry if c.attnum in write.touched - write.short]
    if is_bounded(analysis, entry) or is_bounded(analysis, grown):
        return
    for column in entry:
        if column.attnum not in write.changed and not analysis.types.is_small(column.type_oid):
            _note(
                analysis,
                write.relation.oid,
                column.attnum,
                Clause.INDEX_SIZE,
                False,
                write.position,
            )


def note_entries(analysis: Analysis, sources: frozenset[ColumnId]) -> None:
    """An index is built over rows that are there: it fails where an entry is too long."""
    columns = {source: column for source in sources if (column := analysis.catalog.column(source))}
    if not is_bounded(analysis, columns.values()):
        long = [source for source, c in columns.items() if not analysis.types.is_small(c.type_oid)]
        analysis.influence(frozenset(long), Clause.INDEX_SIZE)


def note_attached(analysis: Analysis, child: Relation, above: Relation) -> None:
    """A partition takes its parent's indexes and foreign keys, which are built and tested over the
    rows that are there.
    """
    names = {column.attnum: column.name for column in above.columns}
    own = {column.name: ColumnId(child.oid, column.attnum) for column in child.columns}
    for constraint in above.constraints:
        keys = (names.get(number) for number in _every(above, constraint.columns))
        sources = frozenset(own[name] for name in keys if name in own)
        if constraint.kind in "iuxn":
            note_entries(analysis, sources)
        if constraint.kind in _TESTED:
            analysis.influence(sources, _TESTED[constraint.kind])
    for computed in computations(analysis, above):
        made = (own[names[n]] for n in computed.columns if names.get(n) in own)
        analysis.influence(frozenset(made), Clause.CHECK)


def note_plain_storage(analysis: Analysis, relation: Relation) -> None:
    """Values that are not moved out of a row fill it: whether one more fits tells how long the
    others are.
    """
    for part in with_descendants(analysis.catalog, relation.oid):
        long = (c.attnum for c in part.columns if not analysis.types.is_small(c.type_oid))
        analysis.influence(frozenset(ColumnId(part.oid, n) for n in long), Clause.ROW_SIZE)


def is_bounded(analysis: Analysis, columns: Iterable[Column]) -> bool:
    """Whether all values that these columns can hold fit into one entry of an index, together."""
    size = 0
    for column in columns:
        if analysis.types.is_small(column.type_oid):
            size += _SMALL_SIZE
        elif column.type_oid in (VARCHAR, BPCHAR) and column.typmod >= 0:
            size += column.typmod * _LONGEST_CHARACTER
        else:
            return False
    return size <= _ENTRY_SIZE


class _Cascade(NamedTuple):
    """What goes or changes, and makes rows that point at it go or change. ``changed``: as in
    :class:`_Write`.
    """

    relation: int
    action: str
    changed: Mapping[int, bool]


def _referenced(
    analysis: Analysis, relation: Relation, action: str, changed: Mapping[int, bool], position: int
) -> None:
    """Foreign keys that point at rows which go or change."""
    waiting = [_Cascade(relation.oid, action, changed)]
    seen = {(relation.oid, action, frozenset(changed))}
    while waiting:
        above = waiting.pop()
        for child, constraint in analysis.catalog.references.get(above.relation, ()):
            if above.action == "update" and above.changed.keys().isdisjoint(
                constraint.referenced_columns
            ):
                continue
            analysis.visited_by.update(ColumnId(child, n) for n in constraint.columns)
            under = _cascaded(above, child, constraint)
            if under is None or under.action == "delete":
                # the row that is refused, or goes, is one with this value
                for column in constraint.columns:
                    _note(analysis, child, column, Clause.FOREIGN_KEY, True, position)
            if under is None:
                for column in constraint.referenced_columns:
                    _note(analysis, above.relation, column, Clause.FOREIGN_KEY, True, position)
                continue
            analysis.access_under(child, under.action, [ColumnId(child, n) for n in under.changed])
            _written_under(analysis, under, constraint, position)
            key = (child, under.action, frozenset(under.changed))
            if key not in seen:
                seen.add(key)
                waiting.append(under)


def _cascaded(above: _Cascade, child: int, constraint: Constraint) -> _Cascade | None:
    """What a foreign key does to the rows that point at those above; None where it refuses."""
    is_delete = above.action == "delete"
    rule = constraint.on_delete if is_delete else constraint.on_update
    if rule == "c" and is_delete:
        return _Cascade(child, "delete", {})
    if rule == "c":
        pairs = zip(constraint.columns, constraint.referenced_columns, strict=True)
        return _Cascade(child, "update", {own: above.changed.get(key, True) for own, key in pairs})
    if rule in ("n", "d"):
        return _Cascade(child, "update", dict.fromkeys(constraint.columns, True))
    return None


def _written_under(analysis: Analysis, under: _Cascade, cause: Constraint, position: int) -> None:
    """The rows that a foreign key changes have constraints, indexes and partitions of their own."""
    target = analysis.catalog.relations.get(under.relation)
    if target is None or under.action != "update":
        return
    names = {c.name: under.changed[c.attnum] for c in target.columns if c.attnum in under.changed}
    if not names.keys().isdisjoint(_partition_keys(analysis, target)):
        note_partition(analysis, target, position)
    for part in with_descendants(analysis.catalog, target.oid):
        changed = {c.attnum: names[c.name] for c in part.columns if c.name in names}
        write = _Write(part, "update", changed, computations(analysis, part), position)
        _triggered(analysis, write)
        _computed(analysis, write)
        for constraint in part.constraints:
            if constraint is not cause or "d" in (cause.on_delete, cause.on_update):
                _own(analysis, write, constraint)


def _note(
    analysis: Analysis, relation: int, column: int, clause: Clause, equality: bool, position: int
) -> None:
    id_ = ColumnId(relation, column)
    if clause is Clause.FOREIGN_KEY and equality:
        # with PERIOD it asks whether a range is covered by others
        referring = analysis.catalog.column(id_)
        equality = referring is None or not analysis.types.is_range(referring.type_oid)
    analysis.influence(frozenset((id_,)), clause, equality, position)
