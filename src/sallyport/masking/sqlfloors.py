"""The masks ``date`` and ``bucket`` in SQL: values rounded down.

Every expression first compares its value with what the work can bear, then works on it. A value
outside, an infinity or NaN, is NULL. None where the mask does not fit the type.

A bucket of a float starts from the shortest decimal that means the float, as the native mask does:
the float 0.3 is in the bucket 0.3 of size 0.1, though its exact value is less. ``float8::numeric``
gives 15 digits of it (float4: 6); ``to_char`` with EEEE gives as many as it is asked for. Neither
obeys extra_float_digits.
"""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from functools import lru_cache
from typing import Final

from sallyport.masking.maskers import Family, operation
from sallyport.policy.decision import MaskSpec
from sallyport.wire import values

_ZERO: Final = "'0'::pg_catalog.interval"
_FIRST_DAY: Final = "4713-01-01 BC"
_FIRST_MOMENT: Final = "4713-01-01 00:00:00{} BC"
#: The last day of timestamp, to which date_trunc converts a date.
_LAST_DAY: Final = "294276-12-31"

_INTEGERS: Final = {values.INT2: ("int2", 15), values.INT4: ("int4", 31), values.INT8: ("int8", 63)}
#: Within these both native forms stay under values.MAX_DIGITS.
_MAX_NUMERIC: Final = "1e500"
_MAX_SCALE: Final = 490
#: Smaller buckets of floats could make numbers that float4in and float8in refuse.
_MIN_FLOAT_SIZE: Final = Decimal("1e-30")


def truncated(precision: str, column: str, family: Family) -> str | None:
    """The start of the year, month or day (``precision``) of the value; timestamptz in UTC."""
    if precision not in ("year", "month", "day"):
        return None
    if family is Family.DATE:
        return _truncated_date(precision, column)
    if family is Family.TIMESTAMP:
        kind, zone, floor = "timestamp", "", f"pg_catalog.date_trunc('{precision}', {column})"
    elif family is Family.TIMESTAMPTZ:
        # An interval as zone: TimeZone = '<UTC>-13:43' gives the name UTC another meaning.
        utc = f"pg_catalog.timezone({_ZERO}, {column})"
        floor = f"pg_catalog.timezone({_ZERO}, pg_catalog.date_trunc('{precision}', {utc}))"
        kind, zone = "timestamptz", "+00"
    else:
        return None
    return (
        f"CASE WHEN {column} OPERATOR(pg_catalog.>=)"
        f" '{_FIRST_MOMENT.format(zone)}'::pg_catalog.{kind}"
        f" AND {column} OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.{kind} THEN {floor} END"
    )


def _truncated_date(precision: str, column: str) -> str:
    first, last = (f"'{day}'::pg_catalog.date" for day in (_FIRST_DAY, _LAST_DAY))
    floor = f"pg_catalog.date_trunc('{precision}', {column}::pg_catalog.timestamp)"
    year, month = (
        f"pg_catalog.extract('{part}', {column})::pg_catalog.int4" for part in ("year", "month")
    )
    late_floor = {
        "year": f"pg_catalog.make_date({year}, 1, 1)",
        "month": f"pg_catalog.make_date({year}, {month}, 1)",
        "day": column,
    }[precision]
    return (
        f"CASE WHEN {column} OPERATOR(pg_catalog.<) {first} THEN NULL"
        f" WHEN {column} OPERATOR(pg_catalog.<=) {last} THEN {floor}::pg_catalog.date"
        f" WHEN {column} OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.date THEN {late_floor} END"
    )


# --- bucket ---------------------------------------------------------------------------------------


def bucket(size: float, column: str, base: int, family: Family) -> str | None:
    """The value rounded down to a multiple of ``size``; ``column`` has the type ``base``."""
    if not (size > 0 and math.isfinite(size)):
        return None
    step, scale = values.parse_decimal(str(Decimal(repr(size))).encode())
    if family is Family.INTEGER:
        return _integer_bucket(step, scale, column, base)
    if family is Family.NUMERIC:
        return _numeric_bucket(step, scale, column)
    if family is Family.FLOAT and Decimal(repr(size)) >= _MIN_FLOAT_SIZE:
        return _float_bucket(size, step, scale, column, base)
    return None


