"""A database with a table of every type and its hostile values, for the tests of masks in SQL."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sallyport.sql.catalog.snapshot import Type
from tests.masking.sqlmasks_values import (
    INVALID,
    LAID_OUT,
    SETTINGS,
    TYPES_SQL,
    VALUES,
    startup_options,
)
from tests.support.postgres import Server


@pytest.fixture(scope="session")
def dsn(any_postgres: Server) -> Iterator[str]:
    """A database of its own, with a table ``v<n>`` for the n-th type of :data:`VALUES`."""
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE sqlmasks TEMPLATE template0 ENCODING 'UTF8'")
        address = f"{any_postgres.superuser_dsn.rsplit('/', 1)[0]}/sqlmasks"
        try:
            with psycopg.connect(address, autocommit=True) as connection:
                connection.execute(TYPES_SQL)
                for number, name in enumerate(VALUES):
                    _fill(connection, f"v{number}", name)
            yield address
        finally:
            admin.execute("DROP DATABASE sqlmasks WITH (FORCE)")


def _fill(connection: psycopg.Connection[Any], table: str, name: str) -> None:
    connection.execute(f"CREATE TABLE {table} (id serial PRIMARY KEY, c {name})")
    insert = f"INSERT INTO {table} (c) VALUES (%s)"
    for value in VALUES[name]:
        if name != "name" or len(value.encode()) <= 63:
            connection.execute(
                f"INSERT INTO {table} (c) VALUES ({psycopg.sql.quote(value)}::{name})"
            )
    generator = random.Random(7)
    if name in ("address", "day", "of_domain"):
        return
    connection.execute(f"INSERT INTO {table} (c) VALUES (NULL)")
    if name in ("float4", "float8"):
        code, size = (">f", 4) if name == "float4" else (">d", 8)
        numbers = [struct.unpack(code, generator.randbytes(size))[0] for _ in range(300)]
        numbers += [round(generator.uniform(-1e4, 1e4), 2) for _ in range(200)]
        numbers += [
            generator.randrange(-300, 300) / 10 * (1 + generator.choice((0, 2**-52)))
            for _ in range(200)
        ]
        connection.cursor().executemany(insert, [(number,) for number in numbers])
    elif name in ("int2", "int4", "int8", "numeric", "date"):
        limit = {"int2": 2**15, "int4": 2**31, "int8": 2**63, "numeric": 10**30, "date": 2_000_000}[
            name
        ]
        change = {"numeric": "%s::numeric / 1e12", "date": "date '2000-01-01' + %s::int4"}.get(
            name, "%s"
        )
        numbers = [generator.randrange(-limit, limit) for _ in range(100)]
        connection.cursor().executemany(
            insert.replace("%s", change), [(number,) for number in numbers]
        )
    elif name in ("text", "varchar", "bpchar", "citext"):
        invalid = f"INSERT INTO {table} (c) VALUES ((%s::bytea)::text::{name})"
        connection.cursor().executemany(invalid, [(value,) for value in (*INVALID, *LAID_OUT)])


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """In UTC, as the text of a native timestamptz is."""
    options = startup_options({**SETTINGS, "TimeZone": "UTC"})
    with psycopg.connect(dsn, autocommit=True, options=options) as connection:
        yield connection


@pytest.fixture(scope="session")
def types(dsn: str) -> dict[int, Type]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT t.oid::int8, nspname::text, typname::text, typtype::text, typcategory::text,"
            " CASE WHEN typlen = -1 THEN typelem::int8 ELSE 0 END, 0, typbasetype::int8, 0,"
            " coalesce((SELECT extname::text FROM pg_depend d JOIN pg_extension e ON e.oid ="
            " refobjid WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND deptype ="
            " 'e'), '') FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace"
        ).fetchall()
    return {row[0]: Type(*row) for row in rows}
