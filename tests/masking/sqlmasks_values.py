"""Masks, types, values settings and helpers of the tests of masks in SQL."""

from __future__ import annotations

import json
import struct
from decimal import Decimal
from typing import Any

import psycopg

from sallyport.core.secret import Secret
from sallyport.masking.maskers import operation
from sallyport.masking.sqlmasks import hash_settings
from sallyport.policy.decision import MaskSpec
from sallyport.sql.catalog.snapshot import Type
from sallyport.wire import frames

KEYS = {"k": Secret("a key of this test"), "long": Secret("ü" * 40)}
SETTINGS = {
    name: text for key, secret in KEYS.items() for name, text in hash_settings(key, secret).items()
}


SIZES = (
    10.0,
    1.0,
    0.1,
    0.25,
    7.5,
    1000.0,
    3.0,
    1e16,
    1e19,
    2.0**53,
    1e300,
    1e-9,
    1e-40,
    123456.789,
)
SPECS = [
    *(MaskSpec(kind) for kind in ("redact", "null", "email", "nonsense")),
    *(
        MaskSpec("partial", keep_first=first, keep_last=last)
        for first, last in ((1, 0), (0, 4), (2, 3), (0, 0), (900, 1))
    ),
    *(MaskSpec("hash", key=key) for key in ("k", "long")),
    *(MaskSpec("date", precision=precision) for precision in ("year", "month", "day", "hour")),
    *(MaskSpec("bucket", size=size) for size in (*SIZES, 0.0, -1.0, float("inf"), float("nan"))),
]
CONSTANTS = [
    "",
    "n/a",
    "7",
    "-7.50",
    "1e3",
    "1e-50",
    "70000",
    "9e99",
    "true",
    "x'\\'; --",
    "grüße 日本",
    "a" * 70,
]
CONSTANTS += [
    "1970-01-01",
    "0044-03-15 BC",
    "9999999-01-01",
    "1970-01-01 00:00:00.5",
    "NaN",
    "a\0b",
    "\ud800",
]
CONSTANTS += [
    "1970-01-01 00:00:00+01",
    "0044-03-15 12:00:00+00 BC",
    "300000-01-01 00:00:00",
    "{1,2}",
    "infinity",
]
CONSTANTS += [
    '{"a": [1, "x"]}',
    r'"\u0000"',
    r'"\ud800"',
    "1e400000",
    '"é"',
    "42424242-4242-4242-4242-424242424242",
]
SPECS += [MaskSpec("constant", value=value) for value in CONSTANTS]

