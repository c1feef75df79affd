"""Whole statements: the walk's entrance, queries as statements, and statements that hold another
one.
"""

from __future__ import annotations

from sallyport.sql.analysis import QUERIES, STATEMENTS, Analysis, Context, Work
from sallyport.sql.ddl.changes import changes_schema, new_relation
from sallyport.sql.ddl.refused import hint_of, kind_of
from sallyport.sql.ddl.tables import storage
from sallyport.sql.expressions.constant_uses import note_quoting
from sallyport.sql.facts import Effect, EffectKind, StatementFacts
from sallyport.sql.lineage import Field
from sallyport.sql.names.resolve import NameResolver
from sallyport.sql.names.scope import Scope
from sallyport.sql.nodes import fields, string, strings, tag_of
from sallyport.sql.plain import plain_shape
from sallyport.sql.queries.setops import settle_text
from sallyport.sql.text.parse import Node

on = STATEMENTS.on

#: What a statement does to relations, most dangerous first: that names the statement.
_DANGER = ("delete", "update", "merge", "insert")
_OF_QUERY = {
    "SelectStmt": "select",
    "InsertStmt": "insert",
    "UpdateStmt": "update",
    "DeleteStmt": "delete",
    "MergeStmt": "merge",
}
_PLAIN = frozenset({"targetList", "limitOption", "op"})


def analyze_statement(
    names: NameResolver, context: Context, work: Work, node: Node, start: int, end: int
) -> StatementFacts:
    """The facts of one statement. ``node``: its tagged parse tree."""
    a = Analysis(names, context, work)
    run(a, node)
    return a.facts(start, end)


def run(analysis: Analysis, node: Node) -> None:
    """Walk one statement; what it does is collected in ``analysis``."""
    analysis.root = node
    tag, body = tag_of(node)
    if tag in QUERIES.table:
        _query(analysis, tag, node, body)
        return
    entry = STATEMENTS.table.get(tag)
    if entry is None:
        analysis.kind = kind_of(tag)
        words = analysis.kind.replace("_", " ").upper() or "an empty statement"
        analysis.unknown("SP1102", f"{words} is not supported through the gateway", hint_of(tag))
        analysis.effects.append(Effect(EffectKind.DDL))
        return
    handler, known_keys = entry
    analysis.check(tag, body, known_keys)
    handler(analysis, body, -1)


def _query(analysis: Analysis, tag: str, node: Node, body: Node) -> None:
    if tag == "SelectStmt" and not analysis.is_nested:
        analysis.plain_select = is_plain(body)
        analysis.named_setting = named_setting(body)
    if "intoClause" in body:
        into(
            analysis,
            body["intoClause"],
            {tag: {k: v for k, v in body.items() if k != "intoClause"}},
            "select_into",
        )
        return
    columns = analysis.query(node, Scope())
    if not analysis.context.masked.isdisjoint(
        [variable.relation for variable in analysis.range_variables.values()]
    ):
        analysis.plain = plain_shape(tag, body, analysis.range_variables)
    if columns is not None:
        analysis.output(tuple([Field(f.name, settle_text(f.value)) for f in columns]))
        if tag == "SelectStmt":
            note_quoting(analysis, body)
    analysis.kind = kind(analysis, _OF_QUERY.get(tag, ""))


def kind(analysis: Analysis, own: str) -> str:
    """The statement's kind: its own, or something worse that it does inside WITH or ON CONFLICT.
    MERGE keeps its name.
    """
    if own == "merge":
        return own
    worst = next((action for action in _DANGER if action in analysis.actions), own)
    if own == "insert" and worst == "update" and not analysis.inside_with:
        # INSERT ... ON CONFLICT DO UPDATE is an insert that may update: its accesses say so
        return own
    return worst


def named_setting(body: Node) -> str:
    """``SELECT set_config(name, constant, constant) FROM <one relation> WHERE name = 'x'``, as
    pg_dump sends it, gives x, and so does pgAdmin's ``SELECT set_config('x', constant, constant)
    FROM pg_show_all_settings() WHERE name = 'x'``; everything else "".
    """
    sources, where = body.get("fromClause", []), body.get("whereClause", {}).get("A_Expr", {})
    calls = [
        target["ResTarget"].get("val", {}).get("FuncCall", {})
        for target in body.get("targetList", [])
    ]
    if (
        body.keys() != _PLAIN | {"fromClause", "whereClause"}
        or len(sources) != 1
        or len(calls) != 1
        or not _sets_one_name(calls[0], sources[0])
    ):
        return ""
    equals = where.get("kind") == "AEXPR_OP" and [
        string(name) for name in where.get("name", [])
    ] == ["="]
    left, right = where.get("lexpr", {}), where.get("rexpr", {}).get("A_Const", {}).get("sval", {})
    return str(right.get("sval", "")) if equals and _is_name(left) else ""


