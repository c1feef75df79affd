"""Function calls in expressions: ordinary, aggregate, window, and the few that change something
(parse_func.c).
"""

from __future__ import annotations

from msgspec.structs import replace

from sallyport.sql.analysis import EXPRESSIONS, Analysis
from sallyport.sql.catalog.functions import classify
from sallyport.sql.catalog.snapshot import ColumnId
from sallyport.sql.catalog.system_views import COUNTER_FUNCTIONS
from sallyport.sql.expressions.calls import cast_to, judge, note_stored_form, result
from sallyport.sql.expressions.columns import field_of
from sallyport.sql.expressions.expression import order
from sallyport.sql.expressions.function_bodies import followed
from sallyport.sql.facts import (
    BoundSetting,
    Clause,
    Dependence,
    Effect,
    EffectKind,
    SettingChange,
)
from sallyport.sql.lineage import Field, Value, derived, union
from sallyport.sql.names.missing import missing_function
from sallyport.sql.names.resolve import SYSTEM, Resolved
from sallyport.sql.names.scope import Scope
from sallyport.sql.nodes import fields, position_of, strings
from sallyport.sql.text.parse import Node
from sallyport.sql.utility.custom_settings import is_custom
from sallyport.sql.utility.named_by_text import (
    named_sequence,
    plain_bool,
    plain_text,
    serial_sequence,
)
from sallyport.sql.utility.settings import any_value_allowed, folded, show_allowed
from sallyport.sql.values.conversions import (
    note_argument_casts,
    note_condition_cast,
    note_json_casts,
)
from sallyport.sql.values.types import POLYMORPHIC, TEXT
from sallyport.sql.values.void_parameters import check_inferred, given, repeated

on = EXPRESSIONS.on
CALL_FIELDS = (
    "funcname args agg_order agg_filter over agg_within_group agg_star agg_distinct func_variadic"
    " funcformat"
)
_WINDOW = fields("name refname partitionClause orderClause frameOptions startOffset endOffset")
#: Of a call that is more than a function with arguments.
_NOT_FOLLOWED = frozenset(CALL_FIELDS.split()) - {"funcname", "args", "funcformat", "func_variadic"}
_SORT_BY = fields("node sortby_dir sortby_nulls useOp")


@on("NamedArgExpr", "arg name argnumber")
def _named_argument(analysis: Analysis, node: Node, scope: Scope) -> Value:
    return analysis.expression(node["arg"], scope)


@on("FuncCall", CALL_FIELDS)
def _call(analysis: Analysis, node: Node, scope: Scope) -> Value:
    return call(analysis, node, scope)[0]


def call(analysis: Analysis, node: Node, scope: Scope) -> tuple[Value, Resolved]:
    """A call's value, and what it resolved to."""
    position = position_of(node)
    names = function_name(analysis, node)
    arguments = node.get("args", [])
    if analysis.context.void or any(["TypeCast" in argument for argument in arguments]):
        node = given(analysis, node)
        arguments = node.get("args", [])
    level = analysis.ungrouped
    if (
        level is not None
        and "over" not in node
        and names
        and names[-1] in analysis.names.aggregates
    ):
        # inside an aggregate of a sublink, references to the query around it are as ungrouped as
        # outside
        analysis.ungrouped = level.outer if level is scope.grouping else level
    values = analysis.expressions(arguments, scope)
    named = parameters = False
    for argument in arguments:
        named = named or "NamedArgExpr" in argument
        parameters = parameters or "ParamRef" in argument
    ordered = _aggregate_order(analysis, node, scope) if "agg_order" in node else []
    if "agg_filter" in node:
        note_condition_cast(analysis, analysis.expression(node["agg_filter"], scope), position)
    analysis.ungrouped = level
    if node.get("agg_within_group"):
        values = [*values, *ordered]
    types = tuple([value.type for value in values])
    if parameters:
        check_inferred(analysis, node, names, arguments, types)
    if (
        len(values) == 1
        and not named
        and (type_ := _cast_without_effect(analysis, names, values[0]))
    ):
        value = cast_to(analysis, values[0], type_, position)
        return value, Resolved(True, result=value.type)
    resolved = analysis.names.function(names, types, named, node.get("func_variadic", False))
    if not resolved.exists:
        special_form = _not_a_function(analysis, names, values, position)
        if special_form is not None:
            return special_form, Resolved(True, result=special_form.type)
        return missing_function(analysis, names, types, position), resolved
    if any([function.volatile == "v" for function in resolved.candidates]):
        analysis.calls_volatile = True
    if resolved.users and node.keys().isdisjoint(_NOT_FOLLOWED):
        inside = followed(analysis, resolved, node, values, position)
        if inside is not None:
            return inside, resolved._replace(followed=True)
    if names[-1] == "current_query":
        analysis.tells_text = True
    if names[-1] in COUNTER_FUNCTIONS:
        analysis.counter_calls[position] = None
    note_stored_form(analysis, names[-1], values, position)
    special = _SPECIAL.get(names[-1])
    if special is not None and resolved.exists and not resolved.users:
        special(analysis, resolved, values, position)
        resolved = resolved._replace(reason="")
    if resolved.reason and (
        _locks_a_constant(resolved, values) or _sleeps_by_policy(analysis, resolved, values)
    ):
        resolved = resolved._replace(reason="")
    if resolved.reason or resolved.users:
        judge(analysis, resolved, f"function {'.'.join(names)}", position)
    if analysis.names.made_casts:
        note_argument_casts(analysis, resolved.candidates, values, position, in_order=not named)
    if "json" in names[-1]:
        note_json_casts(analysis, values, position)
    if "over" in node:
        window(analysis, node["over"], scope)
    if names[-1] == "pg_get_serial_sequence" and not resolved.users:
        text = serial_sequence(analysis, values)
        if text is not None:
            return Value(type=TEXT, constant=True, literal=text), resolved
    return _with_row(resolved, result(resolved, values)), resolved


