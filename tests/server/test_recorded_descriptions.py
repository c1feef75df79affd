"""Rows are recorded with their description, however a driver asks for it: a replay names the
columns of each result and reads their values by type.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import psycopg
import pytest

from sallyport.audit import replay as rp
from sallyport.audit.archive import RecordingError
from sallyport.audit.events import End, Event
from sallyport.audit.verify import read_events
from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for

CLEAR = {"recording": {"encryption": {"enabled": False}}}
ROWS = "SELECT id AS number, email FROM customers WHERE id = $1"
NO_ROWS = "SELECT id AS nobody, ssn FROM customers WHERE id = $1"
PREPARED = "SELECT id AS again, name FROM products WHERE id = $1"


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, postgres: Server) -> Any:
    running = Gateway(issuer, {"shop": postgres}, extra=CLEAR).start()
    yield running
    running.stop()


def results(gateway: Gateway, work: Callable[[], None]) -> list[tuple[tuple[str, ...], list[Any]]]:
    """(columns, rows) of each result that the one session of ``work`` got, as it is replayed."""
    before = set((gateway.home / "var").rglob("ses_*.sprec"))
    work()
    events: list[Event] = []

    def ended() -> bool:
        new = set((gateway.home / "var").rglob("ses_*.sprec")) - before
        try:
            events[:] = [event for file in new for event in read_events(file)]
        except RecordingError:  # its header is being written
            return False
        return bool(events) and isinstance(events[-1], End)

    wait_for(ended)
    shown: list[tuple[tuple[str, ...], list[Any]]] = []
    for step in rp.steps(events):
        if isinstance(step, rp.Columns):
            shown.append((step.names, []))
        elif isinstance(step, rp.ResultRow):
            shown[-1][1].append(step.values[0])
    return shown


def by_asyncpg(gateway: Gateway, work: Callable[[Any], Awaitable[None]]) -> Callable[[], None]:
    async def session() -> None:
        where = psycopg.conninfo.conninfo_to_dict(gateway.dsn())
        connection = await asyncpg.connect(
            host=where["host"],
            port=where["port"],
            user=where["user"],
            password=where["password"],
            database=where["dbname"],
            ssl=False,
        )
        await work(connection)
        await connection.close()

    return lambda: asyncio.run(session())


def test_a_driver_that_describes_the_statement(gateway: Gateway) -> None:
    """asyncpg gets integers in binary. From the second session on the lane answers."""

    async def work(connection: Any) -> None:
        await connection.fetch(NO_ROWS, 1_000_000)
        for _ in range(3):
            await connection.fetch(ROWS, 1)
        prepared = await connection.prepare(PREPARED)
        for _ in range(3):
            await prepared.fetch(1)

    for _ in range(3):
        shown = results(gateway, by_asyncpg(gateway, work))
        assert shown == [
            (("nobody", "ssn"), []),
            *[(("number", "email"), ["1"])] * 3,
            *[(("again", "name"), ["1"])] * 3,
        ]


def test_a_driver_that_describes_the_portal(gateway: Gateway) -> None:
    def work() -> None:
        with psycopg.connect(gateway.dsn(), autocommit=True) as db:
            db.execute(NO_ROWS.replace("$1", "%s"), [1_000_000])
            for prepare in (False, False, True, True):
                db.execute(ROWS.replace("$1", "%s"), [1], prepare=prepare)

    for _ in range(3):
        shown = results(gateway, work)
        assert shown == [(("nobody", "ssn"), []), *[(("number", "email"), ["1"])] * 4]
