"""A held statement in a message whose statements are sent one by one: a person decides about it in
its place.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import pq

from sallyport.demo.issuer import DevIssuer
from tests.support.approvals import CLIENTS, Desk, Waiter, count, holding_gateway, make_tables
from tests.support.gateway import Gateway
from tests.support.postgres import Server, start_server


@pytest.fixture(scope="module")
def issuer() -> Iterator[DevIssuer]:
    with DevIssuer(CLIENTS) as running:
        yield running


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    server = start_server()
    make_tables(server)
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        db.execute("GRANT CREATE ON SCHEMA public TO sallyport_agent")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, database: Server) -> Iterator[Gateway]:
    running = holding_gateway(issuer, database).start()
    yield running
    running.stop()


def exists(server: Server, name: str) -> bool:
    with psycopg.connect(server.superuser_dsn) as db:
        return db.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone() == (True,)


def test_an_approved_part_runs_in_its_place(gateway: Gateway, database: Server) -> None:
    with Waiter(gateway) as waiter:
        waiter.run(
            "CREATE TABLE a1 (id int); DELETE FROM waits WHERE id = 1; INSERT INTO a1 VALUES (5)"
        )
        desk = Desk(gateway)
        shown = desk.show(waiter.id)
        assert shown["sql"] == "DELETE FROM waits WHERE id = 1"
        assert not exists(database, "a1")
        desk.approve(waiter.id)
        assert waiter.end().error is None
        assert waiter.db.info.transaction_status == pq.TransactionStatus.IDLE
        assert count(database, "waits", "id = 1") == 0
        assert count(database, "a1", "id = 5") == 1


def test_a_denied_part_takes_everything_with_it(gateway: Gateway, database: Server) -> None:
    with Waiter(gateway) as waiter:
        waiter.run(
            "CREATE TABLE a2 (id int); DELETE FROM waits WHERE id = 2; INSERT INTO a2 VALUES (5)"
        )
        Desk(gateway).deny(waiter.id, "no")
        assert waiter.end().error is not None
        assert waiter.db.info.transaction_status == pq.TransactionStatus.IDLE
        assert waiter.usable()
    assert count(database, "waits", "id = 2") == 1
    assert not exists(database, "a2")


def test_cancelling_one_that_waits_rolls_back(gateway: Gateway, database: Server) -> None:
    with Waiter(gateway) as waiter:
        waiter.run(
            "CREATE TABLE a3 (id int); DELETE FROM waits WHERE id = 3; INSERT INTO a3 VALUES (5)"
        )
        assert waiter.id
        waiter.db.cancel_safe(timeout=60)
        waiter.refused("SP1403", "57014")
        assert waiter.usable()
    assert count(database, "waits", "id = 3") == 1
    assert not exists(database, "a3")


def test_without_a_schema_change_a_batch_is_refused_as_before(
    gateway: Gateway, database: Server
) -> None:
    with Waiter(gateway) as waiter:
        waiter.run("SELECT 1; DELETE FROM waits WHERE id = 4").refused("SP1003", "42501")
    assert count(database, "waits", "id = 4") == 1
