"""Polymorphic arguments: which types fit together, and what a result's type is (parse_coerce.c).

:func:`consistent` is check_generic_type_consistency, :func:`result_type` is
enforce_generic_type_consistency, :func:`common_type` is select_common_type_from_oids. A type is its
pg_type OID; 0 stands for one that is not known, and in doubt types fit. Ranges are not followed.
"""

from __future__ import annotations

from collections.abc import Sequence

from sallyport.sql.lineage import UNKNOWN_TYPE
from sallyport.sql.values.types import (
    ANYARRAY,
    ANYCOMPATIBLE,
    ANYCOMPATIBLEARRAY,
    ANYCOMPATIBLENONARRAY,
    ARRAYS,
    ELEMENTS,
    INT2VECTOR,
    OIDVECTOR,
    POLYMORPHIC,
    TEXT,
    Types,
)

_COMPATIBLE = frozenset({ANYCOMPATIBLE, ANYCOMPATIBLEARRAY, ANYCOMPATIBLENONARRAY})
_SAME = (ARRAYS | ELEMENTS) - _COMPATIBLE


def is_compatible(type_: int) -> bool:
    """Is it a polymorphic type of the anycompatible family (but for ranges)?"""
    return type_ in _COMPATIBLE


def consistent(types: Types, declared: Sequence[int], actual: Sequence[int]) -> bool:
    """Could arguments of the ``actual`` types stand for the ``declared`` ones together? False only
    where PostgreSQL surely says no.
    """
    elements = _elements(types, declared, actual, _SAME)
    if elements is None or (elements and 0 not in elements and len(set(elements)) > 1):
        return False
    elements = _elements(types, declared, actual, _COMPATIBLE)
    if elements is None:
        return False
    if not elements or 0 in elements:
        return True
    common = common_type(types, elements)
    if common is None:
        return False
    if ANYCOMPATIBLENONARRAY in declared and types.element(common):
        return False
    return not common or all(types.can_coerce(element, common) for element in elements)


def result_type(types: Types, result: int, declared: Sequence[int], actual: Sequence[int]) -> int:
    """The type of a result that is declared as the polymorphic type ``result``; 0 where it is not
    known.
    """
    if result not in POLYMORPHIC:
        return result
    family = _COMPATIBLE if is_compatible(result) else _SAME
    if result not in family:
        return 0
    elements = _elements(types, declared, actual, family)
    if not elements or 0 in elements:
        return 0
    element = (common_type(types, elements) or 0) if family is _COMPATIBLE else elements[0]
    return types.array(element) if result in ARRAYS else element


def _elements(
    types: Types, declared: Sequence[int], actual: Sequence[int], family: frozenset[int]
) -> list[int] | None:
    """What each argument of a polymorphic ``family`` says of the element's type; None where one is
    no array and must be.
    """
    elements = []
    for declared_type, type_ in zip(declared, actual, strict=False):
        if declared_type not in family or type_ == UNKNOWN_TYPE:
            continue
        if declared_type in ARRAYS and type_:
            if types.base(type_) in (0, INT2VECTOR, OIDVECTOR, ANYARRAY):
                type_ = 0  # arrays that have no array type of their own, or of any elements
            else:
                type_ = types.element(type_)
                if not type_:
                    return None
        elements.append(type_)
    return elements


def common_type(types: Types, candidates: Sequence[int]) -> int | None:
    """The type that all of them become; 0 where it is not known, None where there is none.

    They need not all convert to it: the caller checks.
    """
    if 0 in candidates:
        return 0
    if len(set(candidates)) == 1 and candidates[0] != UNKNOWN_TYPE:
        return candidates[0]
    chosen = UNKNOWN_TYPE
    for type_ in map(types.base, candidates):
        candidate_type = types.get(type_)
        if type_ in (UNKNOWN_TYPE, chosen):
            continue
        if chosen == UNKNOWN_TYPE:
            chosen = type_
            continue
        before = types.get(chosen)
        if candidate_type is None or before is None:
            return 0
        if candidate_type.category != before.category:
            return None
        if (
            not before.preferred
            and types.can_coerce(chosen, type_)
            and not types.can_coerce(type_, chosen)
        ):
            chosen = type_
    return TEXT if chosen == UNKNOWN_TYPE else chosen
