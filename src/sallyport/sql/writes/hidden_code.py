"""Functions of users' making that a relation calls by itself: they are judged as calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sallyport.sql.analysis import Analysis
from sallyport.sql.catalog.functions import classify
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Function, Relation
from sallyport.sql.writes.written import written

_TRIGGER = 2279  # pg_type.oid of the type trigger
_CHECKS = "domain checks"


def computing(analysis: Analysis, relation: Relation) -> None:
    """What the relation's defaults, checks, indexes and so on call: for changes that compute with
    the rows that are there. Triggers do not see those.
    """
    _called(analysis, relation, -1, lambda function: function.return_type != _TRIGGER)


def writing(analysis: Analysis, relation: Relation, position: int) -> None:
    """Likewise, and its triggers: for a write to it."""
    _called(analysis, relation, position, lambda function: True)
    for column in relation.columns:
        for function in domain_checks(analysis, column.type_oid):
            if function is None:
                _unknown(analysis, relation, position)
            else:
                analysis.call(function, position)


def truncating(analysis: Analysis, relation: Relation) -> None:
    """Its triggers, which TRUNCATE may set off."""
    _called(analysis, relation, -1, lambda function: function.return_type == _TRIGGER)


def set_off(analysis: Analysis, oid: int, action: str, position: int) -> None:
    """What a write to the relation calls in partitions, and in what refers to it. ``action``: of
    the write.
    """
    for relation in written(analysis.catalog, oid, cascades=action != "insert"):
        if relation is None:
            analysis.unknown(
                "SP1103", "cannot determine what this write sets off", position=position
            )
        else:
            writing(analysis, relation, position)


def domain_checks(analysis: Analysis, type_: int) -> tuple[Function | None, ...]:
    """Functions of users' making that a value of this type is checked by, in whatever part of it;
    None for one that is not known.
    """
    key = (_CHECKS, type_)
    checks: tuple[Function | None, ...] | None = analysis.catalog.lookups.get(key)
    if checks is None:
        checks = tuple(_checks(analysis.catalog, type_))
        analysis.catalog.keep(key, checks)
    return checks


def _checks(catalog: CatalogSnapshot, type_: int) -> Iterator[Function | None]:
    seen, rest = {type_}, [type_]
    while rest:
        inspected = catalog.types.get(rest.pop())
        if inspected is None:
            continue
        for oid in inspected.check_functions:
            function = catalog.functions.get(oid)
            if function is None or not classify(function).safe:
                yield function
        relation = catalog.relations.get(inspected.relation)
        columns = relation.columns if relation is not None else ()
        inside = {inspected.base, inspected.element, *(column.type_oid for column in columns)}
        rest += inside - seen
        seen |= inside


def _called(
    analysis: Analysis, relation: Relation, position: int, concerns: Callable[[Function], bool]
) -> None:
    for oid in relation.hidden_functions:
        function = analysis.catalog.functions.get(oid)
        if function is None:
            _unknown(analysis, relation, position)
        elif concerns(function) and not (function.extension and classify(function).safe):
            analysis.call(function, position)


def _unknown(analysis: Analysis, relation: Relation, position: int) -> None:
    what = f"cannot determine which functions {relation.qualified} calls"
    analysis.unknown("SP1103", what, position=position)
