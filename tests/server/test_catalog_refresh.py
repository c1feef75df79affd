"""What somebody makes beside the gateway is known when it is asked for, however shortly before the
catalog was looked at.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.server import databases
from tests.server.test_tasks import database
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for


def test_new_names_are_found_at_once(gateway: Gateway, postgres: Server) -> None:
    with (
        psycopg.connect(postgres.superuser_dsn, autocommit=True) as owner,
        psycopg.connect(gateway.dsn(), autocommit=True) as agent,
    ):
        for number in range(12):
            owner.execute(f"CREATE TABLE public.fresh_{number} AS SELECT {number} AS n")
            owner.execute(f"GRANT SELECT ON public.fresh_{number} TO sallyport_agent")
            assert agent.execute(f"SELECT n FROM fresh_{number}").fetchone() == (number,)
            owner.execute(f"DROP TABLE public.fresh_{number}")


def test_names_that_are_not_there_cost_little(gateway: Gateway) -> None:
    """Whoever guesses names waits for the next look; the others do not."""
    with (
        psycopg.connect(gateway.dsn(), autocommit=True) as guesser,
        psycopg.connect(gateway.dsn(), autocommit=True) as neighbor,
    ):
        started = time.monotonic()
        for number in range(5):
            with pytest.raises(psycopg.errors.UndefinedTable):
                guesser.execute(f"SELECT 1 FROM nowhere_{number}")
            assert neighbor.execute("SELECT 1").fetchone() == (1,)
        assert time.monotonic() - started < 3


@pytest.mark.parametrize("waits", [True, False])
def test_a_login_that_breaks_off_reads_for_nobody(
    postgres: Server, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """Neither for the session that waits behind it, nor for who connects next: the changes that
    another left are not read.
    """
    read = databases.refreshed_catalog
    begun = [asyncio.Event() for _ in range(3)]
    goes_on = asyncio.Event()

    async def slow(*words: Any) -> Any:
        number = sum(event.is_set() for event in begun)
        begun[number].set()
        if number < 2:
            await (goes_on if number == 0 else asyncio.Event()).wait()
        return await read(*words)

    async def run() -> None:
        shop = database(postgres)
        await shop.ready()
        monkeypatch.setattr(databases, "refreshed_catalog", slow)
        async with asyncio.TaskGroup() as group:
            earlier = group.create_task(shop.refresh(force=True))
            await begun[0].wait()
            shop.forget(1, 1, has_changed=True)
            login = group.create_task(shop.ready())
            await asyncio.sleep(0)
            session = group.create_task(shop.refresh(force=True)) if waits else None
            await asyncio.sleep(0)
            goes_on.set()
            await earlier
            await begun[1].wait()
            login.cancel()
            await asyncio.wait([login])
            await (session or shop.ready())
        assert begun[2].is_set()
        await shop.close()

    asyncio.run(run())


POLICY = """\
version: 1
rules:
  - {name: everything, allow: [all]}
