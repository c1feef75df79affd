"""Relations as namespace items: tables, system relations, views expanded by their definition,
generated columns.

A view is read as a subquery: its columns' sources hold the view's own column and the base columns
under it, and what its definition reads, calls and filters by counts for the statement that uses it.
Definitions are walked once per snapshot.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from msgspec.structs import replace

from sallyport.sql.analysis import Analysis, Context, Work
from sallyport.sql.catalog.extensions import unreadable
from sallyport.sql.catalog.relations import classify_relation, source_columns
from sallyport.sql.catalog.snapshot import TEMPORARY, Column, ColumnId, Relation
from sallyport.sql.catalog.system_views import hides_secrets, is_substituted
from sallyport.sql.facts import (
    Access,
    Clause,
    Dependence,
    FunctionUse,
    Influence,
    StatementFacts,
    Unknown,
)
from sallyport.sql.lineage import FUNCTION_SOURCE, Field, Sources, Value, as_row
from sallyport.sql.names.resolve import SYSTEM, NameResolver
from sallyport.sql.names.scope import Item, Scope, index_fields
from sallyport.sql.nodes import tag_of
from sallyport.sql.plain import plain_shape
from sallyport.sql.queries.definitions import definition_tree, inside
from sallyport.sql.text.parse import MAX_LENGTH, Node

_READABLE_KINDS = frozenset("rpvmfS")
_SYSTEM_COLUMN_KINDS = frozenset("rpmfSt")


class Expansion(NamedTuple):
    """What using a relation means. ``accesses``, ``calls`` and so on: of a view's definition and
    generated columns.
    """

    fields: tuple[Field, ...]
    by_name: dict[str, int]
    accesses: tuple[Access, ...] = ()
    calls: tuple[FunctionUse, ...] = ()
    influences: tuple[Influence, ...] = ()
    unknowns: tuple[Unknown, ...] = ()
    mentioned_columns: Sources = frozenset()
    followed: frozenset[int] = frozenset()
    resolves_names_at_run_time: bool = False
    mentioned: Sources = frozenset()
    read_in_functions: Sources = frozenset()
    calls_volatile: bool = False


class Computed(NamedTuple):
    """Something that PostgreSQL computes whenever a row is written: a generated column, or an
    index's expressions and predicate.

    By attribute number. ``target``: of the generated column, or 0. ``columns``: what it is computed
    from.
    """

    target: int
    columns: frozenset[int]
    # an index over lower() or upper() of a column: equal when the column is, but for case
    same: bool = False


def computations(analysis: Analysis, relation: Relation) -> tuple[Computed, ...]:
    """What writing a row of ``relation`` computes from it, from the cache where possible."""
    computed: tuple[Computed, ...] | None = analysis.names.computed.get(relation.oid)
    if computed is None:
        texts = [(column.attnum, column.default) for column in relation.columns if column.generated]
        texts += [
            (0, constraint.expression)
            for constraint in relation.constraints
            if constraint.kind == "e"
        ]
        computed = tuple(
            [
                computation
                for target, text in texts
                for computation in _computations(analysis, relation, target, text)
            ]
        )
        analysis.names.computed[relation.oid] = computed
    return computed


def _computations(analysis: Analysis, relation: Relation, target: int, text: str) -> list[Computed]:
    tree = definition_tree(inside(analysis, relation), f"SELECT {text}") if text else None
    if tree is None:
        every = frozenset(column.attnum for column in relation.columns)
        return [Computed(target, every)]
    entries = [entry["ResTarget"]["val"] for entry in tree["SelectStmt"]["targetList"]]
    return [_computation(analysis, relation, target, entry) for entry in entries]


def _computation(analysis: Analysis, relation: Relation, target: int, node: Node) -> Computed:
    inner = inside(analysis, relation)
    fields = tuple(_plain(relation, column) for column in relation.columns)
    item = Item(relation.name, fields, relation.oid, relation.schema, relation.row_type, True)
    inner.expression(node, Scope(items=[item]))
    columns = frozenset(
        id_.attnum for id_ in inner.facts(0, 0).mentioned_columns if id_.relation == relation.oid
    )
    return Computed(target, columns, not target and _is_case(node))


def _is_case(node: Node) -> bool:
    """``lower(column)`` or ``upper(column)``, as the catalog has it."""
    call = node.get("FuncCall", {})
    names = [name["String"].get("sval", "") for name in call.get("funcname", [])]
    if names not in (["lower"], ["upper"]) or len(call.get("args", [])) != 1:
        return False
    argument = call["args"][0]
    return "ColumnRef" in argument.get("TypeCast", {}).get("arg", argument)


def relation_item(analysis: Analysis, relation: Relation, position: int = -1) -> Item:
    """A relation as a namespace item, with what its definition brings noted. The item answers to
    the relation's own name.
    """
    if relation.kind not in _READABLE_KINDS:
        analysis.unknown(
            "SP1102", f"{relation.qualified} is not a table or view", position=position
        )
    expansion = expand(analysis, relation)
    _note(analysis, relation, expansion, position)
    return Item(
        relation.name,
        expansion.fields,
        relation.oid,
        relation.schema,
        relation.row_type,
        relation.kind in _SYSTEM_COLUMN_KINDS,
        positions=expansion.by_name,
    )


def relation_fields(names: NameResolver, relation: Relation) -> tuple[Field, ...]:
    """The columns of a relation with everything they come from; kept with ``names``."""
    return expand(Analysis(names, Context((), max_length=MAX_LENGTH), Work()), relation).fields


def view_facts(names: NameResolver, view: Relation) -> StatementFacts:
    """The facts of a view's definition, positions in its text; kept with ``names``."""
    definition: StatementFacts | None = names.definitions.get(view.oid)
    if definition is None:
        inner = inside(Analysis(names, Context((), max_length=MAX_LENGTH), Work()), view)
        inner.indirect = False
        tree = definition_tree(inner, view.view_definition) if view.view_definition else None
        columns = inner.query(tree, Scope()) if tree is not None else None
        if columns is None:
            inner.unknown("SP1102", f"cannot determine the definition of view {view.qualified}")
        inner.output(columns)
        if tree is not None:
            inner.plain = plain_shape(*tag_of(tree), inner.range_variables)
        definition = names.definitions[view.oid] = inner.facts(0, 0)
    return definition