_FLOATS = [
    "0",
    "-0",
    "NaN",
    "Infinity",
    "-Infinity",
    "0.3",
    "1e-37",
    "-7",
    "47.11",
    "1e20",
    "-1.5",
    "16777217",
]
_TEXTS = [
    "",
    "a",
    "ab",
    "a ",
    "jane@example.com",
    "j@example.com",
    "Jürgen@example.com",
    "ü@x.org",
    "日本@x.org",
]
_TEXTS += [
    "jane@example",
    "@x.org",
    "a@b@c.de",
    "a b@c.de",
    "a@-.-",
    "a@b..c",
    "a@.b",
    "a@b.",
    "a\tb@c.de",
    "a\x7f@b.c",
]
_TEXTS += [
    "a@é.de",
    "x" * 62,
    "x" * 50 + "@abcd.ef.gh",
    "j@" + "x" * 55 + ".abcd",
    "j@" + "x" * 54 + ".abcd",
    "☃" * 20,
    "e\u0301",
    "[redacted]",
    "'\"\\",
    "\\x41",
    " @b.c",
]
_DATES = [
    "2024-02-29",
    "1999-12-31",
    "0001-01-01",
    "0001-12-31 BC",
    "0044-03-15 BC",
    "4713-01-01 BC",
    "2000-01-01",
]
VALUES: dict[str, list[str]] = {
    "bool": ["true", "false"],
    "int2": ["0", "47", "-1", "-32768", "-32761", "-32760", "32767"],
    "int4": ["0", "47", "-41", "-2147483648", "-2147483641", "-2147483640", "2147483647"],
    "int8": [
        "0",
        "47",
        "-1",
        "-9223372036854775808",
        "-9223372036854775800",
        "9223372036854775807",
    ],
    "float4": [*_FLOATS, "3.4028235e38", "-3.4028235e38", "1e-45", "16777216", "-16777216", "0.1"],
    "float8": [
        *_FLOATS,
        "1.7976e308",
        "-1.7e308",
        "-1.7976e308",
        "5e-324",
        "9007199254740993",
        "123456789012345.6",
        "-9007199254740992",
    ],
    "numeric": [
        *_FLOATS,
        "-0.0001",
        "1e40",
        "9" * 499,
        "-" + "9" * 499 + ".5",
        "12.3400",
        "9" * 30,
        "-1" + "0" * 29 + "1",
    ],
    "numeric(6,2)": ["-9999.99", "9999.99", "0", "-1.5"],
    "text": _TEXTS,
    "varchar(70)": _TEXTS,
    "varchar": _TEXTS,
    "char(30)": [text for text in _TEXTS if len(text) <= 30],
    "bpchar": _TEXTS,
    "name": _TEXTS,
    "citext": _TEXTS,
    "date": [
        *_DATES,
        "infinity",
        "-infinity",
        "294276-12-31",
        "294277-01-01",
        "5874897-12-31",
        "300000-02-29",
    ],
    "timestamp": [
        *_DATES,
        "infinity",
        "-infinity",
        "2024-07-06 10:11:12.123456",
        "294276-12-31 23:59:59.999999",
    ],
    "timestamptz": [
        *(
            f"{day.removesuffix(' BC')} 00:00:00.25+00{' BC' if day.endswith('BC') else ''}"
            for day in _DATES
        ),
        *(
            "infinity",
            "-infinity",
            "2024-07-06 01:11:12+02",
            "294276-12-31 23:59:59.999999+00",
            "1883-01-01 12:00+01",
        ),
    ],
    "uuid": ["42424242-4242-4242-4242-424242424242", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "json": ["{}", "null", '"x"', '{"a":[1,"x"]}'],
    "jsonb": ["{}", "null", '"x"', '{"a":[1,"x"]}'],
    "address": ["jane@example.com", "x"],
    "positive": ["1", "4711"],
    "padded": ["jane@x.org", "x"],
    "day": ["2024-02-29", "0044-03-15 BC"],
    "of_domain": ["jane@example.com"],
    "mood": ["happy"],
    "pair": ["(a,1)"],
    "text[]": ["{a,NULL}"],
    "mood[]": ["{happy}"],
    "pair[]": ["{}"],
    "addresses": ["{a@b.c}"],
    '"char"': ["a"],
    "int4range": ["[1,5)"],
    "int4multirange": ["{[1,3)}"],
    "xml": [],
    "inet": ["::1"],
    "money": ["1"],
    "bit(3)": ["101"],
    "varbit": ["1"],
    "interval": ["178000000 years"],
    "point": ["(1,2)"],
    "oid": ["1"],
    "tsvector": ["a"],
    "bytea": ["\\x00ff"],
    "time": ["24:00"],
    "timetz": ["00:00+15:59"],
    "cidr": ["::/0"],
}
TYPES_SQL = """
CREATE EXTENSION IF NOT EXISTS citext;
CREATE TYPE mood AS ENUM ('happy', 'sad');
CREATE TYPE pair AS (a text, b int);
CREATE DOMAIN address AS varchar(40) NOT NULL CHECK (VALUE ~ '@|^x$');
CREATE DOMAIN positive AS int4 CHECK (VALUE > 0);
CREATE DOMAIN padded AS char(20);
CREATE DOMAIN day AS date NOT NULL;
CREATE DOMAIN of_domain AS address CHECK (length(VALUE) > 10);
CREATE DOMAIN addresses AS text[] CHECK (array_length(VALUE, 1) > 0);
CREATE CAST (bytea AS text) WITHOUT FUNCTION;
"""
#: Bytes that are not UTF-8, and what masks in SQL show where the native ones go by the layout
#: alone.
INVALID = [
    b"\xff",
    b"ab\xc3",
    b"a\xe4b@c.de",
    b"\xe4ab@c.de",
    b"\xc0\x80x@y.zz",
    b"a\x80b",
    b"\xc3",
    b"x\xf0\x90",
]
INVALID += [
    b"a\x80@b.de",
    b"ab@c.\xff",
    b"\xf5\x80\x80\x80",
    b"\xc1\xa1@c.de",
    b"abc\xe2\x82@b.de",
    b"a@b.d\xc3",
]
LAID_OUT = [
    b"\xe0\x80\xa0x@a.bc",
    b"\xed\xa0\x80x@a.bc",
    b"\xf4\x90\x80\x80yy@a.bc",
    b"\xf0\x80\x80\x80zz",
]
HOSTILE = {
    "DateStyle": ("SQL, MDY", "German, DMY", "Postgres, YMD"),
    "TimeZone": ("XXX-13:43", "<UTC>-13:43", "America/St_Johns"),
    "extra_float_digits": ("-15", "3", "0"),
    "IntervalStyle": ("sql_standard", "iso_8601", "postgres_verbose"),
    "bytea_output": ("escape", "escape", "hex"),
    **{f"lc_{part}": ("C.utf8", "POSIX", "C") for part in ("monetary", "numeric", "time")},
    "standard_conforming_strings": ("off", "off", "on"),
    "backslash_quote": ("off", "on", "off"),
    "quote_all_identifiers": ("on", "off", "on"),
    "transform_null_equals": ("on", "on", "off"),
    "timezone_abbreviations": ("India", "Australia", "Default"),
    "jit_above_cost": ("0", "-1", "0"),
}


def startup_options(settings: dict[str, str]) -> str:
    """For ``options`` of a connection string, which has no quotes: settings without blanks."""
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def type_oid(connection: psycopg.Connection[Any], table: str) -> int:
    row = connection.execute(
        "SELECT atttypid::int8 FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'c'",
        (table,),
    ).fetchone()
    assert row is not None
    return int(row[0])


def native_mask(
    spec: MaskSpec, oid: int, format: int, types: dict[int, Type], value: bytes | None
) -> bytes | None:
    row = frames.data_row([value])
    result = frames.mask_rows(
        row, 0, len(row), frames.RowProgram([operation(spec, oid, format, types, KEYS)])
    )[7:]
    return None if result == b"\xff\xff\xff\xff" else result[4:]


def cells(
    connection: psycopg.Connection[Any], query: str, binary: bool
) -> list[tuple[bytes | None, ...]]:
    cursor = connection.execute(query.encode(), binary=binary)
    result = cursor.pgresult
    assert result is not None
    return [
        tuple(result.get_value(r, c) for c in range(result.nfields)) for r in range(result.ntuples)
    ]


def meaning(name: str, value: bytes | None, binary: bool) -> Any:
    """Where one value has several spellings: the text of floats, and that of jsonb."""
    if value is None or (binary and name != "jsonb"):
        return value
    if name in ("float4", "float8"):
        return struct.pack(">f", float(value)) if name == "float4" else float(value)
    if name != "jsonb":
        return value
    return json.loads(value.removeprefix(b"\x01"), parse_int=Decimal, parse_float=Decimal)
