"""Schemas, sequences, types, domains, statistics, collations, comments and extensions.

None of these holds rows. What a domain checks and defaults to is judged like any expression;
comments and labels are constants of the statement.
"""

from __future__ import annotations

from sallyport.sql.analysis import STATEMENTS, Analysis
from sallyport.sql.catalog.snapshot import ColumnId, Type
from sallyport.sql.ddl.changes import (
    EXTENSIONS,
    changes_schema,
    concerned,
    creation_schema,
    index_table,
    names_of,
    new_object,
    new_relation,
    object_type,
    on_relation,
    scope_of,
    spots,
)
from sallyport.sql.ddl.refused import ADMINISTRATOR
from sallyport.sql.ddl.tables import column_type, sequence_options
from sallyport.sql.expressions.calls import type_oid
from sallyport.sql.facts import Clause
from sallyport.sql.lineage import Field, Value
from sallyport.sql.names.resolve import SYSTEM
from sallyport.sql.names.scope import Scope
from sallyport.sql.nodes import fields, string, strings, tag_of
from sallyport.sql.queries.from_items import RANGE_VAR, make_item
from sallyport.sql.text.parse import Node

on = STATEMENTS.on

_DOMAIN_CONSTRAINT = fields("contype conname is_enforced initially_valid skip_validation raw_expr")


@on("CreateSchemaStmt", "schemaname schemaElts authrole if_not_exists")
def _create_schema(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "create_schema")
    name = node.get("schemaname", "")
    if "authrole" in node:
        a.unknown(
            "SP1102",
            "CREATE SCHEMA AUTHORIZATION is not allowed",
            "Leave it out: the schema belongs to the gateway's role.",
        )
    if "schemaElts" in node:
        a.unknown(
            "SP1102",
            "elements inside CREATE SCHEMA are not supported",
            "Create them with statements of their own.",
        )
    if not name or name in SYSTEM or name.startswith("pg_"):
        a.unknown(
            "SP1102",
            f'cannot create schema "{name}"'
            if name
            else "CREATE SCHEMA without a name is not supported",
        )
    a.name(a.kind, name)


# sequences


@on("CreateSeqStmt", "sequence options if_not_exists ownerId for_identity")
def _create_sequence(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "create_sequence")
    new_relation(a, node["sequence"])
    _options(a, node.get("options", []))


@on("AlterSeqStmt", "sequence options missing_ok")
def _alter_sequence(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "alter_sequence")
    concerned(a, node["sequence"])
    _options(a, node.get("options", []))


def _options(a: Analysis, options: list[Node]) -> None:
    sequence_options(a, options)
    for item in options:
        body = item["DefElem"]
        names = strings(body.get("arg", {}).get("List", {}).get("items", []))
        if body.get("defname") == "owned_by" and names != ("none",):
            on_relation(a, names[:-1])


# types


@on("CreateEnumStmt", "typeName vals")
def _create_enum(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "create_type")
    new_object(a, strings(node.get("typeName", [])))


@on("AlterEnumStmt", "typeName oldVal newVal newValNeighbor newValIsAfter skipIfNewValExists")
def _alter_enum(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "alter_type")
    _existing_type(a, strings(node.get("typeName", [])))


def _existing_type(a: Analysis, names: tuple[str, ...]) -> Type | None:
    type_ = a.names.types.named(names)
    if type_ is None:
        a.missing("SP1110", f'type "{".".join(names)}" does not exist')
        return None
    if type_.schema in SYSTEM:
        a.unknown(
            "SP1102",
            f"cannot change {type_.schema}.{type_.name}, which belongs to PostgreSQL itself",
        )
    a.name(a.kind, type_.schema, type_.name)
    return type_


@on("CreateDomainStmt", "domainname typeName collClause constraints")
def _create_domain(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "create_domain")
    new_object(a, strings(node.get("domainname", [])))
    type_ = type_oid(a, node["typeName"])
    for item in node.get("constraints", []):
        _domain_constraint(a, item["Constraint"], type_)


def _domain_constraint(a: Analysis, node: Node, type_: int) -> None:
    a.check("Constraint", node, _DOMAIN_CONSTRAINT)
    kind = node.get("contype", "CONSTR_NULL")
    if kind == "CONSTR_CHECK":
        value = Field("value", Value(type=type_))
        checked = a.expression(node["raw_expr"], Scope(items=[make_item("", (value,))]))
        a.influence(checked.sources, Clause.CHECK)  # functions in it may read
    elif kind == "CONSTR_DEFAULT":
        a.flow(None, a.expression(node["raw_expr"], Scope()).sources)
    elif kind not in ("CONSTR_NULL", "CONSTR_NOTNULL"):
        a.unknown(
            "SP1102", f"{kind.removeprefix('CONSTR_')} constraints of a domain are not supported"
        )


#: AlterDomainStmt.subtype: T default, N drop not null, O set not null, C add, X drop, V validate a
#: constraint.
_LOOKS = frozenset("OCV")


@on("AlterDomainStmt", "subtype typeName name def behavior missing_ok")
def _alter_domain(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "alter_domain")
    subtype = node.get("subtype", "")
    domain = _existing_type(a, strings(node.get("typeName", [])))
    if node.get("behavior") == "DROP_CASCADE":
        a.unknown("SP1102", "cannot determine what CASCADE would drop", "Leave CASCADE out.")
    if subtype not in "TNOCXV":
        a.unknown("SP1102", "this form of ALTER DOMAIN is not supported")
    if domain is None:
        return
    if subtype == "T" and "def" in node:
        a.flow(None, a.expression(node["def"], Scope()).sources)
    elif "def" in node:
        _domain_constraint(a, node["def"]["Constraint"], domain.oid)
    if subtype in _LOOKS:
        _look(a, domain)


