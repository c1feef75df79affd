"""Where a value comes from: the algebra of sources, dependence and origin.

:class:`Value` is what the analysis knows of one expression: the columns it is computed from,
whether it still *is* one of them, what RowDescription must say of it, its type as far as it can be
told, and, for rows, their fields. Everything is immutable, so nothing here can refer to itself and
the garbage collector need not look at it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from sallyport.sql.catalog.snapshot import ColumnId
from sallyport.sql.facts import Dependence

Sources = frozenset[ColumnId]
NONE: Sources = frozenset()

#: Looking a member up in its class takes as long as several calls of a function (CPython 3.11).
_IDENTITY, _DERIVED, _OPAQUE = Dependence.IDENTITY, Dependence.DERIVED, Dependence.OPAQUE

#: pg_type.oid of the pseudo-type of an untyped literal. 0 stands for "a type that was not
#: inferred".
UNKNOWN_TYPE = 705


class Value(Struct, frozen=True, gc=False):
    """``row``: the fields, when this is a row of known shape. ``constant``: a literal or parameter,
    or made of such only.

    ``denied``: why the column must not be read at all ("" when it may). ``literal``: the text of a
    literal. ``parameter``: n for $n, also as text. ``raw``: read from the target of a write itself,
    for which no subselect can stand. ``variable``: the position of the range variable that the
    column belongs to, where GROUP BY asks for it.
    """

    sources: Sources = NONE
    dependence: Dependence = Dependence.DERIVED
    origin: ColumnId | None = None
    type: int = 0
    row: tuple[Field, ...] | None = None
    constant: bool = False
    denied: str = ""
    literal: str | None = None
    parameter: int = 0
    raw: bool = False
    variable: int = -1

    @property
    def bare(self) -> bool:
        """Whether this is a plain column path."""
        return self.dependence is _IDENTITY


class Field(Struct, frozen=True, gc=False):
    """A column of a result, and what it is computed from."""

    name: str
    value: Value


CONSTANT = Value(constant=True, type=UNKNOWN_TYPE)
OPAQUE = Value(dependence=Dependence.OPAQUE)


def union(values: Iterable[Value]) -> Sources:
    """All sources of all values."""
    return _joined([value.sources for value in values if value.sources])


def _joined(filled: list[Sources]) -> Sources:
    if not filled:
        return NONE
    return filled[0] if len(filled) == 1 else frozenset().union(*filled)


def is_raw(values: Iterable[Value]) -> bool:
    """Whether one of them was read from the target of a write."""
    return any([value.raw for value in values])


def derived(values: Iterable[Value], type_: int = 0, constant: bool = False) -> Value:
    """A value computed from others; opaque when one of them is, and raw when one of them is."""
    dependence, raw = _DERIVED, False
    filled = []
    for value in values:
        if value.sources:
            filled.append(value.sources)
        if value.dependence is _OPAQUE:
            dependence = _OPAQUE
        if value.raw:
            raw = True
    sources = filled[0] if len(filled) == 1 else _joined(filled)
    # by position, as names cost more than all the rest
    return Value(sources, dependence, None, type_, None, constant, "", None, 0, raw)


def worse(left: Dependence, right: Dependence) -> Dependence:
    """The weaker statement of two dependences."""
    if left is right:
        return left
    if Dependence.OPAQUE in (left, right):
        return Dependence.OPAQUE
    return Dependence.DERIVED


def either(left: Value, right: Value, type_: int = 0) -> Value:
    """One value or the other, by row (set operations, merged columns): identity only when both are
    the same column.
    """
    dependence = worse(left.dependence, right.dependence)
    if dependence is Dependence.IDENTITY and left.sources != right.sources:
        # a literal beside a column is still computed from one column, but no longer that column's
        # value
        dependence = Dependence.DERIVED
    return Value(left.sources | right.sources, dependence, None, type_, raw=left.raw or right.raw)


#: The denial of what a rule may allow: the action function-source.
FUNCTION_SOURCE = "the source of functions cannot be read here"


def denial(values: Sequence[Value]) -> str:
    """Why what is made of these may not be read, or "": what no rule allows comes first."""
    denials = [value.denied for value in values if value.denied]
    return next(
        (reason for reason in denials if reason != FUNCTION_SOURCE), denials[0] if denials else ""
    )


def as_row(fields: tuple[Field, ...], type_: int = 0, origin: ColumnId | None = None) -> Value:
    """A whole row: depends on every field."""
    denied = denial([f.value for f in fields])
    raw = is_raw([f.value for f in fields])
    return Value(
        union(f.value for f in fields),
        Dependence.DERIVED,
        origin,
        type_,
        fields,
        False,
        denied,
        raw=raw,
    )
