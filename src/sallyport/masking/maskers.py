"""One mask on one type: the native operation that does it, in text and in binary.

Promises:

* What a mask cannot treat becomes NULL: an unknown type, a value that does not parse, a kind that
  does not fit the type, a hash whose key is missing. Nothing passes because it was not understood.
* ``redact``, ``null`` and ``constant`` give the same bytes whatever the value is, NULL and length
  included.
* Text and binary of one value get the same mask: the same token, the same date, the same bucket.

The result of a kind, by type; of all other types it is NULL:

* redact: text ``[redacted]``; json, jsonb the same as a JSON string
* partial, email: text
* hash: text ``tok_`` and 24 hex digits of HMAC-SHA256; uuid a UUID (version 8) made of it
* date: date, timestamp, timestamptz truncated to year, month or day; timestamptz in UTC, as its
  offset would tell the season. DateStyle ISO only; infinities become NULL
* bucket: integers, floats, numeric rounded down to a multiple of the size
* constant: text, json, jsonb, numbers, bool, dates, timestamps, uuid: if a value of the type

"text" is text, varchar, char(n), name, unknown and citext, and domains over them. Any other type of
category S counts only in text format. Arrays, ranges, composites and enums become NULL whatever the
mask: masking elementwise would tell how many elements there are.
"""

from __future__ import annotations

import hmac
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from uuid import UUID

from sallyport.core.secret import Secret
from sallyport.policy.decision import MaskSpec
from sallyport.sql.catalog.snapshot import Type
from sallyport.wire import frames, values
from sallyport.wire.frames import Op


class Family(Enum):
    """Types that are masked alike."""

    TEXT = "text"
    JSON = "json"
    JSONB = "jsonb"
    BOOL = "bool"
    INTEGER = "integer"
    FLOAT = "float"
    NUMERIC = "numeric"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    UUID = "uuid"
    OTHER = "other"


_BUILT_IN: dict[int, tuple[Family, int]] = {
    values.TEXT: (Family.TEXT, -1),
    values.VARCHAR: (Family.TEXT, -1),
    values.BPCHAR: (Family.TEXT, -1),
    values.NAME: (Family.TEXT, -1),
    values.UNKNOWN: (Family.TEXT, -1),
    values.JSON: (Family.JSON, -1),
    values.JSONB: (Family.JSONB, -1),
    values.BOOL: (Family.BOOL, 1),
    values.INT2: (Family.INTEGER, 2),
    values.INT4: (Family.INTEGER, 4),
    values.INT8: (Family.INTEGER, 8),
    values.FLOAT4: (Family.FLOAT, 4),
    values.FLOAT8: (Family.FLOAT, 8),
    values.NUMERIC: (Family.NUMERIC, -1),
    values.DATE: (Family.DATE, 4),
    values.TIMESTAMP: (Family.TIMESTAMP, 8),
    values.TIMESTAMPTZ: (Family.TIMESTAMPTZ, 8),
    values.UUID: (Family.UUID, 16),
}

_FIRST_NORMAL_OID = 16384  # below are PostgreSQL's own types, the same in every database