def _locks_a_constant(resolved: Resolved, values: list[Value]) -> bool:
    """Advisory locks on keys that are not computed from data are what migration tools use
    them for.
    """
    if resolved.users or not all(classify(f).special == "constants" for f in resolved.candidates):
        return False
    return not any(v.sources or v.dependence is Dependence.OPAQUE for v in values)


def _sleeps_by_policy(analysis: Analysis, resolved: Resolved, values: list[Value]) -> bool:
    """Waiting for a time that is not computed from data, where policy names the function; not in
    what is stored and runs for others.
    """
    if (
        resolved.users or analysis.is_nested or analysis.kind
    ):  # a query's own kind is set when it was walked
        return False
    if not all(f.name in analysis.context.sleeping for f in resolved.candidates):
        return False
    if not all(classify(f).reason == "sleeps" for f in resolved.candidates):
        return False
    return not any(v.sources or v.dependence is Dependence.OPAQUE for v in values)


def _with_row(resolved: Resolved, value: Value) -> Value:
    """A record with OUT parameters has fields: (f(x)).name."""
    if not resolved.candidates or len(resolved.candidates[0].out_names) < 2:
        return value
    outs = {(f.out_names, f.out_types) for f in resolved.candidates}
    if len(outs) != 1:
        return value
    names, types = outs.pop()
    if len(names) < 2 or len(names) != len(types):
        return value
    return replace(
        value,
        row=tuple(
            [Field(n, replace(value, type=concrete(t))) for n, t in zip(names, types, strict=True)]
        ),
    )


def concrete(type_: int) -> int:
    """An OUT parameter's type, or 0 where it depends on the arguments."""
    return 0 if type_ in POLYMORPHIC else type_


def function_name(analysis: Analysis, node: Node) -> tuple[str, ...]:
    """The name as written, without the database."""
    names = strings(node.get("funcname", []))
    return names[1:] if len(names) == 3 and names[0] == analysis.catalog.database else names


def _aggregate_order(analysis: Analysis, node: Node, scope: Scope) -> list[Value]:
    values = []
    for item in node.get("agg_order", []):
        body = item["SortBy"]
        analysis.check("SortBy", body, _SORT_BY)
        value = analysis.expression(body["node"], scope)
        order(analysis, body, value, position_of(node))
        values.append(value)
    return values


def _cast_without_effect(analysis: Analysis, names: tuple[str, ...], value: Value) -> int:
    """The type, where ``type(value)`` is a value of that type already and no function takes it
    (func_get_detail in parse_func.c).
    """
    type_ = analysis.types.named(names)
    if type_ is None or type_.oid != value.type:
        return 0
    taking = analysis.catalog.functions_by_name.get(names[-1], ())
    return 0 if any(f.arg_types == (value.type,) for f in taking) else value.type


