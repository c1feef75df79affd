"""The name PostgreSQL gives a column that has none: FigureColname (parse_target.c)."""

from __future__ import annotations

from sallyport.sql.analysis import Analysis
from sallyport.sql.nodes import string, tag_of
from sallyport.sql.text.parse import Node

_FIXED = {
    "GroupingFunc": "grouping",
    "MergeSupportFunc": "merge_action",
    "A_ArrayExpr": "array",
    "RowExpr": "row",
    "CoalesceExpr": "coalesce",
    "XmlSerialize": "xmlserialize",
    "JsonParseExpr": "json",
    "JsonScalarExpr": "json_scalar",
    "JsonSerializeExpr": "json_serialize",
    "JsonObjectConstructor": "json_object",
    "JsonArrayConstructor": "json_array",
    "JsonArrayQueryConstructor": "json_array",
    "JsonObjectAgg": "json_objectagg",
    "JsonArrayAgg": "json_arrayagg",
}
_XML = {
    "IS_XMLCONCAT": "xmlconcat",
    "IS_XMLELEMENT": "xmlelement",
    "IS_XMLFOREST": "xmlforest",
    "IS_XMLPARSE": "xmlparse",
    "IS_XMLPI": "xmlpi",
    "IS_XMLROOT": "xmlroot",
    "IS_XMLSERIALIZE": "xmlserialize",
}
_JSON = {
    "JSON_EXISTS_OP": "json_exists",
    "JSON_QUERY_OP": "json_query",
    "JSON_VALUE_OP": "json_value",
}


def figure(analysis: Analysis, node: Node) -> str:
    """The column name of an expression that was walked before (scalar subqueries are known by
    then).
    """
    return _figure(analysis, node)[0] or "?column?"


def _figure(analysis: Analysis, node: Node) -> tuple[str, int]:
    """Name and how sure it is: 0 none, 1 weak (a type, "case"), 2 strong."""
    tag, body = tag_of(node)
    fixed = _FIXED.get(tag)
    if fixed is not None:
        return fixed, 2
    if tag == "ColumnRef":
        return _last(body.get("fields", []))
    if tag == "FuncCall":
        return _last(body.get("funcname", []))
    if tag == "A_Indirection":
        name, strength = _last(body.get("indirection", []))
        return (name, strength) if name else _figure(analysis, body["arg"])
    if tag == "A_Expr":
        return ("nullif", 2) if body.get("kind") == "AEXPR_NULLIF" else ("", 0)
    if tag == "TypeCast":
        name, strength = _figure(analysis, body["arg"])
        if strength <= 1:
            return _last(body["typeName"].get("names", []))[0], 1
        return name, strength
    if tag == "CollateClause":
        return _figure(analysis, body["arg"])
    if tag == "CaseExpr":
        name, strength = _figure(analysis, body["defresult"]) if "defresult" in body else ("", 0)
        return (name, strength) if strength > 1 else ("case", 1)
    return _more(analysis, tag, body)


def _more(analysis: Analysis, tag: str, body: Node) -> tuple[str, int]:
    if tag == "SubLink":
        kind = body.get("subLinkType")
        if kind in ("EXISTS_SUBLINK", "ARRAY_SUBLINK"):
            return ("exists" if kind == "EXISTS_SUBLINK" else "array"), 2
        return (analysis.names_of.get(id(body), ""), 2) if kind == "EXPR_SUBLINK" else ("", 0)
    if tag == "MinMaxExpr":
        return ("greatest" if body.get("op") == "IS_GREATEST" else "least"), 2
    if tag == "SQLValueFunction":
        name = body.get("op", "").removeprefix("SVFOP_").removesuffix("_N").lower()
        return name, 2
    if tag == "XmlExpr":
        return _XML.get(body.get("op", ""), ""), 2
    if tag == "JsonFuncExpr":
        return _JSON.get(body.get("op", ""), ""), 2
    return "", 0


def _last(parts: list[Node]) -> tuple[str, int]:
    """The last name in a list that may also hold subscripts and stars."""
    for part in reversed(parts):
        name = string(part)
        if name:
            return name, 2
    return "", 0
