"""Schemas, sequences, types, domains, statistics, collations, comments and extensions.

None of these holds rows. What a domain checks and defaults to is judged like any expression;
comments and labels are constants of the statement.
"""

from __future__ import annotations

from sallyport.sql.analysis import STATEMENTS, Analysis
from sallyport.sql.catalog.snapshot import ColumnId, Type
from sallyport.sql.ddl.absent import alters_nothing
from sallyport.sql.ddl.changes import (
    EXTENSIONS,
    candidate_names,
    changes_schema,
    creation_schema,
    existing_target,
    index_table,
    names_of,
    new_in_schema,
    new_object,
    new_relation,
    object_type,
    on_relation,
    scope_of,
)
from sallyport.sql.ddl.refused import ADMINISTRATOR
from sallyport.sql.ddl.tables import column_type, sequence_options
from sallyport.sql.expressions.calls import type_oid
from sallyport.sql.facts import Clause
from sallyport.sql.lineage import Field, Value
from sallyport.sql.names.missing import reserved_schema
from sallyport.sql.names.resolve import SYSTEM
from sallyport.sql.names.scope import Scope
from sallyport.sql.nodes import fields, string, strings, tag_of
from sallyport.sql.queries.from_items import RANGE_VAR, make_item
from sallyport.sql.text.parse import Node

on = STATEMENTS.on

_DOMAIN_CONSTRAINT = fields("contype conname is_enforced initially_valid skip_validation raw_expr")


@on("CreateSchemaStmt", "schemaname schemaElts authrole if_not_exists")
def _create_schema(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "create_schema")
    name = node.get("schemaname", "")
    if "authrole" in node:
        analysis.unknown(
            "SP1102",
            "CREATE SCHEMA AUTHORIZATION is not allowed",
            "Leave it out: the schema belongs to the gateway's role.",
        )
    if "schemaElts" in node:
        analysis.unknown(
            "SP1102",
            "elements inside CREATE SCHEMA are not supported",
            "Create them with statements of their own.",
        )
    if not name:
        analysis.unknown("SP1102", "CREATE SCHEMA without a name is not supported")
    elif name in SYSTEM or name.startswith("pg_"):
        reserved_schema(analysis, name)
    analysis.name(analysis.kind, name)


# sequences


@on("CreateSeqStmt", "sequence options if_not_exists ownerId for_identity")
def _create_sequence(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "create_sequence")
    new_relation(analysis, node["sequence"])
    _options(analysis, node.get("options", []))


@on("AlterSeqStmt", "sequence options missing_ok")
def _alter_sequence(analysis: Analysis, node: Node, position: int) -> None:
    if alters_nothing(analysis, node, "sequence", node["sequence"]):
        return
    existing_target(analysis, node["sequence"])
    _options(analysis, node.get("options", []))


def _options(analysis: Analysis, options: list[Node]) -> None:
    sequence_options(analysis, options)
    for item in options:
        body = item["DefElem"]
        names = strings(body.get("arg", {}).get("List", {}).get("items", []))
        if body.get("defname") == "owned_by" and names != ("none",):
            on_relation(analysis, names[:-1])


# types


@on("CreateEnumStmt", "typeName vals")
def _create_enum(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "create_type")
    new_object(analysis, strings(node.get("typeName", [])))


@on("AlterEnumStmt", "typeName oldVal newVal newValNeighbor newValIsAfter skipIfNewValExists")
def _alter_enum(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "alter_type")
    _existing_type(analysis, strings(node.get("typeName", [])))


def _existing_type(analysis: Analysis, names: tuple[str, ...]) -> Type | None:
    type_ = analysis.names.types.named(names)
    if type_ is None:
        analysis.missing("SP1110", f'type "{".".join(names)}" does not exist')
        return None
    if type_.schema in SYSTEM:
        analysis.unknown(
            "SP1102",
            f"cannot change {type_.schema}.{type_.name}, which belongs to PostgreSQL itself",
        )
    analysis.name(analysis.kind, type_.schema, type_.name)
    return type_