def _not_a_function(
    analysis: Analysis, names: tuple[str, ...], values: list[Value], position: int
) -> Value | None:
    """``column(row)`` and ``type(value)``, which are written like calls."""
    if len(values) != 1:
        return None
    if len(names) == 1:
        field = field_of(analysis, values[0], names[0])
        if field is not None:
            analysis.mention(field.sources, position)
            return analysis.read(field, position)
    type_ = analysis.types.named(names)
    if type_ is None:
        return None
    return cast_to(
        analysis,
        derived(values, values[0].type) if values[0].sources else values[0],
        type_.oid,
        position,
    )


def window(analysis: Analysis, node: Node, scope: Scope) -> None:
    """A window: how rows are put together and ordered."""
    analysis.check("WindowDef", node, _WINDOW)
    position = position_of(node)
    for item in node.get("partitionClause", []):
        analysis.expression(item, scope)
    for item in node.get("orderClause", []):
        body = item["SortBy"]
        analysis.check("SortBy", body, _SORT_BY)
        order(analysis, body, analysis.expression(body["node"], scope), position)
    for key in ("startOffset", "endOffset"):
        if key in node:
            analysis.expression(node[key], scope)


# functions that stand for something else


def _text_or_parameter(analysis: Analysis, value: Value) -> str | int | None:
    """A setting's name or value; None where it is not known before the statement runs. Of a
    parameter that stands elsewhere too the type is not.
    """
    if value.parameter:
        return (
            None if analysis.is_nested or repeated(analysis, value.parameter) else value.parameter
        )
    return plain_text(value)


def _set_config(analysis: Analysis, resolved: Resolved, values: list[Value], position: int) -> None:
    name = value = local = None
    if len(values) == 3:
        name, value, local = plain_text(values[0]), plain_text(values[1]), plain_bool(values[2])
        if value is None and name is not None and values[1].constant and any_value_allowed(name):
            value = "$"  # a parameter, for a setting that may have any value
        if name is None and _is_named_by_row(analysis, values[0]):
            name = analysis.named_setting
    is_known = name is not None and value is not None and local is not None
    if (
        not is_known
        and len(values) == 3
        and analysis.plain_select
        and any(argument.parameter for argument in values)
    ):
        bound_name, bound_value = (
            _text_or_parameter(analysis, argument) for argument in values[:2]
        )
        is_constant = values[2].parameter or plain_bool(values[2]) is not None
        if bound_name is not None and bound_value is not None and is_constant:
            analysis.bound_settings.append(BoundSetting(bound_name, bound_value))
            return
    if (
        name is None
        or value is None
        or local is None
        or not (analysis.plain_select or analysis.named_setting)
    ):
        analysis.unknown(
            "SP1102",
            "cannot determine what this call of set_config changes",
            "Use SET, or SELECT set_config('name', 'value', false) by itself, with constants.",
            position,
        )
        return
    analysis.settings.append(SettingChange(folded(name), value, local, position))


def _all_settings(
    analysis: Analysis, resolved: Resolved, values: list[Value], position: int
) -> None:
    """pg_show_all_settings() shows values that SHOW does not: pgAdmin only asks whether there is a
    setting of one name (:func:`sallyport.sql.statements.named_setting`).
    """
    if not analysis.named_setting:
        judge(analysis, resolved, "function pg_show_all_settings", position)


def _notify(analysis: Analysis, resolved: Resolved, values: list[Value], position: int) -> None:
    """``SELECT pg_notify(channel, payload)`` with constants or parameters and nothing else is
    NOTIFY, for a client that binds both. Anything more could depend on data, and other sessions get
    it as it is.
    """
    if _inside(analysis) or not analysis.plain_select:
        judge(analysis, resolved, "function pg_notify", position)
        return
    analysis.name("notify")
    analysis.effects.append(Effect(EffectKind.NOTIFY))


def _is_named_by_row(analysis: Analysis, value: Value) -> bool:
    """Is it pg_settings.name, of the one row that the statement's WHERE names?"""
    origin = value.origin
    relation = analysis.catalog.relations.get(origin.relation) if origin is not None else None
    column = analysis.catalog.column(origin) if origin is not None else None
    if relation is None or column is None or not analysis.named_setting:
        return False
    plain = analysis.context.search_path[:1] == ("pg_catalog",)  # so that = is PostgreSQL's own
    return plain and relation.qualified == "pg_catalog.pg_settings" and column.name == "name"


