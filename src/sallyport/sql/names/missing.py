"""Names that do not exist, in PostgreSQL's own words (parse_relation.c, parse_func.c, parse_oper.c,
parse_type.c).

Each function notes an Unknown with a message of its own and gives an opaque value. The codes are
those of :data:`sallyport.core.errors.UNKNOWN_NAMES`; the session looks at the catalog once more
before it says any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sallyport.sql.analysis import Analysis
from sallyport.sql.catalog.snapshot import TEMPORARY
from sallyport.sql.lineage import OPAQUE, UNKNOWN_TYPE, Value
from sallyport.sql.names.resolve import SYSTEM
from sallyport.sql.names.scope import Scope
from sallyport.sql.names.temporary_names import of_unknown_maker
from sallyport.sql.utility.settings import all_settings
from sallyport.sql.values.types import RECORD
from sallyport.sql.values.void_parameters import repeated

_CAST_ARGUMENTS = (
    "No {} matches the given name and argument types. You might need to add explicit type casts."
)
#: SQL names of types whose pg_type name is another one (format_type.c).
_SQL_NAMES = {
    "bool": "boolean",
    "bpchar": "character",
    "varchar": "character varying",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
    "timetz": "time with time zone",
    "varbit": "bit varying",
    "char": '"char"',
}


def missing_column(
    analysis: Analysis, names: tuple[str, ...], scope: Scope, position: int
) -> Value:
    """``c`` or ``t.c``: the column does not exist, or nothing in FROM answers to ``t``."""
    if len(names) == 1:
        here = [item for level in _levels(scope) for item in level.items if item.columns_visible]
        hint = analysis.close(names[0], (name for item in here for name in item.index))
        return analysis.missing("SP1108", f'column "{names[0]}" does not exist', hint, position)
    item = next(
        (i for level in _levels(scope) for i in level.items if i.visible and i.name == names[-2]),
        None,
    )
    if item is not None and len(names) == 2:
        return analysis.missing(
            "SP1108",
            f"column {names[0]}.{names[1]} does not exist",
            analysis.close(names[1], item.index),
            position,
        )
    return missing_item(analysis, names[-2], scope, position)


def missing_item(analysis: Analysis, name: str, scope: Scope, position: int) -> Value:
    """``t.c`` or ``t.*`` where nothing in FROM is called ``t``."""
    here = [item.name for level in _levels(scope) for item in level.items if item.visible]
    hint = analysis.close(name, here) or (
        "Names in FROM are " + ", ".join(here[:10]) + "." if here else ""
    )
    return analysis.missing(
        "SP1106", f'missing FROM-clause entry for table "{name}"', hint, position
    )


def missing_field(analysis: Analysis, name: str, row: Value, position: int, called: str) -> Value:
    """``(row).name``; ``called``: how the row is written when it is a reference."""
    type_ = row.type
    if called and row.origin is not None and row.origin.attnum == 0:
        return analysis.missing("SP1108", f"column {called}.{name} does not exist", "", position)
    if type_ == 0 and row.parameter:
        analysis.asks_types = True
        if repeated(analysis, row.parameter):
            what = f"cannot determine which type ${row.parameter} has, to read its field {name}"
            hint = f"Write (${row.parameter}::type).{name}."
            return analysis.unknown("SP1102", what, hint, position)
        type_ = UNKNOWN_TYPE
    if type_ not in (0, RECORD) and not analysis.types.relation(type_):
        shown = type_shown(analysis, type_)
        what = f"column notation .{name} applied to type {shown}, which is not a composite type"
        return analysis.missing("SP1117", what, "", position)
    if type_ in (0, RECORD):
        return analysis.missing(
            "SP1108", f'could not identify column "{name}" in record data type', "", position
        )
    return analysis.missing(
        "SP1108",
        f'column "{name}" not found in data type {type_shown(analysis, type_)}',
        "",
        position,
    )


def missing_fields(analysis: Analysis, row: Value, position: int) -> None:
    """``(row).*``, where it is not known that the value has fields (get_expr_result_tupdesc in
    funcapi.c).
    """
    type_ = row.type
    if type_ == 0 and row.parameter:
        analysis.asks_types = True
        type_ = 0 if repeated(analysis, row.parameter) else UNKNOWN_TYPE
    if type_ in (0, RECORD) or analysis.types.relation(type_):
        what = "cannot determine the fields of this row"
        analysis.unknown("SP1102", what, "Name the fields you need.", position)
    else:
        analysis.missing("SP1117", f"type {type_shown(analysis, type_)} is not composite")


def ambiguous_column(analysis: Analysis, names: tuple[str, ...], position: int) -> Value:
    """Several things in FROM have a column of this name."""
    hint = "Write the name or alias of the table before the column."
    return analysis.missing(
        "SP1112", f'column reference "{names[-1]}" is ambiguous', hint, position
    )


def ambiguous_item(analysis: Analysis, name: str, position: int) -> Value:
    """``t.c`` or ``t.*`` where several things in FROM are called ``t``."""
    hint = "Give one of the tables an alias, and write that."
    return analysis.missing("SP1116", f'table reference "{name}" is ambiguous', hint, position)


def missing_column_of(
    analysis: Analysis, name: str, relation: str, columns: Iterable[str], position: int = -1
) -> Value:
    """A column list of INSERT, UPDATE, COPY or ALTER TABLE names a column that the relation does
    not have.
    """
    return analysis.missing(
        "SP1108",
        f'column "{name}" of relation "{relation}" does not exist',
        analysis.close(name, columns),
        position,
    )


def missing_function(
    analysis: Analysis,
    names: tuple[str, ...],
    types: Sequence[int],
    position: int,
    procedure: bool = False,
) -> Value:
    """Nothing called so accepts these arguments."""
    if len(names) == 2 and names[0] not in (*analysis.catalog.schemas, TEMPORARY):
        return analysis.missing("SP1111", f'schema "{names[0]}" does not exist', "", position)
    what = "procedure" if procedure else "function"
    shown = ", ".join(type_shown(analysis, type_) for type_ in types)
    hint = _CAST_ARGUMENTS.format(what)
    return analysis.missing(
        "SP1109", f"{what} {'.'.join(names)}({shown}) does not exist", hint, position
    )


def missing_operator(
    analysis: Analysis, names: tuple[str, ...], left: int | None, right: int, position: int
) -> Value:
    """No operator called so takes these operands. ``left`` None: it stands before its operand."""
    before = "" if left is None else type_shown(analysis, left) + " "
    shown = f"{before}{'.'.join(names)} {type_shown(analysis, right)}"
    return analysis.missing(
        "SP1109", f"operator does not exist: {shown}", _CAST_ARGUMENTS.format("operator"), position
    )


def missing_cast(analysis: Analysis, source: int, target: int, position: int) -> Value:
    """There is no cast from ``source`` to ``target``."""
    shown = f"{type_shown(analysis, source)} to {type_shown(analysis, target)}"
    return analysis.missing(
        "SP1114",
        f"cannot cast type {shown}",
        "Cast to text first where the text is a valid value of the other type.",
        position,
    )


def missing_type(analysis: Analysis, names: tuple[str, ...], position: int) -> Value:
    """No type is called so."""
    if len(names) == 2 and names[0] not in (*analysis.catalog.schemas, TEMPORARY):
        return analysis.missing("SP1111", f'schema "{names[0]}" does not exist', "", position)
    if names[-1] in analysis.catalog.unknown_names:
        analysis.unknown(*of_unknown_maker(names[-1]), position)
        return OPAQUE
    hint = analysis.close(
        names[-1], (name for schema, name in analysis.catalog.type_by_name if schema not in SYSTEM)
    )
    return analysis.missing("SP1110", f'type "{".".join(names)}" does not exist', hint, position)


def missing_setting(analysis: Analysis, name: str) -> None:
    """SHOW of a setting that no PostgreSQL has (guc.c)."""
    hint = analysis.close(name, all_settings())
    analysis.missing("SP1305", f'unrecognized configuration parameter "{name}"', hint)


def reserved_schema(analysis: Analysis, name: str) -> None:
    """A schema would get a name that begins with pg_, or is PostgreSQL's (IsReservedName)."""
    analysis.missing(
        "SP1118",
        f'unacceptable schema name "{name}"',
        'The prefix "pg_" is reserved for system schemas.',
    )


def type_shown(analysis: Analysis, oid: int) -> str:
    """A type as format_type writes it; "unknown" for one that is not known."""
    type_ = analysis.types.get(oid)
    if type_ is None or oid == UNKNOWN_TYPE:
        return "unknown"
    if type_.element:
        return type_shown(analysis, type_.element) + "[]"
    if type_.schema == "pg_catalog":
        return _SQL_NAMES.get(type_.name, type_.name)
    return type_.name if type_.schema in analysis.names.path else f"{type_.schema}.{type_.name}"


def _levels(scope: Scope) -> Iterable[Scope]:
    level: Scope | None = scope
    while level is not None:
        yield level
        level = level.parent
