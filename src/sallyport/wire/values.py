"""Text and binary values of PostgreSQL's own types, as far as masking needs to read and write them.

Functions raise ValueError for what they do not understand, and nothing else; the text of such an
error never holds the value. Numbers are exact: a decimal is a pair ``(units, scale)`` that means
``units / 10**scale``. Dates are days, and timestamps microseconds, since 2000-01-01, as in the
binary format; years before 1 and beyond 9999 are fine.

Source: PostgreSQL's src/backend/utils/adt (numeric.c, datetime.c, float.c): the ``*_send`` and
``*_out`` functions.
"""

from __future__ import annotations

import re
import struct
from typing import Final

BOOL: Final = 16
BYTEA: Final = 17
NAME: Final = 19
INT8: Final = 20
INT2: Final = 21
INT4: Final = 23
TEXT: Final = 25
JSON: Final = 114
FLOAT4: Final = 700
FLOAT8: Final = 701
UNKNOWN: Final = 705
BPCHAR: Final = 1042
VARCHAR: Final = 1043
DATE: Final = 1082
TIMESTAMP: Final = 1114
TIMESTAMPTZ: Final = 1184
NUMERIC: Final = 1700
UUID: Final = 2950
JSONB: Final = 3802

MICROSECONDS_A_DAY: Final = 86_400_000_000

#: More digits than this are not worked on; PostgreSQL's numeric may have 147,455.
MAX_DIGITS: Final = 1000

_DECIMAL = re.compile(rb"(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d{1,4}))?")
_DATE = re.compile(rb"(\d{4,7})-(\d\d)-(\d\d)( BC)?")
_TIMESTAMP = re.compile(
    rb"(\d{4,7}-\d\d-\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?"
    rb"(?:([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?)?( BC)?"
)
_INFINITE_DAYS = (2**31 - 1, -(2**31))
_INFINITE_MICROSECONDS = (2**63 - 1, -(2**63))
_EPOCH = 730_425  # days from 0000-03-01 to 2000-01-01


def parse_decimal(text: bytes) -> tuple[int, int]:
    """``-12.50`` and ``1.5e+20`` as exact decimals; ValueError for NaN, infinities and very many
    digits.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None or len(text) > MAX_DIGITS:
        raise ValueError("not a finite number of moderate length")
    sign, integer, fraction, exponent = match.groups()
    fraction = fraction or b""
    units, scale = int(integer + fraction), len(fraction) - int(exponent or 0)
    if abs(scale) > MAX_DIGITS:
        raise ValueError("not a finite number of moderate length")
    if scale < 0:
        units, scale = units * 10**-scale, 0
    return (-units if sign else units), scale


def format_decimal(units: int, scale: int) -> bytes:
    """``units`` of 10 ** -``scale`` in PostgreSQL's text format of numeric."""
    digits = str(abs(units)).rjust(scale + 1, "0")
    text = f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits
    return (f"-{text}" if units < 0 else text).encode()


def decode_numeric(data: bytes) -> tuple[int, int]:
    """Binary ``numeric`` (numeric_send) as an exact decimal."""
    if len(data) < 8:
        raise ValueError("not a binary numeric")
    count, weight, sign, scale = struct.unpack(">HhHH", data[:8])
    if len(data) != 8 + 2 * count or sign not in (0, 0x4000):
        raise ValueError("not a finite binary numeric")
    if 4 * count > MAX_DIGITS or abs(weight) * 4 > MAX_DIGITS or scale > MAX_DIGITS:
        raise ValueError("a binary numeric with very many digits")
    units = 0
    for digit in struct.unpack(f">{count}H", data[8:]):
        if digit > 9999:
            raise ValueError("not a binary numeric")
        units = units * 10_000 + digit
    # digits to append (or, what numeric_send never has, to cut)
    shift = scale + 4 * (weight - count + 1)
    units = units * 10**shift if shift >= 0 else units // 10**-shift
    return (-units if sign else units), scale


def encode_numeric(units: int, scale: int) -> bytes:
    """The binary form of ``units / 10**scale``."""
    padded = abs(units) * 10 ** (-scale % 4)  # so that the fraction fills whole base-10000 digits
    digits: list[int] = []
    while padded:
        padded, digit = divmod(padded, 10_000)
        digits.append(digit)
    weight = len(digits) - 1 - (scale + 3) // 4 if digits else 0
    digits.reverse()
    while digits and digits[-1] == 0:
        digits.pop()
    sign = 0x4000 if units < 0 else 0
    return struct.pack(f">HhHH{len(digits)}H", len(digits), weight, sign, scale, *digits)


def decode_float(data: bytes) -> tuple[int, int]:
    """Binary float4 or float8 as the shortest decimal that means it, which is also its text
    form.
    """
    if len(data) == 8:
        return parse_decimal(repr(struct.unpack(">d", data)[0]).encode())
    if len(data) != 4:
        raise ValueError("not a binary float")
    value = struct.unpack(">f", data)[0]
    candidates = (f"{value:.{digits}g}" for digits in range(6, 9))
    text = next((t for t in candidates if struct.pack(">f", float(t)) == data), f"{value:.9g}")
    return parse_decimal(text.encode())


