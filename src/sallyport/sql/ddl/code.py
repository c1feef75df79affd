"""Code that runs later, or now without being read: functions, procedures, triggers, DO and CALL.

What a body of LANGUAGE plpgsql does is not known, and PostgreSQL looks its names up when it runs.
So the facts only say that there is such code (``unread_code``), and policy decides for whom
nothing stands on the target that a body could get around
(:mod:`sallyport.policy.checks.unread_code`). What runs as somebody else or is promised to leak
nothing is refused whatever policy says. What its SET clauses set must be what SET may say.

Source: PostgreSQL, src/backend/commands/functioncmds.c (compute_function_attributes).
"""

from __future__ import annotations

from collections.abc import Sequence

from sallyport.sql.analysis import STATEMENTS, Analysis
from sallyport.sql.catalog.snapshot import Function
from sallyport.sql.ddl.changes import (
    candidate_names,
    changes_schema,
    existing_target,
    new_object,
    operator_class,
    scope_of,
)
from sallyport.sql.ddl.refused import CODE
from sallyport.sql.facts import Dependence
from sallyport.sql.lineage import Field, Value
from sallyport.sql.names.resolve import SYSTEM
from sallyport.sql.names.scope import Scope, raw_item
from sallyport.sql.nodes import fields, strings
from sallyport.sql.text.parse import Node
from sallyport.sql.utility.session import setting_change
from sallyport.sql.values.conversions import note_condition_cast

on = STATEMENTS.on

_LANGUAGES = frozenset({"sql", "plpgsql"})
_PARAMETER = fields("name argType mode defexpr")
#: Options that say how a function may be planned, and nothing of what it does.
_PLANNING = frozenset({"volatility", "strict", "cost", "rows", "parallel"})
_OFF = {"security": "SECURITY DEFINER", "leakproof": "LEAKPROOF"}
_REFUSED = {
    "support": "a support function",
    "transform": "TRANSFORM",
    "window": "WINDOW",
}
_AS = frozenset({"as", "language"})
_SET = fields("kind name args is_local jumble_args")


def _options(analysis: Analysis, options: Sequence[Node], allowed: frozenset[str]) -> None:
    for item in options:
        body = item["DefElem"]
        name, value = body.get("defname", ""), body.get("arg", {})
        if name in allowed:
            continue
        if name == "set":
            _set_clause(analysis, value["VariableSetStmt"])
            continue
        is_off = name in _OFF and not value.get("Boolean", {}).get("boolval", False)
        if not is_off:
            what = _OFF.get(name) or _REFUSED.get(name) or f"the option {name.upper()}"
            analysis.unknown("SP1102", f"a function with {what} is not supported", CODE)


def _set_clause(analysis: Analysis, node: Node) -> None:
    analysis.check("VariableSetStmt", node, _SET)
    change = setting_change(analysis, node)
    if change is None:
        what = f"a function with SET {node.get('name', '')} in this form is not supported"
        analysis.unknown("SP1102", what, CODE)
    else:
        analysis.code_settings.append(change)


def _language(analysis: Analysis, options: Sequence[Node], default: str) -> None:
    """Code is of a language whose functions can do no more than the role that calls them."""
    for item in options:
        body = item["DefElem"]
        if body.get("defname") == "language":
            default = body.get("arg", {}).get("String", {}).get("sval", "")
    if default not in _LANGUAGES:
        analysis.unknown("SP1102", f"language {default} is not supported through the gateway", CODE)


@on("CreateFunctionStmt", "is_procedure replace funcname parameters returnType options sql_body")
def _create_function(analysis: Analysis, node: Node, position: int) -> None:
    kind = "procedure" if node.get("is_procedure") else "function"
    changes_schema(analysis, f"create_{kind}")
    analysis.unread_code = f"CREATE {kind.upper()}"
    new_object(analysis, strings(node.get("funcname", [])))
    options = node.get("options", [])
    _language(analysis, options, "sql")
    _options(analysis, options, _PLANNING | _AS)
    for item in node.get("parameters", []):
        body = item["FunctionParameter"]
        analysis.check("FunctionParameter", body, _PARAMETER)
        if "defexpr" in body:  # whoever calls it runs that
            analysis.flow(None, analysis.expression(body["defexpr"], Scope()).sources)