def _is_shown_by_rows(analysis: Analysis, value: Value) -> bool:
    """Is it pg_settings.name, read in the statement itself, as psql's \\dconfig does? The rows are
    those of settings that may be shown; in views and functions they could be all.
    """
    origin = value.origin
    if origin is None or _inside(analysis) or analysis.followed:
        return False
    relations = analysis.catalog.relations
    ranged = (relations.get(variable.relation) for variable in analysis.range_variables.values())
    if any(r is not None and r.kind in ("v", "m") and r.schema not in SYSTEM for r in ranged):
        return False
    relation = relations.get(origin.relation)
    column = analysis.catalog.column(origin)
    return (
        relation is not None
        and column is not None
        and relation.qualified == "pg_catalog.pg_settings"
        and column.name == "name"
    )


def _current_setting(
    analysis: Analysis, resolved: Resolved, values: list[Value], position: int
) -> None:
    name = plain_text(values[0]) if values else None
    if (
        values
        and values[0].parameter
        and not analysis.is_nested
        and not repeated(analysis, values[0].parameter)
    ):
        analysis.setting_parameters.add(values[0].parameter)
        return
    if name is None and analysis.against_access_method and all(value.constant for value in values):
        return
    if values and _is_shown_by_rows(analysis, values[0]):
        return
    if (
        name is not None
        and is_custom(folded(name))
        and not show_allowed(name)
        and not _inside(analysis)
    ):
        analysis.setting_reads.setdefault(folded(name), position)
        return
    if name is None or not show_allowed(name):
        analysis.unknown(
            "SP1103",
            (
                f"setting {name} cannot be read through the gateway"
                if name
                else "cannot determine which setting is read here"
            ),
            (
                "The system view pg_settings lists the settings that can be read."
                if name
                else "Write its name as a constant."
            ),
            position,
        )


def _sequence(analysis: Analysis, resolved: Resolved, values: list[Value], position: int) -> None:
    sets = all(f.name == "setval" for f in resolved.candidates)
    if resolved.reason and (not sets or any(v.dependence is Dependence.OPAQUE for v in values)):
        analysis.unknown(
            "SP1103", f"sequence function is not allowed: it {resolved.reason}", position=position
        )
        return
    relation = named_sequence(analysis, values[0]) if values else None
    if not resolved.writes and not sets:  # currval and lastval
        for sequence in _sequences(analysis) if relation is None else [relation]:
            _note_owner(analysis, sequence, position)
        return
    if relation is None:
        analysis.unknown(
            "SP1102",
            "cannot determine which sequence this call uses",
            "Write its name as a constant.",
            position,
        )
    else:
        analysis.access(relation, "update")
        if sets:  # who reads the sequence reads what it was set to
            analysis.flow(ColumnId(relation, 1), union(values), position)
        else:
            _note_owner(analysis, relation, position)


def _sequences(analysis: Analysis) -> list[int]:
    return [
        relation.oid for relation in analysis.catalog.relations.values() if relation.kind == "S"
    ]


def _note_owner(analysis: Analysis, sequence: int, position: int) -> None:
    """A sequence's number is the value of a column that it numbers, in the newest row."""
    columns = analysis.names.numbered.get(sequence, frozenset())
    analysis.influence(columns, Clause.SEQUENCE, False, position)


def _inside(analysis: Analysis) -> bool:
    """In a view's or function's definition, where no policy is asked what may be shown."""
    return analysis.indirect or bool(analysis.following)


def _source(analysis: Analysis, resolved: Resolved, values: list[Value], position: int) -> None:
    """The text of a function: an action of its own."""
    if _inside(analysis):
        analysis.unknown(
            "SP1103", f"this function is not allowed here: it {resolved.reason}", position=position
        )
    else:
        analysis.name("function_source")


def _sequence_data(
    analysis: Analysis, resolved: Resolved, values: list[Value], position: int
) -> None:
    """These tell of a sequence what SELECT does: of all of them, where it is not
    known of which.
    """
    relation = named_sequence(analysis, values[0]) if values else None
    for oid in _sequences(analysis) if relation is None else [relation]:
        analysis.access(oid, "select")
        _note_owner(analysis, oid, position)


_SPECIAL = {
    "pg_get_functiondef": _source,
    "pg_get_function_sqlbody": _source,
    "pg_get_sequence_data": _sequence_data,
    "pg_sequence_last_value": _sequence_data,
    "pg_notify": _notify,
    "pg_show_all_settings": _all_settings,
    "set_config": _set_config,
    "current_setting": _current_setting,
    "nextval": _sequence,
    "setval": _sequence,
    "currval": _sequence,
    "lastval": _sequence,
}
