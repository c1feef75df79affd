"""Function calls in expressions: ordinary, aggregate, window, and the few that change something (parse_func.c)."""

from __future__ import annotations

from sallyport.sql.analysis import EXPRESSIONS, Analysis
from sallyport.sql.calls import cast_to, compared, judge, result
from sallyport.sql.columns import field_of
from sallyport.sql.conversions import converts_arguments, converts_to_json
from sallyport.sql.expressions import order
from sallyport.sql.facts import Clause, Dependence, SettingChange
from sallyport.sql.function_bodies import followed
from sallyport.sql.functions import classify
from sallyport.sql.lineage import Field, Value, derived, union
from sallyport.sql.missing import missing_function
from sallyport.sql.nodes import fields, position, strings
from sallyport.sql.parse import Node
from sallyport.sql.resolve import Resolved
from sallyport.sql.scope import Scope
from sallyport.sql.settings import any_value_allowed, show_allowed
from sallyport.sql.types import POLYMORPHIC
from sallyport.sql.void_parameters import check_inferred, given

on = EXPRESSIONS.on
CALL_FIELDS = (
    "funcname args agg_order agg_filter over agg_within_group agg_star agg_distinct func_variadic funcformat"
)
_WINDOW = fields("name refname partitionClause orderClause frameOptions startOffset endOffset")
#: Of a call that is more than a function with arguments.
_NOT_FOLLOWED = frozenset(CALL_FIELDS.split()) - {"funcname", "args", "funcformat", "func_variadic"}
_SORT_BY = fields("node sortby_dir sortby_nulls useOp")


@on("NamedArgExpr", "arg name argnumber")
def _named_argument(a: Analysis, node: Node, scope: Scope) -> Value:
    return a.expression(node["arg"], scope)


@on("FuncCall", CALL_FIELDS)
def _call(a: Analysis, node: Node, scope: Scope) -> Value:
    return call(a, node, scope)[0]


def call(a: Analysis, node: Node, scope: Scope, in_from: bool = False) -> tuple[Value, Resolved]:
    """A call's value, and what it resolved to. ``in_from``: a function in FROM (its caller notes the row count)."""
    at = position(node)
    names = function_name(a, node)
    node = given(a, node)
    arguments = node.get("args", [])
    before = a.risks
    values = a.expressions(arguments, scope)
    named = any("NamedArgExpr" in argument for argument in arguments)
    ordered = _aggregate_order(a, node, scope)
    if node.get("agg_within_group"):
        values = [*values, *ordered]
    types = tuple([value.type for value in values])
    check_inferred(a, node, names, arguments, types)
    found = a.names.function(names, types, named, node.get("func_variadic", False))
    if not found.found:
        other = _not_a_function(a, names, values, at)
        if other is not None:
            return other, Resolved(True, result=other.type)
        return missing_function(a, names, types, at), found
    if not node.keys() & _NOT_FOLLOWED:
        inside = followed(a, found, node, values, before, at)
        if inside is not None:
            return inside, found._replace(followed=True)
    special = _SPECIAL.get(names[-1])
    if special is not None and found.found and not found.users:
        special(a, found, values, at)
        found = found._replace(reason="")
    if found.reason and _locks_a_constant(found, values):
        found = found._replace(reason="")
        a.risks += 1
    judge(a, found, f"function {'.'.join(names)}", values, at)
    converts_arguments(a, found.candidates, values, at, in_order=not named)
    if "json" in names[-1]:
        converts_to_json(a, values, at)
    if found.returns_set and not in_from:
        a.influence(union(values), Clause.ROW_COUNT, False, at)
    if node.get("agg_distinct"):
        for value in values:
            compared(a, value.type, (value,), at)
    if "agg_filter" in node:
        a.condition(a.expression(node["agg_filter"], scope), Clause.FILTER, at)
    if "over" in node:
        window(a, node["over"], scope)
    return _with_row(found, result(found, values)), found


def _locks_a_constant(found: Resolved, values: list[Value]) -> bool:
    """Advisory locks on keys that are not computed from data are what migration tools use them for."""
    if found.users or not all(classify(f).special == "constants" for f in found.candidates):
        return False
    return not any(v.sources or v.dependence is Dependence.OPAQUE for v in values)


def _with_row(found: Resolved, value: Value) -> Value:
    """A record with OUT parameters has fields: (f(x)).name."""
    outs = {(f.out_names, f.out_types) for f in found.candidates}
    if len(outs) != 1:
        return value
    names, types = outs.pop()
    if len(names) < 2 or len(names) != len(types):
        return value
    return value._replace(
        row=tuple([Field(n, value._replace(type=concrete(t))) for n, t in zip(names, types, strict=True)])
    )


def concrete(type_: int) -> int:
    """An OUT parameter's type, or 0 where it depends on the arguments."""
    return 0 if type_ in POLYMORPHIC else type_


