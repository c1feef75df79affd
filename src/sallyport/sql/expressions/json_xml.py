"""SQL/JSON and XML expressions, JSON_TABLE and XMLTABLE.

Each value is computed from everything it is given.
"""

from __future__ import annotations

from msgspec.structs import replace

from sallyport.sql.analysis import EXPRESSIONS, FROM_ITEMS, Analysis
from sallyport.sql.expressions.calls import type_oid
from sallyport.sql.expressions.expression import order
from sallyport.sql.expressions.function_calls import window
from sallyport.sql.lineage import Field, Value, derived
from sallyport.sql.names.scope import Item, Scope
from sallyport.sql.nodes import fields, position_of
from sallyport.sql.queries.from_items import aliased, make_item, outside
from sallyport.sql.text.parse import Node
from sallyport.sql.values.conversions import note_condition_cast, note_json_casts
from sallyport.sql.values.types import (
    BOOL,
    INT4,
    JSON,
    JSONB,
    TEXT,
    XML,
)

on = EXPRESSIONS.on

_VALUE = fields("raw_expr formatted_expr format")
_FORMAT = fields("format_type encoding")
_OUTPUT = fields("typeName returning")
_RETURNING = fields("format")
_KEY_VALUE = fields("key value")
_ARGUMENT = fields("val name")
_BEHAVIOR = fields("btype expr coerce")
_AGGREGATE = fields("output agg_filter agg_order over")
_SORT_BY = fields("node sortby_dir sortby_nulls useOp")
_TABLE_COLUMN = fields(
    "coltype name typeName pathspec format wrapper quotes columns on_empty on_error"
)
_PATH = fields("string name name_location")
_XML_COLUMN = fields("colname typeName for_ordinality is_not_null colexpr coldefexpr")
_NAMED = fields("name val")


def _value(analysis: Analysis, node: Node, scope: Scope) -> Value:
    """A JsonValueExpr: an expression, maybe FORMAT JSON."""
    analysis.check("JsonValueExpr", node, _VALUE)
    value = analysis.expression(node["raw_expr"], scope)
    note_json_casts(analysis, (value,), position_of(node))
    analysis.check("JsonFormat", node.get("format", {}), _FORMAT)
    return value


@on("JsonValueExpr", "raw_expr formatted_expr format")
def _value_expression(analysis: Analysis, node: Node, scope: Scope) -> Value:
    return _value(analysis, node, scope)


def _output_type(analysis: Analysis, node: Node | None, default: int) -> int:
    """RETURNING type."""
    if node is None:
        return default
    analysis.check("JsonOutput", node, _OUTPUT)
    returning = node.get("returning", {})
    analysis.check("JsonReturning", returning, _RETURNING)
    analysis.check("JsonFormat", returning.get("format", {}), _FORMAT)
    type_ = type_oid(analysis, node["typeName"]) if "typeName" in node else default
    if type_ not in (TEXT, JSON, JSONB):
        _check_type(analysis, type_)
    return type_


def _built_type(analysis: Analysis, node: Node | None, values: list[Value]) -> int:
    """Likewise of what is built; without RETURNING it is jsonb where a value is
    (transformJsonConstructorOutput).
    """
    if node is not None:
        return _output_type(analysis, node, JSON)
    types = {value.type for value in values}
    if JSONB in types:
        return JSONB
    return 0 if 0 in types else JSON


def _check_type(analysis: Analysis, type_: int) -> None:
    if type_ and analysis.names.cast(TEXT, type_).reason:
        analysis.unknown("SP1103", "the RETURNING type has a user-defined input function")


def _pairs(analysis: Analysis, nodes: list[Node], scope: Scope) -> list[Value]:
    values = []
    for item in nodes:
        body = item["JsonKeyValue"]
        analysis.check("JsonKeyValue", body, _KEY_VALUE)
        values += [analysis.expression(body["key"], scope), _value(analysis, body["value"], scope)]
    return values


@on("JsonObjectConstructor", "exprs output absent_on_null unique", since=16)
def _object(analysis: Analysis, node: Node, scope: Scope) -> Value:
    values = _pairs(analysis, node.get("exprs", []), scope)
    return derived(values, _built_type(analysis, node.get("output"), values))


