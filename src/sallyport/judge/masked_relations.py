"""What of a subject's masks concerns a relation, and where a subselect has to stand for it in a
statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sallyport.masking.plan import column_spec
from sallyport.policy.bound import SubjectPolicy
from sallyport.policy.decision import ColumnMask, MaskSpec
from sallyport.sql.catalog import system_views
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId, Relation
from sallyport.sql.catalog.system_views import is_substituted
from sallyport.sql.facts import Clause, Influence, RangeVariable, StatementFacts
from sallyport.sql.names.resolve import NameResolver
from sallyport.sql.names.scope import SYSTEM_COLUMNS
from sallyport.sql.queries.relation_items import relation_fields, view_facts

#: Types with a length to which an explicit cast cuts: varchar, char(n).
_CUT_TO_LENGTH = frozenset({1043, 1042})

#: Actions that put new rows, or new versions of rows, into a table in the order of its old ones.
_MAKE_ROWS = frozenset({"update", "merge"})
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
    _ordering: dict[int, frozenset[int]] = field(default_factory=dict)
    _ordered_views: dict[int, bool] = field(default_factory=dict)

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

    def ordering_columns(self, relation: Relation) -> frozenset[int]:
        """Attribute numbers of columns that share an index, its predicate included, with a masked
        one: a condition on them lets the server read rows in the order of masked values.
        """
        ordering = self._ordering.get(relation.oid)
        if ordering is None:
            masked = frozenset(self.masks_of(relation))
            members = [relation]
            beside: set[str] = set()
            names = {column.attnum: column.name for column in relation.columns}
            hidden = {names[number] for number in masked}
            while members and hidden:
                member = members.pop()
                members += [r for oid in member.children if (r := self.catalog.relations.get(oid))]
                beside |= _indexed_beside(member, hidden)
            ordering = frozenset(n for n, name in names.items() if name in beside)
            self._ordering[relation.oid] = ordering
        return ordering

    def is_ordered_by_masks(
        self, facts: StatementFacts, relation: Relation, definition: bool
    ) -> bool:
        """Whether rows of this relation could come in the order of masked values. ``definition``:
        of a view, about whose rows the statement may have conditions of its own.
        """
        ordering = self.ordering_columns(relation)
        if not ordering:
            return False
        shape = facts.plain
        if shape is not None and shape.relation == relation.oid and not definition:
            names = {c.name for c in relation.columns if c.attnum in ordering}
            return not names.isdisjoint(shape.names) and not _is_total(relation, shape.order)
        used = facts.computed_with
        return definition or any(ColumnId(relation.oid, n) in used for n in ordering)

    def ordering_condition(self, facts: StatementFacts) -> Influence | None:
        """A column's part in a condition about the rows that a statement writes, by which the
        server may visit them in the order of masked values: new rows lie in that order, and
        RETURNING gives them in it.
        """
        actions = {access.action for access in facts.accesses}
        if facts.is_by_key or (actions.isdisjoint(_MAKE_ROWS) and not facts.columns):
            return None
        for influence in facts.influences:
            relation = self.catalog.relations.get(influence.column.relation)
            if relation is None or influence.clause not in _CONDITIONS:
                continue
            if influence.column.attnum in self.ordering_columns(relation):
                return influence
        return None

    def planned_by_masks(self, facts: StatementFacts) -> bool:
        """Whether the server may plan by statistics of masked values."""
        relations = self.catalog.relations
        for variable in facts.range_variables:
            relation = relations.get(variable.relation)
            if relation is None:
                continue
            if relation.kind == "v" and self._may_be_ordered(relation):
                return True
            ordering = self.ordering_columns(relation)
            if any(ColumnId(relation.oid, number) in facts.computed_with for number in ordering):
                return True
        return False

    def is_masked(self, relation: Relation) -> bool:
        if self.masks_of(relation):
            return True
        if relation.kind != "v":
            return False
        facts = view_facts(self.names, relation)
        if not facts.read.isdisjoint(self.applied):
            return True
        return self._may_be_ordered(relation) and not self.why_opaque(relation, facts)

    def _may_be_ordered(self, relation: Relation) -> bool:
        """Whether there are :meth:`ordering_columns`, for a view in what is under it."""
        if relation.kind != "v":
            return bool(self.ordering_columns(relation))
        ordered = self._ordered_views.get(relation.oid)
        if ordered is None:
            facts = view_facts(self.names, relation)
            below = {variable.relation for variable in facts.range_variables}
            relations = self.catalog.relations
            ordered = any(self._may_be_ordered(relations[r]) for r in below if r in relations)
            self._ordered_views[relation.oid] = ordered
        return ordered

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
        if not self.is_masked(relation):
            return False
        if relation.kind == "v" or explained:
            return True
        masks = self.masks_of(relation)
        if self.is_ordered_by_masks(facts, relation, definition):
            return True
        if not any(ColumnId(relation.oid, number) in facts.read for number in masks):
            return False
        return not self._is_plain(facts, relation, masks)

    def _is_plain(
        self, facts: StatementFacts, relation: Relation, masks: Mapping[int, MaskSpec]
    ) -> bool:
        shape = facts.plain
        if shape is None or shape.relation != relation.oid:
            return False
        if any(column.generated == "v" and column.attnum in masks for column in relation.columns):
            return False  # it would be computed from raw values when it is read
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
        return not shape.order or _is_total(relation, shape.order)

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


def _is_total(relation: Relation, order: Sequence[str]) -> bool:
    """Whether ORDER BY these columns leaves nothing open."""
    key = relation.primary_key
    unique = {column.name for column in relation.columns if column.attnum in key}
    return bool(unique) and unique <= set(order)


def _indexed_beside(relation: Relation, hidden: set[str]) -> set[str]:
    """Names of the columns that are in one index with one of ``hidden``."""
    names = {column.attnum: column.name for column in relation.columns}
    beside: set[str] = set()
    for constraint in relation.constraints:
        if constraint.kind in "iux":
            numbers = names if 0 in constraint.columns else constraint.columns
            inside = {names[number] for number in numbers if number in names}
            if not inside.isdisjoint(hidden):
                beside |= inside - hidden
    return beside