def function_name(a: Analysis, node: Node) -> tuple[str, ...]:
    names = strings(node.get("funcname", []))
    return names[1:] if len(names) == 3 and names[0] == a.catalog.database else names


def _aggregate_order(a: Analysis, node: Node, scope: Scope) -> list[Value]:
    values = []
    for item in node.get("agg_order", []):
        body = item["SortBy"]
        a.check("SortBy", body, _SORT_BY)
        value = a.expression(body["node"], scope)
        order(a, body, value, Clause.ORDER_BY, position(node))
        values.append(value)
    return values


def _not_a_function(a: Analysis, names: tuple[str, ...], values: list[Value], at: int) -> Value | None:
    """``column(row)`` and ``type(value)``, which are written like calls."""
    if len(values) != 1:
        return None
    if len(names) == 1:
        field = field_of(a, values[0], names[0])
        if field is not None:
            return a.read(field, at)
    type_ = a.types.named(names)
    if type_ is None:
        return None
    return cast_to(a, derived(values, values[0].type) if values[0].sources else values[0], type_.oid, at)


def window(a: Analysis, node: Node, scope: Scope) -> None:
    """A window: how rows are put together and ordered decides what its functions see."""
    a.check("WindowDef", node, _WINDOW)
    at = position(node)
    for item in node.get("partitionClause", []):
        a.influence(a.expression(item, scope).sources, Clause.WINDOW, False, at)
    for item in node.get("orderClause", []):
        body = item["SortBy"]
        a.check("SortBy", body, _SORT_BY)
        order(a, body, a.expression(body["node"], scope), Clause.WINDOW, at)
    for key in ("startOffset", "endOffset"):
        if key in node:
            a.influence(a.expression(node[key], scope).sources, Clause.WINDOW, False, at)


# functions that stand for something else


def _set_config(a: Analysis, found: Resolved, values: list[Value], at: int) -> None:
    name, value, local = (
        [v.literal if v.constant else None for v in values] if len(values) == 3 else (None,) * 3
    )
    if (
        value is None
        and name is not None
        and len(values) == 3
        and values[1].constant
        and any_value_allowed(name)
    ):
        value = "$"  # a parameter, for a setting that may have any value
    if name is None or value is None or local is None or not a.plain_select:
        a.unknown(
            "SP1102",
            "follow set_config in this place or with these arguments",
            "Use SET, or SELECT set_config('name', 'value', false) on its own, with constants.",
            at,
        )
        return
    is_local = local.strip().lower() in ("true", "t", "yes", "y", "on", "1")
    a.settings.append(SettingChange(name.lower(), value, is_local, at))


def _current_setting(a: Analysis, found: Resolved, values: list[Value], at: int) -> None:
    name = values[0].literal if values and values[0].constant else None
    if values and values[0].parameter and not a.is_nested:
        a.setting_parameters.add(values[0].parameter)
        return
    if name is None and a.against_access_method and all(value.constant for value in values):
        return
    if name is None or not show_allowed(name.lower()):
        a.unknown(
            "SP1103",
            f"show the setting {name}" if name else "show a setting that is named at run time",
            "SHOW lists the settings that may be read.",
            at,
        )


def _sequence(a: Analysis, found: Resolved, values: list[Value], at: int) -> None:
    sets = all(f.name == "setval" for f in found.candidates)
    if found.reason and (not sets or union(values) or any(v.dependence is Dependence.OPAQUE for v in values)):
        a.unknown("SP1103", f"allow this sequence function: it {found.reason}", position=at)
        return
    if not found.writes and not sets:
        return
    text = values[0].literal if values and values[0].constant else None
    relation = _relation_literal(a, text) if text is not None else None
    if relation is None:
        a.unknown("SP1102", "know which sequence is meant", "Name it with a constant.", at)
    else:
        a.access(relation, "update")


def _relation_literal(a: Analysis, text: str) -> int | None:
    """The OID of the sequence that a regclass literal names."""
    parts: list[str] = []
    rest = text.strip()
    while rest:
        if rest.startswith('"'):
            end = rest.find('"', 1)
            while end > 0 and rest[end + 1 : end + 2] == '"':
                end = rest.find('"', end + 2)
            if end < 0:
                return None
            parts.append(rest[1:end].replace('""', '"'))
            rest = rest[end + 1 :]
        else:
            word, dot, tail = rest.partition(".")
            parts.append(word.strip().lower())
            rest = dot + tail
        if rest.startswith(".") and len(rest) > 1:
            rest = rest[1:]
        elif rest:
            return None
    if not 1 <= len(parts) <= 2:
        return None
    found = a.relation(parts[0] if len(parts) == 2 else "", parts[-1])
    return found.oid if found is not None and found.kind == "S" else None


_SPECIAL = {
    "set_config": _set_config,
    "current_setting": _current_setting,
    "nextval": _sequence,
    "setval": _sequence,
    "currval": _sequence,
}
