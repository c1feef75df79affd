"""What DROP ... CASCADE drops besides, as far as it is known: views, and foreign keys of others.

Each is a statement of its own, to be judged and sent before the one with CASCADE, which is then
sent as RESTRICT (:mod:`sallyport.sql.rewrite.cascade`): PostgreSQL refuses that where anything else
depends on what is dropped, so nothing is lost by a dependant that is not told here, or came
meanwhile. What is in a schema: :mod:`sallyport.sql.ddl.schema_contents`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from sallyport.sql.analysis import Analysis
from sallyport.sql.catalog.snapshot import (
    ColumnId,
    Constraint,
    Function,
    Relation,
)
from sallyport.sql.facts import DependantDrop
from sallyport.sql.names.resolve import SYSTEM
from sallyport.sql.queries.relation_items import view_facts
from sallyport.sql.text.identifiers import quoted

#: With more dependants a person should look.
MOST = 200
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")
#: pg_class.relkind -> as DROP names it.
VIEWS = {"v": "view", "m": "materialized view"}


def of_relations(analysis: Analysis, dropped: list[Relation]) -> tuple[DependantDrop, ...]:
    """Of relations that are dropped together."""
    drops = Drops(analysis, {relation.oid for relation in dropped})
    for relation in dropped:
        drops.references(relation, lambda key: True)
        drops.views(relation, None)
    return drops.found()


def of_column(analysis: Analysis, relation: Relation, name: str) -> tuple[DependantDrop, ...]:
    """Of a column."""
    column = next((column for column in relation.columns if column.name == name), None)
    if column is None:
        return ()
    drops = Drops(analysis, {relation.oid})
    drops.references(relation, lambda key: column.attnum in key.referenced_columns)
    drops.views(relation, ColumnId(relation.oid, column.attnum))
    return drops.found()


def of_constraint(analysis: Analysis, relation: Relation, name: str) -> tuple[DependantDrop, ...]:
    """Of a primary key or unique constraint."""
    keys = {c.columns for c in relation.constraints if c.kind == "u" and c.name == name}
    drops = Drops(analysis, set())
    drops.references(relation, lambda key: key.referenced_columns in keys)
    return drops.found()


class Drops:
    """Statements in their order. ``gone``: OIDs of relations that are dropped anyway."""

    def __init__(self, analysis: Analysis, gone: set[int]) -> None:
        self._a, self._gone = analysis, gone
        self._candidates = [
            view
            for view in analysis.catalog.relations.values()
            if view.kind in VIEWS and view.schema not in SYSTEM
        ]
        self._drops: list[DependantDrop] = []

    def found(self) -> tuple[DependantDrop, ...]:
        """What is to be dropped first, in order; () where that is too much."""
        return tuple(self._drops) if len(self._drops) <= MOST else ()

    def references(self, relation: Relation, concerns: Callable[[Constraint], bool]) -> None:
        """Foreign keys of other relations that point at this one."""
        catalog = self._a.catalog
        keys = catalog.references.get(relation.oid, ())
        sources = {source for source, _ in keys}
        for oid, key in keys:
            source = catalog.relations[oid]
            is_inherited = not sources.isdisjoint(source.parents)
            if oid in self._gone or is_inherited or not key.name or not concerns(key):
                continue
            table, name = quoted(source.schema, source.name), quoted(key.name)
            sql = f"ALTER TABLE {table} DROP CONSTRAINT {name} RESTRICT"
            what = f"constraint {key.name} on table {self.shown(source)}"
            self._drops.append(DependantDrop(sql, (what,)))

    def views(self, relation: Relation, column: ColumnId | None) -> None:
        """Views that read a relation, or a column of it, those that stand on them first."""
        for view in self._reading(relation, column):
            self.view(view)

    def view(self, view: Relation) -> None:
        """A view, behind those that stand on it."""
        if view.oid in self._gone or len(self._drops) > MOST:
            return
        self._gone.add(view.oid)
        self.views(view, None)
        kind = VIEWS[view.kind]
        sql = f"DROP {kind.upper()} {quoted(view.schema, view.name)} RESTRICT"
        self._drops.append(DependantDrop(sql, (f"{kind} {self.shown(view)}",)))

    def together(self, kind: str, named: Iterable[tuple[str, str]]) -> None:
        """In one statement, so that they may depend on each other. ``named``: a name in SQL, and
        what PostgreSQL's notice says; "" where that leaves it out.
        """
        pairs = tuple(named)
        if pairs:
            sql = f"DROP {kind.upper()} {', '.join(name for name, _ in pairs)} RESTRICT"
            self._drops.append(DependantDrop(sql, tuple(what for _, what in pairs if what)))

    def _reading(self, relation: Relation, column: ColumnId | None) -> Iterator[Relation]:
        for view in self._candidates:
            if relation.name not in view.view_definition.replace('""', '"'):
                continue
            facts = view_facts(self._a.names, view)
            direct = {access.relation for access in facts.accesses if not access.indirect}
            if relation.oid in direct and (column is None or column in facts.mentioned_columns):
                yield view

    def shown(self, named: Relation | Function) -> str:
        """With its schema where the search_path does not lead to it."""
        catalog, path = self._a.catalog, self._a.names.path
        if isinstance(named, Function):
            is_visible = named.schema in path
        else:
            places = [(schema, named.name) for schema in catalog.lookup_path(path)]
            first = next((place for place in places if place in catalog.relation_by_name), None)
            is_visible = first == (named.schema, named.name)
        names = (named.name,) if is_visible else (named.schema, named.name)
        return ".".join(n if _PLAIN_NAME.fullmatch(n) else quoted(n) for n in names)
