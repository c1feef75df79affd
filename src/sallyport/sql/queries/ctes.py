"""WITH: ordinary, recursive and data-modifying queries (parse_cte.c).

A recursive query's columns depend on themselves, so its recursive term is walked until nothing is
added any more.
"""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from sallyport.sql.analysis import Analysis
from sallyport.sql.expressions.calls import common_type
from sallyport.sql.lineage import Field, Sources, Value, either, union
from sallyport.sql.names.scope import Cte, Scope
from sallyport.sql.nodes import fields, strings
from sallyport.sql.queries.setops import combined, settle_text
from sallyport.sql.text.parse import Node
from sallyport.sql.values.types import BOOL, RECORD, RECORD_ARRAY

_WITH = fields("ctes recursive")
_CTE = fields("ctename aliascolnames ctematerialized ctequery search_clause cycle_clause")
_SEARCH = fields("search_col_list search_breadth_first search_seq_column")
_CYCLE = fields(
    "cycle_col_list cycle_mark_column cycle_mark_value cycle_mark_default cycle_path_column"
)
_ROUNDS = 64


def with_clause(analysis: Analysis, node: Node, scope: Scope) -> None:
    """Register the CTEs of a WITH clause in ``scope`` and walk every one, used or not."""
    analysis.check("WithClause", node, _WITH)
    analysis.inside_with = True
    made: list[Cte] = []
    for item in node.get("ctes", []):
        body = item["CommonTableExpr"]
        analysis.check("CommonTableExpr", body, _CTE)
        name = body.get("ctename", "")
        cte = Cte(name, None, body, scope, bool(node.get("recursive")))
        if node.get("recursive"):
            scope.ctes[name] = cte
        else:
            # each query sees only those before it, and an outer one of its own name
            analysis.work.spend(len(scope.ctes) >> 6)
            cte.scope = Scope(scope.parent, scope.items, dict(scope.ctes))
            cte_fields(analysis, cte)
            cte.scope = scope  # it is walked: the copy may go
            scope.ctes[name] = cte
        made.append(cte)
    for cte in made:
        cte_fields(analysis, cte)


def cte_fields(analysis: Analysis, cte: Cte) -> tuple[Field, ...] | None:
    """The columns of a WITH query, walking it now if that was not done; inside itself, what is
    known so far.
    """
    if cte.node is None:
        return cte.fields
    if cte.started:
        cte.referenced = True
        return cte.fields
    cte.started = True
    body = cte.node
    query = body["ctequery"]
    if cte.recursive and query.get("SelectStmt", {}).get("op") == "SETOP_UNION":
        fields: tuple[Field, ...] | None = _recursive(analysis, cte, query["SelectStmt"])
    else:
        fields = _renamed(analysis, body, analysis.query(query, Scope(cte.scope)))
        if cte.referenced:
            invalid_recursion(analysis, cte)
    cte.node = None
    if fields is not None:
        fields = _search_and_cycle(analysis, body, fields, cte)
    cte.fields = fields
    return fields


def invalid_recursion(analysis: Analysis, cte: Cte) -> None:
    """The query refers to itself where its columns are not known yet."""
    body = cte.node or {}
    if body.get("ctequery", {}).get("SelectStmt", {}).get("op") == "SETOP_UNION":
        message = f'recursive reference to query "{cte.name}" must not appear within its'
        message += " non-recursive term"
    else:
        message = f'recursive query "{cte.name}" does not have the form'
        message += " non-recursive-term UNION [ALL] recursive-term"
    hint = "Write WITH RECURSIVE q AS (query UNION ALL query that names q once)."
    analysis.missing("SP1115", message, hint)


def _renamed(
    analysis: Analysis, body: Node, columns: tuple[Field, ...] | None
) -> tuple[Field, ...] | None:
    if columns is None:
        return None
    names = strings(body.get("aliascolnames", []))
    if len(names) > len(columns):
        analysis.missing(
            "SP1113",
            f'WITH query "{body.get("ctename", "")}" has {len(columns)} columns available but'
            f" {len(names)} columns specified",
        )
    return tuple(
        [
            Field(names[n] if n < len(names) else f.name, settle_text(f.value))
            for n, f in enumerate(columns)
        ]
    )


def _recursive(analysis: Analysis, cte: Cte, query: Node) -> tuple[Field, ...]:
    body = cte.node or {}
    fields: tuple[Field, ...] = ()
    for _ in range(_ROUNDS):
        cte.referenced = False
        learned = analysis.query(
            {"SelectStmt": query},
            Scope(cte.scope, union_hook=partial(_learn, analysis, cte, body, fields)),
        )
        learned = _renamed(analysis, body, learned) or ()
        if not cte.referenced or learned == fields:
            return learned
        fields = learned
    analysis.unknown("SP1102", f'cannot resolve recursive WITH query "{cte.name}"')
    return fields


def _learn(
    analysis: Analysis, cte: Cte, body: Node, learned: tuple[Field, ...], first: tuple[Field, ...]
) -> None:
    """The non-recursive term is known: that, and what was found so far, is what the recursive one
    reads.
    """
    start = _renamed(analysis, body, first) or ()
    columns = combined(analysis, start, learned) if learned else start
    fields = tuple(Field(f.name, replace(f.value, origin=None)) for f in columns)
    cte.fields = _search_and_cycle(analysis, body, fields, cte)


def _search_and_cycle(
    analysis: Analysis, body: Node, columns: tuple[Field, ...], cte: Cte
) -> tuple[Field, ...]:
    """The columns with those that SEARCH and CYCLE add; the recursive term may name them too."""
    before = len(columns)
    search, cycle = body.get("search_clause"), body.get("cycle_clause")
    if search is not None:
        analysis.check("CTESearchClause", search, _SEARCH)
        sources = _sources(columns, search.get("search_col_list", []))
        analysis.mention(sources)
        type_ = RECORD if search.get("search_breadth_first") else RECORD_ARRAY
        columns = (*columns, Field(search.get("search_seq_column", ""), Value(sources, type=type_)))
    if cycle is not None:
        analysis.check("CTECycleClause", cycle, _CYCLE)
        sources = _sources(columns, cycle.get("cycle_col_list", []))
        analysis.mention(sources)
        marks = [
            analysis.expression(cycle[k], cte.scope)
            for k in ("cycle_mark_value", "cycle_mark_default")
            if k in cycle
        ]
        mark = (
            either(marks[0], marks[1], common_type(analysis, marks))
            if len(marks) == 2
            else Value(type=BOOL)
        )
        columns = (
            *columns,
            Field(
                cycle.get("cycle_mark_column", ""), Value(sources | mark.sources, type=mark.type)
            ),
            Field(cycle.get("cycle_path_column", ""), Value(sources, type=RECORD_ARRAY)),
        )
    cte.added = len(columns) - before
    return columns


def _sources(columns: tuple[Field, ...], names: list[Node]) -> Sources:
    column_names = strings(names)
    return union(f.value for f in columns if f.name in column_names)
