"""Whole statements: the walk's entrance, queries as statements, and statements that hold another one."""

from __future__ import annotations

import re

from sallyport.sql.analysis import QUERIES, STATEMENTS, Analysis, Context, Work
from sallyport.sql.facts import Effect, EffectKind, StatementFacts
from sallyport.sql.from_items import RANGE_VAR
from sallyport.sql.lineage import Field
from sallyport.sql.nodes import fields, tag_of
from sallyport.sql.parse import Node
from sallyport.sql.resolve import Names
from sallyport.sql.scope import Scope
from sallyport.sql.setops import settle_text

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
    names: Names, context: Context, work: Work, node: Node, start: int, end: int
) -> StatementFacts:
    """The facts of one statement. ``node``: its tagged parse tree."""
    a = Analysis(names, context, work)
    run(a, node)
    return a.facts(start, end)


def run(a: Analysis, node: Node) -> None:
    """Walk one statement into ``a``."""
    tag, body = tag_of(node)
    if tag in QUERIES.table:
        _query(a, tag, node, body)
        return
    entry = STATEMENTS.table.get(tag)
    if entry is None:
        a.kind = kind_of(tag)
        a.unknown("SP1102", f"judge {a.kind.replace('_', ' ').upper() or 'an empty statement'}")
        a.effects.append(Effect(EffectKind.DDL))
        return
    handler, known = entry
    a.check(tag, body, known)
    handler(a, body, -1)


def _query(a: Analysis, tag: str, node: Node, body: Node) -> None:
    a.plain_select = tag == "SelectStmt" and not a.is_nested and is_plain(body)
    if "intoClause" in body:
        into(
            a, body["intoClause"], {tag: {k: v for k, v in body.items() if k != "intoClause"}}, "select_into"
        )
        return
    columns = a.query(node, Scope())
    if columns is not None:
        a.output(tuple([Field(f.name, settle_text(f.value)) for f in columns]))
    a.kind = kind(a, _OF_QUERY.get(tag, ""))


def kind(a: Analysis, own: str) -> str:
    """The statement's kind: its own, or something worse that it does inside WITH or ON CONFLICT. MERGE keeps its name."""
    if own == "merge":
        return own
    worst = next((action for action in _DANGER if action in a.actions), own)
    if own == "insert" and worst == "update" and not a.inside_with:
        return own  # INSERT ... ON CONFLICT DO UPDATE is an insert that may update: its accesses say so
    return worst


def is_plain(body: Node) -> bool:
    """A list of constants and calls over constants, and nothing else: everything in it runs exactly once."""
    return body.keys() <= _PLAIN and all(_plain_target(t["ResTarget"]) for t in body.get("targetList", []))


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


def nested(a: Analysis, node: Node) -> tuple[Analysis, StatementFacts]:
    """A statement inside a statement, with facts of its own. set_config is not followed there."""
    inner = Analysis(a.names, a.context, a.work)
    inner.is_nested = True
    run(inner, node)
    return inner, inner.facts(-1, -1)


def adopt(a: Analysis, facts: StatementFacts) -> None:
    """Repeat on the outer statement what refuses, and what it touches; what it does to relations stays with the inner facts."""
    for function in facts.functions:
        a.note_call(function)
    for influence in facts.influences:
        a.influence(frozenset((influence.column,)), influence.clause, influence.equality, influence.position)
    for unknown in facts.unknowns:
        a.repeat(unknown)
    for flow in facts.flows:
        a.flow(flow.target, flow.sources, flow.position)
    a.touched.update(facts.touched)


_INTO = fields("rel colNames accessMethod options onCommit tableSpaceName skipData viewQuery")


