"""What a write tells about rows that are already there, and what it changes elsewhere: unique
indexes, exclusion constraints, checks, foreign keys, and what PostgreSQL computes whenever a row is
written (generated columns, indexed expressions, predicates of indexes).

Whether PostgreSQL accepts a row depends on values that the statement never names: an INSERT that a
unique index refuses has found out that the value exists, an UPDATE that lets ``amount + secret``
overflow has found out something of ``secret``. Each such column is an influence of the statement;
whether an expression can fail at all is not asked. A foreign key with CASCADE or SET NULL changes
rows of another relation: an indirect access.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from sallyport.sql.analysis import Analysis
from sallyport.sql.catalog import CatalogSnapshot, Column, ColumnId, Constraint, Relation
from sallyport.sql.facts import Clause
from sallyport.sql.lineage import Value
from sallyport.sql.relation_items import Computed, computations

_SILENT = {"c": "delete", "n": "update", "d": "update"}


class _Write(NamedTuple):
    """``changed``: attribute numbers that get a value, and whether that value comes from no column.
    ``computed``: what a row computes.
    """

    relation: Relation
    action: str
    changed: Mapping[int, bool]
    computed: tuple[Computed, ...]
    at: int

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
    a: Analysis, relation: int, action: str, written: Mapping[ColumnId, bool], at: int
) -> None:
    """``written``: columns that get a value, and whether that value comes from no other column.
    ``action``: insert, update or delete.
    """
    target = a.catalog.relations.get(relation)
    if target is None:
        return
    names = {
        column.name: written[id_]
        for column in target.columns
        if (id_ := ColumnId(relation, column.attnum)) in written
    }
    for part in _family(a.catalog, target):
        changed = {
            column.attnum: names[column.name] for column in part.columns if column.name in names
        }
        if action != "delete":
            write = _Write(part, action, changed, computations(a, part), at)
            _computed(a, write)
            for constraint in part.constraints:
                _own(a, write, constraint)
        if action != "insert":
            _referenced(a, part, action, changed, at)


def note_value(a: Analysis, target: ColumnId, value: Value, at: int) -> None:
    """A value computed from columns is written where it may be refused, or where it decides in
    which partition the row is: that tells about those columns.
    """
    relation, sources = a.catalog.relations.get(target.relation), value.sources
    column = a.catalog.column(target) if sources else None
    if relation is None or column is None:
        return
    for part in _family(a.catalog, relation):
        inherited = next((c for c in part.columns if c.name == column.name), None)
        if inherited is not None:
            _refused(a, part, inherited, value, at)
    source_columns = (a.catalog.column(source) for source in sources)
    if column.not_null and not all(
        source_column is not None and source_column.not_null for source_column in source_columns
    ):
        a.influence(sources, Clause.CHECK, False, at)
    if column.name in _partition_keys(a, relation):
        a.influence(sources, Clause.PARTITION, False, at)


def _refused(a: Analysis, relation: Relation, column: Column, value: Value, at: int) -> None:
    computed = computations(a, relation)
    made = {c.target for c in computed if column.attnum in c.columns}
    for constraint in relation.constraints:
        reached = not {column.attnum, *made}.isdisjoint(_every(relation, constraint.columns))
        if reached and constraint.kind in "cf":
            a.influence(
                value.sources,
                Clause.CHECK if constraint.kind == "c" else Clause.FOREIGN_KEY,
                False,
                at,
            )
        elif reached and not value.bare and not a.types.is_small(column.type_oid):
            # an index takes values up to a size
            a.influence(value.sources, Clause.INDEX_SIZE, False, at)
    if any(column.attnum in c.columns for c in computed):
        a.influence(value.sources, Clause.CHECK, False, at)


def note_partition(a: Analysis, relation: Relation, at: int = -1) -> None:
    """Rows of a partition, and the order of rows of the whole, tell about the columns that put them
    there.
    """
    names = _partition_keys(a, relation)
    for column in relation.columns if names else ():
        if column.name in names:
            # a bound says more of a value than that it is, or is not, one that was guessed
            _note(a, relation.oid, column.attnum, Clause.PARTITION, False, at)


def _partition_keys(a: Analysis, relation: Relation) -> set[str]:
    """Names of the columns that decide in which partition a row of the relation is, or whether it
    may be in this one.
    """
    if a.catalog.relations.get(relation.oid) is not relation:
        return _find_partition_keys(a.catalog, relation)
    keys = a.names.partition_keys
    if relation.oid not in keys:
        keys[relation.oid] = _find_partition_keys(a.catalog, relation)
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
    for part in _family(catalog, relation):
        names.update(c.name for c in part.columns if c.attnum in part.partition_key)
    return names


def _family(catalog: CatalogSnapshot, relation: Relation) -> Iterator[Relation]:
    """The relation and all partitions and children under it."""
    waiting, seen = [relation.oid], {relation.oid}
    while waiting:
        member = catalog.relations.get(waiting.pop())
        if member is None:
            continue
        yield member
        waiting.extend(child for child in member.children if child not in seen)
        seen.update(member.children)


def _every(relation: Relation, columns: Iterable[int]) -> frozenset[int]:
    """The columns of a constraint; 0 stands for the whole row."""
    numbers = frozenset(columns)
    return frozenset(c.attnum for c in relation.columns) if 0 in numbers else numbers


def _computed(a: Analysis, write: _Write) -> None:
    """What is computed again because one column changes fails, or does not, by the others."""
    if write.action != "update":
        return
    for computed in write.computed:
        if not write.changed.keys().isdisjoint(computed.columns):
            for column in sorted(computed.columns - write.changed.keys()):
                _note(a, write.relation.oid, column, Clause.CHECK, False, write.at)


def _own(a: Analysis, write: _Write, constraint: Constraint) -> None:
    """A constraint of the relation that is written. Nothing is told when none of its columns
    changes.
    """
    relation, changed = write.relation, write.changed
    columns = _every(relation, constraint.columns)
    if constraint.kind in "ie" or write.touched.isdisjoint(columns):
        return
    if constraint.kind == "f":
        plain = all(changed.get(column, False) for column in columns)
        for column in constraint.referenced_columns:
            _note(a, constraint.referenced, column, Clause.FOREIGN_KEY, plain, write.at)
    under = columns.union(*(c.columns for c in write.computed if c.target in columns))
    derived = frozenset[int]().union(*(c.columns for c in write.computed if not c.same))
    for column in sorted(under):
        if constraint.kind in "cf":
            # these see the row alone: what the statement itself gives is no news, nor is anything
            # of a new row
            made = constraint.kind == "c" or column not in columns
            if made and write.action == "update" and column not in changed:
                clause = Clause.CHECK if constraint.kind == "c" else Clause.FOREIGN_KEY
                _note(a, relation.oid, column, clause, False, write.at)
        else:
            # what an index computes, or is limited by, tells more of the rows that are there than
            # what they are equal to
            compares_whole = constraint.kind == "u" and column not in derived
            plain = compares_whole and changed.get(column, write.action == "insert")
            _note(a, relation.oid, column, Clause.UNIQUE, plain, write.at)


def _referenced(
    a: Analysis, relation: Relation, action: str, changed: Mapping[int, bool], at: int
) -> None:
    """Foreign keys that point at rows which go or change."""
    waiting, seen = [(relation.oid, action, frozenset(changed))], {(relation.oid, action)}
    while waiting:
        oid, what, columns = waiting.pop()
        for child, constraint in a.catalog.references.get(oid, ()):
            if what == "update" and columns.isdisjoint(constraint.referenced_columns):
                continue
            rule = constraint.on_delete if what == "delete" else constraint.on_update
            does = "update" if what == "update" and rule == "c" else _SILENT.get(rule, "")
            if not does:
                for column in constraint.columns:
                    _note(a, child, column, Clause.FOREIGN_KEY, True, at)
                for column in constraint.referenced_columns:
                    _note(a, oid, column, Clause.FOREIGN_KEY, True, at)
                continue
            ids = frozenset(ColumnId(child, column) for column in constraint.columns)
            a.access_under(child, does, ids if does == "update" else ())
            if (child, does) not in seen:
                seen.add((child, does))
                waiting.append((child, does, frozenset(constraint.columns)))


def _note(a: Analysis, relation: int, column: int, clause: Clause, equality: bool, at: int) -> None:
    a.influence(frozenset((ColumnId(relation, column),)), clause, equality, at)
