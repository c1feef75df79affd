"""Expressions, except column references and calls of functions: what each is computed from
(parse_expr.c).
"""

from __future__ import annotations

from msgspec.structs import replace

from sallyport.sql.analysis import EXPRESSIONS, Analysis
from sallyport.sql.catalog.snapshot import ColumnId
from sallyport.sql.expressions.calls import EQUALS, cast, operator, unite
from sallyport.sql.expressions.columns import star
from sallyport.sql.expressions.constant_uses import note_compared
from sallyport.sql.lineage import (
    CONSTANT,
    UNKNOWN_TYPE,
    Field,
    Value,
    denial,
    derived,
    is_raw,
    union,
)
from sallyport.sql.names.scope import Scope
from sallyport.sql.nodes import position, strings, tag_of
from sallyport.sql.text.parse import Node
from sallyport.sql.values.conversions import converts
from sallyport.sql.values.types import (
    BIT,
    BOOL,
    DATE,
    INT4,
    INT8,
    NAME,
    NUMERIC,
    RECORD,
    TEXT,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    TIMETZ,
)

on = EXPRESSIONS.on


@on("A_Const", "ival fval boolval sval bsval isnull")
def _constant(a: Analysis, node: Node, scope: Scope) -> Value:
    if "ival" in node:
        return Value(type=INT4, constant=True, literal=str(node["ival"].get("ival", 0)))
    if "sval" in node:
        return Value(type=UNKNOWN_TYPE, constant=True, literal=node["sval"].get("sval", ""))
    if "boolval" in node:
        return Value(
            type=BOOL, constant=True, literal="true" if node["boolval"].get("boolval") else "false"
        )
    if "fval" in node:
        text = node["fval"].get("fval", "")
        return Value(type=_number_type(text), constant=True, literal=text)
    if "bsval" in node:
        return Value(type=BIT, constant=True)
    return CONSTANT


_BASES = {"0x": 16, "0o": 8, "0b": 2}


def _number_type(text: str) -> int:
    """The type of a number that PostgreSQL's scanner did not take for an int4 (make_const in
    parse_node.c).

    A minus belongs to it, so -2147483648 is an int4. Integers may be written in other bases and
    with underscores.
    """
    digits = text.removeprefix("-").replace("_", "").lower()
    if not digits.isascii():
        return NUMERIC
    base = _BASES.get(digits[:2], 10)
    try:
        value = int(digits if base == 10 else digits[2:], base)
    except ValueError:
        return NUMERIC
    if text.startswith("-"):
        value = -value
    if -(2**31) <= value < 2**31:
        return INT4
    return INT8 if -(2**63) <= value < 2**63 else NUMERIC


@on("ParamRef", "number")
def _parameter(a: Analysis, node: Node, scope: Scope) -> Value:
    number = node.get("number", 0)
    if a.parameters is None:
        a.occurrences[number] = a.occurrences.get(number, 0) + 1
        return Value(constant=True, parameter=number)
    if not 0 < number <= len(a.parameters):
        return a.unknown("SP1102", f"there is no parameter ${number}", position=position(node))
    return a.read(a.parameters[number - 1])


@on("A_Expr", "kind name lexpr rexpr rexpr_list_start rexpr_list_end")
def _operation(a: Analysis, node: Node, scope: Scope) -> Value:
    kind = node.get("kind", "")
    handler = _KINDS.get(kind)
    if handler is None:
        return a.unknown(
            "SP1102",
            f"{kind or 'this kind of expression'} is not supported",
            position=position(node),
        )
    return handler(a, node, scope)


def _operator(a: Analysis, node: Node, scope: Scope) -> Value:
    if "A_Expr" not in node.get("lexpr", _NOTHING):
        left = a.expression(node["lexpr"], scope) if "lexpr" in node else None
        return _step(a, node, left, scope)
    # the left spine of a chain is walked in a loop, so that a || b || c ... costs no stack
    chain = [node]
    while True:
        tag, body = tag_of(chain[-1].get("lexpr", {}))
        if (
            tag != "A_Expr"
            or body.get("kind") != "AEXPR_OP"
            or not body.keys() <= EXPRESSIONS.table[tag][1]
        ):
            break
        chain.append(body)
    first = chain[-1].get("lexpr")
    value = a.expression(first, scope) if first is not None else None
    for step in reversed(chain):
        value = _step(a, step, value, scope)
    return value if value is not None else CONSTANT


