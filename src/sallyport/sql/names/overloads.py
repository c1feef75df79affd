"""Which overload PostgreSQL chooses when several accept the arguments: func_select_candidate
(parse_func.c).

:func:`chosen` drops only what PostgreSQL surely drops. Where PostgreSQL would call the choice
ambiguous, all that remain are given back.
"""

from __future__ import annotations

from collections.abc import Callable

from sallyport.sql.catalog.snapshot import Function
from sallyport.sql.lineage import UNKNOWN_TYPE
from sallyport.sql.values.types import Types

_STRING = "S"


def chosen(
    types: Types, candidates: list[Function], argument_types: tuple[int, ...]
) -> list[Function]:
    """Of functions that accept arguments of the ``argument_types`` types (none of them 0), those
    that could be meant.
    """
    bases = [types.base(type_) if type_ != UNKNOWN_TYPE else type_ for type_ in argument_types]
    typed_arguments = [n for n, type_ in enumerate(bases) if type_ != UNKNOWN_TYPE]
    unknown = [n for n, type_ in enumerate(bases) if type_ == UNKNOWN_TYPE]
    left = _most(candidates, lambda f: sum(f.arg_types[n] == bases[n] for n in typed_arguments))
    if len(left) > 1:
        categories = {n: _category(types, bases[n])[0] for n in typed_arguments}
        left = _most(
            left,
            lambda f: sum(
                _fits(types, f.arg_types[n], bases[n], categories[n]) for n in typed_arguments
            ),
        )
    return _by_category(types, left, unknown) if len(left) > 1 and unknown else left


def _most(candidates: list[Function], score: Callable[[Function], int]) -> list[Function]:
    best = max(map(score, candidates))
    return [f for f in candidates if score(f) == best]


def _category(types: Types, oid: int) -> tuple[str, bool]:
    type_ = types.get(oid)
    return (type_.category, type_.preferred) if type_ is not None else ("", False)


def _fits(types: Types, declared: int, actual: int, category: str) -> bool:
    return declared == actual or _category(types, declared) == (category, True)


def _by_category(types: Types, candidates: list[Function], unknown: list[int]) -> list[Function]:
    """Untyped literals: strings where some candidate takes them, else the one category that all
    take; preferred types first.
    """
    choices: list[tuple[int, str, bool]] = []
    for n in unknown:
        categories = [_category(types, f.arg_types[n]) for f in candidates]
        names = {category for category, _ in categories}
        name = _STRING if _STRING in names else names.pop() if len(names) == 1 else ""
        if not name:
            return candidates
        choices.append(
            (n, name, any(preferred for category, preferred in categories if category == name))
        )

    def fits(function: Function) -> bool:
        for n, name, preferred in choices:
            category, is_preferred = _category(types, function.arg_types[n])
            if category != name or (preferred and not is_preferred):
                return False
        return True

    return [f for f in candidates if fits(f)] or candidates