def _look(a: Analysis, domain: Type) -> None:
    """Every column of the domain is looked at, and where one does not fit it fails."""
    if domain.check_functions:
        a.unknown("SP1103", f"cannot determine what the checks of {domain.schema}.{domain.name} do")
    for relation in a.catalog.relations.values():
        for column in relation.columns:
            if _holds(a, column.type_oid, domain.oid, 0):
                a.influence(frozenset((ColumnId(relation.oid, column.attnum),)), Clause.CHECK)


def _holds(a: Analysis, type_: int, domain: int, depth: int) -> bool:
    """Whether values of a type may have values of the domain in them. In doubt they do."""
    if type_ == domain or depth > 8:
        return True
    inspected = a.types.get(type_)
    if inspected is None:
        return False
    inside = [inspected.base, inspected.element]
    relation = a.catalog.relations.get(inspected.relation)
    inside += [column.type_oid for column in relation.columns] if relation is not None else []
    return inspected.kind in "rm" or any(
        _holds(a, inner, domain, depth + 1) for inner in inside if inner
    )


# statistics, collations


@on("CreateStatsStmt", "defnames stat_types exprs relations if_not_exists")
def _create_statistics(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "create_statistics")
    for item in node.get("relations", []):
        tag, body = tag_of(item)
        relation = concerned(a, body) if tag == "RangeVar" else None
        if relation is None:
            a.unknown("SP1102", "cannot determine which relation the statistics are for")
            continue
        scope = scope_of(a, relation)
        for expression in node.get("exprs", []):
            element = expression["StatsElem"]
            a.check("StatsElem", element, fields("name expr"))
            if "expr" in element:
                a.expression(element["expr"], scope)
    names = strings(node.get("defnames", []))
    if names:
        creation_schema(a, names[0] if len(names) > 1 else "")


@on("AlterStatsStmt", "defnames stxstattarget missing_ok")
def _alter_statistics(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "alter_statistics")
    for place in spots(a, strings(node.get("defnames", []))):
        a.name(a.kind, *place)


@on("DefineStmt", "kind oldstyle defnames args definition if_not_exists replace")
def _define(a: Analysis, node: Node, at: int) -> None:
    """CREATE COLLATION compares by rules of the server's own; the other things that are defined
    like it run code.
    """
    kind = object_type(node.get("kind", ""))
    changes_schema(a, f"create_{kind}")
    if kind != "collation":
        a.name(a.kind)
        a.unknown(
            "SP1102",
            f"CREATE {kind.replace('_', ' ').upper()} is not supported through the gateway",
            ADMINISTRATOR,
        )
        return
    new_object(a, strings(node.get("defnames", [])))


# comments

_COMMENTED = frozenset({"table", "view", "materialized_view", "sequence", "foreign_table"})
_IN_RELATIONS = frozenset({"column", "tabconstraint", "trigger", "rule", "policy"})
_NAMED = frozenset(
    {"function", "procedure", "aggregate", "routine", "type", "domain", "statistics", "collation"}
)


@on("CommentStmt", "objtype object comment")
def _comment(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "comment")
    kind, target = object_type(node.get("objtype", "")), node.get("object", {})
    names = names_of(target)
    if kind in _COMMENTED:
        on_relation(a, names)
    elif kind in _IN_RELATIONS:
        on_relation(a, names[:-1])
    elif kind == "index":
        relation = index_table(a, names[0] if len(names) == 2 else "", names[-1])
        if relation is None:
            a.missing_relation("", names[-1], -1, "index")
        else:
            a.access(relation.oid, a.kind)
    elif kind in _NAMED:
        for place in spots(a, names):
            a.name(a.kind, *place)
    elif kind == "schema":
        a.name(a.kind, string(target))
    elif kind == "extension":
        a.name(a.kind)
    else:
        a.name(a.kind)
        a.unknown(
            "SP1102",
            f"COMMENT ON {kind.replace('_', ' ').upper()} is not supported through the gateway",
            ADMINISTRATOR,
        )


# extensions

_EXTENSION_OPTIONS = frozenset({"schema"})


@on("CreateExtensionStmt", "extname if_not_exists options")
def _create_extension(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "create_extension")
    name = node.get("extname", "")
    a.name(a.kind)
    if name not in EXTENSIONS:
        a.unknown(
            "SP1102",
            f'extension "{name}" is not supported through the gateway',
            f"Supported are: {', '.join(sorted(EXTENSIONS))}. An administrator installs others "
            "outside the gateway.",
        )
    for item in node.get("options", []):
        option = item["DefElem"].get("defname", "")
        if option not in _EXTENSION_OPTIONS:
            a.unknown(
                "SP1102",
                f"CREATE EXTENSION with {option.upper()} is not supported",
                "Leave it out.",
            )
        else:
            creation_schema(a, string(item["DefElem"].get("arg", {})))


@on("CompositeTypeStmt", "typevar coldeflist")
def _create_composite(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "create_type")
    target = node["typevar"]
    a.check("RangeVar", target, RANGE_VAR)
    a.name(a.kind, creation_schema(a, target.get("schemaname", "")), target.get("relname", ""))
    for item in node.get("coldeflist", []):
        column_type(a, item["ColumnDef"])
