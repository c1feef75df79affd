"""The advisory lock of session roles: who waited long for it is told so."""

from __future__ import annotations

import threading

import psycopg
import pytest

from sallyport.targets import ephemeral as sql
from tests.support.postgres import Server


def told(db: psycopg.Connection, lock: str) -> object:
    """What the last value of the first row says, as the gateway sends it: in one message."""
    cursor = db.execute(lock.encode())
    while cursor.description is None:
        assert cursor.nextset()
    return (cursor.fetchone() or (None,))[-1]


@pytest.mark.parametrize("lock", [sql.SHARED_LOCK, sql.EXCLUSIVE_LOCK])
def test_a_long_wait_is_told(postgres: Server, lock: str) -> None:
    with (
        psycopg.connect(postgres.superuser_dsn) as holder,
        psycopg.connect(postgres.superuser_dsn) as db,
    ):
        assert told(db, lock) is False
        db.rollback()
        holder.execute("SELECT pg_advisory_xact_lock(%s)", (sql.LOCK,))
        release = threading.Timer(1.5, holder.rollback)
        release.start()
        assert told(db, lock) is True
        release.join()