def note_condition(analysis: Analysis, view: Relation, action: str, position: int) -> None:
    """A view's definition chooses the rows that are written through it, or tests a new row by
    others.
    """
    if action == "insert" and not _tests_by_others(analysis, view):
        return
    expansion = expand(analysis, view)
    decide = expansion.mentioned | expansion.read_in_functions
    clause = Clause.CHECK if action == "insert" else Clause.WHERE
    analysis.influence(decide, clause, False, position)


def _tests_by_others(analysis: Analysis, view: Relation) -> bool:
    """WITH CHECK OPTION, and a condition that reads more than the row."""
    is_checked = reads_others = False
    relations = analysis.catalog.relations
    waiting, seen = [view], {view.oid}
    while waiting:
        member = waiting.pop()
        if member.kind == "v":
            facts = view_facts(analysis.names, member)
            is_checked = is_checked or member.check_option
            reads_others = reads_others or len(facts.range_variables) != 1
            reads_others = reads_others or bool(facts.read_in_functions or facts.unknowns)
            below = {variable.relation for variable in facts.range_variables} - seen
            waiting += [relations[oid] for oid in below if oid in relations]
            seen |= below
    return is_checked and reads_others


def note_definition(analysis: Analysis, relation: Relation) -> None:
    """What computing a materialised view does, which reading it does not: it computes with raw
    values.
    """
    expansion = _view(analysis, dataclasses.replace(relation, kind="v"))
    _note(analysis, relation, expansion, -1)
    analysis.influence(expansion.mentioned | expansion.read_in_functions, Clause.DEFINITION)