def _step(a: Analysis, node: Node, left: Value | None, scope: Scope) -> Value:
    """An operator with its left operand, which was walked."""
    a.against_access_method = left is not None and left.origin == _ACCESS_METHOD_NAME
    right = a.expression(node["rexpr"], scope) if "rexpr" in node else CONSTANT
    a.against_access_method = False
    names = strings(node.get("name", []))
    if left is not None:
        note_compared(a, names, (node["lexpr"], node["rexpr"]), (left, right))
    return operator(a, names, left, right, node.get("location", 0))


_NOTHING: Node = {}


#: pg_am.amname. Whether a setting named by a parameter equals an access method's name tells nothing
#: else of the setting.
_ACCESS_METHOD_NAME = ColumnId(2601, 2)


def _any_all(a: Analysis, node: Node, scope: Scope) -> Value:
    left, right = a.expression(node["lexpr"], scope), a.expression(node["rexpr"], scope)
    element = right.type if right.type in (0, UNKNOWN_TYPE) else a.types.element(right.type)
    listed = "A_ArrayExpr" in node["rexpr"]
    note_compared(
        a, strings(node.get("name", [])), (node["lexpr"], node["rexpr"]), (left, right), listed
    )
    value = operator(a, strings(node.get("name", [])), left, right, position(node), element)
    return replace(value, type=BOOL)


def _in(a: Analysis, node: Node, scope: Scope) -> Value:
    left = a.expression(node["lexpr"], scope)
    tag, body = tag_of(node["rexpr"])
    if tag != "List" or not body.keys() <= {"items"}:
        return a.not_understood(tag, body)
    items = a.expressions(distinct_shapes(body.get("items", [])), scope)
    unite(a, [left, *items], position(node))
    name = strings(node.get("name", []))
    note_compared(a, name, (node["lexpr"], node["rexpr"]), (left, _listed(items)), listed=True)
    return derived([operator(a, name, left, item, position(node)) for item in items], BOOL)


def _listed(values: list[Value]) -> Value:
    """A list of operands as one."""
    return derived(values, constant=all(value.constant for value in values))


def literal_shape(node: Node) -> str:
    """What kind of literal this is, or "" for anything else. Literals of one kind differ in nothing
    that matters here.
    """
    constant = node.get("A_Const")
    if constant is None:
        return ""
    for key in constant:
        if key == "fval":
            return f"fval{_number_type(constant['fval'].get('fval', ''))}"
        return str(key)
    return ""


def distinct_shapes(nodes: list[Node]) -> list[Node]:
    """A long list without literals that repeat the shape of an earlier one."""
    kept, seen = [], set()
    for node in nodes:
        shape = literal_shape(node)
        if not shape or shape not in seen:
            seen.add(shape)
            kept.append(node)
    return kept


def distinct_rows(rows: list[Node]) -> list[Node]:
    """The rows of VALUES without rows of literals that repeat the shapes of an earlier one."""
    kept, seen = [], set()
    for row in rows:
        shapes = tuple([literal_shape(item) for item in row["List"].get("items", [])])
        if not all(shapes) or shapes not in seen:
            seen.add(shapes)
            kept.append(row)
    return kept


def _between(a: Analysis, node: Node, scope: Scope) -> Value:
    left = a.expression(node["lexpr"], scope)
    bounds = a.expressions(node["rexpr"]["List"].get("items", []), scope)
    names = (("<", ">") if "NOT" in node["kind"] else (">=", "<=")) if len(bounds) == 2 else ()
    if not names:
        return a.unknown("SP1102", "this form of BETWEEN is not supported", position=position(node))
    note_compared(a, names, (node["lexpr"], node["rexpr"]), (left, _listed(bounds)))
    symmetric = "SYM" in node["kind"]
    for name, bound in zip(names, bounds, strict=True):
        operator(a, (name,), left, bound, position(node))
    if symmetric:
        for name, bound in zip(names, reversed(bounds), strict=True):
            operator(a, (name,), left, bound, position(node))
    return derived((left, *bounds), BOOL)


def _distinct(a: Analysis, node: Node, scope: Scope) -> Value:
    left, right = a.expression(node["lexpr"], scope), a.expression(node["rexpr"], scope)
    names = strings(node.get("name", []))
    note_compared(a, names, (node["lexpr"], node["rexpr"]), (left, right))
    return replace(operator(a, names, left, right, position(node)), type=BOOL)


def _nullif(a: Analysis, node: Node, scope: Scope) -> Value:
    left, right = a.expression(node["lexpr"], scope), a.expression(node["rexpr"], scope)
    name = strings(node.get("name", []))
    operator(a, name, left, right, position(node))
    return derived((left, right), _as_operand(a, name, left.type, right.type))