Masker = Callable[[bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class ColumnFormat:
    """How a column's values are sent. ``size``: of binary values in bytes; -1: it varies."""

    type_oid: int
    family: Family
    size: int
    binary: bool


@dataclass(frozen=True, slots=True)
class NativeMask:
    """One kind of mask. ``families``: what it treats; the others become NULL. ``types_in_words``:
    the same for people, "" where a column that becomes NULL deserves no warning.
    """

    families: frozenset[Family]
    operation: Callable[[MaskSpec, ColumnFormat, Mapping[str, Secret]], Op]
    types_in_words: str = ""


def base_type(type_oid: int, types: Mapping[int, Type]) -> int:
    """The OID with domains resolved; 0 when the chain cannot be followed."""
    for _ in range(32):
        entry = types.get(type_oid)
        if type_oid in _BUILT_IN or entry is None or entry.kind != "d":
            return type_oid
        type_oid = entry.base
    return 0


def classify(type_oid: int, format: int, types: Mapping[int, Type]) -> tuple[Family, int]:
    """The family of a type and the size of its binary values in bytes (-1: varies)."""
    if type_oid in _BUILT_IN:
        return _BUILT_IN[type_oid]
    entry = types.get(type_oid)
    if entry is None or entry.kind != "b" or entry.category != "S" or entry.element:
        return Family.OTHER, -1
    # Only citext is known to send its text, and nothing else, in binary.
    if type_oid >= _FIRST_NORMAL_OID and (format == 0 or entry.extension == "citext"):
        return Family.TEXT, -1
    return Family.OTHER, -1


def operation(
    spec: MaskSpec | None,
    type_oid: int,
    format: int,
    types: Mapping[int, Type],
    keys: Mapping[str, Secret],
) -> Op:
    """The operation for a column of this type in this format (0 text, 1 binary); ``spec`` None
    keeps it.
    """
    if spec is None:
        return frames.keep()
    if format not in (0, 1):
        return frames.null()
    type_oid = base_type(type_oid, types)
    family, size = classify(type_oid, format, types)
    mask = NATIVE_MASKS.get(spec.kind)
    if mask is None or family not in mask.families:
        return frames.null()
    return mask.operation(spec, ColumnFormat(type_oid, family, size, format == 1), keys)


def _constant(value: bytes | None) -> Op:
    return frames.null() if value is None else frames.constant(value)


def _call(masker: Masker | None) -> Op:
    return frames.null() if masker is None else frames.call(_or_null(masker))


def _or_null(masker: Masker) -> Masker:
    def safe(value: bytes) -> bytes | None:
        try:
            return masker(value)
        except ValueError:
            return None

    return safe


def _redacted(family: Family, binary: bool) -> bytes | None:
    if family is Family.TEXT:
        return frames.REDACTED
    if family is Family.JSON or family is Family.JSONB:
        return _json(b'"' + frames.REDACTED + b'"', family, binary)
    return None


def _json(text: bytes, family: Family, binary: bool) -> bytes:
    return b"\x01" + text if binary and family is Family.JSONB else text


# --- hash -----------------------------------------------------------------------------------------


def _hash(key: Secret | None, column: ColumnFormat) -> Masker | None:
    if not key:
        return None
    secret = key.reveal().encode()
    if column.family is Family.UUID:
        return lambda value: _uuid_token(secret, value, column.binary)
    if column.type_oid == values.BPCHAR:  # trailing blanks are padding: char(n) joins with varchar
        return lambda value: _text_token(secret, value.rstrip(b" "))
    return lambda value: _text_token(secret, value)


def _text_token(secret: bytes, value: bytes) -> bytes:
    return b"tok_" + hmac.digest(secret, value, "sha256").hex()[:24].encode()


def _uuid_token(secret: bytes, value: bytes, binary: bool) -> bytes:
    if binary and len(value) != 16:
        raise ValueError("not a binary uuid")
    original = UUID(bytes=value) if binary else UUID(value.decode("ascii"))
    token = bytearray(hmac.digest(secret, str(original).encode(), "sha256")[:16])
    token[6] = token[6] & 0x0F | 0x80  # RFC 9562: version 8, variant 10
    token[8] = token[8] & 0x3F | 0x80
    return bytes(token) if binary else str(UUID(bytes=bytes(token))).encode()


# --- date -----------------------------------------------------------------------------------------


def _truncate(precision: str, column: ColumnFormat) -> Masker | None:
    if precision not in ("year", "month", "day"):
        return None
    binary, zone = column.binary, column.family is Family.TIMESTAMPTZ
    if column.family is Family.DATE:
        return lambda value: _encode_date(
            _floor_days(
                values.decode_date(value) if binary else values.parse_date(value), precision
            ),
            binary,
        )

    def truncate(value: bytes) -> bytes:
        moment = values.decode_timestamp(value) if binary else values.parse_timestamp(value, zone)
        days = _floor_days(moment // values.MICROSECONDS_A_DAY, precision)
        return _encode_timestamp(days * values.MICROSECONDS_A_DAY, zone, binary)

    return truncate


def _floor_days(days: int, precision: str) -> int:
    year, month, day = values.civil_of(days)
    return values.days_of(
        year, 1 if precision == "year" else month, day if precision == "day" else 1
    )


def _encode_date(days: int, binary: bool) -> bytes:
    return values.encode_int(days, 4) if binary else values.format_date(days)


def _encode_timestamp(microseconds: int, zone: bool, binary: bool) -> bytes:
    return (
        values.encode_int(microseconds, 8)
        if binary
        else values.format_timestamp(microseconds, zone)
    )


# --- bucket ---------------------------------------------------------------------------------------


def _bucket(size: float, column: ColumnFormat) -> Masker | None:
    if not (size > 0 and math.isfinite(size)):
        return None
    family, width, binary = column.family, column.size, column.binary
    step, scale = values.parse_decimal(str(Decimal(repr(size))).encode())

    def bucket(value: bytes) -> bytes:
        units, places = _decode_number(value, family, width, binary)
        floor = units * 10**scale // (step * 10**places) * step
        return _encode_number(floor, scale, family, width, binary)

    return bucket


def _decode_number(value: bytes, family: Family, width: int, binary: bool) -> tuple[int, int]:
    if not binary:
        return values.parse_decimal(value)
    if family is Family.INTEGER:
        return values.decode_int(value, width), 0
    return values.decode_float(value) if family is Family.FLOAT else values.decode_numeric(value)


def _encode_number(units: int, scale: int, family: Family, width: int, binary: bool) -> bytes:
    if family is Family.INTEGER:
        data = values.encode_int(units // 10**scale, width)
        return data if binary else str(units // 10**scale).encode()
    if family is Family.FLOAT:
        number = values.to_float(units, scale)
        data = values.encode_float(number, width)
        return data if binary else values.format_float(number)
    return values.encode_numeric(units, scale) if binary else values.format_decimal(units, scale)


# --- constant -------------------------------------------------------------------------------------

_BOOLEANS = {"true": True, "t": True, "yes": True, "on": True, "1": True}
_BOOLEANS |= {"false": False, "f": False, "no": False, "off": False, "0": False}


def encode_constant(text: str, family: Family, size: int, binary: bool) -> bytes | None:
    """``text`` as a value of the type, or None when it is not one."""
    try:
        return _encode_constant(text, family, size, binary)
    except ValueError:
        return None


def _encode_constant(text: str, family: Family, size: int, binary: bool) -> bytes | None:
    data = text.encode()
    if b"\0" in data:
        return None
    if family is Family.TEXT:
        return data
    if family is Family.JSON or family is Family.JSONB:
        json.loads(text, parse_constant=_no_constant)
        return _json(data, family, binary)
    if family in (Family.INTEGER, Family.FLOAT, Family.NUMERIC):
        units, scale = values.parse_decimal(data)
        if family is Family.INTEGER and units % 10**scale:
            return None
        return _encode_number(units, scale, family, size, binary)
    if family is Family.BOOL:
        value = _BOOLEANS.get(text.strip().lower())
        return None if value is None else bytes([value]) if binary else b"t" if value else b"f"
    if family is Family.UUID:
        uuid = UUID(text)
        return uuid.bytes if binary else str(uuid).encode()
    if family is Family.DATE:
        return _encode_date(values.parse_date(data), binary)
    if family is Family.TIMESTAMP or family is Family.TIMESTAMPTZ:
        zone = family is Family.TIMESTAMPTZ
        return _encode_timestamp(values.parse_timestamp(data, zone), zone, binary)
    return None


def _no_constant(name: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


# --- all of them ----------------------------------------------------------------------------------

_NUMBERS = frozenset({Family.INTEGER, Family.FLOAT, Family.NUMERIC})
_TIMES = frozenset({Family.DATE, Family.TIMESTAMP, Family.TIMESTAMPTZ})

#: By the names of :data:`sallyport.policy.mask_kinds.MASK_KINDS`.
NATIVE_MASKS: Mapping[str, NativeMask] = {
    "redact": NativeMask(
        frozenset({Family.TEXT, Family.JSON, Family.JSONB}),
        lambda spec, column, keys: _constant(_redacted(column.family, column.binary)),
    ),
    "null": NativeMask(frozenset(Family), lambda spec, column, keys: frames.null()),
    "partial": NativeMask(
        frozenset({Family.TEXT}),
        lambda spec, column, keys: frames.partial(spec.keep_first, spec.keep_last),
        "texts",
    ),
    "email": NativeMask(
        frozenset({Family.TEXT}), lambda spec, column, keys: frames.email(), "texts"
    ),
    "hash": NativeMask(
        frozenset({Family.TEXT, Family.UUID}),
        lambda spec, column, keys: _call(_hash(keys.get(spec.key), column)),
        "texts and uuid",
    ),
    "date": NativeMask(
        _TIMES,
        lambda spec, column, keys: _call(_truncate(spec.precision, column)),
        "dates and timestamps",
    ),
    "bucket": NativeMask(
        _NUMBERS, lambda spec, column, keys: _call(_bucket(spec.size, column)), "numbers"
    ),
    "constant": NativeMask(
        frozenset(Family),
        lambda spec, column, keys: _constant(
            encode_constant(spec.value, column.family, column.size, column.binary)
        ),
    ),
}
