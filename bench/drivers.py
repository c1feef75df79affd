"""What drivers send, beside pgbench's plain requests: statements that are prepared by name and
closed again, several statements before one Sync, and batches.

The messages are those that the drivers write (read from their sources), over one connection, so
that what stands in between is measured and not the driver.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from bench.contenders import Contender
from bench.workloads import Rate
from sallyport.wire import frontend

_POINT = "SELECT * FROM people WHERE id = $1"
_INSERT = "INSERT INTO history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, now())"
_INT4 = 23
_READY = b"Z\0\0\0\5"
#: Statements of one pipeline, and of one batch.
_PIPELINE, _BATCH = 20, 100


@dataclass(frozen=True, slots=True)
class Habit:
    """``prepared``: statements by name, made before. ``requests``: makes the messages of one
    transaction, each part ending with Sync and sent when the one before it was answered. ``rows``:
    of the table that is asked, for the keys.
    """

    prepared: dict[str, str]
    requests: Callable[[int], list[bytes]]


def _run(name: str, key: int | None = None, described: bool = False) -> bytes:
    bound = frontend.bind("", name, [] if key is None else [b"%d" % key])
    return bound + (frontend.describe(b"P", "") if described else b"") + frontend.execute("")


def _once(key: int) -> list[bytes]:
    """tokio-postgres' query of a text, asyncpg without a cache of statements."""
    return [
        frontend.parse("once", _POINT) + frontend.describe(b"S", "once") + frontend.sync(),
        _run("once", key) + frontend.sync(),
        frontend.close(b"S", "once") + frontend.sync(),
    ]


def _transaction(key: int) -> list[bytes]:
    """pgjdbc without autocommit: BEGIN goes with the first statement."""
    return [
        _run("begin") + _run("point", key) + frontend.sync(),
        _run("commit") + frontend.sync(),
    ]


def _pipeline(key: int) -> list[bytes]:
    """libpq's pipeline mode (psycopg's pipeline() and executemany), pgx's SendBatch."""
    return [
        b"".join(_run("point", key + i, described=True) for i in range(_PIPELINE)) + frontend.sync()
    ]


def _batch(key: int) -> list[bytes]:
    """asyncpg's executemany, pgjdbc's executeBatch."""
    values = [b"1", b"1", b"%d" % key, b"5"]
    insert = frontend.bind("", "insert", values) + frontend.execute("")
    return [insert * _BATCH + frontend.sync()]


HABITS = {
    "prepared by name, run, closed": Habit({}, _once),
    "BEGIN with the first statement, COMMIT": Habit(
        {"begin": "BEGIN", "commit": "COMMIT", "point": _POINT}, _transaction
    ),
    f"{_PIPELINE} SELECTs before one Sync": Habit({"point": _POINT}, _pipeline),
    f"{_BATCH} INSERTs before one Sync": Habit({"insert": _INSERT}, _batch),
}


def habit(way: Contender, name: str, seconds: float, rows: int) -> Rate:
    """One connection in this habit for so long. RuntimeError when the server reports an error."""
    driver = HABITS[name]
    with (
        psycopg.connect(way.dsn, autocommit=True) as db,
        socket.socket(fileno=os.dup(db.fileno())) as connection,
    ):
        connection.setblocking(True)
        for statement, sql in driver.prepared.items():
            types = [_INT4] * sql.count("$")
            _ask(connection, frontend.parse(statement, sql, types) + frontend.sync())
        source = random.Random(1)
        for _ in range(20):
            _all(connection, driver.requests(source.randint(1, rows - _PIPELINE)))
        count, elapsed, started, before = 0, 0.0, time.perf_counter(), way.cpu()
        while elapsed < seconds:
            _all(connection, driver.requests(source.randint(1, rows - _PIPELINE)))
            count += 1
            elapsed = time.perf_counter() - started
        used = way.cpu().since(before)
    return Rate(count / elapsed, elapsed / count * 1000, used.each(count))


def _all(connection: socket.socket, requests: list[bytes]) -> None:
    for request in requests:
        _ask(connection, request)


def _ask(connection: socket.socket, request: bytes) -> None:
    connection.sendall(request)
    answer = b""
    while answer[-6:-1] != _READY:
        answer += connection.recv(1 << 20)
    if answer[:1] == b"E":
        raise RuntimeError(f"the server reports {answer[:300]!r}")