"""


def test_a_table_made_anew_is_known_to_who_connects_next(
    issuer: DevIssuer, postgres: Server
) -> None:
    """As test suites and migrations do it: one connection makes the schema and ends, another one
    works.
    """
    door = Gateway(issuer, {"shop": postgres}, POLICY).start()
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA anew; GRANT ALL ON SCHEMA anew TO sallyport_agent")
        try:
            for number in range(5):
                with psycopg.connect(door.dsn(), autocommit=True) as first:
                    first.execute("DROP TABLE IF EXISTS anew.made; CREATE TABLE anew.made (n int)")
                with psycopg.connect(door.dsn(), autocommit=True) as second:
                    row = second.execute("INSERT INTO anew.made VALUES (%s) RETURNING n", [number])
                    assert row.fetchone() == (number,)
        finally:
            door.stop()
            owner.execute("DROP SCHEMA anew CASCADE")


def test_a_change_is_known_to_the_others_when_its_client_hears_of_it(
    issuer: DevIssuer, postgres: Server
) -> None:
    """As a pool's connections do it: one alters a table, and what another one reads next has the
    columns of now.
    """
    never = {"catalog": {"check_seconds": 3600}}
    door = Gateway(issuer, {"shop": postgres}, POLICY, extra=never).start()
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA heard; GRANT ALL ON SCHEMA heard TO sallyport_agent")
        try:
            with (
                psycopg.connect(door.dsn(), autocommit=True) as changes,
                psycopg.connect(door.dsn(), autocommit=True, prepare_threshold=None) as reads,
            ):
                changes.execute("CREATE TABLE heard.made (n0 int)")
                made = 1
                for altering in _ALTERING * 3:
                    sql = f"ALTER TABLE heard.made ADD COLUMN n{made} int"
                    altering(changes, sql)
                    made += 1
                    cursor = reads.execute("SELECT * FROM heard.made")
                    assert cursor.description is not None and len(cursor.description) == made
        finally:
            door.stop()
            owner.execute("DROP SCHEMA heard CASCADE")


def test_an_answer_waits_for_nobody_who_waits_for_it(issuer: DevIssuer, postgres: Server) -> None:
    """What keeps the catalog from being read is a lock of another connection of the same client."""
    never = {"catalog": {"check_seconds": 3600}}
    door = Gateway(issuer, {"shop": postgres}, POLICY, extra=never).start()
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA stuck; GRANT ALL ON SCHEMA stuck TO sallyport_agent")
        try:
            with (
                psycopg.connect(door.dsn(), autocommit=True) as changes,
                psycopg.connect(door.dsn()) as locks,
            ):
                changes.execute("CREATE TABLE stuck.t (n int)")
                changes.execute("CREATE VIEW stuck.v AS SELECT n FROM stuck.t")
                locks.execute("ALTER TABLE stuck.t ADD COLUMN m int")
                changes.execute("ALTER VIEW stuck.v RENAME COLUMN n TO k")
                assert "catalog not refreshed" not in door.output()  # it is still waited for
                # what comes next is judged by what cannot be read
                with pytest.raises(psycopg.errors.DatabaseError, match="SP1102"):
                    changes.execute("SELECT * FROM stuck.v")
                locks.rollback()
                assert changes.execute("SELECT * FROM stuck.v").fetchall() == []
            assert door.output().count("catalog not refreshed") == 1  # nobody asked again
        finally:
            door.stop()
            owner.execute("DROP SCHEMA stuck CASCADE")


def _in_a_block(db: psycopg.Connection, sql: str) -> None:
    with db.transaction():
        db.execute(sql)


def _in_a_pipeline(db: psycopg.Connection, sql: str) -> None:
    with db.pipeline():
        db.execute(sql)
        db.execute("SELECT 1")


def _with_a_path(db: psycopg.Connection, sql: str) -> None:
    db.execute(f"BEGIN; SET LOCAL search_path = public; {sql}; COMMIT")


def _in_a_script(db: psycopg.Connection, sql: str) -> None:
    db.execute(f"{sql}; SELECT 1")


def _in_code(db: psycopg.Connection, sql: str) -> None:
    db.execute(f"DO $$ BEGIN {sql}; END $$")


_ALTERING = (
    psycopg.Connection.execute,
    _in_a_block,
    _in_a_pipeline,
    _with_a_path,
    _in_a_script,
    _in_code,
)


def test_a_change_that_ends_after_its_client_is_known_to_who_logged_in_meanwhile(
    issuer: DevIssuer, postgres: Server
) -> None:
    """It waits for a lock while another session begins, and commits when nobody looks."""
    never = {"catalog": {"check_seconds": 3600}}
    door = Gateway(issuer, {"shop": postgres}, POLICY, extra=never).start()
    with psycopg.connect(postgres.superuser_dsn) as owner:
        owner.execute("CREATE SCHEMA late; GRANT ALL ON SCHEMA late TO sallyport_agent")
        owner.execute("CREATE TABLE late.made (n int)")
        owner.execute("ALTER TABLE late.made OWNER TO sallyport_agent")
        owner.commit()
        try:
            owner.execute("LOCK TABLE late.made IN ROW SHARE MODE")
            changes = psycopg.connect(door.dsn(), autocommit=True)
            changes.pgconn.send_query(b"ALTER TABLE late.made ADD COLUMN late int")
            wait_for(lambda: _altering(postgres))
            changes.pgconn.finish()
            wait_for(lambda: "session ended" in door.output())
            with psycopg.connect(door.dsn(), autocommit=True) as agent:
                seen = door.output().count("catalog changed")
                owner.commit()
                wait_for(lambda: not _altering(postgres))
                wait_for(lambda: door.output().count("catalog changed") > seen)
                assert agent.execute("SELECT * FROM late.made").fetchall() == []
        finally:
            door.stop()
            owner.execute("DROP SCHEMA late CASCADE")
            owner.commit()


def _altering(server: Server) -> bool:
    with psycopg.connect(server.superuser_dsn) as db:
        query = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE late%'"
        return db.execute(query).fetchone() is not None
