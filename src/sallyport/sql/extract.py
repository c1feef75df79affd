"""From a script to the facts of each of its statements: the entrance of this package.

:func:`analyze` parses (:mod:`sallyport.sql.text.parse`), walks every statement and returns one
:class:`StatementFacts` each. It raises only :class:`RefusedError`, for text that cannot be parsed
at all; whatever else is not understood is an Unknown in the facts.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from sallyport.core.errors import RefusedError, refuse
from sallyport.sql import statements
from sallyport.sql.analysis import Context, Work
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Function
from sallyport.sql.ddl import alter as ddl_alter
from sallyport.sql.ddl import changes as ddl
from sallyport.sql.ddl import code as ddl_code
from sallyport.sql.ddl import names as ddl_names
from sallyport.sql.ddl import objects as ddl_objects
from sallyport.sql.ddl import tables as ddl_tables
from sallyport.sql.ddl import truncate as ddl_truncate
from sallyport.sql.ddl import views as ddl_views
from sallyport.sql.expressions import expression as expressions
from sallyport.sql.expressions import function_calls, json_xml
from sallyport.sql.facts import EffectKind, StatementFacts, Unknown
from sallyport.sql.names.resolve import NameResolver, name_resolver
from sallyport.sql.queries import from_items, select
from sallyport.sql.statements import analyze_statement
from sallyport.sql.text.depth import make_room
from sallyport.sql.text.parse import CountedScript, parse_counted, too_deep
from sallyport.sql.utility import copy_explain
from sallyport.sql.utility import session as session_statements
from sallyport.sql.writes import dml

make_room()

__all__ = ["Context", "analyze", "explained", "trusted_bodies"]

#: Modules that register handlers when imported.
HANDLERS = (
    copy_explain,
    ddl,
    ddl_alter,
    ddl_code,
    ddl_names,
    ddl_objects,
    ddl_tables,
    ddl_truncate,
    ddl_views,
    dml,
    expressions,
    from_items,
    function_calls,
    json_xml,
    select,
    session_statements,
    statements,
)


def analyze(sql: bytes, catalog: CatalogSnapshot, context: Context) -> tuple[StatementFacts, ...]:
    """The facts of every statement in ``sql`` (UTF-8), in order; () for an empty script. Raises
    RefusedError only.
    """
    opaque = (
        trusted_bodies(catalog, context.trusted_functions)
        if context.opaque is None
        else context.opaque
    )
    resolver = name_resolver(catalog, context.search_path, opaque)
    try:
        return _script(parse_counted(sql, context.max_length), resolver, context)
    except RecursionError:
        raise too_deep() from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise RefusedError(
            refuse(
                "SP1102",
                "the statement has a form that the gateway does not support",
                f"Reading its parse tree failed ({type(error).__name__}).",
            )
        ) from error


def explained(
    sql: bytes, prepared: bytes, catalog: CatalogSnapshot, context: Context
) -> StatementFacts:
    """``sql`` is EXPLAIN EXECUTE: its facts with what was prepared (by Parse, or by PREPARE) in the
    place of EXECUTE.

    Raises RefusedError, also where the two texts are not that.
    """
    explaining = parse_counted(sql, context.max_length)
    executed = parse_counted(prepared, context.max_length)
    outer, inner = explaining.statements, executed.statements
    if (
        len(outer) != 1
        or len(inner) != 1
        or "ExecuteStmt" not in outer[0].node.get("ExplainStmt", {}).get("query", {})
    ):
        raise RefusedError(
            refuse("SP1102", "cannot determine which statement this EXPLAIN explains")
        )
    query = inner[0].node.get("PrepareStmt", {}).get("query", inner[0].node)
    node = {"ExplainStmt": {**outer[0].node["ExplainStmt"], "query": query}}
    opaque = (
        trusted_bodies(catalog, context.trusted_functions)
        if context.opaque is None
        else context.opaque
    )
    resolver = name_resolver(catalog, context.search_path, opaque)
    work = Work.hurried() if context.hurried else Work(explaining.tokens + executed.tokens)
    return analyze_statement(resolver, context, work, node, outer[0].start, outer[0].end)


def trusted_bodies(catalog: CatalogSnapshot, trusts: Callable[[Function], bool]) -> frozenset[int]:
    """Functions that could be judged by their body and are not, because policy trusts them: for
    :attr:`Context.opaque`.
    """
    return frozenset(
        function.oid
        for function in catalog.functions.values()
        if function.body and trusts(function)
    )


#: Kinds that mean the same whatever stood before them in the script.
_INDEPENDENT = frozenset(
    {
        "begin",
        "commit",
        "rollback",
        "savepoint",
        "rollback_to",
        "release",
        "set",
        "reset",
        "show",
        "deallocate",
        "close",
    }
)


def _script(
    counted: CountedScript, resolver: NameResolver, context: Context
) -> tuple[StatementFacts, ...]:
    """Statements of one script are judged before any of them runs, so one that changes what names
    mean ends what can be judged.
    """
    result: list[StatementFacts] = []
    moved = ""
    work = Work.hurried() if context.hurried else Work(counted.tokens, len(counted.statements))
    work.meant = counted.meant
    for raw in counted.statements:
        facts = analyze_statement(resolver, context, work, raw.node, raw.start, raw.end)
        if facts.resolves_names_at_run_time and _moves_path(facts):
            unknown = Unknown(
                "SP1102",
                "cannot resolve names in a function after a change of search_path in the statement",
                "Change the search_path in a statement of its own.",
                raw.start,
            )
            facts = replace(facts, unknowns=(*facts.unknowns, unknown))
        if moved and facts.kind not in _INDEPENDENT:
            unknown = Unknown(
                "SP1102",
                f"cannot resolve names after {moved} earlier in the same script",
                "Send the statements one at a time.",
                raw.start,
            )
            facts = replace(facts, unknowns=(*facts.unknowns, unknown))
        result.append(facts)
        moved = moved or _moves(facts)
    return tuple(result)


def _moves(facts: StatementFacts) -> str:
    """Why names may mean something else after this statement, or ""."""
    for effect in facts.effects:
        if effect.kind is EffectKind.DDL:
            return "a change of the schema"
        if effect.kind is EffectKind.DISCARD and effect.name == "all":
            return "DISCARD ALL"
    return "a change of search_path" if _moves_path(facts) else ""


def _moves_path(facts: StatementFacts) -> bool:
    return any(
        isinstance(name, int) or name.lower() in ("search_path", "") for name in facts.set_names
    )
