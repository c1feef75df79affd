"""Expressions, except column references and calls of functions: what each is computed from
(parse_expr.c).
"""

from __future__ import annotations

from msgspec.structs import replace

from sallyport.sql.analysis import EXPRESSIONS, Analysis
from sallyport.sql.catalog.snapshot import ColumnId
from sallyport.sql.expressions.calls import EQUALS, cast, common_type, operator
from sallyport.sql.expressions.columns import star
from sallyport.sql.expressions.constant_uses import note_compared
from sallyport.sql.facts import Effect, EffectKind
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
from sallyport.sql.nodes import position_of, strings, tag_of
from sallyport.sql.text.parse import Node
from sallyport.sql.values.conversions import note_implicit_cast
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
def _constant(analysis: Analysis, node: Node, scope: Scope) -> Value:
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
def _parameter(analysis: Analysis, node: Node, scope: Scope) -> Value:
    number = node.get("number", 0)
    if analysis.parameters is None:
        analysis.occurrences[number] = analysis.occurrences.get(number, 0) + 1
        return Value(constant=True, parameter=number)
    if not 0 < number <= len(analysis.parameters):
        return analysis.unknown(
            "SP1102", f"there is no parameter ${number}", position=position_of(node)
        )
    return analysis.read(analysis.parameters[number - 1])


@on("A_Expr", "kind name lexpr rexpr rexpr_list_start rexpr_list_end")
def _operation(analysis: Analysis, node: Node, scope: Scope) -> Value:
    kind = node.get("kind", "")
    handler = _KINDS.get(kind)
    if handler is None:
        return analysis.unknown(
            "SP1102",
            f"{kind or 'this kind of expression'} is not supported",
            position=position_of(node),
        )
    return handler(analysis, node, scope)


def _operator(analysis: Analysis, node: Node, scope: Scope) -> Value:
    if "A_Expr" not in node.get("lexpr", _NOTHING):
        left = analysis.expression(node["lexpr"], scope) if "lexpr" in node else None
        return _step(analysis, node, left, scope)
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
    value = analysis.expression(first, scope) if first is not None else None
    for step in reversed(chain):
        value = _step(analysis, step, value, scope)
    return value if value is not None else CONSTANT


def _step(analysis: Analysis, node: Node, left: Value | None, scope: Scope) -> Value:
    """An operator with its left operand, which was walked."""
    analysis.against_access_method = left is not None and left.origin == _ACCESS_METHOD_NAME
    right = analysis.expression(node["rexpr"], scope) if "rexpr" in node else CONSTANT
    analysis.against_access_method = False
    names = strings(node.get("name", []))
    if left is not None:
        note_compared(analysis, names, (node["lexpr"], node["rexpr"]), (left, right))
    return operator(analysis, names, left, right, node.get("location", 0))


_NOTHING: Node = {}


#: pg_am.amname. Whether a setting named by a parameter equals an access method's name tells nothing
#: else of the setting.
_ACCESS_METHOD_NAME = ColumnId(2601, 2)


def _any_all(analysis: Analysis, node: Node, scope: Scope) -> Value:
    left, right = (
        analysis.expression(node["lexpr"], scope),
        analysis.expression(node["rexpr"], scope),
    )
    element = right.type if right.type in (0, UNKNOWN_TYPE) else analysis.types.element(right.type)
    listed = "A_ArrayExpr" in node["rexpr"]
    note_compared(
        analysis,
        strings(node.get("name", [])),
        (node["lexpr"], node["rexpr"]),
        (left, right),
        listed,
    )
    value = operator(
        analysis, strings(node.get("name", [])), left, right, position_of(node), element
    )
    return replace(value, type=BOOL)


def _in(analysis: Analysis, node: Node, scope: Scope) -> Value:
    left = analysis.expression(node["lexpr"], scope)
    tag, body = tag_of(node["rexpr"])
    if tag != "List" or not body.keys() <= {"items"}:
        return analysis.not_understood(tag, body)
    items = analysis.expressions(distinct_shapes(body.get("items", [])), scope)
    common_type(analysis, [left, *items], position_of(node))
    name = strings(node.get("name", []))
    note_compared(
        analysis, name, (node["lexpr"], node["rexpr"]), (left, _listed(items)), listed=True
    )
    return derived(
        [operator(analysis, name, left, item, position_of(node)) for item in items], BOOL
    )


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


