"""Where a value comes from: the algebra of sources, dependence and origin.

:class:`Value` is what the analysis knows of one expression: the columns it is computed from, whether it still *is* one of them, what
RowDescription must say of it, its type as far as it can be told, and, for rows, their fields. Everything is immutable.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sallyport.sql.catalog import ColumnId
from sallyport.sql.facts import Dependence

Sources = frozenset[ColumnId]
NONE: Sources = frozenset()

#: pg_type.oid of the pseudo-type of an untyped literal. 0 stands for "a type that was not inferred".
UNKNOWN_TYPE = 705


class Value(NamedTuple):
    """``row``: the fields, when this is a row of known shape. ``constant``: a literal or parameter, or made of such only.

    ``denied``: why the column must not be read at all ("" when it may). ``literal``: the text of a literal.
    ``equality``: those of the sources that enter only by being compared with ``=`` or IN to constants.
    ``parameter``: n for $n, also as text. ``risky``: a column of a query that is computed by something that may fail or has an effect; PostgreSQL may compute it where it is used.
    """

    sources: Sources = NONE
    dependence: Dependence = Dependence.DERIVED
    origin: ColumnId | None = None
    type: int = 0
    row: tuple[Field, ...] | None = None
    constant: bool = False
    denied: str = ""
    literal: str | None = None
    equality: Sources = NONE
    risky: bool = False
    parameter: int = 0

    @property
    def bare(self) -> bool:
        """Whether this is a plain column path."""
        return self.dependence is Dependence.IDENTITY


class Field(NamedTuple):
    name: str
    value: Value


CONSTANT = Value(constant=True, type=UNKNOWN_TYPE)
OPAQUE = Value(dependence=Dependence.OPAQUE)


def union(values: Iterable[Value]) -> Sources:
    """All sources of all values."""
    filled = [value.sources for value in values if value.sources]
    if not filled:
        return NONE
    return filled[0] if len(filled) == 1 else frozenset().union(*filled)


def derived(values: Iterable[Value], type_: int = 0, constant: bool = False) -> Value:
    """A value computed from others; opaque when one of them is."""
    values = tuple(values)
    opaque = any(value.dependence is Dependence.OPAQUE for value in values)
    return Value(
        union(values), Dependence.OPAQUE if opaque else Dependence.DERIVED, None, type_, None, constant
    )


def worse(left: Dependence, right: Dependence) -> Dependence:
    """The weaker statement of two dependences."""
    if left is right:
        return left
    if Dependence.OPAQUE in (left, right):
        return Dependence.OPAQUE
    return Dependence.DERIVED


def either(left: Value, right: Value, type_: int = 0) -> Value:
    """One value or the other, by row (set operations, merged columns): identity only when both are the same column."""
    dependence = worse(left.dependence, right.dependence)
    if dependence is Dependence.IDENTITY and left.sources != right.sources:
        # a literal beside a column is still computed from one column, but no longer that column's value
        dependence = Dependence.DERIVED
    return Value(left.sources | right.sources, dependence, None, type_, risky=left.risky or right.risky)


def as_row(fields: tuple[Field, ...], type_: int = 0, origin: ColumnId | None = None) -> Value:
    """A whole row: depends on every field."""
    denied = next((f.value.denied for f in fields if f.value.denied), "")
    risky = any([f.value.risky for f in fields])
    return Value(
        union(f.value for f in fields), Dependence.DERIVED, origin, type_, fields, False, denied, risky=risky
    )
