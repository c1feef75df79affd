"""Columns that come from more than one query: UNION, INTERSECT, EXCEPT and VALUES, by position."""

from __future__ import annotations

from msgspec.structs import replace

from sallyport.sql.analysis import Analysis
from sallyport.sql.expressions.calls import common_type
from sallyport.sql.facts import Dependence
from sallyport.sql.lineage import UNKNOWN_TYPE, Field, Value, either
from sallyport.sql.values.types import TEXT


def settle_text(value: Value) -> Value:
    """As seen from outside a query: an untyped literal has become text, nothing is a constant any
    more, and a field of a row is an expression (FieldSelect), no longer the column it was. It is no
    column of a range variable either.
    """
    if value.variable >= 0:
        value = replace(value, variable=-1)
    if value.row is not None:
        row = tuple([Field(f.name, replace(f.value, origin=None)) for f in value.row])
        return replace(value, constant=False, row=row)
    if value.constant:
        type_ = TEXT if value.type == UNKNOWN_TYPE else value.type
        return replace(value, constant=False, literal=None, type=type_)
    return value


def combined(
    analysis: Analysis, left: tuple[Field, ...], right: tuple[Field, ...], operation: str = "UNION"
) -> tuple[Field, ...]:
    """Column by column, either side; names are the left side's. ``operation``: UNION, INTERSECT,
    EXCEPT or VALUES.
    """
    analysis.work.spend(len(left) >> 1)
    if len(left) != len(right):
        message = f"each {operation} query must have the same number of columns"
        if operation == "VALUES":
            message = "VALUES lists must all be the same length"
        analysis.missing(
            "SP1101", message, "Write as many columns each time; NULL can stand for one."
        )
        left, right = (left, right) if len(left) > len(right) else (right, left)
        right = (
            *right,
            *(Field("", Value(dependence=Dependence.OPAQUE)) for _ in left[len(right) :]),
        )
    return tuple(
        [
            Field(f.name, _combine(analysis, f.value, g.value))
            for f, g in zip(left, right, strict=True)
        ]
    )


def _combine(analysis: Analysis, left: Value, right: Value) -> Value:
    if left.type == right.type:
        value = either(left, right, left.type)
    else:
        value = either(left, right, common_type(analysis, (left, right)))
        if value.dependence is Dependence.IDENTITY:
            value = replace(value, dependence=Dependence.DERIVED)  # one side is converted
    if left.type == UNKNOWN_TYPE == right.type:
        value = replace(value, type=UNKNOWN_TYPE)
    return value
