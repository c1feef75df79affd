"""Warnings about roles that are too powerful, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from sallyport.targets.roles import role_warnings
from tests.support.postgres import Server
from tests.targets.query import simple_query


def warnings_of(dsn: str) -> list[str]:
    async def look() -> list[str]:
        return await role_warnings(query)

    with simple_query(dsn) as query:
        return asyncio.run(look())


@pytest.fixture(scope="module")
def modest(room: str) -> Iterator[str]:
    """A role that may only log in, as it is after REVOKE CREATE (the default from 15 on)."""
    with psycopg.connect(room, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS modest")
        connection.execute("CREATE ROLE modest LOGIN PASSWORD 'modest'")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    yield "postgresql://modest:modest@" + room.split("@")[1]
    with psycopg.connect(room, autocommit=True) as connection:
        connection.execute("DROP OWNED BY modest")
        connection.execute("DROP ROLE modest")


def test_a_modest_role_has_none(modest: str) -> None:
    assert warnings_of(modest) == []


def test_a_superuser(any_postgres: Server) -> None:
    warnings = " ".join(warnings_of(any_postgres.superuser_dsn))
    assert "is a superuser" in warnings


@pytest.mark.parametrize(
    ("grant", "revoke", "word"),
    [
        ("ALTER ROLE modest BYPASSRLS", "ALTER ROLE modest NOBYPASSRLS", "BYPASSRLS"),
        ("ALTER ROLE modest CREATEROLE", "ALTER ROLE modest NOCREATEROLE", "CREATEROLE"),
        ("ALTER ROLE modest REPLICATION", "ALTER ROLE modest NOREPLICATION", "write-ahead log"),
        ("GRANT pg_read_server_files TO modest", "REVOKE pg_read_server_files FROM modest",
        "server's files"),
        ("GRANT pg_execute_server_program TO modest",
        "REVOKE pg_execute_server_program FROM modest", "run programs"),
        ("GRANT pg_monitor TO modest", "REVOKE pg_monitor FROM modest",
        "other sessions' statements"),
        ("GRANT CREATE ON SCHEMA public TO modest", "REVOKE CREATE ON SCHEMA public FROM modest",
        "schema public"),
        ("CREATE EXTENSION dblink", "DROP EXTENSION dblink", "dblink"),
    ],
)  # fmt: skip
def test_each_power_is_named(room: str, modest: str, grant: str, revoke: str, word: str) -> None:
    with psycopg.connect(room, autocommit=True) as connection:
        connection.execute(grant)
        warnings = warnings_of(modest)
        connection.execute(revoke)
    assert any(word in warning for warning in warnings), warnings
    assert warnings_of(modest) == []
