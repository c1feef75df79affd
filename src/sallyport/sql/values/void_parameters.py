"""Parameters of type void, without which PostgreSQL calls a function (ParseFuncOrColumn in
parse_func.c, made for JDBC's OUT parameters).

``f($1)`` calls ``f()`` when ``$1`` is void. A client can say so in Parse (:attr:`Context.void`), or
by ``f($1::void)``, which is followed. It could also lead PostgreSQL to infer it, from another place
where the same parameter stands: then the functions that could be meant must all be harmless.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations

from sallyport.sql.analysis import Analysis
from sallyport.sql.lineage import UNKNOWN_TYPE
from sallyport.sql.nodes import position_of, strings
from sallyport.sql.text.parse import Node
from sallyport.sql.values.types import VOID

#: Arguments of :meth:`Analysis.unknown` for whatever makes a value of this type on purpose.
NO_VOID = ("SP1102", "values of type void are not supported", "Leave them out.")
#: In place of a type in StatementFacts.cast_parameters.
ANY_BUT_VOID = -1
#: Parameters of one call that are looked at together; beyond it, the answer is no.
_MOST = 8


def void_parameters(types: Sequence[int]) -> frozenset[int]:
    """Numbers of the parameters that Parse declares to be of type void. ``types``: of pg_type."""
    numbered = enumerate(types, 1) if types else ()
    return frozenset([number for number, type_ in numbered if type_ == VOID])


def given(analysis: Analysis, node: Node) -> Node:
    """The FuncCall without the arguments that are parameters of type void."""
    if analysis.parameters is not None or node.get("agg_within_group"):
        return node
    arguments: list[Node] = node.get("args", [])
    left = [argument for argument in arguments if not _is_void(analysis, argument)]
    if len(left) != len(arguments) and node.get("func_variadic"):
        analysis.unknown(
            "SP1102",
            "VARIADIC with a parameter of type void is not supported",
            position=position_of(node),
        )
    return {**node, "args": left}


def _is_void(analysis: Analysis, argument: Node) -> bool:
    """By Parse, or by ``$1::void``. Of another type PostgreSQL would convert the parameter, and
    call the function with it. In a template a parameter may stand for a literal, which is an
    argument.
    """
    if "TypeCast" not in argument:
        return _number(argument) in analysis.context.void
    cast = argument["TypeCast"]
    number = _number(cast["arg"])
    if not number or analysis.context.template or "arrayBounds" in cast["typeName"]:
        return False
    type_ = analysis.names.types.named(strings(cast["typeName"]["names"]))
    if type_ is None or type_.oid != VOID:
        return False
    analysis.cast_parameters.add((number, ANY_BUT_VOID))
    return True


def is_converted(casts: Collection[tuple[int, int]], number: int, type_: int) -> bool:
    """Whether a cast converts the parameter where it is declared to be of this type (pg_type OID;
    0: it is not). ``casts``: StatementFacts.cast_parameters.
    """
    is_void = type_ in (0, UNKNOWN_TYPE, VOID)
    return (number, type_) in casts or (not is_void and (number, ANY_BUT_VOID) in casts)


def check_inferred(
    analysis: Analysis,
    node: Node,
    names: tuple[str, ...],
    arguments: list[Node],
    types: tuple[int, ...],
) -> None:
    """Refuse a call that would mean something else if some of its parameters were void, unless that
    is as harmless.
    """
    if analysis.parameters is not None or node.get("agg_within_group"):
        return
    places = [
        position
        for position, argument in enumerate(arguments)
        if _number(argument) and repeated(analysis, _number(argument))
    ]
    if not places:
        return
    if len(places) > _MOST:
        analysis.unknown(
            "SP1102",
            "cannot determine the type of so many parameters that are used more than once",
            position=position_of(node),
        )
        return
    for count in range(1, len(places) + 1):
        for gone in combinations(places, count):
            left = tuple([type_ for position, type_ in enumerate(types) if position not in gone])
            resolved = analysis.names.function(
                names, left, any("NamedArgExpr" in argument for argument in arguments)
            )
            if resolved.exists and (
                resolved.reason or resolved.users or resolved.writes or resolved.changes_settings
            ):
                what = (
                    f"cannot determine whether {'.'.join(names)} is called with or without a"
                    " parameter"
                )
                analysis.unknown(
                    "SP1102",
                    what,
                    "Write a cast, like $1::text, or use each parameter once.",
                    position_of(node),
                )
                return


def _number(node: Node) -> int:
    """Of a parameter; 0 for anything else."""
    number: int = node["ParamRef"].get("number", 0) if "ParamRef" in node else 0
    return number


def repeated(analysis: Analysis, number: int) -> bool:
    """Does the parameter stand in the statement more than once? Only another place could make it
    void.
    """
    if analysis.parameter_uses is None:
        analysis.parameter_uses = {}
        left: list[object] = [analysis.root]
        while left:
            node_part = left.pop()
            if isinstance(node_part, dict):
                if "ParamRef" in node_part:
                    number_used = _number(node_part)
                    analysis.parameter_uses[number_used] = (
                        analysis.parameter_uses.get(number_used, 0) + 1
                    )
                left.extend(node_part.values())
            elif isinstance(node_part, list):
                left.extend(node_part)
    return analysis.parameter_uses.get(number, 0) != 1
