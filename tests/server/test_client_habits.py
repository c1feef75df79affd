"""Small things that real clients rely on, each as PostgreSQL does it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.wire import frontend
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for

POLICY = """version: 1
rules:
  - {name: everything, subjects: {groups: [claude-postgres]}, allow: [all]}
masks:
  - {columns: ["public.customers.email", "public.customers.id"], with: redact,
     subjects: {groups: [nobody]}}
"""


@pytest.fixture(scope="module")
def door(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    running = Gateway(issuer, {"shop": postgres}, policy=POLICY).start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def db(door: Gateway) -> Iterator[psycopg.Connection]:
    with psycopg.connect(door.dsn(), autocommit=True) as connection:
        yield connection


def test_a_notification_names_the_backend_that_its_client_knows(
    door: Gateway, db: psycopg.Connection
) -> None:
    with psycopg.connect(door.dsn(), autocommit=True) as notifier:
        db.execute("listen habits")
        db.execute("notify habits, 'own'")
        notifier.execute("notify habits, 'other'")
        received = [(n.pid, n.payload) for n in db.notifies(timeout=60, stop_after=2)]
        assert received == [(db.info.backend_pid, "own"), (notifier.info.backend_pid, "other")]


def test_a_notification_names_the_backend_of_a_session_that_has_ended(
    door: Gateway, db: psycopg.Connection, postgres: Server
) -> None:
    """The listener is in a transaction while another one comes, notifies and goes."""
    db.execute("listen habits")
    with db.transaction(), psycopg.connect(postgres.superuser_dsn, autocommit=True) as direct:
        db.execute("select 1")
        with psycopg.connect(door.dsn(), autocommit=True) as notifier:
            told = notifier.info.backend_pid
            backend = notifier.execute("select pg_backend_pid()").fetchone()
            notifier.execute("notify habits, 'gone'")
        left = "select from pg_stat_activity where pid = %s"
        wait_for(lambda: direct.execute(left, backend).fetchone() is None)
    assert [n.pid for n in db.notifies(timeout=60, stop_after=1)] == [told]


def test_terminate_before_the_login_closes_silently(door: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=60) as raw:
        raw.sendall(frontend.terminate())
        assert raw.recv(100) == b""
    with socket.create_connection(("127.0.0.1", door.port), timeout=60) as raw:
        raw.sendall(frontend.startup_message({"user": "u", "database": "shop"}))
        assert raw.recv(100)[:1] == b"R"
        raw.sendall(frontend.terminate())
        assert raw.recv(100) == b""


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        ("select (null::record) is null", True),
        ("select a from jsonb_populate_recordset(null::record, '[{\"a\":1}]') as x(a int)", 1),
        ("select a from json_populate_record(null::record, '{\"a\":1}') as x(a int)", 1),
        ("select '{1,2}'::int[]::anyarray", [1, 2]),
        (
            "select null::anyarray is null and null::anyelement is null and null::record[] is null",
            True,
        ),
        ("select count(*) from pg_prepared_statements", 0),
        ("select count(*) from pg_cursors", 0),
        # Liquibase asks so for the sequences of columns, of all in a schema
        (
            "select count(pg_sequence_last_value(c.oid::regclass)) from pg_class c"
            " join pg_sequence s on c.oid = s.seqrelid where c.relname = 'none'",
            0,
        ),
    ],
)
def test_statements_that_pass(db: psycopg.Connection, sql: str, answer: object) -> None:
    assert db.execute(sql).fetchone() == (answer,)


@pytest.mark.parametrize("setting", ["role", "session authorization"])
def test_a_session_may_be_who_it_is(db: psycopg.Connection, postgres: Server, setting: str) -> None:
    """As Flyway says at each connection; everybody else stays out of reach."""
    db.execute(f"set {setting} '{postgres.user}'".encode())
    db.execute(f"select set_config('role', '{postgres.user}', false)".encode())
    assert db.execute("select current_user, session_user").fetchone() == (postgres.user,) * 2
    for name in ("postgres", "none", f" {postgres.user}", postgres.user.upper()):
        with pytest.raises(psycopg.errors.Error) as refused:
            db.execute(f"set {setting} '{name}'".encode())
        assert "[SP1301]" in str(refused.value)
    assert db.execute("select current_user, session_user").fetchone() == (postgres.user,) * 2


def test_a_session_sees_what_it_prepared(db: psycopg.Connection) -> None:
    db.execute("prepare mine as select 1")
    assert db.execute("select name, statement from pg_prepared_statements").fetchall() == [
        ("mine", "prepare mine as select 1")
    ]


def test_sequences_are_set_to_what_a_table_holds(
    db: psycopg.Connection, postgres: Server, issuer: DevIssuer
) -> None:
    """What Django's sqlsequencereset writes. A masked column's value does not go into a
    sequence.
    """
    reset = (
        "select setval(pg_get_serial_sequence('counted', 'id'), coalesce(max(id), 1), max(id) is"
        " not null) from"
    )
    policy = POLICY.replace("nobody", "claude-postgres")
    masked = Gateway(issuer, {"shop": postgres}, policy=policy).start()
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute(
            "create table counted (id serial primary key); insert into counted values (40);grant"
            f" all on counted to {postgres.user}; grant all on counted_id_seq to {postgres.user}"
        )
        try:
            # a table that is not known here yet has the catalog read again
            assert db.execute("select nextval('counted_id_seq')").fetchone() == (1,)
            assert db.execute(f"{reset} counted").fetchone() == (40,)
            assert db.execute("select nextval('counted_id_seq')").fetchone() == (41,)
            with psycopg.connect(masked.dsn(), autocommit=True) as agent:
                with pytest.raises(psycopg.Error, match="SP1202"):
                    agent.execute(f"{reset} customers")
                assert agent.execute(f"{reset} counted").fetchone() == (40,)
        finally:
            masked.stop()
            admin.execute("drop table counted")


def test_an_implicit_cast_converts_only_where_something_else_is_wanted(
    db: psycopg.Connection, postgres: Server
) -> None:
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute(
            "create type odd as (a int); create table odds (o odd); insert into odds values"
            " (row(1));create function odd_int(odd) returns int language plpgsql as 'begin return"
            " 1; end';create cast (odd as int) with function odd_int(odd) as implicit; grant all"
            f" on odds to {postgres.user}"
        )
        try:
            row = db.execute(
                "select concat(o, 1), format('%s', o), jsonb_build_object('k', o) from odds"
            )
            assert row.fetchone() == ("(1)1", "(1)", {"k": {"a": 1}})
            # what converts it is code that was not read, which this subject may run
            assert db.execute("select abs(o) from odds").fetchone() == (1,)
        finally:
            admin.execute("drop table odds; drop type odd cascade")