@on("JsonArrayConstructor", "exprs output absent_on_null", since=16)
def _array(analysis: Analysis, node: Node, scope: Scope) -> Value:
    values = [_value(analysis, item["JsonValueExpr"], scope) for item in node.get("exprs", [])]
    return derived(values, _built_type(analysis, node.get("output"), values))


@on("JsonArrayQueryConstructor", "query output format absent_on_null", since=16)
def _array_query(analysis: Analysis, node: Node, scope: Scope) -> Value:
    values = [field.value for field in analysis.query(node["query"], Scope(scope)) or ()]
    note_json_casts(analysis, values, position_of(node))
    return derived(values, _built_type(analysis, node.get("output"), values))


@on("JsonArrayAgg", "constructor arg absent_on_null", since=16)
def _array_aggregate(analysis: Analysis, node: Node, scope: Scope) -> Value:
    return _aggregate(analysis, node["constructor"], [_value(analysis, node["arg"], scope)], scope)


@on("JsonObjectAgg", "constructor arg absent_on_null unique", since=16)
def _object_aggregate(analysis: Analysis, node: Node, scope: Scope) -> Value:
    return _aggregate(
        analysis,
        node["constructor"],
        _pairs(analysis, [{"JsonKeyValue": node["arg"]}], scope),
        scope,
    )


def _aggregate(analysis: Analysis, node: Node, values: list[Value], scope: Scope) -> Value:
    analysis.check("JsonAggConstructor", node, _AGGREGATE)
    position = position_of(node)
    for item in node.get("agg_order", []):
        body = item["SortBy"]
        analysis.check("SortBy", body, _SORT_BY)
        order(analysis, body, analysis.expression(body["node"], scope), position)
    if "agg_filter" in node:
        note_condition_cast(analysis, analysis.expression(node["agg_filter"], scope), position)
    if "over" in node:
        window(analysis, node["over"], scope)
    return derived(values, _built_type(analysis, node.get("output"), values))


@on("JsonIsPredicate", "expr format item_type unique_keys", since=16)
def _is_json(analysis: Analysis, node: Node, scope: Scope) -> Value:
    return derived((analysis.expression(node["expr"], scope),), BOOL)


@on("JsonScalarExpr", "expr output", since=17)
def _scalar(analysis: Analysis, node: Node, scope: Scope) -> Value:
    value = analysis.expression(node["expr"], scope)
    note_json_casts(analysis, (value,), position_of(node))
    return derived((value,), _output_type(analysis, node.get("output"), JSON))


@on("JsonParseExpr", "expr output unique_keys", since=17)
def _parse(analysis: Analysis, node: Node, scope: Scope) -> Value:
    value = _value(analysis, node["expr"], scope)
    return derived((value,), _output_type(analysis, node.get("output"), JSON))


@on("JsonSerializeExpr", "expr output", since=17)
def _serialize(analysis: Analysis, node: Node, scope: Scope) -> Value:
    value = _value(analysis, node["expr"], scope)
    return derived((value,), _output_type(analysis, node.get("output"), TEXT))


def _behavior(analysis: Analysis, node: Node | None, scope: Scope) -> list[Value]:
    if node is None:
        return []
    body = node.get("JsonBehavior", node)
    analysis.check("JsonBehavior", body, _BEHAVIOR)
    return [analysis.expression(body["expr"], scope)] if "expr" in body else []


def _passing(analysis: Analysis, nodes: list[Node], scope: Scope) -> list[Value]:
    values = []
    for item in nodes:
        body = item["JsonArgument"]
        analysis.check("JsonArgument", body, _ARGUMENT)
        values.append(_value(analysis, body["val"], scope))
    return values


_FUNCTIONS = {"JSON_EXISTS_OP": BOOL, "JSON_QUERY_OP": JSONB, "JSON_VALUE_OP": TEXT}


@on(
    "JsonFuncExpr",
    "op column_name context_item pathspec passing output on_empty on_error wrapper quotes",
    since=17,
)
def _function(analysis: Analysis, node: Node, scope: Scope) -> Value:
    position, op = position_of(node), node.get("op", "")
    if op not in _FUNCTIONS:
        return analysis.unknown("SP1102", f"{op} is not supported", position=position)
    values = [
        _value(analysis, node["context_item"], scope),
        analysis.expression(node["pathspec"], scope),
    ]
    values += _passing(analysis, node.get("passing", []), scope)
    values += [
        v for key in ("on_empty", "on_error") for v in _behavior(analysis, node.get(key), scope)
    ]
    return derived(values, _output_type(analysis, node.get("output"), _FUNCTIONS[op]))


