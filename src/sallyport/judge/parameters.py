"""Types that a client declares for parameters, in Parse or PREPARE: those by which PostgreSQL would
convert a masked column that it compares, or run a cast of users' making. Nobody knows them when the
text is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sallyport.core.errors import Refusal, refuse
from sallyport.policy.checks.needs import chain
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.expressions.equality import may_be_declared
from sallyport.sql.facts import StatementFacts
from sallyport.sql.names.resolve import name_resolver
from sallyport.sql.values.void_parameters import is_converted


@dataclass(frozen=True, slots=True)
class ComparedParameter:
    """A parameter that is compared with a masked column's value. ``type``: the column's (pg_type
    OID). ``array``: by ``= ANY``. ``cast``: the text that is sent casts it to the column's type.
    """

    number: int
    column: str
    type: int
    array: bool
    cast: bool


def compared_parameters(
    catalog: CatalogSnapshot, facts: StatementFacts, compared: frozenset[int]
) -> tuple[ComparedParameter, ...]:
    """``compared``: positions of the references whose value a comparison sees."""
    return tuple(
        ComparedParameter(
            number,
            catalog.column_name(comparison.column),
            column.type_oid,
            comparison.array,
            comparison.repeated,
        )
        for level in chain(facts)
        for comparison in level.comparisons
        if comparison.reference in compared
        and (column := catalog.column(comparison.column)) is not None
        for number in sorted(comparison.parameters)
    )


def check_declared_types(
    compared: Sequence[ComparedParameter],
    facts: StatementFacts,
    declared: Sequence[int],
    catalog: CatalogSnapshot,
) -> Refusal | None:
    """Why a statement may not have its parameters ``declared`` so (pg_type OIDs, in order; 0: not
    declared), or None.

    ``facts``: of which only those about parameters are read. In a list that was shortened none is
    ``compared``.
    """
    casts = facts.cast_parameters
    for number, type_ in enumerate(declared if casts else (), 1):
        if is_converted(casts, facts.meant_by(number), type_):
            return refuse(
                "SP1103",
                f"the declared type of ${number} would call a cast that is not known to be safe",
                "PostgreSQL would convert the parameter with a function that the policy does not"
                " list.",
                f"Do not declare a type for ${number}.",
            )
    resolver = name_resolver(catalog, ())
    for parameter in compared:
        type_ = declared[parameter.number - 1] if parameter.number <= len(declared) else 0
        fits = may_be_declared(resolver, parameter.type, type_, parameter.array)
        if not fits or (
            parameter.cast
            and resolver.types.base(type_) not in (0, resolver.types.base(parameter.type))
        ):
            return refuse(
                "SP1206",
                f"the declared type of ${parameter.number} would convert masked column"
                f" {parameter.column}",
                "The conversion could fail, and its error would reveal the column's value.",
                f"Declare ${parameter.number} with the column's own type, or do not declare its"
                " type.",
            )
    return None