def _note(analysis: Analysis, relation: Relation, expansion: Expansion, position: int) -> None:
    if not any(expansion[2:]):
        return  # a table that computes nothing
    analysis.work.spend(
        (len(expansion.calls) + len(expansion.unknowns)) // 2
        + len(expansion.mentioned_columns) // 64
    )
    analysis.work.spend(
        sum([len(access.columns) for access in expansion.accesses]) // 64
        + len(expansion.accesses) // 2
    )
    for access in expansion.accesses:
        analysis.repeat_access(access)
    for use in expansion.calls:
        function = analysis.catalog.functions.get(use.oid)
        if function is not None:
            analysis.call(function, position)
    for influence in expansion.influences:
        analysis.influence(
            frozenset((influence.column,)), influence.clause, influence.equality, position
        )
    for unknown in expansion.unknowns:
        inside = "" if relation.schema in SYSTEM else f" (in {relation.qualified})"
        analysis.repeat(replace(unknown, what=unknown.what + inside, position=position))
    analysis.seen.update(expansion.mentioned_columns)
    analysis.mentioned_in_views.update(expansion.mentioned)
    analysis.read_in_functions.update(expansion.read_in_functions)
    analysis.followed.update(expansion.followed)
    analysis.calls_volatile = analysis.calls_volatile or expansion.calls_volatile
    analysis.resolves_names_at_run_time = (
        analysis.resolves_names_at_run_time or expansion.resolves_names_at_run_time
    )


def expand(analysis: Analysis, relation: Relation) -> Expansion:
    """The relation's columns and what using it means, from the cache where possible."""
    cache = analysis.names.relations
    # Nothing stands in place of a system relation inside a function's body, nor of one with secrets
    # inside a view's, nor of any inside a temporary view's, which everybody can make.
    hidden = analysis.reads_directly or (analysis.indirect and hides_secrets(relation))
    inside = bool(analysis.following) or hidden
    is_itself = inside and is_substituted(relation)
    key = -relation.oid if is_itself else relation.oid
    expansion = cache.get(key)
    if expansion is None:
        if (
            relation.schema in SYSTEM
            or relation.schema.startswith("pg_toast")
            or unreadable(relation)
        ):
            expansion = _system(relation, is_itself)
        elif relation.kind in ("v", "m"):
            expansion = _view(analysis, relation)
        else:
            expansion = _table(analysis, relation)
        cache[key] = expansion
    return expansion


def _plain(relation: Relation, column: Column, denied: str = "") -> Field:
    id_ = ColumnId(relation.oid, column.attnum)
    value = Value(frozenset((id_,)), Dependence.IDENTITY, id_, column.type_oid, denied=denied)
    return Field(column.name, value)


def _column(inner: Analysis, relation: Relation, column: Column) -> Field:
    """A table's column. Of a composite type it may hold rows of the type's relation: it is computed
    from that relation's columns too, and each of its fields from that field's.
    """
    field = _plain(relation, column)
    held = _held(inner, column.type_oid)
    if held is None:
        return field
    own = frozenset((ColumnId(relation.oid, column.attnum),))
    value = replace(
        field.value,
        sources=own | held.sources,
        dependence=Dependence.DERIVED,
        row=_rows_of(held, own, inner.work),
        denied=held.denied,
    )
    return Field(column.name, value)


def _numbered(field: Field, columns: Sources) -> Field:
    """The last number of a sequence is a value of the columns that it numbers."""
    if field.name != "last_value" or not columns:
        return field
    value = field.value
    sources = value.sources | columns
    return Field(field.name, replace(value, sources=sources, dependence=Dependence.DERIVED))


def _held(inner: Analysis, type_: int) -> Value | None:
    """What values of this type are made of, where rows are among them: of arrays, domains and rows
    in rows as well.
    """
    element = inner.types.element(type_)
    if element:
        held = _held(inner, element)
        return None if held is None else replace(held, row=None)
    relation = inner.catalog.relations.get(inner.types.relation(type_))
    if relation is None:
        return None
    if relation.oid in inner.views:
        return Value(denied=f"cannot read rows of {relation.qualified} that are stored in itself")
    return as_row(expand(inner, relation).fields, type_)


def _rows_of(value: Value, own: Sources, work: Work) -> tuple[Field, ...] | None:
    """The fields of a row as those of a column that holds it. Rows in rows are copied: types of a
    few columns each can make very many. Raises TooMuchWork.
    """
    if value.row is None:
        return None
    work.spend(len(value.row))
    return tuple(
        Field(
            f.name,
            Value(
                f.value.sources | own,
                type=f.value.type,
                row=_rows_of(f.value, own, work),
                denied=f.value.denied,
            ),
        )
        for f in value.row
    )