@on("CreateDomainStmt", "domainname typeName collClause constraints")
def _create_domain(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "create_domain")
    new_object(analysis, strings(node.get("domainname", [])))
    type_ = type_oid(analysis, node["typeName"])
    for item in node.get("constraints", []):
        _domain_constraint(analysis, item["Constraint"], type_)


def _domain_constraint(analysis: Analysis, node: Node, type_: int) -> None:
    analysis.check("Constraint", node, _DOMAIN_CONSTRAINT)
    kind = node.get("contype", "CONSTR_NULL")
    if kind == "CONSTR_CHECK":
        value = Field("value", Value(type=type_))
        checked = analysis.expression(node["raw_expr"], Scope(items=[make_item("", (value,))]))
        analysis.influence(checked.sources, Clause.CHECK)  # functions in it may read
    elif kind == "CONSTR_DEFAULT":
        analysis.flow(None, analysis.expression(node["raw_expr"], Scope()).sources)
    elif kind not in ("CONSTR_NULL", "CONSTR_NOTNULL"):
        analysis.unknown(
            "SP1102", f"{kind.removeprefix('CONSTR_')} constraints of a domain are not supported"
        )


#: AlterDomainStmt.subtype: T default, N drop not null, O set not null, C add, X drop, V validate a
#: constraint.
_LOOKS = frozenset("OCV")


@on("AlterDomainStmt", "subtype typeName name def behavior missing_ok")
def _alter_domain(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "alter_domain")
    subtype = node.get("subtype", "")
    domain = _existing_type(analysis, strings(node.get("typeName", [])))
    if node.get("behavior") == "DROP_CASCADE":
        analysis.unknown("SP1102", "cannot determine what CASCADE would drop", "Leave CASCADE out.")
    if subtype not in "TNOCXV":
        analysis.unknown("SP1102", "this form of ALTER DOMAIN is not supported")
    if domain is None:
        return
    if subtype == "T" and "def" in node:
        analysis.flow(None, analysis.expression(node["def"], Scope()).sources)
    elif "def" in node:
        _domain_constraint(analysis, node["def"]["Constraint"], domain.oid)
    if subtype in _LOOKS:
        _look(analysis, domain)


def _look(analysis: Analysis, domain: Type) -> None:
    """Every column of the domain is looked at, and where one does not fit it fails."""
    if domain.check_functions:
        analysis.unknown(
            "SP1103", f"cannot determine what the checks of {domain.schema}.{domain.name} do"
        )
    for relation in analysis.catalog.relations.values():
        for column in relation.columns:
            if _holds(analysis, column.type_oid, domain.oid, 0):
                analysis.influence(
                    frozenset((ColumnId(relation.oid, column.attnum),)), Clause.CHECK
                )


def _holds(analysis: Analysis, type_: int, domain: int, depth: int) -> bool:
    """Whether values of a type may have values of the domain in them. In doubt they do."""
    if type_ == domain or depth > 8:
        return True
    inspected = analysis.types.get(type_)
    if inspected is None:
        return False
    inside = [inspected.base, inspected.element]
    relation = analysis.catalog.relations.get(inspected.relation)
    inside += [column.type_oid for column in relation.columns] if relation is not None else []
    return inspected.kind in "rm" or any(
        _holds(analysis, inner, domain, depth + 1) for inner in inside if inner
    )


# statistics, collations


@on("CreateStatsStmt", "defnames stat_types exprs relations if_not_exists")
def _create_statistics(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "create_statistics")
    for item in node.get("relations", []):
        tag, body = tag_of(item)
        relation = existing_target(analysis, body) if tag == "RangeVar" else None
        if relation is None:
            analysis.unknown("SP1102", "cannot determine which relation the statistics are for")
            continue
        scope = scope_of(analysis, relation)
        for expression in node.get("exprs", []):
            element = expression["StatsElem"]
            analysis.check("StatsElem", element, fields("name expr"))
            if "expr" in element:
                analysis.expression(element["expr"], scope)
    names = strings(node.get("defnames", []))
    if names:
        creation_schema(analysis, names[0] if len(names) > 1 else "")


