"""Code that runs later, or now without being read: functions, procedures, triggers, DO and CALL.

What a body of LANGUAGE plpgsql does is not known, and PostgreSQL looks its names up when it runs.
So the facts only say that there is such code (``unread_code``), and policy decides for whom
nothing stands on the target that a body could get around
(:mod:`sallyport.policy.checks.unread_code`). What runs as somebody else, changes settings around
itself or is promised to leak nothing is refused whatever policy says.

Source: PostgreSQL, src/backend/commands/functioncmds.c (compute_function_attributes).
"""

from __future__ import annotations

from collections.abc import Sequence

from sallyport.sql.analysis import STATEMENTS, Analysis
from sallyport.sql.catalog.snapshot import Function
from sallyport.sql.ddl.changes import (
    changes_schema,
    concerned,
    new_object,
    operator_class,
    scope_of,
    spots,
)
from sallyport.sql.ddl.refused import CODE
from sallyport.sql.facts import Dependence
from sallyport.sql.lineage import Field, Value
from sallyport.sql.names.resolve import SYSTEM
from sallyport.sql.names.scope import Scope, raw_item
from sallyport.sql.nodes import fields, strings
from sallyport.sql.text.parse import Node

on = STATEMENTS.on

_LANGUAGES = frozenset({"sql", "plpgsql"})
_PARAMETER = fields("name argType mode defexpr")
#: Options that say how a function may be planned, and nothing of what it does.
_PLANNING = frozenset({"volatility", "strict", "cost", "rows", "parallel"})
_OFF = {"security": "SECURITY DEFINER", "leakproof": "LEAKPROOF"}
_REFUSED = {
    "set": "a SET clause",
    "support": "a support function",
    "transform": "TRANSFORM",
    "window": "WINDOW",
}
_AS = frozenset({"as", "language"})


def _options(a: Analysis, options: Sequence[Node], allowed: frozenset[str]) -> None:
    for item in options:
        body = item["DefElem"]
        name, value = body.get("defname", ""), body.get("arg", {})
        if name in allowed:
            continue
        is_off = name in _OFF and not value.get("Boolean", {}).get("boolval", False)
        if not is_off:
            what = _OFF.get(name) or _REFUSED.get(name) or f"the option {name.upper()}"
            a.unknown("SP1102", f"a function with {what} is not supported", CODE)


def _language(a: Analysis, options: Sequence[Node], default: str) -> None:
    """Code is of a language whose functions can do no more than the role that calls them."""
    for item in options:
        body = item["DefElem"]
        if body.get("defname") == "language":
            default = body.get("arg", {}).get("String", {}).get("sval", "")
    if default not in _LANGUAGES:
        a.unknown("SP1102", f"language {default} is not supported through the gateway", CODE)


@on("CreateFunctionStmt", "is_procedure replace funcname parameters returnType options sql_body")
def _create_function(a: Analysis, node: Node, at: int) -> None:
    kind = "procedure" if node.get("is_procedure") else "function"
    changes_schema(a, f"create_{kind}")
    a.unread_code = f"CREATE {kind.upper()}"
    new_object(a, strings(node.get("funcname", [])))
    options = node.get("options", [])
    _language(a, options, "sql")
    _options(a, options, _PLANNING | _AS)
    for item in node.get("parameters", []):
        body = item["FunctionParameter"]
        a.check("FunctionParameter", body, _PARAMETER)
        if "defexpr" in body:  # whoever calls it runs that
            a.flow(None, a.expression(body["defexpr"], Scope()).sources)


@on("AlterFunctionStmt", "objtype func actions")
def _alter_function(a: Analysis, node: Node, at: int) -> None:
    kind = node.get("objtype", "OBJECT_FUNCTION").removeprefix("OBJECT_").lower()
    changes_schema(a, f"alter_{kind}")
    a.unread_code = f"ALTER {kind.upper()}"
    for place in spots(a, strings(node.get("func", {}).get("objname", []))):
        a.name(a.kind, *place)
    _options(a, node.get("actions", []), _PLANNING)


@on(
    "CreateTrigStmt",
    "replace isconstraint trigname relation funcname args row timing events columns whenClause"
    " transitionRels deferrable initdeferred constrrel",
)
def _create_trigger(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "create_trigger")
    a.unread_code = "CREATE TRIGGER"
    relation = concerned(a, node["relation"])
    if "constrrel" in node:
        concerned(a, node["constrrel"])
    if "whenClause" in node and relation is not None:
        rows = [raw_item(scope_of(a, relation).items[0]) for _ in range(2)]
        for row, name in zip(rows, ("old", "new"), strict=True):
            row.name, row.schema = name, ""
        a.condition(a.expression(node["whenClause"], Scope(items=rows)))


@on("DoStmt", "args")
def _do(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "do")  # it may
    a.unread_code = "DO"
    arguments = node.get("args", [])
    _language(a, arguments, "plpgsql")
    _options(a, arguments, _AS)


_CALL = fields("funcname args funcformat func_variadic")


@on("CallStmt", "funccall")
def _call(a: Analysis, node: Node, at: int) -> None:
    changes_schema(a, "call")  # it may
    body = node["funccall"]
    a.check("FuncCall", body, _CALL)
    a.expressions(body.get("args", []), Scope())
    names = strings(body.get("funcname", []))
    procedures = _procedures(a, names)
    if not procedures:
        a.missing("SP1109", f"procedure {'.'.join(names)} does not exist", position=at)
    for procedure in procedures:
        a.name("call", procedure.schema, procedure.name)
        a.call(procedure, at)
    outputs = {(f.out_names, f.out_types) for f in procedures if f.out_types}
    if len(outputs) > 1:
        a.unknown("SP1103", "cannot tell which procedure this calls", position=at)
    for out_names, out_types in outputs:
        a.output(
            tuple(
                Field(name, Value(type=type_, dependence=Dependence.OPAQUE))
                for name, type_ in zip(out_names, out_types, strict=True)
            )
        )


def _procedures(a: Analysis, names: tuple[str, ...]) -> list[Function]:
    """Every procedure that a name may mean, whatever its arguments are."""
    if not 1 <= len(names) <= 2:
        return []
    schemas = (names[0],) if len(names) == 2 else a.names.path
    named = a.catalog.functions_by_name.get(names[-1], ())
    return [f for f in named if f.kind == "p" and f.schema in schemas]


@on("CreateRangeStmt", "typeName params")
def _create_range(a: Analysis, node: Node, at: int) -> None:
    """A range over another type compares by that type's operators."""
    changes_schema(a, "create_type")
    new_object(a, strings(node.get("typeName", [])))
    for item in node.get("params", []):
        body = item["DefElem"]
        option = body.get("defname", "")
        names = strings(body.get("arg", {}).get("TypeName", {}).get("names", []))
        if option == "subtype_opclass":
            operator_class(a, names)
        elif option == "multirange_type_name":
            new_object(a, names)
        elif option == "subtype_diff":
            functions = a.catalog.functions_by_name.get(names[-1] if names else "", ())
            if not functions or any(f.schema not in SYSTEM for f in functions):
                a.unknown("SP1102", "subtype_diff must be a function of PostgreSQL's own", CODE)
        elif option not in ("subtype", "collation"):
            a.unknown("SP1102", f"a range type with {option} is not supported", CODE)
