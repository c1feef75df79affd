"""Functions of users' making that a relation calls by itself: they are judged as calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sallyport.sql.analysis import Analysis
from sallyport.sql.catalog.functions import classify
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Function, Relation
from sallyport.sql.writes.written import written

_TRIGGER = 2279  # pg_type.oid of the type trigger
_CHECKS = "domain checks"


def computing(a: Analysis, relation: Relation) -> None:
    """What the relation's defaults, checks, indexes and so on call: for changes that compute with
    the rows that are there. Triggers do not see those.
    """
    _called(a, relation, -1, lambda function: function.return_type != _TRIGGER)


def writing(a: Analysis, relation: Relation, at: int) -> None:
    """Likewise, and its triggers: for a write to it."""
    _called(a, relation, at, lambda function: True)
    for column in relation.columns:
        for function in domain_checks(a, column.type_oid):
            if function is None:
                _unknown(a, relation, at)
            else:
                a.call(function, at)


def truncating(a: Analysis, relation: Relation) -> None:
    """Its triggers, which TRUNCATE may set off."""
    _called(a, relation, -1, lambda function: function.return_type == _TRIGGER)


def set_off(a: Analysis, oid: int, action: str, at: int) -> None:
    """What a write to the relation calls in partitions, and in what refers to it. ``action``: of
    the write.
    """
    for relation in written(a.catalog, oid, cascades=action != "insert"):
        if relation is None:
            a.unknown("SP1103", "cannot determine what this write sets off", position=at)
        else:
            writing(a, relation, at)


def domain_checks(a: Analysis, type_: int) -> tuple[Function | None, ...]:
    """Functions of users' making that a value of this type is checked by, in whatever part of it;
    None for one that is not known.
    """
    key = (_CHECKS, type_)
    checks: tuple[Function | None, ...] | None = a.catalog.lookups.get(key)
    if checks is None:
        checks = tuple(_checks(a.catalog, type_))
        a.catalog.keep(key, checks)
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


def _called(a: Analysis, relation: Relation, at: int, concerns: Callable[[Function], bool]) -> None:
    for oid in relation.hidden_functions:
        function = a.catalog.functions.get(oid)
        if function is None:
            _unknown(a, relation, at)
        elif concerns(function) and not (function.extension and classify(function).safe):
            a.call(function, at)


def _unknown(a: Analysis, relation: Relation, at: int) -> None:
    what = f"cannot determine which functions {relation.qualified} calls"
    a.unknown("SP1103", what, position=at)
