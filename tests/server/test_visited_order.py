"""Rows are locked as they are visited: a statement that waits for one of them shows another session
which it has come to by then. Two tables that differ only in masked values must look alike.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import AGENT, PRIVACY, Gateway
from tests.support.postgres import Server

POLICY = """version: 1
rules:
  - {name: agents work, subjects: {groups: [claude-postgres, privacy]}, allow: [all]}
masks:
  - {columns: ["visited.*.secret"], with: redact, except: {groups: [privacy]}}
"""
#: ``up`` and ``down`` are two worlds. What points at heads cascades, or refuses.
SCHEMA = """
create table visited.{world}_heads (id int primary key);
create table visited.{world}_stops (id int primary key);
insert into visited.{world}_heads values (1), (2);
insert into visited.{world}_stops values (1), (2);
create table visited.{world} (id int primary key, label text, secret int,
  head int references visited.{world}_heads on delete cascade);
create index on visited.{world} (label, secret);
create index on visited.{world} (head, secret);
insert into visited.{world} select i, 'same', {secret}, 1 from generate_series(1, 9) i;
create table visited.{world}_kept (id int primary key, secret int,
  stop int references visited.{world}_stops);
create index on visited.{world}_kept (stop, secret);
insert into visited.{world}_kept select i, {secret}, 1 from generate_series(1, 9) i;
create table visited.{world}_many (id int primary key, label int, secret text);
create index on visited.{world}_many (label, secret);
insert into visited.{world}_many select i, i % 4,
  lpad(({many})::text, 8, '0') || 'abcdefghijklmnopqrst' from generate_series(1, 2000) i;
"""
WORLDS = {"up": "i", "down": "-i"}


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute("drop schema if exists visited cascade; create schema visited")
        admin.execute(f"grant all on schema visited to {postgres.user}")
        for world, secret in WORLDS.items():
            many = "i" if world == "up" else "10000 - i"
            schema = SCHEMA.format(world=world, secret=secret, many=many)
            admin.execute(f"set role {postgres.user}; {schema}; reset role".encode())
        running = Gateway(issuer, {"shop": postgres}, policy=POLICY).start()
        try:
            yield running
        finally:
            running.stop()
            admin.execute("drop schema visited cascade")


def connect(gateway: Gateway, who: str = AGENT) -> psycopg.Connection:
    return psycopg.connect(gateway.dsn(gateway.token(who)))


def visit(gateway: Gateway, table: str, statement: str, row: int) -> tuple[object, ...]:
    """What a statement that comes to a locked row ends with, and the rows that were not locked when
    it waited.
    """
    with connect(gateway) as blocker, connect(gateway) as writer, connect(gateway) as observer:
        blocker.execute(f"select id from {table} where id = {row} for update".encode())
        for setting in ("enable_seqscan = off", "enable_bitmapscan = off", "lock_timeout = 300"):
            writer.execute(f"set {setting}".encode())
        try:
            writer.execute(statement.encode())
            ended = "done"
        except psycopg.Error as error:
            ended = str(error.sqlstate)
        # what the statement did before it waited was undone: it is done again by who may wait
        writer.rollback()
        if ended != errors.LockNotAvailable.sqlstate:
            return (ended,)
        return ended, *_unlocked(writer, observer, table, statement)


def _unlocked(
    writer: psycopg.Connection, observer: psycopg.Connection, table: str, statement: str
) -> list[int]:
    for setting in ("enable_seqscan = off", "enable_bitmapscan = off", "lock_timeout = 0"):
        writer.execute(f"set {setting}".encode())
    writer.pgconn.send_query(statement.encode())
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        rows = observer.execute(
            f"select id from {table} order by id for update skip locked".encode()
        ).fetchall()
        observer.rollback()
        time.sleep(0.05)
    writer.cancel_safe(timeout=10)
    while writer.pgconn.get_result() is not None:
        pass
    writer.rollback()
    return sorted(number for (number,) in rows)


REFUSED = [
    ("visited.{}", "delete from visited.{} where label = 'same'"),
    ("visited.{}", "delete from only visited.{} t using visited.{}_heads h where t.head = h.id"),
    ("visited.{}", "delete from visited.{}_heads where id = 1"),
    ("visited.{}_kept", "delete from visited.{}_stops where id = 1"),
]


@pytest.mark.parametrize(("table", "statement"), REFUSED)
@pytest.mark.parametrize("row", [1, 9])
def test_locks_do_not_show_the_order_of_masked_values(
    gateway: Gateway, table: str, statement: str, row: int
) -> None:
    up, down = (
        visit(gateway, table.replace("{}", world), statement.replace("{}", world), row)
        for world in WORLDS
    )
    assert up == down


@pytest.mark.parametrize(("table", "statement"), REFUSED)
def test_such_statements_are_refused(gateway: Gateway, table: str, statement: str) -> None:
    with (
        connect(gateway) as session,
        pytest.raises(errors.InsufficientPrivilege, match=r"\[SP1201\]"),
    ):
        session.execute(statement.replace("{}", "up").encode())


@pytest.mark.parametrize(
    "statement",
    [
        "delete from visited.up where id = 1",
        "delete from visited.up where id in (1, 2, 3)",
        "delete from visited.up where id > 3",
        "delete from visited.up",
        "select id from visited.up where label = 'same' for update",
        "insert into visited.up values (20, 'same', 5, 2)",
    ],
)
def test_what_shows_nothing_passes(gateway: Gateway, statement: str) -> None:
    with connect(gateway) as session:
        session.execute(statement.encode())
        session.rollback()


SERIALIZABLE = [
    "set transaction isolation level serializable",
    "set default_transaction_isolation = 'SERIALIZABLE'",
    "select set_config('default_transaction_isolation', 'serializable', false)",
]


def conflict(gateway: Gateway, world: str, guess: str) -> str | None:
    """How a transaction ends that puts a guess beside the rows which another one has read."""
    table = f"visited.{world}_many"
    with connect(gateway) as reader, connect(gateway) as writer:
        try:
            for session in (reader, writer):
                session.execute("set enable_seqscan = off")
                session.execute("set enable_bitmapscan = off")
                session.commit()
                session.execute(SERIALIZABLE[0].encode())
            reader.execute(f"select count(*) from {table} where label = 1".encode())
            writer.execute(f"select count(*) from visited.{world}_heads where id = 2".encode())
            reader.execute(f"insert into visited.{world}_heads values ({int(guess)})".encode())
            writer.execute(f"insert into {table} values (9000, 2, '{guess}')".encode())
            reader.commit()
            writer.commit()
        except psycopg.Error as error:
            return error.sqlstate
        return None


@pytest.mark.parametrize("guess", ["00001500", "00008010"])
def test_serialization_failures_do_not_show_masked_values(gateway: Gateway, guess: str) -> None:
    up, down = (conflict(gateway, world, guess) for world in WORLDS)
    assert up == down == errors.InsufficientPrivilege.sqlstate


@pytest.mark.parametrize("statement", SERIALIZABLE)
def test_isolation_that_locks_indexes_is_for_who_has_no_masks(
    gateway: Gateway, statement: str
) -> None:
    with connect(gateway) as session, pytest.raises(psycopg.Error, match=r"\[SP1301\]"):
        session.execute(statement.encode())
    with connect(gateway) as session:
        session.execute("set transaction isolation level repeatable read")
    with connect(gateway, PRIVACY) as session:
        session.execute(statement.encode())