def into(a: Analysis, node: Node, query: Node, kind_: str) -> None:
    """CREATE TABLE AS, SELECT INTO, CREATE MATERIALIZED VIEW: a query whose rows go to a relation that does not exist yet."""
    a.check("IntoClause", node, _INTO)
    for key in ("accessMethod", "options", "tableSpaceName", "viewQuery"):
        if key in node:
            a.unknown("SP1102", f"understand {key} of this statement")
    target = node.get("rel", {})
    a.check("RangeVar", target, RANGE_VAR)
    if target.get("relpersistence", "p") == "t" or target.get("schemaname", "").startswith("pg_temp"):
        a.unknown(
            "SP1102", "follow temporary tables", "Use WITH, or a permanent table.", target.get("location", -1)
        )
    if tag_of(query)[0] == "ExecuteStmt":
        a.unknown("SP1102", "follow CREATE TABLE AS EXECUTE", "Write the query itself.")
    a.inner = nested(a, query)[1]
    adopt(a, a.inner)
    for column in a.inner.columns or ():
        a.flow(None, column.sources, target.get("location", -1))
    a.kind = kind_
    a.effects.append(Effect(EffectKind.DDL))


@on("CreateTableAsStmt", "query into objtype is_select_into if_not_exists")
def _create_table_as(a: Analysis, node: Node, at: int) -> None:
    materialized = node.get("objtype") == "OBJECT_MATVIEW"
    into(a, node["into"], node["query"], "create_materialized_view" if materialized else "create_table_as")
    if materialized:
        a.unknown("SP1102", "judge CREATE MATERIALIZED VIEW", "Use CREATE TABLE AS.")


_KINDS = {
    "DoStmt": "do",
    "CallStmt": "call",
    "CheckPointStmt": "checkpoint",
    "LoadStmt": "load",
    "CreateFunctionStmt": "create_function",
    "AlterSystemStmt": "alter_system",
    "ViewStmt": "create_view",
    "RenameStmt": "rename",
    "GrantStmt": "grant",
    "GrantRoleStmt": "grant_role",
    "CommentStmt": "comment",
    "SecLabelStmt": "security_label",
    "RefreshMatViewStmt": "refresh_materialized_view",
    "CreateTrigStmt": "create_trigger",
    "CreatePLangStmt": "create_language",
    "CreateSeqStmt": "create_sequence",
    "AlterSeqStmt": "alter_sequence",
    "CreatedbStmt": "create_database",
    "DropdbStmt": "drop_database",
    "CompositeTypeStmt": "create_type",
    "CreateEnumStmt": "create_type",
    "CreateRangeStmt": "create_type",
    "AlterEnumStmt": "alter_type",
    "DefineStmt": "create_aggregate",
    "RuleStmt": "create_rule",
    "AlterObjectSchemaStmt": "set_schema",
    "AlterOwnerStmt": "alter_owner",
    "CreateStatsStmt": "create_statistics",
    "VacuumStmt": "vacuum",
    "AlterDatabaseRefreshCollStmt": "alter_database",
    "AlterDatabaseSetStmt": "alter_database",
    "AlterEventTrigStmt": "alter_event_trigger",
    "AlterExtensionContentsStmt": "alter_extension",
    "AlterFdwStmt": "alter_foreign_data_wrapper",
    "AlterForeignServerStmt": "alter_server",
    "AlterObjectDependsStmt": "alter_depends",
    "AlterOpFamilyStmt": "alter_operator_family",
    "AlterRoleSetStmt": "alter_role",
    "AlterStatsStmt": "alter_statistics",
    "AlterTSConfigurationStmt": "alter_text_search_configuration",
    "AlterTSDictionaryStmt": "alter_text_search_dictionary",
    "AlterTableMoveAllStmt": "alter_table",
    "AlterTableSpaceOptionsStmt": "alter_tablespace",
    "CreateAmStmt": "create_access_method",
    "CreateEventTrigStmt": "create_event_trigger",
    "CreateFdwStmt": "create_foreign_data_wrapper",
    "CreateForeignServerStmt": "create_server",
    "CreateOpClassStmt": "create_operator_class",
    "CreateOpFamilyStmt": "create_operator_family",
    "CreateTableSpaceStmt": "create_tablespace",
    "DropTableSpaceStmt": "drop_tablespace",
    "ReplicaIdentityStmt": "alter_table",
}


def kind_of(tag: str) -> str:
    """The action that a statement without a handler stands for: CreateExtensionStmt is create_extension."""
    known = _KINDS.get(tag)
    if known is not None:
        return known
    words = re.findall("[A-Z][a-z]*", tag.removesuffix("Stmt"))
    return "_".join(words).lower() or "empty"