def _integer_bucket(step: int, scale: int, column: str, base: int) -> str | None:
    """In bigint if the size is an integer, else in numeric. NULL below the type's first bucket."""
    name, bits = _INTEGERS[base]
    minimum, unit = -(2**bits), 10**scale
    first_bucket = -(-minimum * unit // step)  # the first k with least <= k * size
    first = -(-first_bucket * step // unit)  # the first integer that is not under k * size
    if first >= 2**bits:
        return None
    if step % unit or step // unit >= 2**63:
        exact = _numeric_floor(f"{column}::pg_catalog.numeric", _decimal(step, scale))
        floor = f"pg_catalog.floor({exact})"
    else:
        floor = _bigint_floor(f"{column}::pg_catalog.int8", f"'{step // unit}'::pg_catalog.int8")
    value = f"({floor})::pg_catalog.{name}"
    return (
        f"CASE WHEN {column} OPERATOR(pg_catalog.>=) '{first}'::pg_catalog.{name} THEN {value} END"
    )


def _bigint_floor(value: str, size: str) -> str:
    """Below 0, of value + 1: no intermediate is further from 0 than the result."""
    remainder = f"({value} OPERATOR(pg_catalog.%) {size})"
    remainder_above = f"(({value} OPERATOR(pg_catalog.+) 1) OPERATOR(pg_catalog.%) {size})"
    return (
        f"CASE WHEN {value} OPERATOR(pg_catalog.>=) 0"
        f" THEN {value} OPERATOR(pg_catalog.-) {remainder}"
        f" ELSE ({value} OPERATOR(pg_catalog.-) {remainder_above})"
        f" OPERATOR(pg_catalog.-) ({size} OPERATOR(pg_catalog.-) 1) END"
    )


def _numeric_bucket(step: int, scale: int, column: str) -> str:
    size = _decimal(step, scale)
    quick = f"{column} OPERATOR(pg_catalog.-) pg_catalog.mod({column}, {size})"
    return (
        f"CASE WHEN {column} OPERATOR(pg_catalog.>) '-{_MAX_NUMERIC}'::pg_catalog.numeric"
        f" AND {column} OPERATOR(pg_catalog.<) '{_MAX_NUMERIC}'::pg_catalog.numeric"
        f" AND pg_catalog.scale({column}) OPERATOR(pg_catalog.<=) {_MAX_SCALE}"
        f" THEN pg_catalog.round(CASE WHEN {column} OPERATOR(pg_catalog.>=) '0'::pg_catalog.numeric"
        f" THEN {quick} ELSE {_numeric_floor(column, size)} END, {scale}) END"
    )


def _numeric_floor(value: str, size: str) -> str:
    """Exact: mod is, a quotient is not. The inner remainder has the sign of ``value``."""
    remainder = f"pg_catalog.mod({value}, {size})"
    positive = f"pg_catalog.mod({remainder} OPERATOR(pg_catalog.+) {size}, {size})"
    return f"{value} OPERATOR(pg_catalog.-) {positive}"


def _decimal(step: int, scale: int) -> str:
    return f"'{values.format_decimal(step, scale).decode()}'::pg_catalog.numeric"


# --- bucket of floats -----------------------------------------------------------------------------


def _float_bucket(size: float, step: int, scale: int, column: str, base: int) -> str:
    """For a size that is an integer, what is small enough to have units goes through bigint."""
    name = "float4" if base == values.FLOAT4 else "float8"
    first, last = (f"'{limit}'::pg_catalog.{name}" for limit in _float_limits(size, base))
    floor = _numeric_floor(_shortest_decimal(column, name), _decimal(step, scale))
    units, unit = 2 ** (24 if name == "float4" else 53), 10**scale
    quick = ""
    if step % unit == 0 and step // unit <= 2**53:
        floored = f"pg_catalog.floor({column}::pg_catalog.float8)::pg_catalog.int8"
        low = _bigint_floor(floored, f"'{step // unit}'::pg_catalog.int8")
        quick = (
            f" WHEN {column} OPERATOR(pg_catalog.>) '-{units}'::pg_catalog.{name}"
            f" AND {column} OPERATOR(pg_catalog.<) '{units}'::pg_catalog.{name}"
            f" THEN ({low})::pg_catalog.{name}"
        )
    return (
        f"CASE WHEN {column} OPERATOR(pg_catalog.<) {first} THEN NULL{quick}"
        f" WHEN {column} OPERATOR(pg_catalog.<=) {last} THEN ({floor})::pg_catalog.{name} END"
    )


def _shortest_decimal(column: str, name: str) -> str:
    """The first of 15, 16, 17 digits (float4: 6 to 9) that reads back as the float; numeric."""
    few = f"{column}::pg_catalog.numeric"
    digits = (7, 8, 9) if name == "float4" else (16, 17)
    *more, maximum = (
        f"pg_catalog.to_char({column}, '9.{'9' * (number - 1)}EEEE')::pg_catalog.numeric"
        for number in digits
    )
    cases = (
        f" WHEN {decimal}::pg_catalog.{name} OPERATOR(pg_catalog.=) {column} THEN {decimal}"
        for decimal in (few, *more)
    )
    return f"CASE{''.join(cases)} ELSE {maximum} END"


@lru_cache
def _float_limits(size: float, base: int) -> tuple[str, str]:
    """The least and the greatest float whose bucket, and whose decimals, float8in takes."""
    integer, code = (">I", ">f") if base == values.FLOAT4 else (">Q", ">d")
    greatest = 3.4028234663852886e38 if base == values.FLOAT4 else 1.7976e308
    native = operation(MaskSpec("bucket", size=size), base, 1, {}, {}).function

    def has_bucket(magnitude: int) -> bool:
        number = struct.unpack(code, struct.pack(integer, magnitude))[0]
        return native is not None and native(struct.pack(code, -number)) is not None

    # The bits of a float, as an integer, are in the order of its magnitude.
    low, high = 0, struct.unpack(integer, struct.pack(code, greatest))[0]
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if has_bucket(middle) else (low, middle - 1)
    minimum = struct.unpack(code, struct.pack(integer, low))[0]
    return repr(-minimum), repr(greatest)