def _system(relation: Relation, is_itself: bool) -> Expansion:
    answer = classify_relation(relation, substituted=not is_itself)
    unknowns: tuple[Unknown, ...] = ()
    if not answer.readable:
        reason = f": it {answer.reason}" if answer.reason else ""
        unknowns = (Unknown("SP1104", f"{relation.qualified} cannot be read{reason}"),)
    fields = tuple(
        _plain(
            relation,
            column,
            ""
            if answer.columns is None or column.name in answer.columns
            else (
                FUNCTION_SOURCE
                if column.name in source_columns(relation)
                else f"{relation.qualified}.{column.name} cannot be read"
            ),
        )
        for column in relation.columns
    )
    return Expansion(fields, index_fields(fields), unknowns=unknowns)


def _expansion(inner: Analysis, fields: tuple[Field, ...]) -> Expansion:
    facts = inner.facts(0, 0)
    return Expansion(
        fields,
        index_fields(fields),
        facts.accesses,
        facts.functions,
        facts.influences,
        facts.unknowns,
        facts.mentioned_columns,
        facts.followed,
        facts.resolves_names_at_run_time,
        facts.computed_with,
        facts.read_in_functions,
        facts.calls_volatile,
    )


def _view(analysis: Analysis, relation: Relation) -> Expansion:
    inner = inside(analysis, relation)
    # No rule names a temporary view: what it reads is judged as if it stood in the statement.
    inner.reads_directly = relation.schema == TEMPORARY
    if relation.oid in analysis.views or len(analysis.views) > 32 or not relation.view_definition:
        inner.unknown("SP1102", f"cannot determine the definition of view {relation.qualified}")
        tree = None
    else:
        tree = definition_tree(inner, relation.view_definition)
    columns_read = (inner.query(tree, Scope()) or ()) if tree is not None else ()
    if tree is not None and len(columns_read) != len(relation.columns):
        inner.unknown("SP1102", f"columns of view {relation.qualified} do not match it")
    fields = []
    for number, column in enumerate(relation.columns):
        own = ColumnId(relation.oid, column.attnum)
        under = (
            columns_read[number].value if len(columns_read) == len(relation.columns) else Value()
        )
        kept = under.bare or not under.sources
        dependence = Dependence.IDENTITY if kept else under.dependence
        fields.append(
            Field(
                column.name,
                Value(
                    under.sources | {own},
                    dependence,
                    own,
                    column.type_oid,
                    row=_rows_of(under, frozenset((own,)), inner.work),
                    denied=under.denied,
                ),
            )
        )
    expansion = _expansion(inner, tuple(fields))
    return expansion if relation.kind == "v" else _stored(expansion)


def _stored(expansion: Expansion) -> Expansion:
    """A materialised view was computed when it was refreshed, with its owner's rights."""
    return expansion._replace(
        accesses=tuple(replace(access, indirect=True) for access in expansion.accesses),
        followed=frozenset(),
        resolves_names_at_run_time=False,
        read_in_functions=frozenset(),
    )


def _table(analysis: Analysis, relation: Relation) -> Expansion:
    inner = inside(analysis, relation)
    fields = tuple(_column(inner, relation, column) for column in relation.columns)
    if relation.kind == "S":
        columns = analysis.names.numbered.get(relation.oid, frozenset())
        fields = tuple(_numbered(field, columns) for field in fields)
    if not any(column.generated for column in relation.columns):
        return Expansion(fields, index_fields(fields))
    item = Item(relation.name, fields, relation.oid, relation.schema, relation.row_type, True)
    scope = Scope(items=[item])
    computed = []
    for column, field in zip(relation.columns, fields, strict=True):
        if not column.generated:
            computed.append(field)
            continue
        tree = definition_tree(inner, f"SELECT {column.default}") if column.default else None
        if tree is None:
            inner.unknown(
                "SP1102", f"cannot parse how {relation.qualified}.{column.name} is generated"
            )
            computed.append(field)
            continue
        target = tree["SelectStmt"]["targetList"][0]["ResTarget"]["val"]
        under = inner.expression(target, scope)
        value = field.value
        computed.append(
            Field(
                field.name,
                replace(
                    value,
                    sources=value.sources | under.sources,
                    dependence=Dependence.DERIVED,
                )
                if under.sources
                else value,
            )
        )
    # a generated column that is stored is computed when a row is written; what it is computed from
    # nobody mentions
    expansion = _expansion(inner, tuple(computed))._replace(mentioned=frozenset())
    if any(column.generated == "v" for column in relation.columns):
        return expansion
    return expansion._replace(
        influences=(), accesses=(), followed=frozenset(), read_in_functions=frozenset()
    )