@on("AlterStatsStmt", "defnames stxstattarget missing_ok")
def _alter_statistics(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "alter_statistics")
    for place in candidate_names(analysis, strings(node.get("defnames", []))):
        analysis.name(analysis.kind, *place)


@on("DefineStmt", "kind oldstyle defnames args definition if_not_exists replace")
def _define(analysis: Analysis, node: Node, position: int) -> None:
    """CREATE COLLATION compares by rules of the server's own; the other things that are defined
    like it run code.
    """
    kind = object_type(node.get("kind", ""))
    changes_schema(analysis, f"create_{kind}")
    if kind != "collation":
        analysis.name(analysis.kind)
        analysis.unknown(
            "SP1102",
            f"CREATE {kind.replace('_', ' ').upper()} is not supported through the gateway",
            ADMINISTRATOR,
        )
        return
    new_object(analysis, strings(node.get("defnames", [])))


# comments

_COMMENTED = frozenset({"table", "view", "materialized_view", "sequence", "foreign_table"})
_IN_RELATIONS = frozenset({"column", "tabconstraint", "trigger", "rule", "policy"})
_NAMED = frozenset(
    {"function", "procedure", "aggregate", "routine", "type", "domain", "statistics", "collation"}
)


@on("CommentStmt", "objtype object comment")
def _comment(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "comment")
    kind, target = object_type(node.get("objtype", "")), node.get("object", {})
    names = names_of(target)
    if kind in _COMMENTED:
        on_relation(analysis, names)
    elif kind in _IN_RELATIONS:
        on_relation(analysis, names[:-1])
    elif kind == "index":
        relation = index_table(analysis, names[0] if len(names) == 2 else "", names[-1])
        if relation is None:
            analysis.missing_relation("", names[-1], -1, "index")
        else:
            analysis.access(relation.oid, analysis.kind)
    elif kind in _NAMED:
        for place in candidate_names(analysis, names):
            analysis.name(analysis.kind, *place)
    elif kind == "schema":
        analysis.name(analysis.kind, string(target))
    elif kind == "extension":
        analysis.name(analysis.kind)
    else:
        analysis.name(analysis.kind)
        analysis.unknown(
            "SP1102",
            f"COMMENT ON {kind.replace('_', ' ').upper()} is not supported through the gateway",
            ADMINISTRATOR,
        )


# extensions

_EXTENSION_OPTIONS = frozenset({"schema"})


@on("CreateExtensionStmt", "extname if_not_exists options")
def _create_extension(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "create_extension")
    name = node.get("extname", "")
    analysis.name(analysis.kind)
    if name not in EXTENSIONS:
        analysis.unknown(
            "SP1102",
            f'extension "{name}" is not supported through the gateway',
            f"Supported are: {', '.join(sorted(EXTENSIONS))}. An administrator installs others "
            "outside the gateway.",
        )
    for item in node.get("options", []):
        option = item["DefElem"].get("defname", "")
        if option not in _EXTENSION_OPTIONS:
            analysis.unknown(
                "SP1102",
                f"CREATE EXTENSION with {option.upper()} is not supported",
                "Leave it out.",
            )
        else:
            creation_schema(analysis, string(item["DefElem"].get("arg", {})))


@on("CompositeTypeStmt", "typevar coldeflist")
def _create_composite(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "create_type")
    target = node["typevar"]
    analysis.check("RangeVar", target, RANGE_VAR)
    new_in_schema(analysis, target.get("schemaname", ""), target.get("relname", ""))
    for item in node.get("coldeflist", []):
        column_type(analysis, item["ColumnDef"])
