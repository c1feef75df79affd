"""Which argument of a call belongs to which parameter of a user-made SQL function, and of what
types its parameters then are (parse_func.c).

By position, by name, from defaults, gathered for VARIADIC; polymorphic parameters get the types of
what was given (enforce_generic_type_consistency in parse_coerce.c, as far as it needs no guess).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sallyport.core.errors import RefusedError
from sallyport.sql.analysis import Analysis, Context, Work
from sallyport.sql.catalog.snapshot import Function
from sallyport.sql.expressions.calls import cast_to
from sallyport.sql.lineage import UNKNOWN_TYPE, Value, derived
from sallyport.sql.names.scope import Scope
from sallyport.sql.text.parse import MAX_LENGTH, Node, parse
from sallyport.sql.values.types import (
    ANYCOMPATIBLE,
    ANYCOMPATIBLEARRAY,
    ANYCOMPATIBLENONARRAY,
    ARRAYS,
    ELEMENTS,
    POLYMORPHIC,
    TEXT,
    Types,
)

_COMPATIBLE = frozenset({ANYCOMPATIBLE, ANYCOMPATIBLEARRAY, ANYCOMPATIBLENONARRAY})


class Matched(NamedTuple):
    """``function``: with the types that this call gives it. ``arguments``: what was written, per
    parameter; for a VARIADIC one several.
    """

    function: Function
    arguments: tuple[tuple[Value, ...], ...]
    gathered: bool


def matched(
    analysis: Analysis, function: Function, node: Node, values: Sequence[Value]
) -> Matched | str:
    """``values``: of the arguments of the FuncCall ``node``, in its order. A string says why they
    cannot be told.
    """
    names = [item.get("NamedArgExpr", {}).get("name", "") for item in node.get("args", [])]
    slots: list[tuple[Value, ...]] = [()] * len(function.arg_types)
    gathered = function.variadic and not node.get("func_variadic")
    last = len(slots) - 1
    for number, (name, value) in enumerate(zip(names, values, strict=True)):
        if name:
            if gathered or name not in function.arg_names:
                return "this form of named arguments is not supported"
            number = function.arg_names.index(name)
        if gathered and number >= last:
            slots[last] = (*slots[last], value)
            continue
        if number >= len(slots) or slots[number]:
            return "its arguments do not match its parameters"
        slots[number] = (value,)
    lacking = [number for number, slot in enumerate(slots) if not slot]
    if lacking:
        defaults = _defaults(analysis, function)
        if isinstance(defaults, str):
            return defaults
        for number in lacking:
            position = number - (len(slots) - len(defaults))
            if position < 0:
                return "its arguments do not match its parameters"
            slots[number] = (defaults[position],)
        gathered = gathered and last not in lacking
    concrete = _concrete(analysis.types, function, slots, gathered)
    if concrete is None:
        return "the types of its arguments cannot be determined"
    return Matched(concrete, tuple(slots), gathered)


def converted(analysis: Analysis, match: Matched, position: int) -> list[Value]:
    """The arguments as the parameters get them, conversions noted."""
    out = []
    for number, (type_, values) in enumerate(
        zip(match.function.arg_types, match.arguments, strict=True)
    ):
        if match.gathered and number == len(match.arguments) - 1:
            element = analysis.types.element(type_)
            out.append(
                derived([cast_to(analysis, value, element, position) for value in values], type_)
            )
        else:
            out.append(cast_to(analysis, values[0], type_, position))
    return out


def _defaults(analysis: Analysis, function: Function) -> tuple[Value, ...] | str:
    """The values of the function's defaults, which are written out where it is called; only those
    that read and call nothing of users'.
    """
    if not function.defaults:
        return "its arguments do not match its parameters"
    inner = Analysis(
        analysis.names.qualified(), Context((), analysis.context.role, MAX_LENGTH), Work()
    )
    try:
        statements = parse(b"SELECT " + function.defaults.encode(), MAX_LENGTH)
    except RefusedError:
        statements = []
    body = statements[0].node.get("SelectStmt", {}) if len(statements) == 1 else {}
    if not body or body.keys() - {"targetList", "limitOption", "op"}:
        return "its defaults cannot be parsed"
    values = inner.expressions(
        [item["ResTarget"]["val"] for item in body.get("targetList", [])], Scope()
    )
    facts = inner.facts(-1, -1)
    if facts.unknowns or facts.functions or facts.accesses or facts.settings or facts.followed:
        return "a default of its parameters calls functions or reads relations"
    return tuple(values)


def _concrete(
    types: Types, function: Function, slots: list[tuple[Value, ...]], gathered: bool
) -> Function | None:
    """The function with real types in the place of polymorphic ones; None where PostgreSQL would
    have to be asked.
    """
    if POLYMORPHIC.isdisjoint((*function.arg_types, function.return_type, *function.out_types)):
        return function
    bound = {family: _family(types, function, slots, gathered, family) for family in (False, True)}

    def real(type_: int) -> int:
        if type_ not in POLYMORPHIC:
            return type_
        element = bound[type_ in _COMPATIBLE]
        if type_ in ARRAYS:
            return types.array(element)
        return element if type_ in ELEMENTS else 0

    arguments, outs = tuple(map(real, function.arg_types)), tuple(map(real, function.out_types))
    result = real(function.return_type)
    if 0 in (*arguments, *outs, result):
        return None
    return replace(function, arg_types=arguments, out_types=outs, return_type=result)


def _family(
    types: Types,
    function: Function,
    slots: list[tuple[Value, ...]],
    gathered: bool,
    compatible: bool,
) -> int:
    """The element type of the any... or the anycompatible... parameters; 0 where there is none, or
    more than one.
    """
    types_seen: set[int] = set()
    last = len(slots) - 1
    for number, (declared, values) in enumerate(zip(function.arg_types, slots, strict=True)):
        if declared not in ARRAYS | ELEMENTS or (declared in _COMPATIBLE) != compatible:
            continue
        array = declared in ARRAYS and not (gathered and number == last)
        for value in values:
            if value.type != UNKNOWN_TYPE:
                types_seen.add(types.element(value.type) if array else value.type)
    if compatible:
        return types.common(list(types_seen)) if types_seen else TEXT
    return types_seen.pop() if len(types_seen) == 1 else 0
