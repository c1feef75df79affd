"""A gateway that cannot use its store says so in one line, and starts nothing."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from sallyport.demo.postgres import free_port
from tests.cluster.test_members import Make
from tests.support.postgres import Server

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    ("table", "workers"),
    [("owners", 1), ("shared_counts", 1), ("containments", 2), ("session_tokens", 1)],
)
def test_a_table_that_cannot_be_used_is_named(
    make_member: Make, store_server: Server, table: str, workers: int
) -> None:
    extra: dict[str, Any] = {"workers": workers}
    member = make_member(start=False, extra=extra)
    member.port = free_port()
    member.write()
    with psycopg.connect(store_server.superuser_dsn, autocommit=True) as db:
        query = "SELECT datname FROM pg_database WHERE datname ~ '^store_[0-9]+_[0-9]+$'"
        ((database,),) = db.execute(query).fetchall()
    dsn = store_server.superuser_dsn.rpartition("/")[0] + f"/{database}"
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(f"ALTER TABLE {table} RENAME TO elsewhere")  # type: ignore[arg-type]
    done = member.run("serve")
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("sallyport: ")]
    assert len(said) == 1 and "Traceback" not in done.stderr + done.stdout, done.stderr
    assert f'"{table}" does not exist (SQLSTATE 42P01)' in done.stderr + done.stdout
