"""What a store with a synchronous standby acknowledges: nothing that only the primary has."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import Engine, func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from sallyport.app.gateway_store import prompt_engine
from sallyport.core.errors import RefusedError
from sallyport.store.dialect import flushed, reason_of
from sallyport.store.durable import DurableWrites
from sallyport.store.postgres import StoreAddress, engine_of
from sallyport.store.tables import store_facts
from tests.store.test_link import in_loop, linked, until
from tests.support.postgres import Server
from tests.support.stores import store_database
from tests.support.waiting import wait_for

WAITS = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


def wait_until_commits_wait(server: Server, db: psycopg.Connection[tuple[int]]) -> None:
    """The checkpointer tells every backend, some time after it was told
    (``SyncRepUpdateSyncStandbysDefined``): to see the setting says nothing of commits.
    """
    with psycopg.connect(server.superuser_dsn, autocommit=True) as committing:
        committing.execute("SET synchronous_commit = on")
        waits = threading.Event()

        def commit() -> None:
            while not waits.is_set():
                committing.execute("SELECT pg_logical_emit_message(true, '', '')")

        thread = threading.Thread(target=commit)
        thread.start()
        (pid,) = wait_for(lambda: db.execute(WAITS).fetchone()) or (0,)
        waits.set()
        db.execute("SELECT pg_cancel_backend(%s)", (pid,))
        thread.join()


@contextmanager
def without_its_standby(server: Server) -> Iterator[psycopg.Connection[tuple[int]]]:
    """The synchronous standby of ``server`` is away for as long as the block."""
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        db.execute("SET synchronous_commit = local")
        db.execute("ALTER SYSTEM SET synchronous_standby_names = 'away'")
        db.execute("SELECT pg_reload_conf()")
        try:
            wait_until_commits_wait(server, db)
            yield db
        finally:
            db.execute("ALTER SYSTEM RESET synchronous_standby_names")
            db.execute("SELECT pg_reload_conf()")


@pytest.fixture
def address(own_postgres: Server) -> Iterator[StoreAddress]:
    with store_database(own_postgres) as address:
        yield address


@pytest.fixture
def engine(address: StoreAddress) -> Iterator[Engine]:
    engine = engine_of(address, 20.0)
    yield engine
    engine.dispose()


def store(engine: Engine, name: str) -> None:
    with engine.connect() as connection, flushed(connection):
        connection.execute(text("SET LOCAL statement_timeout = '200ms'"))
        connection.execute(insert(store_facts).values(name=name, value="1"))


def test_a_commit_that_nobody_replicates_does_not_succeed(
    own_postgres: Server, engine: Engine
) -> None:
    """Neither by ``statement_timeout``, which runs out meanwhile, nor when it is cancelled."""
    store(engine, "before")
    outcome: list[str] = []

    def run() -> None:
        try:
            store(engine, "cancelled")
        except SQLAlchemyError as error:
            outcome.append(reason_of(error))
        else:
            outcome.append("it succeeded")

    with without_its_standby(own_postgres) as db:
        thread = threading.Thread(target=run)
        thread.start()
        (pid,) = wait_for(lambda: db.execute(WAITS).fetchone()) or (0,)
        db.execute("SELECT pg_sleep(0.5)")  # longer than the statement's timeout
        assert db.execute(WAITS).fetchone() == (pid,) and not outcome
        db.execute("SELECT pg_cancel_backend(%s)", (pid,))
        thread.join()
    assert len(outcome) == 1 and "may not be durable" in outcome[0], outcome
    store(engine, "after")


def test_what_is_decided_then_is_refused(own_postgres: Server, address: StoreAddress) -> None:
    impatient = engine_of(address, 1.0)
    writes = DurableWrites(impatient, "a lock")
    with without_its_standby(own_postgres):
        with pytest.raises(RefusedError) as refused, writes.transaction() as connection:
            connection.execute(insert(store_facts).values(name="refused", value="1"))
        assert refused.value.refusal.code.id == "SP1801"
        with writes.reading() as connection:  # reading needs no standby
            assert connection.execute(select(func.count())).scalar() == 1
    with writes.transaction() as connection:
        connection.execute(insert(store_facts).values(name="taken", value="1"))
    impatient.dispose()


def test_a_store_without_its_synchronous_standby_is_lost_until_it_is_back(
    own_postgres: Server, address: StoreAddress
) -> None:
    """It answers whatever needs no standby."""

    async def test() -> None:
        async with linked(address, "a") as link:
            engine = prompt_engine(address, link)
            with without_its_standby(own_postgres):
                with pytest.raises(SQLAlchemyError):
                    store(engine, "lost")
                assert link.is_lost
                await until(lambda: str(own_postgres.port) in link.problem)  # a new connection
                assert link.is_lost
            await until(lambda: not link.is_lost)
            store(engine, "kept")
            engine.dispose()

    in_loop(test)


def test_a_transaction_of_nothing_succeeds(engine: Engine) -> None:
    """Its COMMIT is one of no transaction, of which PostgreSQL warns as well."""
    with engine.begin():
        pass
    with engine.connect() as connection, flushed(connection):
        pass