def _as_operand(a: Analysis, name: tuple[str, ...], left: int, right: int) -> int:
    """The type of a left operand once it was converted for the operator, which is that of NULLIF; 0
    where it cannot be told.
    """
    operand_types = {
        f.arg_types[0] for f in a.names.operator(name, left, right).candidates if f.arg_types
    }
    if len(operand_types) != 1:
        return 0
    type_ = operand_types.pop()
    converted = a.types.get(type_)
    if converted is not None and converted.kind != "p":
        return type_
    return a.types.base(left) if left != UNKNOWN_TYPE and right in (left, UNKNOWN_TYPE) else 0


_KINDS = {
    "AEXPR_OP": _operator,
    "AEXPR_OP_ANY": _any_all,
    "AEXPR_OP_ALL": _any_all,
    "AEXPR_DISTINCT": _distinct,
    "AEXPR_NOT_DISTINCT": _distinct,
    "AEXPR_NULLIF": _nullif,
    "AEXPR_IN": _in,
    "AEXPR_LIKE": _operator,
    "AEXPR_ILIKE": _operator,
    "AEXPR_SIMILAR": _operator,
    "AEXPR_BETWEEN": _between,
    "AEXPR_NOT_BETWEEN": _between,
    "AEXPR_BETWEEN_SYM": _between,
    "AEXPR_NOT_BETWEEN_SYM": _between,
}


@on("BoolExpr", "boolop args")
def _boolean(a: Analysis, node: Node, scope: Scope) -> Value:
    values = a.expressions(node.get("args", []), scope)
    for value in values:
        converts(a, value, BOOL, position(node), assignment=True)
    return derived(values, BOOL)


@on("NullTest", "arg nulltesttype argisrow")
def _null_test(a: Analysis, node: Node, scope: Scope) -> Value:
    return derived((a.expression(node["arg"], scope),), BOOL)


@on("BooleanTest", "arg booltesttype")
def _boolean_test(a: Analysis, node: Node, scope: Scope) -> Value:
    value = a.expression(node["arg"], scope)
    converts(a, value, BOOL, position(node), assignment=True)
    return derived((value,), BOOL)


@on("TypeCast", "arg typeName")
def _cast(a: Analysis, node: Node, scope: Scope) -> Value:
    return cast(a, a.expression(node["arg"], scope), node["typeName"], position(node))


@on("CollateClause", "arg collname")
def _collate(a: Analysis, node: Node, scope: Scope) -> Value:
    value = a.expression(node["arg"], scope) if "arg" in node else CONSTANT
    if value.constant and strings(node.get("collname", []))[-1:] in _DETERMINISTIC:
        return value
    return derived((value,), value.type)


_DETERMINISTIC = (("C",), ("POSIX",), ("default",), ("ucs_basic",))


@on("CaseExpr", "arg args defresult")
def _case(a: Analysis, node: Node, scope: Scope) -> Value:
    subject = a.expression(node["arg"], scope) if "arg" in node else None
    used: list[Value] = [] if subject is None else [subject]
    results: list[Value] = []
    for item in node.get("args", []):
        when = item["CaseWhen"]
        a.check("CaseWhen", when, _CASE_WHEN)
        condition = a.expression(when["expr"], scope)
        used.append(condition)
        if subject is not None:
            condition = operator(a, EQUALS, subject, condition, position(when))
        converts(a, condition, BOOL, position(when), assignment=True)
        results.append(a.expression(when["result"], scope))
    if "defresult" in node:  # its type comes first (transformCaseExpr in parse_expr.c)
        results.insert(0, a.expression(node["defresult"], scope))
    type_ = unite(a, results, position(node))
    return derived((*used, *results), type_)


_CASE_WHEN = frozenset({"expr", "result", "location"})


@on("CoalesceExpr", "args")
def _coalesce(a: Analysis, node: Node, scope: Scope) -> Value:
    values = a.expressions(node.get("args", []), scope)
    return derived(values, unite(a, values, position(node)))


@on("MinMaxExpr", "op args")
def _min_max(a: Analysis, node: Node, scope: Scope) -> Value:
    values = a.expressions(node.get("args", []), scope)
    return derived(values, unite(a, values, position(node)))


@on("RowExpr", "args row_format")
def _row(a: Analysis, node: Node, scope: Scope) -> Value:
    values = [field.value for item in node.get("args", []) for field in spread(a, item, scope)]
    row = tuple(
        Field(f"f{number}", replace(value, origin=None)) for number, value in enumerate(values, 1)
    )
    denied = denial(values)
    constant = bool(values) and all(v.constant for v in values)
    return Value(
        union(values), type=RECORD, row=row, constant=constant, denied=denied, raw=is_raw(values)
    )


