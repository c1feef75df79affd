"""Masked output of a real server, read back by the same server: valid for every type, without the
canary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sallyport.core.secret import Secret
from sallyport.masking.copy import CopyMasker, compile_copy
from sallyport.masking.plan import MaskPlan, PlannedColumn, compile_rows
from sallyport.policy.decision import MaskSpec
from sallyport.sql.catalog.snapshot import Type
from sallyport.sql.facts import CopyFormat
from sallyport.wire import frames
from sallyport.wire.backend import Field
from sallyport.wire.fields import message
from tests.support.postgres import Server

#: A column of each type: SQL literals of its values; the first has the canary 4242 in it where
#: possible.
COLUMNS: dict[str, list[str]] = {
    "bool": ["true"],
    "int2": ["4242", "-1"],
    "int4": ["4242", "-7"],
    "int8": ["424242424242", "0"],
    "float4": ["4242.5", "1e-20", "'NaN'"],
    "float8": ["4242.25", "1e300", "'-Infinity'", "0.3"],
    "numeric": ["4242.4242", "-0.0001", "'NaN'", "12345678901234567890.5", "10000", "1e40", "0"],
    "text": [
        "'canary 4242'",
        "''",
        r"'\N'",
        r"E'tab\t newline\n \\ | , \" quote'",
        "'grüße 日本'",
        r"'\.'",
    ],
    "varchar(30)": ["'canary 4242'", "'jane@example.com'"],
    "char(30)": ["'canary 4242'", "'jane@example.com'"],
    "name": ["'canary_4242'"],
    "date": ["'4242-04-24'", "'infinity'", "'0044-03-15 BC'"],
    "timestamp": ["'4242-04-24 04:24:24.4242'", "'-infinity'", "'0044-03-15 12:00 BC'"],
    "timestamptz": ["'4242-04-24 04:24:24.4242+02'", "'infinity'", "'1883-01-01 12:00'"],
    "time": ["'04:24:24.4242'"],
    "interval": ["'4242 days'"],
    "uuid": ["'42424242-4242-4242-4242-424242424242'"],
    "json": ["'{\"canary\": 4242}'"],
    "jsonb": ["'{\"canary\": 4242}'"],
    "bytea": ["'canary 4242'"],
    "inet": ["'42.42.42.42'"],
    "money": ["4242.42"],
    "tests_mood": ["'canary4242'"],
    "text[]": ["array['canary4242']"],
    "int4[]": ["array[4242]"],
    "int4range": ["'[4242,4243)'"],
    "tests_pair": ["row('canary4242', 4242)"],
    "tests_address": ["'canary4242@example.com'"],
}
MASKS = [
    MaskSpec("redact"),
    MaskSpec("null"),
    MaskSpec("partial", keep_first=1),
    MaskSpec("email"),
    MaskSpec("hash", key="k"),
    MaskSpec("date", precision="year"),
    MaskSpec("bucket", size=100),
    MaskSpec("bucket", size=0.25),
    MaskSpec("constant", value="7"),
]
KEYS = {"k": Secret("a key of this test")}
FORMATS = [
    CopyFormat(),
    CopyFormat(delimiter="|", null="", header=True),
    CopyFormat("csv", delimiter=",", null=""),
    CopyFormat("csv", delimiter=";", null="NULL", header=True, quote="'", escape="\\"),
    CopyFormat("binary"),
]


@pytest.fixture(scope="module")
def connection(any_postgres: Server) -> Iterator[psycopg.Connection[Any]]:
    """One session with a temporary table of every type; nothing of it outlives the session."""
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as connection:
        connection.execute("SET TimeZone = 'Europe/Berlin'")
        connection.execute("CREATE TYPE pg_temp.tests_mood AS ENUM ('canary4242', 'other')")
        connection.execute("CREATE TYPE pg_temp.tests_pair AS (a text, b int)")
        connection.execute("CREATE DOMAIN pg_temp.tests_address AS varchar(40)")
        names = [f"c{i} {_qualified(kind)}" for i, kind in enumerate(COLUMNS)]
        connection.execute(f"CREATE TEMP TABLE every ({', '.join(names)})")
        for number in range(max(map(len, COLUMNS.values())) + 1):
            row = [v[number] if number < len(v) else "NULL" for v in COLUMNS.values()]
            connection.execute(f"INSERT INTO every VALUES ({', '.join(row)})")
        yield connection


def _qualified(kind: str) -> str:
    return f"pg_temp.{kind}" if kind.startswith("tests_") else kind


@pytest.fixture(scope="module")
def types(connection: psycopg.Connection[Any]) -> dict[int, Type]:
    rows = connection.execute(
        "SELECT oid, 'pg_temp', typname, typtype, typcategory, typelem, 0, typbasetype FROM pg_type"
    )
    return {
        row[0]: Type(row[0], *(c.decode() if isinstance(c, bytes) else c for c in row[1:]))
        for row in rows
    }


def _type_oids(connection: psycopg.Connection[Any]) -> list[int]:
    rows = connection.execute(
        "SELECT atttypid FROM pg_attribute WHERE attrelid = 'every'::regclass AND attnum > 0 ORDER"
        " BY attnum"
    )
    return [row[0] for row in rows]


def _plan(spec: MaskSpec | None) -> MaskPlan:
    return MaskPlan(tuple(PlannedColumn(spec, None, kind) for kind in COLUMNS))


def _options(form: CopyFormat) -> str:
    if form.format == "binary":
        return "FORMAT binary"
    text = (
        f"FORMAT {form.format}, DELIMITER E'{form.delimiter}', NULL '{form.null}', HEADER"
        f" {form.header}"
    )
    if form.format == "csv":
        text += (
            f", QUOTE '{form.quote * 2 if form.quote == chr(39) else form.quote}', ESCAPE"
            f" '{form.escape}'"
        )
    return text


def _copy_out(connection: psycopg.Connection[Any], form: CopyFormat, masker: CopyMasker) -> bytes:
    """The masked data of COPY TO, fed one message at a time and checked against all at once."""
    with connection.cursor().copy(f"COPY every TO STDOUT ({_options(form)})") as copy:
        messages = [message(0x64, bytes(data)) for data in copy]
    masked = b"".join(masker.feed(message, 0, len(message)) for message in messages)
    spans, rest = frames.split(masked, 0, 1 << 30, False)
    assert rest == len(masked)
    return b"".join(masked[start + 5 : end] for _, start, end, _ in spans)


@pytest.mark.parametrize("spec", MASKS, ids=lambda spec: f"{spec.kind}{spec.size or ''}")
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: f"{form.format}{form.delimiter!r}")
def test_masked_copy_is_valid_for_every_type(
    connection: psycopg.Connection[Any],
    types: dict[int, Type],
    form: CopyFormat,
    spec: MaskSpec,
    any_postgres: Server,
) -> None:
    if form.format == "text" and form.header and any_postgres.major < 15:
        pytest.skip("HEADER in text format is of PostgreSQL 15")
    masker = compile_copy(_plan(spec), _type_oids(connection), form, types, KEYS)
    data = _copy_out(connection, form, masker)
    if spec.kind not in ("bucket", "date"):
        assert b"4242" not in data.replace(b"4242@", b"")
        assert b"anary" not in data
    connection.execute("CREATE TEMP TABLE back (LIKE every)")
    try:
        with connection.cursor().copy(f"COPY back FROM STDIN ({_options(form)})") as copy:
            copy.write(data)
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM back), (SELECT count(*) FROM every)"
        ).fetchone()
        assert counts is not None
        assert counts[0] == counts[1]
        _check_back(connection, spec)
    finally:
        connection.execute("DROP TABLE back")


YEAR_OF = "CASE WHEN isfinite($) THEN {} END"
#: What PostgreSQL itself computes ($: the column), by mask and type.
EXPECTED: dict[tuple[str, float], dict[str, str]] = {
    ("bucket", 100): {
        **{kind: "floor($ / 100.0) * 100" for kind in ("int2", "int4", "int8")},
        "numeric": "CASE WHEN $ <> 'NaN' THEN floor($ / 100) * 100 END",
        "float8": (
            "CASE WHEN abs($) < 1e9 THEN floor($ / 100) * 100 WHEN abs($) < 'Infinity' THEN $ END"
        ),
        "text": "NULL",
    },
    ("date", 0): {
        "date": YEAR_OF.format("date_trunc('year', $::timestamp)::date"),
        "timestamp": YEAR_OF.format("date_trunc('year', $)"),
        "timestamptz": YEAR_OF.format(
            "date_trunc('year', $ AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"
        ),
        "time": "NULL",
    },
    ("redact", 0): {
        "text": "'[redacted]'",
        "varchar(30)": "'[redacted]'",
        "tests_address": "'[redacted]'",
        "jsonb": "'\"[redacted]\"'",
        "int4": "NULL",
        "text[]": "NULL",
    },
    ("constant", 0): {
        **{kind: "7" for kind in ("int8", "numeric", "float4", "text", "json")},
        "date": "NULL",
    },
}


def _check_back(connection: psycopg.Connection[Any], spec: MaskSpec) -> None:
    """What the server reads back is what PostgreSQL itself computes."""
    columns = {kind: f"c{i}" for i, kind in enumerate(COLUMNS)}

    def values(expression: str, table: str) -> list[Any]:
        rows = connection.execute(f"SELECT ({expression})::text FROM {table} ORDER BY 1")
        return [row[0] for row in rows]

    for kind, expression in EXPECTED.get((spec.kind, spec.size), {}).items():
        column = columns[kind]
        assert values(column, "back") == values(expression.replace("$", column), "every"), kind


def test_unmasked_columns_come_through_copy_unchanged(
    connection: psycopg.Connection[Any], types: dict[int, Type]
) -> None:
    for form in (CopyFormat(), CopyFormat("csv", delimiter=",", null=""), CopyFormat("binary")):
        columns = list(_plan(None).columns)
        columns[0] = PlannedColumn(MaskSpec("null"), None, "bool")  # so that masking is not skipped
        masker = compile_copy(MaskPlan(tuple(columns)), _type_oids(connection), form, types, KEYS)
        assert not masker.keep_all
        data = _copy_out(connection, form, masker)
        with connection.cursor().copy(
            f"COPY (SELECT NULL::bool, {', '.join(f'c{i}' for i in range(1, len(COLUMNS)))} FROM"
            f" every) TO STDOUT ({_options(form)})"
        ) as copy:
            assert data == b"".join(bytes(part) for part in copy)


@pytest.mark.parametrize("spec", MASKS, ids=lambda spec: f"{spec.kind}{spec.size or ''}")
def test_rows_in_text_and_binary_agree(
    connection: psycopg.Connection[Any], types: dict[int, Type], spec: MaskSpec
) -> None:
    """A masked cell means the same in both result formats: psycopg reads the same value from
    either.
    """
    date = f"c{list(COLUMNS).index('date')}"  # psycopg reads no years before 1
    seen: list[list[list[Any]]] = []
    for binary in (False, True):
        cursor = connection.execute(
            f"SELECT * FROM every WHERE ({date} < '0001-01-01') IS NOT TRUE", binary=binary
        )
        result = cursor.pgresult
        assert result is not None
        entries = [
            Field(f"c{i}", 0, 0, result.ftype(i), result.fsize(i), result.fmod(i), int(binary))
            for i in range(result.nfields)
        ]
        program = compile_rows(_plan(spec), entries, types, KEYS)
        assert isinstance(program, frames.RowProgram)
        rows = [
            [result.get_value(r, c) for c in range(result.nfields)] for r in range(result.ntuples)
        ]
        span = b"".join(frames.data_row(row) for row in rows)
        masked = _cells(frames.mask_rows(span, 0, len(span), program))
        transformer = psycopg.adapt.Transformer(connection)
        format = psycopg.pq.Format(int(binary))
        loaders = [transformer.get_loader(entry.type_oid, format) for entry in entries]
        seen.append(
            [
                [v if v is None else load.load(v) for v, load in zip(r, loaders, strict=True)]
                for r in masked
            ]
        )
    assert seen[0] == seen[1]


def _cells(span: bytes) -> list[list[bytes | None]]:
    rows: list[list[bytes | None]] = []
    for _, start, end, _ in frames.split(span, 0, 1 << 30, False)[0]:
        row: list[bytes | None] = []
        position = start + 7
        while position < end:
            size = int.from_bytes(span[position : position + 4], "big", signed=True)
            row.append(None if size < 0 else span[position + 4 : position + 4 + size])
            position += 4 + max(size, 0)
        rows.append(row)
    return rows
