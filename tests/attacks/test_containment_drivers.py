"""Containment by lineage with real drivers, in every way that each of them reads: the write that
follows is refused, in the same session and after a reconnect.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pg8000.exceptions
import pg8000.native
import psycopg
import pytest

from tests.attacks.containment import POLICY, READS, WRITE, ContainmentBench, containment_bench
from tests.support.node import run_node
from tests.support.postgres import WHEEL

_NODE = Path(__file__).parents[1] / "drivers" / "node"
#: What is read, by name; {} stands for a condition, with a value where the way binds one.
READ: Mapping[str, str] = {
    "column": "SELECT body FROM tickets WHERE id = {}",
    "view": "SELECT n FROM v_lengths WHERE id = {}",
    "function": "SELECT body_of({})",
}
#: Reads nothing that is untrusted.
TITLE = "SELECT title FROM tickets WHERE id = {}"
Answer = tuple[int, str]  # rows that were read; the error of the write behind them, or ""


@pytest.fixture(scope="module")
def bench() -> Iterator[ContainmentBench]:
    assert READS["view of a view"].startswith("SELECT n FROM v_lengths")
    with containment_bench(WHEEL, POLICY) as running:
        yield running


def _place(bench: ContainmentBench, identity: str) -> dict[str, Any]:
    token = bench.gateway.token(identity)
    port = bench.gateway.port
    place = {"host": "127.0.0.1", "port": port, "user": "claude", "password": token}
    return {**place, "database": "helpdesk"}


def _psycopg(place: dict[str, Any], sql: str, way: str) -> Answer:
    place = {**place, "dbname": place["database"], "sslmode": "disable"}
    del place["database"]
    with psycopg.connect(**place, autocommit=True) as db:
        match way:
            case "simple":
                rows = psycopg.ClientCursor(db).execute(sql.format(1)).fetchall()
            case "values":
                rows = db.execute(sql.format("%s::int"), [1], binary=True).fetchall()
            case "prepared":
                for _ in range(3):
                    rows = db.execute(sql.format("%s::int"), [1], prepare=True).fetchall()
            case "pipeline":
                with db.pipeline():
                    rows = db.execute(sql.format("%s::int"), [1]).fetchall()
            case "cursor":
                with db.transaction(), db.cursor(name="c") as cursor:
                    rows = cursor.execute(sql.format(1)).fetchmany(10)
            case _:
                with db.cursor().copy(f"COPY ({sql.format(1)}) TO STDOUT") as copy:
                    rows = list(copy.rows())
        try:
            db.execute(WRITE)
        except psycopg.Error as error:
            return len(rows), str(error)
    return len(rows), ""


def _asyncpg(place: dict[str, Any], sql: str, way: str) -> Answer:
    async def main() -> Answer:
        db = await asyncpg.connect(**place, ssl=False)
        try:
            rows = await _read_by_asyncpg(db, sql, way)
            await db.execute(WRITE)
        except asyncpg.PostgresError as error:
            return rows, str(error)
        finally:
            await db.close(timeout=30)
        return rows, ""

    return asyncio.run(main())


async def _read_by_asyncpg(db: asyncpg.Connection, sql: str, way: str) -> int:
    match way:
        case "simple":
            return len(await db.fetch(sql.format(1)))
        case "prepared":
            statement = await db.prepare(sql.format("$1::int"))
            return len([await statement.fetch(1) for _ in range(3)][-1])
        case "cursor":
            async with db.transaction():
                return len([row async for row in db.cursor(sql.format("$1::int"), 1)])
        case _:
            text = io.BytesIO()
            await db.copy_from_query(sql.format(1), output=text)
            return len(text.getvalue().splitlines())


def _pg8000(place: dict[str, Any], sql: str, way: str) -> Answer:
    db = pg8000.native.Connection(**place, ssl_context=False)
    try:
        match way:
            case "simple":
                rows = db.run(sql.format(1))
            case "prepared":
                rows = db.prepare(sql.format("CAST(:n AS int)")).run(n=1)
            case "cursor":
                db.run("BEGIN")
                db.run(f"DECLARE c CURSOR FOR {sql.format(1)}")
                rows = db.run("FETCH ALL FROM c")
                db.run("COMMIT")
            case _:
                text = io.BytesIO()
                db.run(f"COPY ({sql.format(1)}) TO STDOUT", stream=text)
                rows = text.getvalue().splitlines()
        db.run(WRITE)
    except pg8000.exceptions.DatabaseError as error:
        return len(rows), str(error)
    finally:
        db.close()
    return len(rows), ""


def _node(place: dict[str, Any], sql: str, way: str) -> Answer:
    statement = sql.format(1 if way in ("simple", "cursor") else "$1::int")
    words = (str(place["port"]), place["password"], way, statement, WRITE)
    answer = run_node(_NODE / "contained.js", _NODE, *words)
    return answer["rows"], answer["error"]


DRIVERS: Mapping[Callable[[dict[str, Any], str, str], Answer], tuple[str, ...]] = {
    _psycopg: ("simple", "values", "prepared", "pipeline", "cursor", "copy"),
    _asyncpg: ("simple", "prepared", "cursor", "copy"),
    _pg8000: ("simple", "prepared", "cursor", "copy"),
    _node: ("simple", "values", "prepared", "cursor"),
}
WAYS = [
    pytest.param(driver, way, id=f"{driver.__name__[1:]}-{way}")
    for driver, ways in DRIVERS.items()
    for way in ways
]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("driver", "way"), WAYS)
def test_who_reads_writes_no_more(
    bench: ContainmentBench, driver: Callable[[dict[str, Any], str, str], Answer], way: str
) -> None:
    place = _place(bench, bench.identity())
    assert driver(place, TITLE, way) == (1, ""), "the write runs before"
    for name, sql in READ.items():
        place = _place(bench, bench.identity())
        rows, error = driver(place, sql, way)
        assert rows == 1 and "[SP1005]" in error, name
        rows, error = _psycopg(place, TITLE, "simple")
        assert rows == 1 and "[SP1005]" in error, f"{name}, after a reconnect"
