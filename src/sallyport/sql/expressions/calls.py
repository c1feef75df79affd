"""What calling a function, an operator or a cast means for the statement: safety and result.

Shared by every handler that calls something. Each call is resolved
(:mod:`sallyport.sql.names.resolve`), its answer noted, and its value derived from its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from sallyport.core.errors import RefusedError, refuse
from sallyport.sql.analysis import Analysis
from sallyport.sql.catalog.descendants import with_descendants
from sallyport.sql.facts import Clause, Dependence
from sallyport.sql.lineage import UNKNOWN_TYPE, Field, Value, derived
from sallyport.sql.names.missing import missing_cast, missing_operator, missing_type, type_shown
from sallyport.sql.names.resolve import Resolved
from sallyport.sql.nodes import fields, strings
from sallyport.sql.queries.relation_items import relation_fields
from sallyport.sql.text.parse import Node
from sallyport.sql.utility.named_by_text import kept_literal
from sallyport.sql.values.conversions import (
    note_common_type_casts,
    note_implicit_cast,
    note_operand_casts,
)
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
#: Functions that tell in which form a value is stored: compressed, or moved out of its row.
_OF_STORED_FORM = frozenset({"pg_column_size", "pg_column_compression", "pg_column_toast_chunk_id"})
_COUNTED = frozenset({BIT, VARBIT, TIME, TIMETZ, TIMESTAMP, TIMESTAMPTZ})


def judge(analysis: Analysis, resolved: Resolved, what: str, position: int) -> None:
    """Note what a resolved call means: unknown, unsafe, or not PostgreSQL's own."""
    if not resolved.exists:
        analysis.missing("SP1109", f"{what} does not exist", position=position)
        return
    if resolved.reason:
        analysis.unknown(
            "SP1103",
            f"{what} is not allowed: it {resolved.reason}",
            _HINTS_BY_NAME.get(what) or _HINTS.get(resolved.reason, ""),
            position,
        )
    for function in resolved.users:
        analysis.call(function, position)


def note_stored_form(analysis: Analysis, name: str, values: Sequence[Value], position: int) -> None:
    """Which values of a row are compressed, or moved out of it, depends on how long all of them are
    together (heap_toast_insert_or_update in heaptoast.c).
    """
    if name not in _OF_STORED_FORM:
        return
    for oid in sorted({source.relation for value in values for source in value.sources}):
        for part in with_descendants(analysis.catalog, oid):
            if part.kind == "v":
                continue  # what is under it is among the sources
            for column, field in zip(
                part.columns, relation_fields(analysis.names, part), strict=True
            ):
                if not analysis.types.is_small(column.type_oid):
                    analysis.influence(field.value.sources, Clause.STORED_FORM, False, position)


def result(resolved: Resolved, values: Sequence[Value], type_: int | None = None) -> Value:
    """What a call gives: everything that its arguments depend on, and opaque where a function that
    users made computes it. ``type_``: another type than the function's.
    """
    value = derived(values, resolved.result if type_ is None else type_)
    return replace(value, dependence=Dependence.OPAQUE) if resolved.users else value


