"""What a write tells about rows that are already there, and what it changes elsewhere: unique indexes, exclusion constraints, checks, foreign keys.

Whether PostgreSQL accepts a row depends on values that the statement never names: an INSERT that a unique index refuses has found out that the
value exists. Each such column is an influence of the statement. A foreign key with CASCADE or SET NULL changes rows of another relation: an
indirect access.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sallyport.sql.analysis import Analysis
from sallyport.sql.catalog import CatalogSnapshot, ColumnId, Constraint, Relation
from sallyport.sql.facts import Clause
from sallyport.sql.lineage import Sources

_SILENT = {"c": "delete", "n": "update", "d": "update"}


def note_write(a: Analysis, relation: int, action: str, written: Mapping[ColumnId, bool], at: int) -> None:
    """``written``: columns that get a value, and whether that value comes from no other column. ``action``: insert, update or delete."""
    target = a.catalog.relations.get(relation)
    if target is None:
        return
    names = {
        column.name: written[id_]
        for column in target.columns
        if (id_ := ColumnId(relation, column.attnum)) in written
    }
    for part in _family(a.catalog, target):
        changed = {column.attnum: names[column.name] for column in part.columns if column.name in names}
        if action != "delete":
            for constraint in part.constraints:
                _own(a, part, constraint, action, changed, at)
        if action != "insert":
            _referenced(a, part, action, changed, at)


def note_value(a: Analysis, target: ColumnId, sources: Sources, at: int) -> None:
    """A value computed from columns is written where a check or NOT NULL may refuse it: that tells about those columns."""
    relation = a.catalog.relations.get(target.relation)
    column = a.catalog.column(target) if sources else None
    if relation is None or column is None:
        return
    if any(c.kind == "c" and column.attnum in c.columns for c in relation.constraints):
        a.influence(sources, Clause.CHECK, False, at)
    elif column.not_null:
        known = (a.catalog.column(source) for source in sources)
        if not all(found is not None and found.not_null for found in known):
            a.influence(sources, Clause.CHECK, False, at)


def note_partition(a: Analysis, relation: Relation, at: int = -1) -> None:
    """Rows of a partition, and the order of rows of the whole, tell about the columns that put them there."""
    names: set[str] = set()
    waiting, seen = [relation.oid], {relation.oid}
    while waiting:
        found = a.catalog.relations.get(waiting.pop())
        if found is None:
            continue
        names.update(c.name for c in found.columns if c.attnum in found.partition_key)
        waiting.extend(parent for parent in found.parents if parent not in seen)
        seen.update(found.parents)
    for column in relation.columns:
        if column.name in names:
            _note(a, relation.oid, column.attnum, Clause.PARTITION, True, at)


def _family(catalog: CatalogSnapshot, relation: Relation) -> Iterator[Relation]:
    """The relation and all partitions and children under it."""
    waiting, seen = [relation.oid], {relation.oid}
    while waiting:
        found = catalog.relations.get(waiting.pop())
        if found is None:
            continue
        yield found
        waiting.extend(child for child in found.children if child not in seen)
        seen.update(found.children)


def _own(
    a: Analysis, relation: Relation, constraint: Constraint, action: str, changed: Mapping[int, bool], at: int
) -> None:
    """A constraint of the relation that is written. Nothing is told when none of its columns changes."""
    if changed.keys().isdisjoint(constraint.columns):
        return
    if constraint.kind == "f":
        plain = all(changed.get(column, False) for column in constraint.columns)
        for column in constraint.referenced_columns:
            _note(a, constraint.referenced, column, Clause.FOREIGN_KEY, plain, at)
        return
    for column in constraint.columns:
        if constraint.kind == "c":
            # a check sees the row alone: what the statement itself gives is no news, nor is anything of a new row
            if action == "update" and column not in changed:
                _note(a, relation.oid, column, Clause.CHECK, False, at)
        else:
            plain = constraint.kind == "u" and changed.get(column, action == "insert")
            _note(a, relation.oid, column, Clause.UNIQUE, plain, at)


def _referenced(a: Analysis, relation: Relation, action: str, changed: Mapping[int, bool], at: int) -> None:
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