def to_float(units: int, scale: int) -> float:
    """``units`` of 10 ** -``scale``. Raises ValueError where a double cannot hold it."""
    try:
        return float(units / 10**scale)
    except OverflowError:
        raise ValueError("out of the range of a float") from None


def format_float(value: float) -> bytes:
    """In PostgreSQL's text format: the shortest digits that give the same double."""
    return repr(value).removesuffix(".0").encode()


def encode_float(value: float, size: int) -> bytes:
    """``size``: 4 or 8 bytes."""
    try:
        return struct.pack(">f" if size == 4 else ">d", value)
    except OverflowError:
        raise ValueError("out of the range of a float") from None


def encode_int(value: int, size: int) -> bytes:
    """``size`` bytes, big-endian, two's complement. Raises ValueError when it does not fit."""
    try:
        return value.to_bytes(size, "big", signed=True)
    except OverflowError:
        raise ValueError("out of the range of the integer type") from None


def decode_int(data: bytes, size: int) -> int:
    """The other way round. Raises ValueError for another length."""
    if len(data) != size:
        raise ValueError("not a binary integer of this size")
    return int.from_bytes(data, "big", signed=True)


def days_of(year: int, month: int, day: int) -> int:
    """Days since 2000-01-01 in the proleptic Gregorian calendar; year 0 is 1 BC."""
    if not (1 <= month <= 12 and 1 <= day <= 31):
        raise ValueError("not a date")
    # years begin in March
    years, months = (year, month - 3) if month > 2 else (year - 1, month + 9)
    return (
        years * 365
        + years // 4
        - years // 100
        + years // 400
        + (153 * months + 2) // 5
        + day
        - 1
        - _EPOCH
    )


def civil_of(days: int) -> tuple[int, int, int]:
    """Year, month and day; the inverse of :func:`days_of`."""
    cycle, rest = divmod(days + _EPOCH, 146_097)  # 400 years
    years = (rest - rest // 1460 + rest // 36_524 - rest // 146_096) // 365
    rest -= 365 * years + years // 4 - years // 100
    months = (5 * rest + 2) // 153
    day = rest - (153 * months + 2) // 5 + 1
    year = cycle * 400 + years
    return (year, months + 3, day) if months < 10 else (year + 1, months - 9, day)


def parse_date(text: bytes) -> int:
    """Days, from a date in DateStyle ISO."""
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError("not a date in DateStyle ISO")
    year = int(match[1])
    return days_of(1 - year if match[4] else year, int(match[2]), int(match[3]))


def format_date(days: int) -> bytes:
    """ISO text of ``days`` since 2000-01-01, with BC where PostgreSQL writes it."""
    year, month, day = civil_of(days)
    shown, era = (year, "") if year > 0 else (1 - year, " BC")
    return f"{shown:04}-{month:02}-{day:02}{era}".encode()


def parse_timestamp(text: bytes, with_zone: bool) -> int:
    """Microseconds (in UTC when ``with_zone``) from a timestamp in DateStyle ISO."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None or (match[6] is not None) != with_zone:
        raise ValueError("not a timestamp in DateStyle ISO")
    seconds = int(match[2]) * 3600 + int(match[3]) * 60 + int(match[4])
    if with_zone:
        offset = int(match[7]) * 3600 + int(match[8] or 0) * 60 + int(match[9] or 0)
        seconds += offset if match[6] == b"-" else -offset
    fraction = int((match[5] or b"0").ljust(6, b"0"))
    days = parse_date(match[1] + (match[10] or b""))
    return days * MICROSECONDS_A_DAY + seconds * 1_000_000 + fraction


def format_timestamp(microseconds: int, with_zone: bool) -> bytes:
    """DateStyle ISO; in UTC when ``with_zone``."""
    days, rest = divmod(microseconds, MICROSECONDS_A_DAY)
    seconds, fraction = divmod(rest, 1_000_000)
    date, _, era = format_date(days).decode().partition(" ")
    text = f"{date} {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if fraction:
        text += f".{fraction:06}".rstrip("0")
    return (text + ("+00" if with_zone else "") + (" " + era if era else "")).encode()


def decode_date(data: bytes) -> int:
    """Days since 2000-01-01 from the binary format. Raises ValueError."""
    days = decode_int(data, 4)
    if days in _INFINITE_DAYS:
        raise ValueError("an infinite date")
    return days


def decode_timestamp(data: bytes) -> int:
    """Microseconds since 2000-01-01 from the binary format. Raises ValueError."""
    microseconds = decode_int(data, 8)
    if microseconds in _INFINITE_MICROSECONDS:
        raise ValueError("an infinite timestamp")
    return microseconds
