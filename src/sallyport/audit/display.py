"""Recorded values as a person may safely see them.

:func:`inert` makes any text harmless to show: terminal escapes, control characters, bidi overrides,
zero-width and other invisible characters come out as visible escapes. :func:`show_value` turns one
result value, text or binary, into text that PostgreSQL would print (for common types; hex for the
rest). Nothing here raises for odd input.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import struct
import unicodedata
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal

from sallyport.core.wording import counted

#: What became of a statement, by the verdict of the policy.
_OUTCOMES = {"allow": "allowed", "hold": "held", "deny": "refused"}

#: Cc control, Cf format (bidi, zero-width, tags), Cs surrogate, Co private, Cn unassigned, Zl/Zp
#: separators.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0", "\x1b": "\\e"}
_EPOCH = dt.datetime(2000, 1, 1)
_MICROSECONDS_A_DAY = 86_400_000_000


def outcome_of(verdict: str) -> str:
    """What became of a statement with this verdict: allowed, held or refused."""
    return _OUTCOMES.get(verdict, verdict)


def inert(text: str, *, newlines: bool = False) -> str:
    """``text`` with everything invisible or active escaped. ``newlines``: keep line feeds as they
    are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(character, newlines) for character in text)


def _escape(character: str, newlines: bool) -> str:
    if character == "\n" and newlines:
        return character
    if unicodedata.category(character) not in _HIDDEN:
        # Spaces other than the plain one, and blank letters, can hide or fake what is shown.
        if (
            character.isspace() and character != " "
        ) or character in "\u115f\u1160\u3164\uffa0\u2800\u034f":
            return f"\\u{{{ord(character):x}}}"
        return character
    if (short := _SHORT.get(character)) is not None:
        return short
    return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{{{ord(character):x}}}"


def show_value(value: bytes, type_oid: int, format_code: int) -> str:
    """One value of a DataRow (or a parameter) as text, not yet inert. ``format_code``: 0 text, 1
    binary.

    A statement that was described before it was bound announces text for what then comes in binary,
    so a value that cannot be text of its type is tried as binary.
    """
    text_ok = _TEXT_FORMS.get(type_oid)
    binary = format_code == 1 or (text_ok is not None and not text_ok.fullmatch(value))
    if binary and (decode := _BINARY.get(type_oid)) is not None:
        try:
            return decode(value)
        except (ValueError, ArithmeticError, struct.error, IndexError):
            pass
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return "\\x" + value.hex()


def show_parameter(value: bytes, type_oid: int, format_code: int) -> tuple[str, bool]:
    """One value of Bind as text, not yet inert, and whether that is the value: False for ``\\x``
    and hex of what only its type could tell (binary of a type nobody declared, or that is not read
    here).
    """
    if format_code == 0:
        return value.decode("utf-8", "backslashreplace"), True
    decode = _BINARY.get(type_oid)
    if decode is not None:
        try:
            return decode(value), True
        except (ValueError, ArithmeticError, struct.error, IndexError):
            pass
    return "\\x" + value.hex(), False


def show_parameters(
    values: Sequence[bytes | None], formats: Sequence[int], types: Sequence[int]
) -> list[tuple[str | None, bool]]:
    """:func:`show_parameter` for all values of a Bind; None is NULL. ``formats``: none is text for
    all, one is for all. ``types``: OIDs, 0 or absent where unknown.
    """
    codes = list(formats) * len(values) if len(formats) == 1 else [*formats, *[0] * len(values)]
    oids = [*types, *[0] * len(values)]
    return [
        (None, True) if value is None else show_parameter(value, oid, code)
        for value, code, oid in zip(values, codes, oids, strict=False)
    ]


def _unpacked(layout: str) -> Callable[[bytes], str]:
    unpack = struct.Struct(layout).unpack
    return lambda value: str(unpack(value)[0])


def _float(layout: str, digits: int) -> Callable[[bytes], str]:
    unpack = struct.Struct(layout).unpack
    return lambda value: format(unpack(value)[0], f".{digits}g")


def _text(value: bytes) -> str:
    return value.decode("utf-8")


def _bool(value: bytes) -> str:
    return "t" if struct.unpack("!?", value)[0] else "f"


def _numeric(value: bytes) -> str:
    """numeric_send in src/backend/utils/adt/numeric.c: digits in base 10000."""
    count, weight, sign, scale = struct.unpack_from("!HhHH", value)
    if sign in (0xC000, 0xD000, 0xF000):
        return {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}[sign]
    digits = "".join(f"{digit:04}" for digit in struct.unpack_from(f"!{count}H", value, 8)) or "0"
    # From text, because Decimal arithmetic would round to 28 digits.
    number = Decimal(f"{digits}E{4 * (weight + 1) - 4 * count}")
    return f"{'-' if sign == 0x4000 else ''}{number:.{scale}f}"


def _days(days: int) -> str:
    return (_EPOCH + dt.timedelta(days=days)).date().isoformat()


def _date(value: bytes) -> str:
    (days,) = struct.unpack("!i", value)
    if days in (2**31 - 1, -(2**31)):
        return "infinity" if days > 0 else "-infinity"
    return _days(days)