@on("AlterFunctionStmt", "objtype func actions")
def _alter_function(analysis: Analysis, node: Node, position: int) -> None:
    kind = node.get("objtype", "OBJECT_FUNCTION").removeprefix("OBJECT_").lower()
    changes_schema(analysis, f"alter_{kind}")
    analysis.unread_code = f"ALTER {kind.upper()}"
    for place in candidate_names(analysis, strings(node.get("func", {}).get("objname", []))):
        analysis.name(analysis.kind, *place)
    _options(analysis, node.get("actions", []), _PLANNING)


@on(
    "CreateTrigStmt",
    "replace isconstraint trigname relation funcname args row timing events columns whenClause"
    " transitionRels deferrable initdeferred constrrel",
)
def _create_trigger(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "create_trigger")
    analysis.unread_code = "CREATE TRIGGER"
    relation = existing_target(analysis, node["relation"])
    if "constrrel" in node:
        existing_target(analysis, node["constrrel"])
    if "whenClause" in node and relation is not None:
        rows = [raw_item(scope_of(analysis, relation).items[0]) for _ in range(2)]
        for row, name in zip(rows, ("old", "new"), strict=True):
            row.name, row.schema = name, ""
        note_condition_cast(analysis, analysis.expression(node["whenClause"], Scope(items=rows)))


@on("DoStmt", "args")
def _do(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "do")  # it may
    analysis.unread_code = "DO"
    arguments = node.get("args", [])
    _language(analysis, arguments, "plpgsql")
    _options(analysis, arguments, _AS)


_CALL = fields("funcname args funcformat func_variadic")


@on("CallStmt", "funccall")
def _call(analysis: Analysis, node: Node, position: int) -> None:
    changes_schema(analysis, "call")  # it may
    body = node["funccall"]
    analysis.check("FuncCall", body, _CALL)
    analysis.expressions(body.get("args", []), Scope())
    names = strings(body.get("funcname", []))
    procedures = _procedures(analysis, names)
    if not procedures:
        analysis.missing("SP1109", f"procedure {'.'.join(names)} does not exist", position=position)
    for procedure in procedures:
        analysis.name("call", procedure.schema, procedure.name)
        analysis.call(procedure, position)
    outputs = {(f.out_names, f.out_types) for f in procedures if f.out_types}
    if len(outputs) > 1:
        analysis.unknown("SP1103", "cannot tell which procedure this calls", position=position)
    for out_names, out_types in outputs:
        analysis.output(
            tuple(
                Field(name, Value(type=type_, dependence=Dependence.OPAQUE))
                for name, type_ in zip(out_names, out_types, strict=True)
            )
        )


def _procedures(analysis: Analysis, names: tuple[str, ...]) -> list[Function]:
    """Every procedure that a name may mean, whatever its arguments are."""
    if not 1 <= len(names) <= 2:
        return []
    schemas = (names[0],) if len(names) == 2 else analysis.names.path
    named = analysis.catalog.functions_by_name.get(names[-1], ())
    return [f for f in named if f.kind == "p" and f.schema in schemas]


@on("CreateRangeStmt", "typeName params")
def _create_range(analysis: Analysis, node: Node, position: int) -> None:
    """A range over another type compares by that type's operators."""
    changes_schema(analysis, "create_type")
    new_object(analysis, strings(node.get("typeName", [])))
    for item in node.get("params", []):
        body = item["DefElem"]
        option = body.get("defname", "")
        names = strings(body.get("arg", {}).get("TypeName", {}).get("names", []))
        if option == "subtype_opclass":
            operator_class(analysis, names)
        elif option == "multirange_type_name":
            new_object(analysis, names)
        elif option == "subtype_diff":
            functions = analysis.catalog.functions_by_name.get(names[-1] if names else "", ())
            if not functions or any(f.schema not in SYSTEM for f in functions):
                analysis.unknown(
                    "SP1102", "subtype_diff must be a function of PostgreSQL's own", CODE
                )
        elif option not in ("subtype", "collation"):
            analysis.unknown("SP1102", f"a range type with {option} is not supported", CODE)
