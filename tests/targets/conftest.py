"""A database of its own per test module, on the shared server."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.postgres import Server

ROOM = "targets_room"


@pytest.fixture(scope="module")
def room(any_postgres: Server) -> Iterator[str]:
    """DSN of an empty database, as the superuser; gone afterwards."""
    admin = any_postgres.superuser_dsn
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {ROOM} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {ROOM}")
    yield admin.rsplit("/", 1)[0] + "/" + ROOM
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {ROOM} WITH (FORCE)")
