"""Conversions that nobody wrote: PostgreSQL runs a cast's function wherever a value is not of the
type that is wanted (parse_coerce.c).

For casts that PostgreSQL ships this is judged where types are resolved. Casts that were made by
users call users' functions, so each place where PostgreSQL may convert by itself says so here:
arguments, operands, common types, assignments, conditions. A value whose type was not inferred may
be of any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sallyport.sql.catalog.snapshot import Cast, Function
from sallyport.sql.lineage import UNKNOWN_TYPE, Value
from sallyport.sql.values.types import ANY, BOOL, COMPATIBLE, RECORD, Types

if TYPE_CHECKING:
    from sallyport.sql.analysis import Analysis


def note_implicit_cast(
    analysis: Analysis,
    value: Value,
    target: int,
    position: int,
    assignment: bool = False,
    taken: frozenset[int] = frozenset(),
) -> None:
    """``value`` stands where ``target`` (0: something that is not known) is wanted; ``assignment``:
    in a context that allows casts AS ASSIGNMENT. ``taken``: types that are taken as they are.
    """
    casts = analysis.names.made_casts
    if (
        not casts
        or value.type == UNKNOWN_TYPE
        or (target and analysis.types.base(value.type) == analysis.types.base(target))
    ):
        return
    target_type = analysis.types.get(target)
    if target_type is not None and target_type.kind == "p":
        return
    for cast in casts:
        if (assignment or cast.context == "i") and _applies(
            analysis.types, cast, value.type, target
        ):
            if not value.type and value.sources and not _made_of(analysis, value, cast.source):
                continue
            if value.parameter and not value.type:
                _declared(analysis, cast, value.parameter, taken)
            else:
                _note(analysis, cast, value, position)
    relation = (
        analysis.catalog.relations.get(analysis.types.relation(target))
        if value.type == RECORD
        else None
    )
    if relation is not None:
        matches_row = value.row is not None and len(value.row) == len(relation.columns)
        for number, column in enumerate(relation.columns):
            field = (
                value.row[number].value
                if matches_row and value.row is not None
                else Value(value.sources)
            )
            note_implicit_cast(analysis, field, column.type_oid, position, assignment)


def note_condition_cast(analysis: Analysis, value: Value, position: int = -1) -> None:
    """``value`` is a condition that decides about rows: PostgreSQL casts it to boolean
    (coerce_to_boolean, parse_coerce.c).
    """
    note_implicit_cast(analysis, value, BOOL, position, assignment=True)


def note_argument_casts(
    analysis: Analysis,
    functions: Sequence[Function],
    values: Sequence[Value],
    position: int,
    in_order: bool = True,
) -> None:
    """``values`` are passed to one of ``functions``, named ones in any order."""
    if not analysis.names.made_casts:
        return
    taken = frozenset(type_ for function in functions for type_ in function.arg_types)
    for function in functions:
        declared = function.arg_types
        fixed = len(declared) - function.variadic
        last: tuple[int, ...] = declared[-1:] if function.variadic else ()
        if last and last != (ANY,):  # concat, format: values are taken as they are
            last = (*last, analysis.types.element(*last))
        for number, value in enumerate(values):
            if not in_order:
                targets = (*declared, *last)
            else:
                targets = declared[number : number + 1] if number < fixed else last
            for target in targets:
                note_implicit_cast(analysis, value, target, position, taken=taken)
        if not COMPATIBLE.isdisjoint(declared):
            note_common_type_casts(analysis, values, position)


def note_operand_casts(
    analysis: Analysis, functions: Sequence[Function], values: Sequence[Value], position: int
) -> None:
    """``values`` are an operator's operands; one of ``functions`` is behind it."""
    if not analysis.names.made_casts:
        return
    for number, value in enumerate(values):
        operand_types = frozenset(
            f.arg_types[number] for f in functions if number < len(f.arg_types)
        )
        for target in operand_types:
            note_implicit_cast(analysis, value, target, position, taken=operand_types)
        if not COMPATIBLE.isdisjoint(operand_types):
            note_common_type_casts(analysis, values, position)


def _declared(analysis: Analysis, cast: Cast, number: int, taken: frozenset[int]) -> None:
    """A parameter is of the type that is wanted where it stands, unless it was declared, or stands
    elsewhere (:meth:`Analysis.facts`).
    """
    resolved = analysis.names.cast(cast.source, cast.target)
    trusted = all(map(analysis.context.trusted_functions, resolved.users))
    if (resolved.reason or not trusted) and cast.source not in taken:
        analysis.cast_parameters.add((number, cast.source))


def note_common_type_casts(analysis: Analysis, values: Sequence[Value], position: int) -> None:
    """Values become of one type, which is that of one of them."""
    if not analysis.names.made_casts:
        return
    types = {value.type for value in values}
    for value in values:
        for target in types - {value.type, UNKNOWN_TYPE}:
            note_implicit_cast(analysis, value, target, position)


def note_json_casts(analysis: Analysis, values: Sequence[Value], position: int) -> None:
    """What makes JSON of anything uses a cast to json where a type has one, of whatever context
    (json_categorize_type in jsonfuncs.c).
    """
    for cast in analysis.names.json_casts:
        for value in values:
            if _holds(analysis, value.type, cast.source):
                _note(analysis, cast, value, position)


def _holds(analysis: Analysis, type_: int, contained: int, depth: int = 8) -> bool:
    """Whether a value of this type may hold one of the other, in its fields or elements."""
    type_ = analysis.types.base(analysis.types.element(type_) or type_)
    if type_ in (0, RECORD, contained) or depth < 0:
        return True
    relation = analysis.catalog.relations.get(analysis.types.relation(type_))
    columns = relation.columns if relation is not None else ()
    return any(_holds(analysis, column.type_oid, contained, depth - 1) for column in columns)


def _made_of(analysis: Analysis, value: Value, type_: int) -> bool:
    """Whether one of the columns that a value is computed from holds values of this type."""
    columns = [analysis.catalog.column(source) for source in value.sources]
    return any(column is None or _holds(analysis, column.type_oid, type_) for column in columns)


def _applies(types: Types, cast: Cast, source: int, target: int) -> bool:
    """Whether converting from one type to the other may use this cast, element by element for
    arrays.
    """
    for _ in range(8):
        source, target = types.base(source), types.base(target)
        if source in (0, cast.source) and target in (0, cast.target):
            return True
        inner = types.element(source), types.element(target)
        if (source and not inner[0]) or (target and not inner[1]):
            return False
        source, target = inner
    return True


def _note(analysis: Analysis, cast: Cast, value: Value, position: int) -> None:
    resolved = analysis.names.cast(cast.source, cast.target)
    if resolved.reason:
        analysis.unknown(
            "SP1103",
            f"the implicit cast here is not allowed: it {resolved.reason}",
            position=position,
        )
    for function in resolved.users:
        analysis.call(function, position)
