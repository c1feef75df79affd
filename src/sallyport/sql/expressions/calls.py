"""What calling a function, an operator or a cast means for the statement: safety and result.

Shared by every handler that calls something. Each call is resolved
(:mod:`sallyport.sql.names.resolve`), its answer noted, and its value derived from its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from sallyport.sql.analysis import Analysis
from sallyport.sql.facts import Dependence
from sallyport.sql.lineage import UNKNOWN_TYPE, Field, Value, derived
from sallyport.sql.names.missing import missing_cast, missing_operator, missing_type
from sallyport.sql.names.resolve import Resolved
from sallyport.sql.nodes import fields, strings
from sallyport.sql.text.parse import Node
from sallyport.sql.utility.named_by_text import kept_literal
from sallyport.sql.values.conversions import converts, converts_operands, converts_to_common
from sallyport.sql.values.types import (
    ANYARRAY,
    BIT,
    BOOL,
    BPCHAR,
    MODIFIED,
    NUMERIC,
    POLYMORPHIC,
    RECORD,
    RECORD_ARRAY,
    TEXT,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    TIMETZ,
    VARBIT,
    VARCHAR,
    VOID,
)
from sallyport.sql.values.void_parameters import NO_VOID

_TYPE_NAME = fields("names typemod typmods arrayBounds")
EQUALS = ("=",)
#: A parameter cast to one of these is the text that the client sends, where nothing else was made
#: of it before.
_TEXTS = frozenset({TEXT, VARCHAR})
_AS_SENT = _TEXTS | {0, UNKNOWN_TYPE}
#: What to do instead, by what a function does (sallyport.sql.catalog.functions).
_HINTS = {
    "sleeps": (
        "Wait in the client, between statements. SET statement_timeout limits how long a "
        "statement runs, "
        "SET lock_timeout how long it waits for locks."
    ),
    "runs SQL text or reads relations that are named at run time": (
        "Send the SQL as a statement of its own."
    ),
    "sends data elsewhere": "Select the data, and send it from the client.",
    "reads the server's files or shows their paths": (
        "The client can send its own files with COPY ... FROM STDIN."
    ),
}
_CANCEL = "To stop a statement of your own, cancel it in its client, as Ctrl-C does in psql."
#: The same by the function itself.
_HINTS_BY_NAME = {"function pg_cancel_backend": _CANCEL, "function pg_terminate_backend": _CANCEL}
_COUNTED = frozenset({BIT, VARBIT, TIME, TIMETZ, TIMESTAMP, TIMESTAMPTZ})


def judge(a: Analysis, resolved: Resolved, what: str, at: int) -> None:
    """Note what a resolved call means: unknown, unsafe, or not PostgreSQL's own."""
    if not resolved.found:
        a.missing("SP1109", f"{what} does not exist", position=at)
        return
    if resolved.reason:
        a.unknown(
            "SP1103",
            f"{what} is not allowed: it {resolved.reason}",
            _HINTS_BY_NAME.get(what) or _HINTS.get(resolved.reason, ""),
            at,
        )
    for function in resolved.users:
        a.call(function, at)


def result(resolved: Resolved, values: Sequence[Value], type_: int | None = None) -> Value:
    value = derived(values, resolved.result if type_ is None else type_)
    return replace(value, dependence=Dependence.OPAQUE) if resolved.users else value


def operator(
    a: Analysis,
    names: tuple[str, ...],
    left: Value | None,
    right: Value,
    at: int,
    right_type: int | None = None,
) -> Value:
    """``left names right``. ``right_type``: of an array's elements, for ANY and ALL."""
    if (
        left is not None
        and left.row
        and right.row
        and len(left.row) == len(right.row)
        and left.type == right.type
    ):
        _compare_rows(a, names, left.row, right.row, at)
        return derived((left, right), BOOL)
    left_type = None if left is None else left.type
    resolved = a.names.operator(names, left_type, right.type if right_type is None else right_type)
    if not resolved.found:
        return missing_operator(
            a, names, left_type, right.type if right_type is None else right_type, at
        )
    values = (right,) if left is None else (left, right)
    if resolved.reason or resolved.users:
        judge(a, resolved, f"operator {'.'.join(names)}", at)
    if a.names.made_casts:
        operands = values if right_type is None else (*values[:-1], replace(right, type=right_type))
        converts_operands(a, resolved.candidates, operands, at)
    return result(resolved, values)


def _compare_rows(
    a: Analysis, names: tuple[str, ...], left: tuple[Field, ...], right: tuple[Field, ...], at: int
) -> None:
    """Column by column."""
    a.work.spend(2 * len(left))
    for left_field, right_field in zip(left, right, strict=True):
        operator(a, names, left_field.value, right_field.value, at)