@FROM_ITEMS.on(
    "JsonTable", "context_item pathspec passing columns on_error alias lateral", since=17
)
def _json_table(analysis: Analysis, node: Node, scope: Scope, left: list[Item]) -> list[Item]:
    inner = outside(scope, left)
    values = [
        _value(analysis, node["context_item"], inner),
        _path(analysis, node["pathspec"], inner),
    ]
    values += _passing(analysis, node.get("passing", []), inner)
    values += _behavior(analysis, node.get("on_error"), inner)
    columns = _json_columns(analysis, node.get("columns", []), inner, derived(values))
    return [aliased(analysis, make_item("json_table", tuple(columns)), node.get("alias"))]


def _path(analysis: Analysis, node: Node, scope: Scope) -> Value:
    analysis.check("JsonTablePathSpec", node, _PATH)
    return analysis.expression(node["string"], scope) if "string" in node else Value()


def _json_columns(
    analysis: Analysis, nodes: list[Node], scope: Scope, document: Value
) -> list[Field]:
    columns = []
    for item in nodes:
        body = item["JsonTableColumn"]
        analysis.check("JsonTableColumn", body, _TABLE_COLUMN)
        values = [document]
        if "pathspec" in body:
            values.append(_path(analysis, body["pathspec"], scope))
        values += [
            v for key in ("on_empty", "on_error") for v in _behavior(analysis, body.get(key), scope)
        ]
        if body.get("coltype") == "JTC_NESTED":
            columns += _json_columns(analysis, body.get("columns", []), scope, derived(values))
            continue
        type_ = type_oid(analysis, body["typeName"]) if "typeName" in body else INT4
        _check_type(analysis, type_)
        columns.append(Field(body.get("name", ""), derived(values, type_)))
    return columns


@on("XmlExpr", "op name named_args arg_names args xmloption indent")
def _xml(analysis: Analysis, node: Node, scope: Scope) -> Value:
    content, named = (
        analysis.expressions(node.get("args", []), scope),
        _named(analysis, node.get("named_args", []), scope),
    )
    return derived((*content, *named), BOOL if node.get("op") == "IS_DOCUMENT" else XML)


def _named(analysis: Analysis, nodes: list[Node], scope: Scope) -> list[Value]:
    values = []
    for item in nodes:
        body = item["ResTarget"]
        analysis.check("ResTarget", body, _NAMED)
        values.append(analysis.expression(body["val"], scope))
    return values


@on("XmlSerialize", "xmloption expr typeName indent")
def _xml_serialize(analysis: Analysis, node: Node, scope: Scope) -> Value:
    value = analysis.expression(node["expr"], scope)
    return derived((value,), type_oid(analysis, node["typeName"]))


@FROM_ITEMS.on("RangeTableFunc", "docexpr rowexpr namespaces columns alias lateral")
def _xml_table(analysis: Analysis, node: Node, scope: Scope, left: list[Item]) -> list[Item]:
    inner = outside(scope, left)
    values = [
        analysis.expression(node["docexpr"], inner),
        analysis.expression(node["rowexpr"], inner),
    ]
    values += _named(analysis, node.get("namespaces", []), inner)
    column_types: list[tuple[str, int]] = []
    for item in node.get("columns", []):
        body = item["RangeTableFuncCol"]
        analysis.check("RangeTableFuncCol", body, _XML_COLUMN)
        values += [
            analysis.expression(body[key], inner)
            for key in ("colexpr", "coldefexpr")
            if key in body
        ]
        type_ = type_oid(analysis, body["typeName"]) if "typeName" in body else INT4
        _check_type(analysis, type_)
        column_types.append((body.get("colname", ""), type_))
    document = derived(values)
    columns = tuple(Field(name, replace(document, type=type_)) for name, type_ in column_types)
    return [aliased(analysis, make_item("xmltable", columns), node.get("alias"))]