def _between(analysis: Analysis, node: Node, scope: Scope) -> Value:
    left = analysis.expression(node["lexpr"], scope)
    bounds = analysis.expressions(node["rexpr"]["List"].get("items", []), scope)
    names = (("<", ">") if "NOT" in node["kind"] else (">=", "<=")) if len(bounds) == 2 else ()
    if not names:
        return analysis.unknown(
            "SP1102", "this form of BETWEEN is not supported", position=position_of(node)
        )
    note_compared(analysis, names, (node["lexpr"], node["rexpr"]), (left, _listed(bounds)))
    symmetric = "SYM" in node["kind"]
    for name, bound in zip(names, bounds, strict=True):
        operator(analysis, (name,), left, bound, position_of(node))
    if symmetric:
        for name, bound in zip(names, reversed(bounds), strict=True):
            operator(analysis, (name,), left, bound, position_of(node))
    return derived((left, *bounds), BOOL)


def _distinct(analysis: Analysis, node: Node, scope: Scope) -> Value:
    left, right = (
        analysis.expression(node["lexpr"], scope),
        analysis.expression(node["rexpr"], scope),
    )
    names = strings(node.get("name", []))
    note_compared(analysis, names, (node["lexpr"], node["rexpr"]), (left, right))
    return replace(operator(analysis, names, left, right, position_of(node)), type=BOOL)


def _nullif(analysis: Analysis, node: Node, scope: Scope) -> Value:
    left, right = (
        analysis.expression(node["lexpr"], scope),
        analysis.expression(node["rexpr"], scope),
    )
    name = strings(node.get("name", []))
    operator(analysis, name, left, right, position_of(node))
    return derived((left, right), _as_operand(analysis, name, left.type, right.type))


def _as_operand(analysis: Analysis, name: tuple[str, ...], left: int, right: int) -> int:
    """The type of a left operand once it was converted for the operator, which is that of NULLIF; 0
    where it cannot be told.
    """
    operand_types = {
        f.arg_types[0] for f in analysis.names.operator(name, left, right).candidates if f.arg_types
    }
    if len(operand_types) != 1:
        return 0
    type_ = operand_types.pop()
    converted = analysis.types.get(type_)
    if converted is not None and converted.kind != "p":
        return type_
    return (
        analysis.types.base(left) if left != UNKNOWN_TYPE and right in (left, UNKNOWN_TYPE) else 0
    )


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
def _boolean(analysis: Analysis, node: Node, scope: Scope) -> Value:
    values = analysis.expressions(node.get("args", []), scope)
    for value in values:
        note_implicit_cast(analysis, value, BOOL, position_of(node), assignment=True)
    return derived(values, BOOL)


@on("NullTest", "arg nulltesttype argisrow")
def _null_test(analysis: Analysis, node: Node, scope: Scope) -> Value:
    return derived((analysis.expression(node["arg"], scope),), BOOL)


@on("BooleanTest", "arg booltesttype")
def _boolean_test(analysis: Analysis, node: Node, scope: Scope) -> Value:
    value = analysis.expression(node["arg"], scope)
    note_implicit_cast(analysis, value, BOOL, position_of(node), assignment=True)
    return derived((value,), BOOL)


@on("TypeCast", "arg typeName")
def _cast(analysis: Analysis, node: Node, scope: Scope) -> Value:
    return cast(
        analysis, analysis.expression(node["arg"], scope), node["typeName"], position_of(node)
    )


@on("CollateClause", "arg collname")
def _collate(analysis: Analysis, node: Node, scope: Scope) -> Value:
    value = analysis.expression(node["arg"], scope) if "arg" in node else CONSTANT
    if value.constant and strings(node.get("collname", []))[-1:] in _DETERMINISTIC:
        return value
    return derived((value,), value.type)


_DETERMINISTIC = (("C",), ("POSIX",), ("default",), ("ucs_basic",))


@on("CaseExpr", "arg args defresult")
def _case(analysis: Analysis, node: Node, scope: Scope) -> Value:
    subject = analysis.expression(node["arg"], scope) if "arg" in node else None
    used: list[Value] = [] if subject is None else [subject]
    results: list[Value] = []
    for item in node.get("args", []):
        when = item["CaseWhen"]
        analysis.check("CaseWhen", when, _CASE_WHEN)
        condition = analysis.expression(when["expr"], scope)
        used.append(condition)
        if subject is not None:
            condition = operator(analysis, EQUALS, subject, condition, position_of(when))
        note_implicit_cast(analysis, condition, BOOL, position_of(when), assignment=True)
        results.append(analysis.expression(when["result"], scope))
    if "defresult" in node:  # its type comes first (transformCaseExpr in parse_expr.c)
        results.insert(0, analysis.expression(node["defresult"], scope))
    type_ = common_type(analysis, results, position_of(node))
    return derived((*used, *results), type_)


_CASE_WHEN = frozenset({"expr", "result", "location"})