def _sets_one_name(call: Node, source: Node) -> bool:
    """Does the call set what the rows of ``source`` name, or, of all settings, a constant?"""
    arguments = call.get("args", [])
    bare = call.keys() <= {"funcname", "args", "funcformat", "location"}
    if not bare or len(arguments) != 3 or not all(map(_constant, arguments[1:])):
        return False
    if _is_all_settings(source):
        return _constant(arguments[0])
    return "RangeVar" in source and _is_name(arguments[0])


def _is_all_settings(source: Node) -> bool:
    """Is it ``pg_show_all_settings()``, without an alias?"""
    body = source.get("RangeFunction", {})
    calls = [entry["List"]["items"][0] for entry in body.get("functions", [])]
    if body.keys() != {"functions"} or len(calls) != 1:
        return False
    call = calls[0].get("FuncCall", {})
    return (
        call.keys() <= {"funcname", "funcformat", "location"}
        and string(call["funcname"][-1]) == "pg_show_all_settings"
    )


def _is_name(node: Node) -> bool:
    fields_ = node.get("ColumnRef", {}).get("fields", [])
    return len(fields_) == 1 and "String" in fields_[0] and string(fields_[0]) == "name"


def is_plain(body: Node) -> bool:
    """A list of constants and calls over constants, and nothing else: everything in it runs exactly
    once.
    """
    return body.keys() <= _PLAIN and all(
        _plain_target(t["ResTarget"]) for t in body.get("targetList", [])
    )


def _plain_target(target: Node) -> bool:
    tag, body = tag_of(target.get("val", {}))
    if tag != "FuncCall":
        return tag == "A_Const"
    return body.keys() <= {"funcname", "args", "funcformat", "location"} and all(
        _constant(argument) for argument in body.get("args", [])
    )


def _constant(node: Node) -> bool:
    tag, body = tag_of(node)
    return tag in ("A_Const", "ParamRef") or (tag == "TypeCast" and _constant(body["arg"]))


def nested(analysis: Analysis, node: Node) -> tuple[Analysis, StatementFacts]:
    """A statement inside a statement, with facts of its own. set_config is not followed there."""
    inner = Analysis(analysis.names, analysis.context, analysis.work)
    inner.is_nested, inner.declared = True, analysis.declared
    run(inner, node)
    return inner, inner.facts(-1, -1)


def adopt(analysis: Analysis, facts: StatementFacts) -> None:
    """Repeat on the outer statement what refuses, and what it touches; what it does to relations
    stays with the inner facts.
    """
    for function in facts.functions:
        analysis.note_call(function)
    for influence in facts.influences:
        analysis.influence(
            frozenset((influence.column,)), influence.clause, influence.equality, influence.position
        )
    for unknown in facts.unknowns:
        analysis.repeat(unknown)
    for flow in facts.flows:
        analysis.flow(flow.target, flow.sources, flow.position, flow.into)
    analysis.effects += [e for e in facts.effects if e.kind is EffectKind.CURRENT_OF]
    analysis.are_by_key.append(facts.is_by_key)
    analysis.visited_by |= facts.visited_by
    analysis.asks_types = analysis.asks_types or facts.asks_types
    analysis.cast_parameters |= facts.cast_parameters
    analysis.mentioned_columns.update(facts.mentioned_columns)


_INTO = fields("rel colNames accessMethod options onCommit tableSpaceName skipData viewQuery")


def into_target(analysis: Analysis, node: Node, kind_: str) -> tuple[str, str]:
    """Schema and name of the relation that a query's rows go to."""
    analysis.check("IntoClause", node, _INTO)
    for key in ("accessMethod", "tableSpaceName", "viewQuery"):
        if key in node:
            analysis.unknown("SP1102", f"{key} is not supported in this statement", "Leave it out.")
    changes_schema(analysis, kind_)
    storage(analysis, node.get("options", []))
    return new_relation(analysis, node.get("rel", {}))


def into_names(node: Node, facts: StatementFacts) -> list[str]:
    """What the columns of the new relation are called."""
    column_names = strings(node.get("colNames", []))
    return [
        column_names[n] if n < len(column_names) else column.name
        for n, column in enumerate(facts.columns or ())
    ]


def into(analysis: Analysis, node: Node, query: Node, kind_: str) -> None:
    """CREATE TABLE AS, SELECT INTO: a query whose rows go to a relation that does not exist yet."""
    schema, name = into_target(analysis, node, kind_)
    if tag_of(query)[0] == "ExecuteStmt":
        analysis.unknown(
            "SP1102", "CREATE TABLE AS EXECUTE is not supported", "Write the query itself."
        )
    analysis.inner = nested(analysis, query)[1]
    adopt(analysis, analysis.inner)
    position = node.get("rel", {}).get("location", -1)
    for column, label in zip(
        analysis.inner.columns or (), into_names(node, analysis.inner), strict=True
    ):
        analysis.flow(None, column.sources, position, (schema, name, label))
