"""What of a subject's masks concerns a relation, and where a subselect has to stand for it in a
statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, takewhile

from sallyport.masking.conversions import may_fail_to_be_sent
from sallyport.masking.plan import column_spec
from sallyport.policy.bound import SubjectPolicy
from sallyport.policy.decision import ColumnMask, MaskSpec
from sallyport.sql.catalog import system_views
from sallyport.sql.catalog.descendants import with_descendants
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId, Constraint, Relation
from sallyport.sql.catalog.system_views import is_substituted
from sallyport.sql.facts import Clause, RangeVariable, StatementFacts
from sallyport.sql.names.resolve import NameResolver
from sallyport.sql.names.scope import SYSTEM_COLUMNS
from sallyport.sql.queries.relation_items import relation_fields, view_facts
from sallyport.sql.queries.stored_rows import deciding_columns

#: Types with a length to which an explicit cast cuts: varchar, char(n).
_CUT_TO_LENGTH = frozenset({1043, 1042})

#: Actions that visit rows of a table and lock each when they come to it: another session can wait
#: in front of one and see which are locked by then. New versions of rows lie in that order, too.
_VISIT_ROWS = frozenset({"update", "merge", "delete"})
_CONDITIONS = frozenset({Clause.WHERE, Clause.MERGE_CONDITION})

#: The attnum of tableoid (TableOidAttributeNumber in sysattr.h).
_TABLEOID = -6


@dataclass(slots=True)
class MaskedRelations:
    """One subject's masks over one catalog.

    ``names``: those that definitions in the catalog are read under. ``path``: schemas in the order
    in which a session looks names up. ``applied``: the masks that expressions see; with ``filter:
    allow`` they see the value, and what comes back is masked.
    """

    policy: SubjectPolicy
    catalog: CatalogSnapshot
    names: NameResolver
    path: tuple[str, ...]
    applied: dict[ColumnId, ColumnMask] = field(init=False)
    #: OIDs of the relations that have masks, in order
    oids: tuple[int, ...] = field(init=False)
    _masks: dict[int, Mapping[int, MaskSpec]] = field(default_factory=dict)
    _ordering: dict[tuple[int, bool], frozenset[int]] = field(default_factory=dict)
    _ordered_views: dict[int, bool] = field(default_factory=dict)
    _stored: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        masks = self.policy.masks
        self.applied, self.oids = masks.applied, masks.ordered_relations

    def masks_of(self, relation: Relation) -> Mapping[int, MaskSpec]:
        """The masks of a relation's columns by attribute number, generated and composite columns
        included.
        """
        remembered = self._masks.get(relation.oid)
        if remembered is None:
            masks = self.applied
            fields = relation_fields(self.names, relation)
            specs = {
                column.attnum: spec
                for column, item in zip(relation.columns, fields, strict=True)
                if (spec := column_spec(item.value.sources, item.value.dependence, masks))
                is not None
            }
            remembered = self._masks[relation.oid] = specs
        return remembered

    def ordering_columns(self, relation: Relation, visits: bool = False) -> frozenset[int]:
        """Attribute numbers of columns that share an index, its predicate included, or extended
        statistics with a masked one, here or in a child: a condition on them lets the server read
        rows in the order of masked values, or plan by their statistics. ``visits``: without indexes
        in which the order of rows is that of the primary key, whatever is masked.
        """
        ordering = self._ordering.get((relation.oid, visits))
        if ordering is None:
            members = self._members(relation)
            hidden = {
                column.name
                for member in members
                for column in member.columns
                if column.attnum in self.masks_of(member)
            }
            beside: set[str] = set()
            for member in members if hidden else ():
                beside |= _indexed_beside(member, hidden, visits)
            ordering = frozenset(c.attnum for c in relation.columns if c.name in beside)
            ordering |= self._computed_from(relation, ordering)
            self._ordering[relation.oid, visits] = ordering
        return ordering

    def _members(self, relation: Relation) -> tuple[Relation, ...]:
        """It, and its partitions and children at any depth."""
        below = (with_descendants(self.catalog, child) for child in relation.children)
        return (relation, *chain.from_iterable(below))

    def planned_jointly(
        self, facts: StatementFacts, relation: Relation, definition: bool = False
    ) -> bool:
        """Whether the server may guess by the most common combinations of values, masked ones
        included (extended statistics), how many rows conditions on several columns leave.
        """
        used = {
            column.name
            for column in relation.columns
            if definition or ColumnId(relation.oid, column.attnum) in facts.computed_with
        }
        for member in self._members(relation):
            names = {column.attnum: column.name for column in member.columns}
            hidden = {names[number] for number in self.masks_of(member)}
            for statistics in member.constraints:
                inside = {names[n] for n in statistics.columns if n in names}
                if statistics.kind == "s" and inside & hidden and len((inside - hidden) & used) > 1:
                    return True
        return False

    def _computed_from(self, relation: Relation, columns: frozenset[int]) -> frozenset[int]:
        """Virtual generated columns: the server puts their expressions in their place, which an
        index may have.
        """
        if all(column.generated != "v" for column in relation.columns):
            return frozenset()
        sources = frozenset(ColumnId(relation.oid, number) for number in columns)
        fields = relation_fields(self.names, relation)
        return frozenset(
            column.attnum
            for column, item in zip(relation.columns, fields, strict=True)
            if column.generated == "v" and not sources.isdisjoint(item.value.sources)
        )

    def is_ordered_by_masks(
        self, facts: StatementFacts, relation: Relation, definition: bool
    ) -> bool:
        """Whether rows of this relation could come in the order of masked values. ``definition``:
        of a view, about whose rows the statement may have conditions of its own.
        """
        if relation.kind == "v":
            return self._may_be_ordered(relation) and (
                definition or self._is_read_in_order(facts, relation)
            )
        ordering = self.ordering_columns(relation)
        if not ordering:
            return False
        shape = facts.plain
        if shape is not None and shape.relation == relation.oid and not definition:
            names = {c.name for c in relation.columns if c.attnum in ordering}
            uses = not names.isdisjoint(shape.names) or self._secured_by(relation)
            return bool(uses) and not _is_total(relation, shape.order)
        return definition or self._is_read_in_order(facts, relation)

    def _is_read_in_order(self, facts: StatementFacts, relation: Relation) -> bool:
        """Whether the statement's conditions, or the database's own, may have the server read rows
        by an index with masked values.
        """
        return any(
            self._secured_by(table)
            or any(
                ColumnId(table.oid, number) in facts.computed_with
                for number in self.ordering_columns(table)
            )
            for table in self._tables_under(relation)
        )

    def _secured_by(self, relation: Relation) -> frozenset[int]:
        """Those of its :meth:`ordering_columns` by which row security chooses its rows."""
        if not relation.row_security:
            return frozenset()
        ordering = self.ordering_columns(relation)
        conditions = [frozenset(c.columns) for c in relation.constraints if c.kind == "p"]
        if any(0 in columns for columns in conditions):
            return ordering
        return ordering & frozenset[int]().union(*conditions)

    def ordering_condition(self, facts: StatementFacts) -> tuple[ColumnId, str] | None:
        """A column by which the server may visit the rows that a statement writes, or copies, in
        the order of masked values, and where it stands: rows are locked in that order and new ones
        lie in it, RETURNING and COPY give them in it, and in it functions are called, of which a
        volatile one may tell what came first.
        """
        visits = not _VISIT_ROWS.isdisjoint([access.action for access in facts.accesses])
        places = dict.fromkeys(facts.visited_by if visits else (), "a foreign key")
        if not facts.is_by_key and (visits or facts.columns or tells_turns(facts)):
            for influence in facts.influences:
                if influence.clause in _CONDITIONS:
                    places.setdefault(influence.column, influence.clause.value)
            for column in self._secured_by_of(facts):
                places.setdefault(column, "row security")
        return next(((c, place) for c, place in places.items() if self._is_ordering(c)), None)

    def _secured_by_of(self, facts: StatementFacts) -> Iterator[ColumnId]:
        """:meth:`_secured_by` of the tables that a statement writes or that COPY names."""
        copied = facts.kind == "copy_out" and not facts.range_variables
        oids = [access.relation for access in facts.accesses] if copied else []
        oids += [variable.relation for variable in facts.range_variables if variable.target]
        for relation in filter(None, map(self.catalog.relations.get, oids)):
            for table in self._tables_under(relation):
                yield from (ColumnId(table.oid, number) for number in self._secured_by(table))

    def _is_ordering(self, column: ColumnId) -> bool:
        relation = self.catalog.relations.get(column.relation)
        return relation is not None and column.attnum in self.ordering_columns(relation, True)

    def planned_by_masks(self, facts: StatementFacts) -> bool:
        """Whether the server may plan by statistics of masked values."""
        relations = self.catalog.relations
        for variable in facts.range_variables:
            relation = relations.get(variable.relation)
            if relation is not None and self._is_read_in_order(facts, relation):
                return True
        return False

    def is_masked(self, relation: Relation) -> bool:
        if self.masks_of(relation):
            return True
        if relation.kind != "v":
            return self._may_be_ordered(relation)
        facts = view_facts(self.names, relation)
        if not facts.read.isdisjoint(self.applied):
            return True
        return self._may_be_ordered(relation) and not self.why_opaque(relation, facts)

    def _may_be_ordered(self, relation: Relation) -> bool:
        """Whether there are :meth:`ordering_columns`, for a view in what is under it."""
        ordered = self._ordered_views.get(relation.oid)
        if ordered is None:
            ordered = any(self.ordering_columns(table) for table in self._tables_under(relation))
            self._ordered_views[relation.oid] = ordered
        return ordered

    def _tables_under(self, relation: Relation) -> Iterator[Relation]:
        """A view's tables, also under the views in it; any other relation itself."""
        waiting, seen = [relation], {relation.oid}
        while waiting:
            member = waiting.pop()
            if member.kind != "v":
                yield member
                continue
            below = {v.relation for v in view_facts(self.names, member).range_variables} - seen
            seen |= below
            relations = self.catalog.relations
            waiting += [relations[oid] for oid in below if oid in relations]

    def keeps_rows(self, view: Relation) -> bool:
        """Whether a view only chooses rows of one table, and columns: the order of rows decides
        nothing in it.
        """
        member: Relation | None = view
        while member is not None and member.kind == "v":
            shape = view_facts(self.names, member).plain
            if shape is None or shape.is_limited or len(shape.outputs) != len(member.columns):
                return False
            member = self.catalog.relations.get(shape.relation)
        return member is not None

    def concerns(self, facts: StatementFacts) -> bool:
        """Whether anything in a statement could have to be replaced; cheap."""
        if self.policy.masks:
            return True
        relations = self.catalog.relations
        variables = (relations.get(variable.relation) for variable in facts.range_variables)
        return any(relation is not None and is_substituted(relation) for relation in variables)

    def writes_masked(self, facts: StatementFacts) -> bool:
        targets = (
            self.catalog.relations.get(variable.relation)
            for variable in facts.range_variables
            if variable.target
        )
        return any(target is not None and self.is_masked(target) for target in targets)

    def replaced(
        self, facts: StatementFacts, explained: bool, definition: bool = False
    ) -> list[RangeVariable]:
        """The range variables that a subselect must stand for. ``definition``: these are the facts
        of a view.
        """
        return [
            variable
            for variable in facts.range_variables
            if self._is_replaced(variable, facts, explained, definition)
        ]

    def _is_replaced(
        self, variable: RangeVariable, facts: StatementFacts, explained: bool, definition: bool
    ) -> bool:
        relation = self.catalog.relations.get(variable.relation)
        if relation is None or variable.target:
            return False
        if is_substituted(relation):
            return self.substitute(variable, facts, relation) is not None
        if relation.kind == "v":
            return self.is_masked(relation) or (
                not self.policy.trusts_view(relation)
                and self.is_ordered_by_masks(facts, relation, definition)
            )
        if not self.is_masked(relation):
            return False
        if explained:
            return True
        masks = self.masks_of(relation)
        if self.is_ordered_by_masks(facts, relation, definition):
            return True
        if not any(ColumnId(relation.oid, number) in facts.read for number in masks):
            return False
        return definition or not self._is_plain(facts, relation, masks)

    def _is_plain(
        self, facts: StatementFacts, relation: Relation, masks: Mapping[int, MaskSpec]
    ) -> bool:
        shape = facts.plain
        if shape is None or shape.relation != relation.oid:
            return False
        columns = {column.name for column in relation.columns}
        if not (columns | SYSTEM_COLUMNS.keys() | {"*"}).issuperset((*shape.outputs, *shape.order)):
            return False  # t.f may call the function f with the row of t
        masked = {column.name for column in relation.columns if column.attnum in masks}
        if not masked.isdisjoint(shape.names):
            return False
        outputs = [column.name for column in relation.columns] * shape.outputs.count("*")
        outputs += [name for name in shape.outputs if name != "*"]
        if any(outputs.count(name) > 1 for name in masked):
            return False
        if self._fails_by_masked(relation, masked.intersection(outputs)):
            return False
        return not shape.order or _is_total(relation, shape.order)

    def _fails_by_masked(self, relation: Relation, shown: set[str]) -> bool:
        """Whether values of masked columns may fail where they are only ``shown``: they cannot be
        sent, or are computed when the row is read, whatever of it is shown.
        """
        return any(
            (column.attnum in self.masks_of(relation) and column.generated == "v")
            or (column.name in shown and may_fail_to_be_sent(self.catalog, column.type_oid))
            for column in relation.columns
        )

    def substitute(
        self, variable: RangeVariable, facts: StatementFacts, relation: Relation
    ) -> str | None:
        """What stands in the place of a system view."""
        everything = relation.oid in facts.positional or variable.has_column_aliases
        names = [c.name for c in relation.columns if ColumnId(relation.oid, c.attnum) in facts.read]
        if (
            ColumnId(relation.oid, _TABLEOID) in facts.system_columns
            and relation.oid not in facts.starred
        ):
            names.append("tableoid")
        return system_views.substitute(relation, None if everything else names, self.oids)

    def is_wrapped(self, view: Relation) -> bool:
        """Whether masks go around a view, by where its columns come from, because they cannot go
        into it: policy trusts the view, or nothing in it could store, order or decide by a masked
        column.
        """
        if self.policy.trusts_view(view):
            return True
        facts = view_facts(self.names, view)
        if not self.why_opaque(view, facts):
            return False
        used = facts.computed_with | facts.read_in_functions
        return (
            len(facts.range_variables) == 1 and not facts.unknowns and used.isdisjoint(self.applied)
        )

    def why_opaque(self, view: Relation, facts: StatementFacts) -> str:
        """Why a view's definition cannot stand in its place, or ""."""
        if facts.unknowns or self.path[:1] != ("pg_catalog",):
            return "its definition cannot be followed"
        for variable in facts.range_variables:
            relation = self.catalog.relations.get(variable.relation)
            if relation is not None and not self._may_read(relation):
                return f"the gateway's role cannot read {relation.qualified}"
        return ""

    def why_stored(self, view: Relation) -> str:
        """Why the rows of a materialized view, or their order, show what masks hide, or ""."""
        if view.kind != "m" or self.policy.trusts_view(view):
            return ""
        why = self._stored.get(view.oid)
        if why is None:
            columns = deciding_columns(self.names, view)
            hidden = columns & self.applied.keys()
            name = self.catalog.column_name(min(hidden)) if hidden else ""
            why = f"{name} decided about its rows when it was refreshed" if name else ""
            self._stored[view.oid] = why
        return why

    def _may_read(self, relation: Relation) -> bool:
        if relation.schema in self.catalog.unusable or relation.row_security:
            return False
        return relation.readable

    def has_castable_rows(self, relation: Relation) -> bool:
        if relation.kind == "v":
            return False
        masks, types = self.masks_of(relation), self.catalog.types
        for column in relation.columns:
            type_ = types.get(column.type_oid)
            if type_ is None or type_.kind == "d":
                return False
            if (
                column.attnum in masks
                and column.typmod != -1
                and column.type_oid not in _CUT_TO_LENGTH
            ):
                return False
        return True