@on("CoalesceExpr", "args")
def _coalesce(analysis: Analysis, node: Node, scope: Scope) -> Value:
    values = analysis.expressions(node.get("args", []), scope)
    return derived(values, common_type(analysis, values, position_of(node)))


@on("MinMaxExpr", "op args")
def _min_max(analysis: Analysis, node: Node, scope: Scope) -> Value:
    values = analysis.expressions(node.get("args", []), scope)
    return derived(values, common_type(analysis, values, position_of(node)))


@on("RowExpr", "args row_format")
def _row(analysis: Analysis, node: Node, scope: Scope) -> Value:
    values = [
        field.value for item in node.get("args", []) for field in spread(analysis, item, scope)
    ]
    row = tuple(
        Field(f"f{number}", replace(value, origin=None)) for number, value in enumerate(values, 1)
    )
    denied = denial(values)
    constant = bool(values) and all(v.constant for v in values)
    return Value(
        union(values), type=RECORD, row=row, constant=constant, denied=denied, raw=is_raw(values)
    )


def spread(analysis: Analysis, node: Node, scope: Scope) -> tuple[Field, ...]:
    """An element of a list that may hold ``t.*``."""
    from_star = star(analysis, node, scope)
    return from_star if from_star is not None else (Field("", analysis.expression(node, scope)),)


@on("A_ArrayExpr", "elements list_start list_end")
def _array(analysis: Analysis, node: Node, scope: Scope) -> Value:
    values = analysis.expressions(node.get("elements", []), scope)
    element = common_type(analysis, values, position_of(node)) if values else 0
    type_ = 0
    if element:
        type_ = element if analysis.types.is_array(element) else analysis.types.array(element)
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
def _sql_value(analysis: Analysis, node: Node, scope: Scope) -> Value:
    op = node.get("op", "")
    if op not in _SQL_VALUES:
        return analysis.unknown("SP1102", f"{op} is not supported", position=position_of(node))
    return Value(type=_SQL_VALUES[op])


@on("GroupingFunc", "args")
def _grouping(analysis: Analysis, node: Node, scope: Scope) -> Value:
    analysis.expressions(node.get("args", []), scope)
    return Value(type=INT4)


@on("SetToDefault", "")
def _default(analysis: Analysis, node: Node, scope: Scope) -> Value:
    return CONSTANT


@on("CurrentOfExpr", "cursor_name cvarno")
def _current_of(analysis: Analysis, node: Node, scope: Scope) -> Value:
    analysis.effects.append(Effect(EffectKind.CURRENT_OF, node.get("cursor_name", "")))
    return Value(type=BOOL)


@on("MergeSupportFunc", "msftype", since=17)
def _merge_action(analysis: Analysis, node: Node, scope: Scope) -> Value:
    return Value(type=TEXT)


@on("SubLink", "subLinkType testexpr operName subselect")
def _sublink(analysis: Analysis, node: Node, scope: Scope) -> Value:
    kind, position = node.get("subLinkType", ""), position_of(node)
    columns = analysis.query(node["subselect"], Scope(scope)) or ()
    analysis.names_of[id(node)] = columns[0].name if columns else ""
    values = [column.value for column in columns]
    if kind == "EXISTS_SUBLINK":
        return Value(type=BOOL)
    if kind == "EXPR_SUBLINK" and len(values) == 1:
        return derived(values, values[0].type)
    if kind in ("EXPR_SUBLINK", "MULTIEXPR_SUBLINK") and values:
        return Value(union(values), type=RECORD, row=tuple(columns), raw=is_raw(values))
    if kind == "ARRAY_SUBLINK" and values:
        type_ = values[0].type
        return derived(
            values,
            analysis.types.array(type_) if type_ and not analysis.types.element(type_) else 0,
        )
    if kind in ("ANY_SUBLINK", "ALL_SUBLINK"):
        left = analysis.expression(node["testexpr"], scope)
        names = strings(node["operName"]) if "operName" in node else EQUALS
        is_row = left.row is not None and "RowExpr" in node["testexpr"]
        lefts = [f.value for f in left.row or ()] if is_row else [left]
        if len(lefts) != len(values):
            return analysis.unknown(
                "SP1102", "this comparison with a subquery is not supported", position=position
            )
        for left_value, right_value in zip(lefts, values, strict=True):
            operator(analysis, names, left_value, replace(right_value, constant=False), position)
        return derived((left, *values), BOOL)
    return analysis.unknown("SP1102", f"{kind} is not supported here", position=position)


def order(analysis: Analysis, node: Node, value: Value, position: int) -> None:
    """Sorting by a value. ``node``: the SortBy."""
    if node.get("sortby_dir") == "SORTBY_USING":
        operator(analysis, strings(node.get("useOp", [])), value, value, position)
