"""What calling a function, an operator or a cast means for the statement: safety, failure, result.

Shared by every handler that calls something. Each call is resolved (:mod:`sallyport.sql.resolve`), its answer noted, and its value
derived from its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

from sallyport.sql.analysis import Analysis
from sallyport.sql.conversions import converts, converts_operands, converts_to_common
from sallyport.sql.facts import Clause, Dependence
from sallyport.sql.functions import may_fail_with
from sallyport.sql.lineage import NONE, UNKNOWN_TYPE, Field, Sources, Value, derived, union
from sallyport.sql.missing import missing_cast, missing_operator, missing_type
from sallyport.sql.nodes import fields, strings
from sallyport.sql.parse import Node
from sallyport.sql.resolve import Resolved
from sallyport.sql.types import (
    BIT,
    BOOL,
    BPCHAR,
    JSON,
    MODIFIED,
    NAME,
    NUMERIC,
    RECORD,
    TEXT,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    TIMETZ,
    VARBIT,
    VARCHAR,
    VOID,
)
from sallyport.sql.void_parameters import NO_VOID

_TYPE_NAME = fields("names typemod typmods arrayBounds")
EQUALS = ("=",)
#: Explicit casts with a length truncate and never fail.
_TRUNCATED = frozenset({VARCHAR, BPCHAR, BIT, VARBIT})
#: A parameter cast to one of these is the text that the client sends.
_TEXTS = frozenset({TEXT, VARCHAR, NAME})
#: What to do instead, by what a function does (sallyport.sql.functions).
_HINTS = {
    "sleeps": "Wait in the client, between statements. To bound how long a statement may take, SET statement_timeout; "
    "to bound how long it may wait for locks, SET lock_timeout.",
    "runs SQL text or reads relations that are named at run time": "Send the SQL text as a statement of its own.",
    "sends data elsewhere": "Select the data and send it from the client.",
    "reads the server's files or tells where they are": "Use COPY ... FROM STDIN or TO STDOUT.",
}
_COUNTED = frozenset({BIT, VARBIT, TIME, TIMETZ, TIMESTAMP, TIMESTAMPTZ})


def judge(a: Analysis, found: Resolved, what: str, values: Sequence[Value], at: int) -> None:
    """Note what a resolved call means: unknown, unsafe, not PostgreSQL's own, or able to fail over a column."""
    if not found.found:
        a.missing("SP1109", f"{what} does not exist", position=at)
        return
    if found.reason:
        a.unknown(
            "SP1103",
            f"allow {what}: it {found.reason}",
            _HINTS.get(found.reason, "Use a plain expression over columns instead."),
            at,
        )
    for function in found.users:
        a.call(function, at)
    for number in found.converted:
        if number < len(values) and values[number].sources:
            a.risks += 1
            a.influence(values[number].sources, Clause.MAY_FAIL, False, at)
    if any(f.name in _MAKES_JSONB for f in found.candidates):
        unread = frozenset().union(*(unread_json(a, value) for value in values))
        if unread:
            a.risks += 1
            a.influence(unread, Clause.MAY_FAIL, False, at)
    if found.may_fail and _fails(found, values):
        a.risks += 1
        sources = union(values)
        if sources:
            a.influence(sources, Clause.MAY_FAIL, False, at)
    elif found.users or found.writes or found.reason or any([f.volatile == "v" for f in found.candidates]):
        a.risks += 1


#: Total but for json inside what they are given: its escapes are read only here, and not all of them are text.
_MAKES_JSONB = frozenset({"to_jsonb", "jsonb_agg", "jsonb_agg_strict", "jsonb_build_array"})


def unread_json(a: Analysis, value: Value, depth: int = 8) -> Sources:
    """The columns of type json in a value that is made into jsonb."""
    if not value.sources or depth < 0:
        return value.sources
    if value.row is not None:
        return frozenset().union(*(unread_json(a, field.value, depth - 1) for field in value.row))
    type_ = a.types.element(value.type) or a.types.base(value.type)
    relation = a.catalog.relations.get(a.types.relation(type_))
    if relation is not None:
        inside = [value._replace(type=column.type_oid) for column in relation.columns]
        return frozenset().union(*(unread_json(a, one, depth - 1) for one in inside))
    return value.sources if type_ in (0, JSON, RECORD) else NONE


def _fails(found: Resolved, values: Sequence[Value]) -> bool:
    """Whether the call can fail, given what constants it has."""
    if found.users or not found.candidates or not any(v.literal is not None for v in values):
        return True
    constants = [value.literal for value in values]
    return any(may_fail_with(function, constants) for function in found.candidates)


def result(found: Resolved, values: Sequence[Value], type_: int | None = None) -> Value:
    value = derived(values, found.result if type_ is None else type_)
    if found.users:
        return value._replace(dependence=Dependence.OPAQUE)
    return value


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
    found = a.names.operator(
        names, None if left is None else left.type, right.type if right_type is None else right_type
    )
    values = (right,) if left is None else (left, right)
    if not found.found:
        return missing_operator(
            a,
            names,
            None if left is None else left.type,
            right.type if right_type is None else right_type,
            at,
        )
    if left is not None and found.converted:
        found = _as_declared(a, found, names, left, right, right_type is not None)
    judge(a, found, f"operator {'.'.join(names)}", values, at)
    operands = values if right_type is None else (*values[:-1], right._replace(type=right_type))
    converts_operands(a, found.candidates, operands, at)
    value = result(found, values)
    if names == EQUALS and left is not None and not found.users:
        if left.bare and right.constant:
            return value._replace(equality=left.sources)
        if right.bare and left.constant:
            return value._replace(equality=right.sources)
    return value