def operator(
    analysis: Analysis,
    names: tuple[str, ...],
    left: Value | None,
    right: Value,
    position: int,
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
        _compare_rows(analysis, names, left.row, right.row, position)
        return derived((left, right), BOOL)
    left_type = None if left is None else left.type
    resolved = analysis.names.operator(
        names, left_type, right.type if right_type is None else right_type
    )
    if not resolved.exists:
        return missing_operator(
            analysis, names, left_type, right.type if right_type is None else right_type, position
        )
    values = (right,) if left is None else (left, right)
    if resolved.reason or resolved.users:
        judge(analysis, resolved, f"operator {'.'.join(names)}", position)
    if analysis.names.made_casts:
        operands = values if right_type is None else (*values[:-1], replace(right, type=right_type))
        note_operand_casts(analysis, resolved.candidates, operands, position)
    return result(resolved, values)


def _compare_rows(
    analysis: Analysis,
    names: tuple[str, ...],
    left: tuple[Field, ...],
    right: tuple[Field, ...],
    position: int,
) -> None:
    """Column by column."""
    analysis.work.spend(2 * len(left))
    for left_field, right_field in zip(left, right, strict=True):
        operator(analysis, names, left_field.value, right_field.value, position)


def common_type(analysis: Analysis, values: Sequence[Value], position: int = -1) -> int:
    """The common type of values that become one (CASE, COALESCE, ARRAY, UNION ...), or 0 when it
    cannot be told.
    """
    note_common_type_casts(analysis, values, position)
    return analysis.types.common([value.type for value in values])


def type_oid(analysis: Analysis, node: Node) -> int:
    """The type that a TypeName names; 0, with an Unknown, when it is not known."""
    analysis.check("TypeName", node, _TYPE_NAME)
    names = strings(node.get("names", []))
    if len(names) == 3 and names[0] == analysis.catalog.database:
        names = names[1:]
    type_ = analysis.names.types.named(names)
    position = node.get("location", -1)
    if type_ is None:
        missing_type(analysis, names, position)
        return 0
    oid = type_.oid
    if node.get("arrayBounds"):
        oid = analysis.types.array(oid)
        if not oid:
            analysis.missing(
                "SP1110",
                f"could not find array type for data type {'.'.join(names)}",
                position=position,
            )
    return oid


def cast(analysis: Analysis, value: Value, node: Node, position: int) -> Value:
    """``value::type``. Raises RefusedError where a literal that is a parameter here may decide
    whether a column stays itself.
    """
    target = type_oid(analysis, node)
    if not target:
        return derived((value,))
    modifiers = node.get("typmods", [])
    typmod = _typmod(target, modifiers)
    if value.type == target and value.origin is not None and target in MODIFIED:
        if analysis.context.template and any("ParamRef" in modifier for modifier in modifiers):
            raise RefusedError(refuse("SP1102", "a type modifier cannot become a parameter"))
        column = analysis.catalog.column(value.origin)
        if column is not None and column.typmod == typmod:
            return value  # coerce_type_typmod: already done
    return cast_to(analysis, value, target, position, bool(modifiers))


def _typmod(type_: int, nodes: list[Node]) -> int | None:
    """The modifier that a type's own input function makes of ``(10,2)``; -1 for none, None where it
    is not known here.
    """
    if not nodes:
        return -1
    constants = [node.get("A_Const", {}).get("ival") for node in nodes]
    numbers = [int(constant.get("ival", 0)) for constant in constants if constant is not None]
    if len(numbers) < len(nodes):
        return None
    if type_ in (VARCHAR, BPCHAR) and len(numbers) == 1:
        return numbers[0] + 4
    if type_ == NUMERIC and len(numbers) in (1, 2):
        scale = numbers[1] if len(numbers) == 2 else 0
        return ((numbers[0] << 16) | (scale & 0x7FF)) + 4
    if type_ in _COUNTED and len(numbers) == 1:
        return numbers[0]
    return None


def cast_to(
    analysis: Analysis, value: Value, target: int, position: int, modified: bool = False
) -> Value:
    """``value`` cast to the type ``target``. ``modified``: with a type modifier, which may change
    it.
    """
    if target == VOID:
        return analysis.unknown(*NO_VOID, position)
    if value.type == target and not modified and not value.constant:
        return value if target not in MODIFIED else derived((value,), target)
    if target in (RECORD, RECORD_ARRAY, *POLYMORPHIC):
        pseudo = _to_pseudo(analysis, value, target)
        if pseudo is not None:
            return pseudo
    if _inherits(analysis, value.type, target):
        return derived((value,), target)
    source = value.type or (0 if value.sources else UNKNOWN_TYPE)
    resolved = conversion(analysis, source, target)
    if not resolved.exists:
        return missing_cast(analysis, source, target, position)
    judge(analysis, resolved, f"a cast to type {type_shown(analysis, target)}", position)
    if value.type == RECORD:
        note_implicit_cast(analysis, value, target, position, assignment=True)  # field by field
    if value.constant and not resolved.users:
        named = (
            value.parameter if target in _TEXTS and value.type in _AS_SENT and not modified else 0
        )
        literal = kept_literal(value, target, modified)
        return Value(type=target, constant=True, literal=literal, parameter=named)
    return result(resolved, (value,), target)


def _inherits(analysis: Analysis, source: int, target: int) -> bool:
    """Whether a row of the one type becomes one of the other by leaving fields out: that of a table
    which it inherits from (typeInheritsFrom in pg_inherits.c).
    """
    relations, row = analysis.catalog.relations, analysis.types.get(target)
    ancestor = row.relation if row is not None else 0  # of a domain it is none: it has checks
    seen, waiting = set[int](), [analysis.types.relation(source)] if source and ancestor else []
    while waiting:
        relation = relations.get(waiting.pop())
        new = set(relation.parents) - seen if relation is not None else set()
        if ancestor in new:
            return True
        seen |= new
        waiting += new
    return False


def conversion(analysis: Analysis, source: int, target: int) -> Resolved:
    """What converting a value (pg_type OIDs) calls: the functions that users made and the CHECK of
    a domain calls, too.
    """
    resolved = analysis.names.cast(source, target)
    domain = analysis.types.get(target)
    if not resolved.reason or domain is None or domain.kind != "d":
        return resolved
    checks = [f for oid in domain.check_functions if (f := analysis.catalog.functions.get(oid))]
    if len(checks) < len(domain.check_functions):
        return resolved
    under = conversion(analysis, source, domain.base)
    return under._replace(users=(*under.users, *checks))


def _to_pseudo(analysis: Analysis, value: Value, target: int) -> Value | None:
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
    return value if target == ANYARRAY and analysis.types.is_array(value.type) else None