def unite(a: Analysis, values: Sequence[Value], at: int = -1) -> int:
    """The common type of values that become one (CASE, COALESCE, ARRAY, UNION ...), or 0 when it
    cannot be told.
    """
    converts_to_common(a, values, at)
    return a.types.common([value.type for value in values])


def type_oid(a: Analysis, node: Node) -> int:
    """The type that a TypeName names; 0, with an Unknown, when it is not known."""
    a.check("TypeName", node, _TYPE_NAME)
    names = strings(node.get("names", []))
    if len(names) == 3 and names[0] == a.catalog.database:
        names = names[1:]
    type_ = a.names.types.named(names)
    at = node.get("location", -1)
    if type_ is None:
        missing_type(a, names, at)
        return 0
    oid = type_.oid
    if node.get("arrayBounds"):
        oid = a.types.array(oid)
        if not oid:
            a.missing(
                "SP1110", f"could not find array type for data type {'.'.join(names)}", position=at
            )
    return oid


def cast(a: Analysis, value: Value, node: Node, at: int) -> Value:
    """``value::type``."""
    target = type_oid(a, node)
    if not target:
        return derived((value,))
    typmod = _typmod(target, node.get("typmods", []))
    if value.type == target and value.origin is not None and target in MODIFIED:
        column = a.catalog.column(value.origin)
        if column is not None and column.typmod == typmod:
            return value  # coerce_type_typmod: already done
    return cast_to(a, value, target, at, bool(node.get("typmods")))


def _typmod(type_: int, nodes: list[Node]) -> int | None:
    """The modifier that a type's own input function makes of ``(10,2)``; -1 for none, None where it
    is not known here.
    """
    if not nodes:
        return -1
    numbers = [node.get("A_Const", {}).get("ival", {}).get("ival") for node in nodes]
    if None in numbers:
        return None
    if type_ in (VARCHAR, BPCHAR) and len(numbers) == 1:
        return int(numbers[0]) + 4
    if type_ == NUMERIC and len(numbers) in (1, 2):
        scale = int(numbers[1]) if len(numbers) == 2 else 0
        return ((int(numbers[0]) << 16) | (scale & 0x7FF)) + 4
    if type_ in _COUNTED and len(numbers) == 1:
        return int(numbers[0])
    return None


def cast_to(a: Analysis, value: Value, target: int, at: int, modified: bool = False) -> Value:
    if target == VOID:
        return a.unknown(*NO_VOID, at)
    if value.type == target and not modified and not value.constant:
        return value if target not in MODIFIED else derived((value,), target)
    if target in (RECORD, RECORD_ARRAY, *POLYMORPHIC):
        pseudo = _to_pseudo(a, value, target)
        if pseudo is not None:
            return pseudo
    source = value.type or (0 if value.sources else UNKNOWN_TYPE)
    resolved = conversion(a, source, target)
    if not resolved.found:
        return missing_cast(a, source, target, at)
    judge(a, resolved, f"a cast to {type_name(a, target)}", at)
    if value.type == RECORD:
        converts(a, value, target, at, assignment=True)  # field by field
    if value.constant and not resolved.users:
        named = (
            value.parameter if target in _TEXTS and value.type in _AS_SENT and not modified else 0
        )
        literal = kept_literal(value, target, modified)
        return Value(type=target, constant=True, literal=literal, parameter=named)
    return result(resolved, (value,), target)


def conversion(a: Analysis, source: int, target: int) -> Resolved:
    """What converting a value (pg_type OIDs) calls: the functions that users made and the CHECK of
    a domain calls, too.
    """
    resolved = a.names.cast(source, target)
    domain = a.types.get(target)
    if not resolved.reason or domain is None or domain.kind != "d":
        return resolved
    checks = [f for oid in domain.check_functions if (f := a.catalog.functions.get(oid))]
    if len(checks) < len(domain.check_functions):
        return resolved
    under = conversion(a, source, domain.base)
    return under._replace(users=(*under.users, *checks))


def _to_pseudo(a: Analysis, value: Value, target: int) -> Value | None:
    """A cast to a pseudo-type that PostgreSQL takes (coerce_type in parse_coerce.c): NULL, which
    has no value to read, and arrays as ``anyarray``, which stay what they are.
    """
    if (
        value.type == UNKNOWN_TYPE
        and value.constant
        and value.literal is None
        and not value.parameter
    ):
        return Value(type=target if target in (RECORD, RECORD_ARRAY) else 0)
    return value if target == ANYARRAY and a.types.is_array(value.type) else None


def type_name(a: Analysis, oid: int) -> str:
    type_ = a.types.get(oid)
    return f"type {type_.name}" if type_ is not None else "a type"
