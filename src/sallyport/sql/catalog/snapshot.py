"""A frozen picture of the target's catalog, as the gateway's own role sees it.

Loaded by :mod:`sallyport.targets.catalog_loader`; read by everything that resolves names. Object
identifiers are the server's own OIDs, so that RowDescription's table OID and attribute number can
be compared with what was judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple


class ColumnId(NamedTuple):
    """A column, as RowDescription names it: (pg_class.oid, pg_attribute.attnum)."""

    relation: int
    attnum: int


@dataclass(frozen=True, slots=True)
class Column:
    """A row of pg_attribute."""

    name: str
    attnum: int
    type_oid: int
    not_null: bool = False
    has_default: bool = False
    generated: str = ""  # "" | "s" stored | "v" virtual
    default: str = ""  # pg_get_expr text, fully qualified, for generated columns and defaults
    typmod: int = -1  # pg_attribute.atttypmod


@dataclass(frozen=True, slots=True)
class Constraint:
    """kind: u unique index or primary key, x exclusion, c check, f foreign key, i any other index,
    n an index with what it INCLUDEs, e expressions and predicate of an index (``expression``: as
    text, with commas between them), t a trigger that PostgreSQL or a known extension brings (by
    these columns it runs, or computes), p the condition of a row security policy (attribute numbers
    of other relations in it among its columns), s extended statistics of the most common values.
    Columns are attribute numbers, those in expressions included; 0 is the whole row.

    on_delete, on_update: pg_constraint.confdeltype and confupdtype (a no action, r restrict, c
    cascade, n set null, d set default).
    """

    kind: str
    columns: tuple[int, ...]
    referenced: int = 0
    referenced_columns: tuple[int, ...] = ()
    on_delete: str = ""
    on_update: str = ""
    name: str = ""  # its own, or its index's
    expression: str = ""
    primary: bool = False  # a primary key that is not deferrable
    #: columns of a B-tree index in its order; 0 for what it sorts in another way than by itself
    in_order: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Relation:
    """kind: as pg_class.relkind: r table, p partitioned, v view, m materialized view, f
    foreign, S sequence, c composite, t toast, i index.
    """

    oid: int
    schema: str
    name: str
    kind: str
    columns: tuple[Column, ...]  # live columns with attnum > 0, in attnum order
    parents: tuple[int, ...] = ()  # pg_inherits, direct
    children: tuple[int, ...] = ()
    view_definition: str = ""  # pg_get_viewdef with an empty search_path: fully qualified
    security_invoker: bool = False
    security_barrier: bool = False
    check_option: bool = False  # rows that are written must satisfy the view's condition
    has_rules: bool = False  # rules other than a view's own _RETURN
    has_triggers: bool = False  # user triggers
    row_security: bool = False
    readable: bool = True  # the role has SELECT on the whole of it
    row_type: int = 0  # pg_class.reltype
    extension: str = ""
    persistence: str = "p"
    #: user-made functions that its checks, defaults, indexes, policies, rules and triggers call
    hidden_functions: tuple[int, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    #: columns that decide in which partition a row is, those in expressions included
    partition_key: tuple[int, ...] = ()
    #: of a sequence, the relation and attribute number of the column that owns it
    owner: tuple[int, int] | None = None

    @property
    def primary_key(self) -> frozenset[int]:
        """Attribute numbers of columns by which no two rows are alike, where none can be for a
        moment: of a primary key that is not deferrable.
        """
        if self.children and self.kind != "p":
            return frozenset()  # it does not hold for the rows of children
        return next((frozenset(c.columns) for c in self.constraints if c.primary), frozenset())

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Type:
    """kind: pg_type.typtype (b base, c composite, d domain, e enum, p pseudo, r range, m
    multirange).
    """

    oid: int
    schema: str
    name: str
    kind: str
    category: str = ""
    element: int = 0  # array element type, when this is a true array type
    array: int = 0  # the array type over this one
    base: int = 0  # domain's base type
    relation: int = 0  # composite's pg_class oid
    extension: str = ""
    check_functions: tuple[int, ...] = ()  # functions that users made and a domain's CHECK calls
    preferred: bool = False  # of its category


@dataclass(frozen=True, slots=True)
class Function:
    """A row of pg_proc."""

    oid: int
    schema: str
    name: str
    kind: str  # prokind: f function, p procedure, a aggregate, w window
    arg_types: tuple[int, ...]  # input arguments (proargtypes)
    return_type: int
    returns_set: bool = False
    n_defaults: int = 0
    variadic: bool = False
    volatile: str = "v"  # i immutable, s stable, v volatile
    strict: bool = False
    security_definer: bool = False
    language: str = ""
    extension: str = ""
    out_names: tuple[str, ...] = ()  # names of OUT/TABLE columns, when it returns a record
    out_types: tuple[int, ...] = ()
    body: str = ""  # of a user-made LANGUAGE sql function: its text
    # BEGIN ATOMIC or RETURN: the text is pg_get_function_sqlbody's, fully qualified
    body_bound: bool = False
    arg_names: tuple[str, ...] = ()  # of arg_types, where body is given; "" for an unnamed one
    defaults: str = ""  # of the last arguments, where body is given: pg_get_expr text, with commas
    path: tuple[str, ...] | None = None  # of its SET search_path clause
    has_settings: bool = False  # it has other SET clauses


@dataclass(frozen=True, slots=True)
class Operator:
    """A row of pg_operator."""

    oid: int
    schema: str
    name: str
    left: int  # 0 for a prefix operator
    right: int
    result: int
    function: int
    extension: str = ""


@dataclass(frozen=True, slots=True)
class Cast:
    """A row of pg_cast."""

    source: int
    target: int
    function: int  # 0 when binary-coercible or through I/O
    method: str  # f function, i in/out, b binary
    context: str = "e"  # i implicit, a assignment, e explicit


@dataclass(frozen=True, slots=True)
class CatalogDelta:
    """OIDs of what is new, gone or another one than in the snapshot whose epoch is ``base``."""

    base: str
    relations: frozenset[int]
    types: frozenset[int]


#: The schema of a session's own temporary relations, whatever the server calls it (pg_temp_3).
TEMPORARY = "pg_temp"


_RETIRED = object()


@dataclass(frozen=True, slots=True)
class TemporaryObjects:
    """What one session has in its temporary schema, under the schema name ``TEMPORARY``.

    ``digest``: of all of it. ``unknown_names``: of relations, indexes and types in that schema that
    may have been made by code whose effects are not known. ``listing``: the answer to
    :data:`sallyport.sql.names.temporary_listing.LISTING`.
    """

    relations: tuple[Relation, ...] = ()
    types: tuple[Type, ...] = ()
    functions: tuple[Function, ...] = ()
    indexes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    digest: str = ""
    unknown_names: frozenset[str] = frozenset()
    listing: str = "[]"

    @property
    def is_empty(self) -> bool:
        return not (self.relations or self.types or self.functions or self.unknown_names)

    def only(self, oids: Container[int], unknown_names: frozenset[str]) -> TemporaryObjects:
        """The relations with these OIDs, types with these, negative, and all functions."""
        relations = tuple([relation for relation in self.relations if relation.oid in oids])
        kept = {t.oid for t in self.types if (t.relation or -t.oid) in oids}
        types = tuple([t for t in self.types if t.oid in kept or t.element in kept])
        digest = hashlib.sha256(f"{self.digest} {sorted(unknown_names)}".encode()).hexdigest()
        return replace(
            self,
            relations=relations,
            types=types,
            indexes={key: oid for key, oid in self.indexes.items() if oid in oids},
            digest=digest,
            unknown_names=unknown_names,
        )


@dataclass(frozen=True, slots=True)
class CatalogSnapshot:
    """epoch changes whenever anything below changed (a content hash). server_version is e.g.
    180004.
    """

    server_version: int
    epoch: str
    database: str
    role: str
    default_search_path: tuple[str, ...]  # as in the setting: may hold "$user"
    schemas: frozenset[str]
    relations: Mapping[int, Relation] = field(repr=False)  # as those below: thousands of them
    types: Mapping[int, Type] = field(repr=False)
    functions: Mapping[int, Function] = field(repr=False)
    operators: tuple[Operator, ...] = field(default=(), repr=False)
    casts: tuple[Cast, ...] = field(default=(), repr=False)
    # indexes, derived once in make()
    relation_by_name: Mapping[tuple[str, str], Relation] = field(default_factory=dict, repr=False)
    functions_by_name: Mapping[str, tuple[Function, ...]] = field(default_factory=dict, repr=False)
    type_by_name: Mapping[tuple[str, str], Type] = field(default_factory=dict, repr=False)
    operators_by_name: Mapping[str, tuple[Operator, ...]] = field(default_factory=dict, repr=False)
    #: foreign keys by the relation they point at: (the relation that has the key, the key)
    references: Mapping[int, tuple[tuple[int, Constraint], ...]] = field(
        default_factory=dict, repr=False
    )
    #: the relation that an index is on, by the index's (schema, name); of relations that users made
    indexes: Mapping[tuple[str, str], int] = field(default_factory=dict, repr=False)
    #: code that runs whenever the schema is changed
    event_triggers: bool = False
    #: names that relations had in earlier snapshots: statements judged by those may still be on
    #: their way
    retired: frozenset[str] = frozenset()
    #: schemas that exist and that the role has no USAGE on
    unusable: frozenset[str] = frozenset()
    #: of the database, as the setting server_encoding names it
    encoding: str = "UTF8"
    #: custom settings that policies, views and functions read
    #: (:func:`sallyport.sql.utility.custom_settings.read_by`)
    read_settings: frozenset[str] = frozenset()
    #: what differs from the snapshot that this one was made of; None where all of it was read
    delta: CatalogDelta | None = field(default=None, repr=False, compare=False)
    #: where this is the catalog of one session (:meth:`with_temporary`): OIDs of its temporary
    #: relations; minus those of temporary types that belong to none
    temporary: frozenset[int] = frozenset()
    #: names of temporary relations and indexes that others have as well: what looks names up as it
    #: runs would find the wrong ones
    shadowed: frozenset[str] = frozenset()
    #: :attr:`TemporaryObjects.unknown_names`: looked up first, so nobody knows what such a name
    #: means
    unknown_names: frozenset[str] = frozenset()
    #: what was made of this snapshot to look things up; gone with it
    lookups: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def make(
        cls,
        *,
        server_version: int,
        epoch: str,
        database: str,
        role: str,
        default_search_path: tuple[str, ...],
        schemas: frozenset[str],
        relations: tuple[Relation, ...],
        types: tuple[Type, ...],
        functions: tuple[Function, ...],
        operators: tuple[Operator, ...] = (),
        casts: tuple[Cast, ...] = (),
        indexes: Mapping[tuple[str, str], int] = MappingProxyType({}),
        event_triggers: bool = False,
        unusable: frozenset[str] = frozenset(),
        encoding: str = "UTF8",
        read_settings: frozenset[str] = frozenset(),
    ) -> CatalogSnapshot:
        by_name: dict[str, list[Function]] = {}
        for function in functions:
            by_name.setdefault(function.name, []).append(function)
        ops: dict[str, list[Operator]] = {}
        for operator in operators:
            ops.setdefault(operator.name, []).append(operator)
        references: dict[int, list[tuple[int, Constraint]]] = {}
        for relation in relations:
            for constraint in relation.constraints:
                if constraint.kind == "f":
                    references.setdefault(constraint.referenced, []).append(
                        (relation.oid, constraint)
                    )
        return cls(
            server_version=server_version,
            epoch=epoch,
            database=database,
            role=role,
            default_search_path=default_search_path,
            schemas=schemas,
            relations={r.oid: r for r in relations},
            types={t.oid: t for t in types},
            functions={f.oid: f for f in functions},
            operators=operators,
            casts=casts,
            relation_by_name={(r.schema, r.name): r for r in relations},
            functions_by_name={k: tuple(v) for k, v in by_name.items()},
            type_by_name={(t.schema, t.name): t for t in types},
            operators_by_name={k: tuple(v) for k, v in ops.items()},
            references={k: tuple(v) for k, v in references.items()},
            indexes=indexes,
            event_triggers=event_triggers,
            unusable=unusable,
            encoding=encoding,
            read_settings=read_settings,
        )

    def with_relations(
        self, relations: Mapping[int, Relation], changed: frozenset[int], **fields: Any
    ) -> CatalogSnapshot:
        """This snapshot with other relations (all of them, by OID), of which only ``changed``
        differ from its own; ``fields``: fields that are not derived from relations.
        """
        by_name, references = dict(self.relation_by_name), dict(self.references)
        before, after = (
            [by[oid] for oid in changed if oid in by] for by in (self.relations, relations)
        )
        for relation in before:
            by_name.pop((relation.schema, relation.name), None)
        for relation in after:
            by_name[relation.schema, relation.name] = relation
        for oid in {
            c.referenced for r in (*before, *after) for c in r.constraints if c.kind == "f"
        }:
            pointing = {source for source, _ in references.pop(oid, ())} | changed
            keys = [
                (source, key)
                for source in sorted(pointing)
                if source in relations
                for key in relations[source].constraints
                if key.kind == "f" and key.referenced == oid
            ]
            if keys:
                references[oid] = tuple(keys)
        return replace(
            self,
            relations=relations,
            relation_by_name=by_name,
            references=references,
            retired=frozenset(),
            **fields,
        )

    def changed_relations(self, before: CatalogSnapshot) -> frozenset[int]:
        """OIDs of the relations that are not the same objects in both snapshots. Soon told where
        this one was made of ``before``.
        """
        if self.delta is not None and self.delta.base == before.epoch:
            return self.delta.relations
        return _differing(self.relations, before.relations)

    def changed_types(self, before: CatalogSnapshot) -> frozenset[int]:
        """As :meth:`changed_relations`, of types."""
        if self.delta is not None and self.delta.base == before.epoch:
            return self.delta.types
        return _differing(self.types, before.types)

    def with_temporary(self, temporary: TemporaryObjects) -> CatalogSnapshot:
        """This snapshot as the session sees it whose temporary objects these are."""
        if temporary.is_empty:
            return self
        oids = frozenset([relation.oid for relation in temporary.relations])
        names = {relation.name for relation in temporary.relations}
        names.update((name for _, name in temporary.indexes), temporary.unknown_names)
        functions = dict(self.functions_by_name)
        for function in temporary.functions:
            functions[function.name] = (*functions.get(function.name, ()), function)
        merged = self.with_relations(
            {**self.relations, **{relation.oid: relation for relation in temporary.relations}}, oids
        )
        return replace(
            merged,
            epoch=hashlib.sha256(f"{self.epoch} {temporary.digest}".encode()).hexdigest()[:32],
            types={**self.types, **{type_.oid: type_ for type_ in temporary.types}},
            type_by_name={**self.type_by_name, **{(t.schema, t.name): t for t in temporary.types}},
            functions={**self.functions, **{f.oid: f for f in temporary.functions}},
            functions_by_name=functions,
            indexes={**self.indexes, **temporary.indexes},
            temporary=oids.union(-t.oid for t in temporary.types if not (t.relation or t.element)),
            delta=None,
            shadowed=frozenset(names.intersection(name for _, name in self.relation_by_name)),
            unknown_names=temporary.unknown_names,
            retired=self.retired,
        )

    def with_unknown_names(self, names: frozenset[str]) -> CatalogSnapshot:
        """This snapshot of one session, with other :attr:`unknown_names`."""
        epoch = hashlib.sha256(f"{self.epoch} {sorted(names)}".encode()).hexdigest()[:32]
        shadowed = self.shadowed | names.intersection(name for _, name in self.relation_by_name)
        return replace(self, epoch=epoch, delta=None, shadowed=shadowed, unknown_names=names)

    def is_temporary_view(self, oid: int) -> bool:
        """Whether it is a view of the session's own."""
        return oid in self.temporary and self.relations[oid].kind == "v"

    def lookup_path(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Where relations and types are looked up under this path: temporary ones come first,
        before pg_catalog (namespace.c, recomputeNamespacePath). Functions and operators are never
        looked up among them.
        """
        return (TEMPORARY, *path) if self.temporary else path

    def keep(self, key: Any, value: Any) -> None:
        """Put something that was made of this snapshot into ``lookups``, unless it was retired."""
        if _RETIRED not in self.lookups:
            self.lookups[key] = value

    def retire(self) -> None:
        """Another one is in force. What was made of this one refers to it: it is forgotten, so that
        the snapshot goes with the last session that uses it, and nobody has to search for it.
        """
        self.lookups.clear()
        self.lookups[_RETIRED] = True

    def usable_path(self, setting: tuple[str, ...]) -> tuple[str, ...]:
        """The schemas in which a search_path looks names up: ``"$user"`` replaced, without those
        that are missing, may not be used by the role, or came before (namespace.c,
        recomputeNamespacePath). Where pg_catalog stands when it is not named, and temporary
        schemas, are the caller's business.
        """
        names = (self.role if name == "$user" else name for name in setting)
        schemas = (
            n for n in names if n == "pg_catalog" or (n in self.schemas and n not in self.unusable)
        )
        return tuple(dict.fromkeys(schemas))

    def following(self, before: CatalogSnapshot) -> CatalogSnapshot:
        """This snapshot, with the names that ``before`` knew and that are gone."""
        if before is self:
            return self
        changed = self.changed_relations(before)
        left = before.retired.union(
            before.relations[oid].name for oid in changed if oid in before.relations
        )
        gone = frozenset(
            name
            for name in left
            if not any((s, name) in self.relation_by_name for s in self.schemas)
        )
        return replace(self, retired=gone) if gone != self.retired else self

    def column(self, id_: ColumnId) -> Column | None:
        relation = self.relations.get(id_.relation)
        if relation is None:
            return None
        return next((c for c in relation.columns if c.attnum == id_.attnum), None)

    def column_name(self, id_: ColumnId) -> str:
        """``schema.relation.column`` for messages; the numbers when it is gone."""
        relation, column = self.relations.get(id_.relation), self.column(id_)
        if relation is None or column is None:
            return f"{id_.relation}.{id_.attnum}"
        return f"{relation.schema}.{relation.name}.{column.name}"


def _differing(ours: Mapping[int, Any], theirs: Mapping[int, Any]) -> frozenset[int]:
    gone = [oid for oid in theirs if oid not in ours]
    return frozenset([*gone, *(oid for oid, value in ours.items() if theirs.get(oid) is not value)])
