"""Masks of text in SQL: keys of hashes, encodings of servers, collations; and the plans of all
masks.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import psycopg
import pytest

from sallyport.core.secret import Secret
from sallyport.masking.sqlconstants import SINGLE_BYTE
from sallyport.masking.sqlmasks import (
    hash_settings,
    mask_expression,
    null_expression,
    reads_column,
    undefined_bytes,
)
from sallyport.policy.decision import MaskSpec
from sallyport.sql.catalog.snapshot import Type
from tests.masking.sqlmasks_values import (
    KEYS,
    SETTINGS,
    SPECS,
    VALUES,
    cells,
    native_mask,
    startup_options,
    type_oid,
)
from tests.support.postgres import Server

HASHED = ("text", "varchar", "char(30)", "citext", "name", "uuid", "padded")
PADS = {name: hash_settings("k", KEYS["k"])[name] for name in hash_settings("k", KEYS["k"])}
BROKEN = (
    "",
    "zz",
    "36" * 64,
    "5c" * 64,
    "ab" * 63 + "a",
    "ab" * 65,
    "AB" * 64,
    "ab" * 63 + "g1",
    " " + "ab" * 64,
)


def test_settings_are_those_of_hmac() -> None:
    for name, secret in (("k", "short"), ("other", "x" * 64), ("long", "y" * 65), ("ü", "ü")):
        settings = hash_settings(name, Secret(secret))
        inner, outer = (bytes.fromhex(settings[key]) for key in sorted(settings))
        digest = hashlib.sha256(outer + hashlib.sha256(inner + b"value").digest()).digest()
        assert digest == hmac.digest(secret.encode(), b"value", "sha256")
        digits = hashlib.sha256(name.encode()).hexdigest()[:16]
        assert set(settings) == {f"sallyport.hash_{digits}_i", f"sallyport.hash_{digits}_o"}
    assert hash_settings("k", Secret("")) == {}


@pytest.mark.parametrize("name", HASHED)
def test_hash_without_its_settings_is_null(dsn: str, types: dict[int, Type], name: str) -> None:
    table = f"v{list(VALUES).index(name)}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        text = mask_expression(MaskSpec("hash", key="k"), "t.c", type_oid(connection, table), types)
        query = f"SELECT {text} FROM {table} t"
        assert all(KEYS["k"].reveal() not in text and value not in text for value in PADS.values())
        assert {row[0] for row in cells(connection, query, False)} == {None}
        for setting, value in PADS.items():
            connection.execute("SELECT set_config(%s, %s, false)", (setting, value))
        assert {row[0] for row in cells(connection, query, False)} > {None}
        for setting, value in PADS.items():
            for broken in BROKEN:
                if (broken[:2], setting[-1]) in (("36", "o"), ("5c", "i")):
                    continue  # the padding of some key
                connection.execute("SELECT set_config(%s, %s, false)", (setting, broken))
                assert {row[0] for row in cells(connection, query, False)} == {None}, broken
            connection.execute("SELECT set_config(%s, %s, false)", (setting, value))
        connection.execute("RESET ALL")
        assert {row[0] for row in cells(connection, query, False)} == {None}


# --- encodings and collations ---------------------------------------------------------------------


def test_single_byte_encodings_are_what_python_says(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "CREATE FUNCTION pg_temp.decoded(b bytea, e text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN"
        " RETURN convert_from(b, e); EXCEPTION WHEN untranslatable_character THEN RETURN NULL;"
        " END $$"
    )
    for encoding, codec in SINGLE_BYTE.items():
        query = (
            "SELECT array_agg(pg_temp.decoded(set_byte('\\x00', 0, n), %s) ORDER BY n) FROM"
            " generate_series(1, 255) n"
        )
        row = connection.execute(query, (encoding,)).fetchone()
        assert row is not None
        decoded = [bytes([byte]).decode(codec, "ignore") or None for byte in range(1, 256)]
        assert row[0] == decoded, encoding
        assert undefined_bytes(encoding) == bytes(
            byte for byte in range(1, 256) if row[0][byte - 1] is None
        )


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "ISO_8859_7", "SQL_ASCII", "EUC_JP"])
def test_server_encodings(any_postgres: Server, types: dict[int, Type], encoding: str) -> None:
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute(
            f"CREATE DATABASE encoded TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"
        )
        address = f"{any_postgres.superuser_dsn.rsplit('/', 1)[0]}/encoded?client_encoding=UTF8"
        try:
            with psycopg.connect(
                address, autocommit=True, options=startup_options(SETTINGS)
            ) as connection:
                _check_encoded(connection, types, encoding)
        finally:
            admin.execute("DROP DATABASE encoded WITH (FORCE)")


def _check_encoded(
    connection: psycopg.Connection[Any], types: dict[int, Type], encoding: str
) -> None:
    connection.execute("CREATE CAST (bytea AS text) WITHOUT FUNCTION")
    connection.execute("CREATE TABLE t (c text)")
    high = bytes(range(0x80, 0x100))
    data = [
        b"",
        b"jane@x.org",
        b"caf\xe9@x.org",
        b"\xe9@x.org",
        b"\xe9t\xe9",
        high,
        *(bytes([b]) * 3 for b in high),
    ]
    data += [bytes([b]) + b"b@x.org" for b in high]
    connection.cursor().executemany(
        "INSERT INTO t VALUES ((%s::bytea)::text)", [(value,) for value in data]
    )
    bad = undefined_bytes(encoding) if encoding in SINGLE_BYTE else b""
    defined = (
        "true"
        if not bad
        else f"c COLLATE \"C\" !~ '[{''.join(chr(92) + f'x{b:02x}' for b in bad)}]'"
    )
    for spec in SPECS:
        text = mask_expression(spec, "t.c", 25, types, encoding)
        cells(connection, f"SELECT count({text}) FROM t", False)
        if encoding not in SINGLE_BYTE:
            is_treated = not reads_column(spec, 25, types) and spec.value.isascii()
            assert (text == "NULL::pg_catalog.text") == (
                not is_treated or native_mask(spec, 25, 0, types, None) is None
            )
            continue
        rows = cells(connection, f"SELECT t.c, {text} FROM t WHERE {defined}", False)
        assert len(rows) > 100
        for raw, masked in rows:
            expected = native_mask(spec, 25, 0, types, raw)
            is_foreign = spec.kind == "constant" and not spec.value.isascii() and masked is None
            assert masked == expected or is_foreign, (spec, raw, expected)


@pytest.mark.parametrize("name", ["text", "varchar", "bpchar", "name"])
def test_collations(connection: psycopg.Connection[Any], types: dict[int, Type], name: str) -> None:
    """Values keep the collation of the column, and nondeterministic ones are no obstacle."""
    collations = ['pg_catalog."C"', 'pg_catalog."POSIX"']
    if connection.execute(
        "SELECT 1 FROM pg_collation WHERE collprovider = 'i' AND collname LIKE 'de-%'"
    ).fetchone():
        connection.execute(
            "CREATE COLLATION IF NOT EXISTS loose (provider = icu, locale = 'und', deterministic ="
            " false)"
        )
        collations.append("public.loose")
    oid = {"text": 25, "varchar": 1043, "bpchar": 1042, "name": 19}[name]
    for collation in collations:
        connection.execute(f"CREATE TEMP TABLE collated (c {name} COLLATE {collation})")
        connection.execute(
            "INSERT INTO collated VALUES ('jane@x.org'), ('j@x.org'), ('Jürgen'), (NULL)"
        )
        for spec in SPECS:
            text = mask_expression(spec, "t.c", oid, types)
            rows = cells(
                connection, f"SELECT t.c, {text}, pg_collation_for({text}) FROM collated t", False
            )
            for raw, masked, kept in rows:
                assert masked == native_mask(spec, oid, 0, types, raw) or (
                    name == "name" and spec.value == "a" * 70
                )
                if spec.kind in ("partial", "email", "hash"):
                    assert (kept or b"").decode() == collation.removeprefix("public.").replace(
                        "pg_catalog.", ""
                    )
        connection.execute("DROP TABLE collated")


# --- plans ----------------------------------------------------------------------------------------


def test_arms_are_dropped_and_indexes_used(
    connection: psycopg.Connection[Any], types: dict[int, Type]
) -> None:
    connection.execute(
        "CREATE TEMP TABLE big AS SELECT g AS id, 'user' || g AS c FROM generate_series(1, 20000) g"
    )
    connection.execute("CREATE UNIQUE INDEX ON big (id)")
    connection.execute("ANALYZE big")
    for spec in SPECS:
        text, null = mask_expression(spec, "big.c", 25, types), null_expression(25, types)
        arms = f"SELECT id, {text} AS c FROM big UNION ALL SELECT id, {null} FROM big WHERE false"
        rows = cells(connection, f"EXPLAIN SELECT c FROM ({arms}) t WHERE id = 3", False)
        plan = b"\n".join(row[0] or b"" for row in rows)
        assert b"Index" in plan
        assert b"Append" not in plan


def test_a_type_without_a_name_is_an_error(types: dict[int, Type]) -> None:
    endless = {7: Type(7, "public", "endless", "d", "S", base=7)}
    for oid in (99999, 7):
        with pytest.raises(ValueError):
            mask_expression(MaskSpec("redact"), "c", oid, {**types, **endless})