def tells_turns(facts: StatementFacts) -> bool:
    """Whether it calls what may tell in which order it was called for rows: nextval(),
    clock_timestamp(), functions that users made.
    """
    return bool(facts.calls_volatile or facts.functions or facts.followed)


def _is_total(relation: Relation, order: Sequence[str]) -> bool:
    """Whether ORDER BY these columns leaves nothing open."""
    key = relation.primary_key
    unique = {column.name for column in relation.columns if column.attnum in key}
    return bool(unique) and unique <= set(order)


def _indexed_beside(relation: Relation, hidden: set[str], visits: bool) -> set[str]:
    """Names of the columns that are in one index, or in the same extended statistics, with one of
    ``hidden``. ``visits``: see
    :meth:`MaskedRelations.ordering_columns`.
    """
    names = {column.attnum: column.name for column in relation.columns}
    key = {names[number] for number in relation.primary_key}
    beside: set[str] = set()
    for constraint in relation.constraints:
        if constraint.kind not in "iuxs" or (
            visits and _has_in_front(constraint, names, key, hidden)
        ):
            continue
        numbers = names if 0 in constraint.columns else constraint.columns
        inside = {names[number] for number in numbers if number in names}
        if not inside.isdisjoint(hidden):
            beside |= inside - hidden
    return beside


def _has_in_front(
    index: Constraint, names: Mapping[int, str], key: set[str], hidden: set[str]
) -> bool:
    """Whether an index sorts by the whole primary key before it comes to a masked column: no two
    rows are left for that one to sort.
    """
    in_order = [names.get(number, "") for number in index.in_order]
    front = takewhile(lambda name: name and name not in hidden, in_order)
    return bool(key) and key.issubset(front)
