"""What of a subject's masks concerns a relation, and where a subselect has to stand for it in a
statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sallyport.masking.plan import column_spec
from sallyport.policy.bound import SubjectPolicy
from sallyport.policy.decision import ColumnMask, MaskSpec
from sallyport.sql.catalog import system_views
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId, Relation
from sallyport.sql.catalog.system_views import is_substituted
from sallyport.sql.facts import RangeVariable, StatementFacts
from sallyport.sql.names.resolve import NameResolver
from sallyport.sql.names.scope import SYSTEM_COLUMNS
from sallyport.sql.queries.relation_items import relation_fields, view_facts

#: Types with a length to which an explicit cast cuts: varchar, char(n).
_CUT_TO_LENGTH = frozenset({1043, 1042})

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

    def is_masked(self, relation: Relation) -> bool:
        if self.masks_of(relation):
            return True
        return relation.kind == "v" and not view_facts(self.names, relation).read.isdisjoint(
            self.applied
        )

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

    def replaced(self, facts: StatementFacts, explained: bool) -> list[RangeVariable]:
        """The range variables that a subselect must stand for."""
        return [
            variable
            for variable in facts.range_variables
            if self._is_replaced(variable, facts, explained)
        ]

    def _is_replaced(self, variable: RangeVariable, facts: StatementFacts, explained: bool) -> bool:
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
        if not shape.order:
            return True
        if relation.children and relation.kind != "p":
            return False  # a primary key does not hold for the rows of children
        key = next((c.columns for c in relation.constraints if c.primary), ())
        unique = {column.name for column in relation.columns if column.attnum in key}
        return bool(unique) and unique <= set(shape.order)

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