#: Types that drivers declare parameters as.
_DECLARED = (
    BOOL, 17, 18, NAME, 20, 21, 23, TEXT, 26, 114, 142, 700, 701, BPCHAR, VARCHAR, 1082, TIME, TIMESTAMP, TIMESTAMPTZ, TIMETZ, 1186, NUMERIC, 2950, 3802,
)  # fmt: skip


def _as_declared(
    a: Analysis, found: Resolved, names: tuple[str, ...], left: Value, right: Value, elements: bool
) -> Resolved:
    """``column operator $n``: a parameter that is not declared has the column's type, and converts nothing; what it may be declared as is
    noted, for whoever sees the declaration. ``elements``: the parameter is an array.
    """
    value, parameter, flip = (
        (left, right, False) if right.parameter and not right.type else (right, left, True)
    )
    if not parameter.parameter or parameter.type or not value.sources or (flip and elements):
        return found
    if found.converted != frozenset((1,) if flip else (0,)):
        return found

    def with_type(type_: int) -> Resolved:
        return a.names.operator(names, *((type_, value.type) if flip else (value.type, type_)))

    same = with_type(value.type)
    if not same.found or same.converted:
        return found
    fitting = [t for t in (value.type, *_DECLARED) if (r := with_type(t)).found and not r.converted]
    types = frozenset(a.types.array(t) for t in fitting) if elements else frozenset(fitting)
    a.expect_type(parameter.parameter, types, value.sources)
    return found._replace(converted=frozenset())


def _compare_rows(
    a: Analysis, names: tuple[str, ...], left: tuple[Field, ...], right: tuple[Field, ...], at: int
) -> None:
    """Column by column, until one decides: what comes later is computed only then."""
    risky = []
    a.work.spend(2 * len(left))
    for one, other in zip(left, right, strict=True):
        before = a.risks
        operator(a, names, one.value, other.value, at)
        risky.append(a.risks > before or one.value.risky or other.value.risky)
    while risky and not risky[-1]:
        risky.pop()
    for number in range(len(risky) - 1):
        a.influence(left[number].value.sources | right[number].value.sources, Clause.GUARD, False, at)


def unite(a: Analysis, values: Sequence[Value], at: int = -1) -> int:
    """The common type of values that become one (CASE, COALESCE, ARRAY, UNION ...), or 0 when it cannot be told; their conversion to it
    may fail.
    """
    types = {value.type for value in values}
    converts_to_common(a, values, at)
    if len(types) > 1:
        for value in values:
            if value.sources and any(_converts(a, value, other) for other in values):
                a.risks += 1
                a.influence(value.sources, Clause.MAY_FAIL, False, at)
    return a.types.common([value.type for value in values])


def _converts(a: Analysis, value: Value, other: Value) -> bool:
    """Whether ``value``'s conversion to the type of ``other`` may fail."""
    if other.parameter and not other.type and value.type:
        fitting = [t for t in (value.type, *_DECLARED) if not a.names.conversion_fails(value.type, t)]
        if len(fitting) <= len(_DECLARED):
            a.expect_type(other.parameter, frozenset(fitting), value.sources)
        return False
    return a.names.conversion_fails(value.type, other.type)


def compared(a: Analysis, type_: int, values: Sequence[Value], at: int) -> None:
    """Values of one type are put in order: records cannot always be."""
    base = a.types.element(type_) or a.types.base(type_)
    if type_ and base != RECORD and not a.types.relation(base):
        return
    if len(values) == 1 and values[0].row is not None:
        for field in values[0].row:
            compared(a, field.value.type, (field.value,), at)
        return
    sources = union(values)
    if sources:
        a.risks += 1
        a.influence(sources, Clause.MAY_FAIL, False, at)


def type_oid(a: Analysis, node: Node) -> int:
    """The type that a TypeName names; 0, with an Unknown, when it is not known."""
    a.check("TypeName", node, _TYPE_NAME)
    names = strings(node.get("names", []))
    if len(names) == 3 and names[0] == a.catalog.database:
        names = names[1:]
    found = a.names.types.named(names)
    at = node.get("location", -1)
    if found is None:
        missing_type(a, names, at)
        return 0
    oid = found.oid
    if node.get("arrayBounds"):
        oid = a.types.array(oid)
        if not oid:
            a.missing("SP1110", f"could not find array type for data type {'.'.join(names)}", position=at)
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
    """The modifier that a type's own input function makes of ``(10,2)``; -1 for none, None where it is not known here."""
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
    source = value.type or (0 if value.sources else UNKNOWN_TYPE)
    found = a.names.cast(source, target)
    if not found.found:
        return missing_cast(a, source, target, at)
    before = a.risks
    judge(a, found, f"a cast to {type_name(a, target)}", (value,), at)
    if value.type == RECORD:
        converts(a, value, target, at, assignment=True)  # field by field
    if value.constant and not found.users:
        a.risks = before  # done once, before any row
    if modified and not value.constant and target not in _TRUNCATED:
        a.risks += 1
        a.influence(value.sources, Clause.MAY_FAIL, False, at)
    if value.constant and not found.users:
        named = value.parameter if target in _TEXTS and not modified else 0
        return Value(type=target, constant=True, literal=value.literal, parameter=named)
    return result(found, (value,), target)


def type_name(a: Analysis, oid: int) -> str:
    type_ = a.types.get(oid)
    return f"type {type_.name}" if type_ is not None else "a type"