def _timestamp(zone: str) -> Callable[[bytes], str]:
    def decode(value: bytes) -> str:
        (microseconds,) = struct.unpack("!q", value)
        if microseconds in (2**63 - 1, -(2**63)):
            return "infinity" if microseconds > 0 else "-infinity"
        days, rest = divmod(microseconds, _MICROSECONDS_A_DAY)
        return f"{_days(days)} {_clock(rest)}{zone}"

    return decode


def _clock(microseconds: int) -> str:
    seconds, fraction = divmod(microseconds, 1_000_000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction:06}".rstrip("0") if fraction else text


def _time(value: bytes) -> str:
    return _clock(struct.unpack("!q", value)[0])


def _timetz(value: bytes) -> str:
    microseconds, west = struct.unpack("!qi", value)
    hours, rest = divmod(abs(west), 3600)
    return f"{_clock(microseconds)}{'-' if west > 0 else '+'}{hours:02}" + (
        f":{rest // 60:02}" if rest else ""
    )


def _interval(value: bytes) -> str:
    microseconds, days, months = struct.unpack("!qii", value)
    years, months = int(months / 12), months - 12 * int(months / 12)
    parts = [
        counted(count, unit)
        for count, unit in ((years, "year"), (months, "mon"), (days, "day"))
        if count
    ]
    if microseconds or not parts:
        parts.append(("-" if microseconds < 0 else "") + _clock(abs(microseconds)))
    return " ".join(parts)


def _address(cidr: bool) -> Callable[[bytes], str]:
    def decode(value: bytes) -> str:
        bits, address = value[1], ipaddress.ip_address(value[4:])
        return str(address) if bits == address.max_prefixlen and not cidr else f"{address}/{bits}"

    return decode


def _jsonb(value: bytes) -> str:
    if value[:1] != b"\x01":
        raise ValueError("not version 1 of jsonb")
    return value[1:].decode("utf-8")


def _array(value: bytes) -> str:
    """array_send in src/backend/utils/adt/arrayfuncs.c."""
    dimensions, _, element = struct.unpack_from("!iiI", value)
    if dimensions == 0:
        return "{}"
    if not 0 < dimensions <= 6:
        raise ValueError("not an array")
    sizes = [struct.unpack_from("!i", value, 12 + 8 * n)[0] for n in range(dimensions)]
    return _elements(value, 12 + 8 * dimensions, sizes, element)[0]


def _elements(value: bytes, at: int, sizes: list[int], element: int) -> tuple[str, int]:
    shown = []
    for _ in range(sizes[0]):
        if len(sizes) > 1:
            text, at = _elements(value, at, sizes[1:], element)
        else:
            (size,) = struct.unpack_from("!i", value, at)
            at += 4
            text = "NULL" if size < 0 else _quoted(show_value(value[at : at + size], element, 1))
            at += max(size, 0)
        shown.append(text)
        if at > len(value):
            raise ValueError("the array is cut short")
    return "{" + ",".join(shown) + "}", at


def _quoted(text: str) -> str:
    if text and text.upper() != "NULL" and not re.search(r'[\s{},"\\]', text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_ARRAYS = (
    143, 199, 651, 1000, 1001, 1002, 1003, 1005, 1007, 1009, 1014, 1015, 1016, 1021, 1022, 1028,
    1041, 1115,
    1182, 1183, 1185, 1187, 1231, 1270, 2951, 3807,
)  # fmt: skip

#: Type OIDs are those of src/include/catalog/pg_type.dat.
_BINARY: dict[int, Callable[[bytes], str]] = {
    16: _bool,
    17: lambda value: "\\x" + value.hex(),
    18: _text,
    19: _text,
    20: _unpacked("!q"),
    21: _unpacked("!h"),
    23: _unpacked("!i"),
    25: _text,
    26: _unpacked("!I"),
    114: _text,
    142: _text,
    650: _address(cidr=True),
    700: _float("!f", 6),
    701: _float("!d", 15),
    705: _text,
    869: _address(cidr=False),
    1042: _text,
    1043: _text,
    1082: _date,
    1083: _time,
    1114: _timestamp(""),
    1184: _timestamp("+00"),
    1186: _interval,
    1266: _timetz,
    1700: _numeric,
    2950: lambda value: str(uuid.UUID(bytes=value)),
    3802: _jsonb,
    **dict.fromkeys(_ARRAYS, _array),
}

_INTEGER = re.compile(rb"-?\d+")
_NUMBER = re.compile(rb"-?(\d[\d.]*(e[-+]?\d+)?|NaN|Infinity)")
_MOMENT = re.compile(rb"-?infinity|[\d]+[-:.\d]*.*", re.DOTALL)
#: What text of these types looks like; anything else under format 0 is binary that was announced as
#: text.
_TEXT_FORMS: dict[int, re.Pattern[bytes]] = {
    16: re.compile(rb"[tf]"),
    20: _INTEGER,
    21: _INTEGER,
    23: _INTEGER,
    26: _INTEGER,
    700: _NUMBER,
    701: _NUMBER,
    1082: _MOMENT,
    1114: _MOMENT,
    1184: _MOMENT,
    1700: _NUMBER,
    2950: re.compile(rb"[0-9a-f-]{36}"),
    **dict.fromkeys(_ARRAYS, re.compile(rb"[\[{].*", re.DOTALL)),
}
