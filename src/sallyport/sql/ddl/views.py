"""CREATE VIEW, CREATE MATERIALIZED VIEW, REFRESH, and CREATE TABLE AS.

A view is read through its definition (:mod:`sallyport.sql.queries.relation_items`), a materialised
one as well, so making one moves nothing out of a mask. What it reads needs permission when it is
made, because afterwards the view stands for it. Statements that were judged before the view was
there, or by another definition, may run after it: unless its name is a new one and stays so (no OR
REPLACE), its columns must be masked by their own names where they were not before.
"""

from __future__ import annotations

from msgspec.structs import replace

from sallyport.sql.analysis import STATEMENTS, Analysis
from sallyport.sql.catalog.snapshot import TEMPORARY, Relation
from sallyport.sql.ddl.changes import (
    changes_schema,
    existing_target,
    new_relation,
    new_temporary,
    not_stored,
)
from sallyport.sql.facts import Exposure, StatementFacts
from sallyport.sql.nodes import strings
from sallyport.sql.queries.relation_items import expand, note_definition
from sallyport.sql.statements import adopt, into, into_names, into_target, nested
from sallyport.sql.text.parse import Node

on = STATEMENTS.on

_VIEW_OPTIONS = frozenset({"security_barrier", "security_invoker", "check_option"})


@on("ViewStmt", "view aliases query replace options withCheckOption")
def _create_view(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "create_view")
    schema, name = new_relation(analysis, node["view"])
    for item in node.get("options", []):
        if item["DefElem"].get("defname") not in _VIEW_OPTIONS:
            analysis.unknown("SP1102", f"unknown view option {item['DefElem'].get('defname', '')}")
    inner = _definition(analysis, node["query"])
    if inner.temporary and schema != TEMPORARY and "schemaname" not in node["view"]:
        # PostgreSQL makes it a temporary one where its query has a temporary relation in a FROM
        # (view.c, DefineView); whether it does is not looked at, so both must be allowed
        new_temporary(analysis, name, position)
        analysis.name(analysis.kind, TEMPORARY, name)
    # nothing is computed yet: what the definition does with columns counts whenever the view is
    # read
    analysis.inner = replace(
        inner,
        influences=(),
        flows=(),
        mentioned=(),
        mentioned_in_views=frozenset(),
        used_in_rows=frozenset(),
        distinguished=frozenset(),
        read_in_functions=frozenset(),
    )
    for unknown in inner.unknowns:
        analysis.repeat(unknown)
    for use in inner.functions:
        analysis.note_call(use)
    analysis.mentioned_columns.update(inner.mentioned_columns)
    before = analysis.relation(schema, name)
    if before is not None:
        analysis.access(before.oid, analysis.kind)
        not_stored(analysis, before)
    _expose(
        analysis,
        schema,
        name,
        _names(node.get("aliases", []), inner),
        inner,
        before,
        bool(node.get("replace")),
    )


def _definition(analysis: Analysis, query: Node) -> StatementFacts:
    inner, facts = nested(analysis, query)
    if inner.kind != "select" or inner.actions:
        analysis.unknown("SP1102", "a view can only be defined by a query")
    return facts


def _names(aliases: list[Node], inner: StatementFacts) -> list[str]:
    column_names = strings(aliases)
    columns = inner.columns or ()
    return [
        column_names[n] if n < len(column_names) else column.name
        for n, column in enumerate(columns)
    ]


def _expose(
    analysis: Analysis,
    schema: str,
    name: str,
    names: list[str],
    inner: StatementFacts,
    before: Relation | None,
    replaces: bool = False,
) -> None:
    """What statements on their way could read through this name that they were not judged for.

    ``replaces``: OR REPLACE. While it waits for a lock another session may make a view of that
    name, and everybody be judged by that.
    """
    is_known = (
        replaces
        or name in analysis.catalog.retired
        or any(r.name == name for r in analysis.catalog.relations.values())
    )
    if not is_known:
        return
    old = expand(analysis, before) if before is not None and before.kind == "v" else None
    for number, column in enumerate(inner.columns or ()):
        exposed = (
            old.fields[number].value.sources
            if old is not None and number < len(old.fields)
            else frozenset()
        )
        analysis.exposures.append(Exposure(schema, name, names[number], column.sources - exposed))
    chosen = frozenset(column for column, _ in inner.mentioned)
    decided = old.mentioned if old is not None else frozenset()
    analysis.exposures.append(Exposure(schema, name, "", chosen - decided))


@on("CreateTableAsStmt", "query into objtype is_select_into if_not_exists")
def _create_table_as(analysis: Analysis, node: Node, position: int) -> None:
    if node.get("objtype") == "OBJECT_MATVIEW":
        _materialize(analysis, node["into"], node["query"])
    else:
        into(analysis, node["into"], node["query"], "create_table_as")


def _materialize(analysis: Analysis, node: Node, query: Node) -> None:
    """The query runs now; its columns are masked as those of a view."""
    schema, name = into_target(analysis, node, "create_materialized_view")
    analysis.inner = _definition(analysis, query)
    adopt(analysis, analysis.inner)
    _expose(analysis, schema, name, into_names(node, analysis.inner), analysis.inner, None)


@on("RefreshMatViewStmt", "concurrent skipData relation")
def _refresh(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "refresh_materialized_view")
    relation = existing_target(analysis, node["relation"])
    if relation is None:
        return
    if relation.kind != "m":
        analysis.unknown("SP1102", f"{relation.qualified} is not a materialized view")
        return
    note_definition(analysis, relation)