def spread(a: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    """An element of a list that may hold ``t.*``."""
    from_star = star(a, node, scope)
    return from_star if from_star is not None else (Field("", a.expression(node, scope)),)


@on("A_ArrayExpr", "elements list_start list_end")
def _array(a: Analysis, node: Node, scope: Scope) -> Value:
    values = a.expressions(node.get("elements", []), scope)
    element = unite(a, values, position(node)) if values else 0
    type_ = 0
    if element:
        type_ = element if a.types.is_array(element) else a.types.array(element)
    return derived(values, type_, constant=all(v.constant for v in values))


_SQL_VALUES = {
    "SVFOP_CURRENT_DATE": DATE,
    "SVFOP_CURRENT_TIME": TIMETZ,
    "SVFOP_CURRENT_TIME_N": TIMETZ,
    "SVFOP_CURRENT_TIMESTAMP": TIMESTAMPTZ,
    "SVFOP_CURRENT_TIMESTAMP_N": TIMESTAMPTZ,
    "SVFOP_LOCALTIME": TIME,
    "SVFOP_LOCALTIME_N": TIME,
    "SVFOP_LOCALTIMESTAMP": TIMESTAMP,
    "SVFOP_LOCALTIMESTAMP_N": TIMESTAMP,
    "SVFOP_CURRENT_ROLE": NAME,
    "SVFOP_CURRENT_USER": NAME,
    "SVFOP_USER": NAME,
    "SVFOP_SESSION_USER": NAME,
    "SVFOP_CURRENT_CATALOG": NAME,
    "SVFOP_CURRENT_SCHEMA": NAME,
}


@on("SQLValueFunction", "op typmod")
def _sql_value(a: Analysis, node: Node, scope: Scope) -> Value:
    op = node.get("op", "")
    if op not in _SQL_VALUES:
        return a.unknown("SP1102", f"{op} is not supported", position=position(node))
    return Value(type=_SQL_VALUES[op])


@on("GroupingFunc", "args")
def _grouping(a: Analysis, node: Node, scope: Scope) -> Value:
    a.expressions(node.get("args", []), scope)
    return Value(type=INT4)


@on("SetToDefault", "")
def _default(a: Analysis, node: Node, scope: Scope) -> Value:
    return CONSTANT


@on("CurrentOfExpr", "cursor_name cvarno")
def _current_of(a: Analysis, node: Node, scope: Scope) -> Value:
    return Value(type=BOOL)


@on("MergeSupportFunc", "msftype")
def _merge_action(a: Analysis, node: Node, scope: Scope) -> Value:
    return Value(type=TEXT)


@on("SubLink", "subLinkType testexpr operName subselect")
def _sublink(a: Analysis, node: Node, scope: Scope) -> Value:
    kind, at = node.get("subLinkType", ""), position(node)
    columns = a.query(node["subselect"], Scope(scope)) or ()
    a.names_of[id(node)] = columns[0].name if columns else ""
    values = [column.value for column in columns]
    if kind == "EXISTS_SUBLINK":
        return Value(type=BOOL)
    if kind == "EXPR_SUBLINK" and len(values) == 1:
        return derived(values, values[0].type)
    if kind in ("EXPR_SUBLINK", "MULTIEXPR_SUBLINK") and values:
        return Value(union(values), type=RECORD, row=tuple(columns), raw=is_raw(values))
    if kind == "ARRAY_SUBLINK" and values:
        type_ = values[0].type
        return derived(values, a.types.array(type_) if type_ and not a.types.element(type_) else 0)
    if kind in ("ANY_SUBLINK", "ALL_SUBLINK"):
        left = a.expression(node["testexpr"], scope)
        names = strings(node["operName"]) if "operName" in node else EQUALS
        is_row = left.row is not None and "RowExpr" in node["testexpr"]
        lefts = [f.value for f in left.row or ()] if is_row else [left]
        if len(lefts) != len(values):
            return a.unknown(
                "SP1102", "this comparison with a subquery is not supported", position=at
            )
        for left_value, right_value in zip(lefts, values, strict=True):
            operator(a, names, left_value, replace(right_value, constant=False), at)
        return derived((left, *values), BOOL)
    return a.unknown("SP1102", f"{kind} is not supported here", position=at)


def order(a: Analysis, node: Node, value: Value, at: int) -> None:
    """Sorting by a value. ``node``: the SortBy."""
    if node.get("sortby_dir") == "SORTBY_USING":
        operator(a, strings(node.get("useOp", [])), value, value, at)
