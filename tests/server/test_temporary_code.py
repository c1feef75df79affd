"""Functions and types in ``pg_temp``, which clients make for a moment: for who may make code."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import DBA, Gateway
from tests.support.postgres import Server

POLICY = """version: 1
functions: ["*.helper"]
rules:
  - {name: all, subjects: {groups: [dba]}, targets: [shop], allow: [all, temp]}
  - {name: read, subjects: {groups: [claude-postgres]}, targets: [shop], allow: [all, temp]}
masks:
  - {columns: ["public.customers.email"], with: redact, except: {groups: [dba]}}
"""
#: What Sequelize's findOrCreate sends outside a transaction.
FIND_OR_CREATE = """
CREATE OR REPLACE FUNCTION pg_temp.testfunc(OUT response text, OUT caught text)
  RETURNS RECORD AS $func$ BEGIN response := 'made'; END $func$ LANGUAGE plpgsql;
SELECT (testfunc.response), testfunc.caught FROM pg_temp.testfunc();
DROP FUNCTION IF EXISTS pg_temp.testfunc();"""


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, any_postgres: Server) -> Iterator[Gateway]:
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute(f"grant temp on database shop to {any_postgres.user}")
    running = Gateway(issuer, {"shop": any_postgres}, policy=POLICY).start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def db(gateway: Gateway) -> Iterator[psycopg.Connection]:
    with psycopg.connect(gateway.dsn(gateway.token(DBA)), autocommit=True) as connection:
        yield connection


def rows(db: psycopg.Connection, sql: str) -> list[tuple[object, ...]]:
    return db.execute(sql, prepare=False).fetchall()


def test_a_function_is_made_called_and_dropped_in_one_message(db: psycopg.Connection) -> None:
    cursor = db.execute(FIND_OR_CREATE)
    assert cursor.nextset()
    assert cursor.fetchall() == [("made", None)]
    assert cursor.nextset()
    assert cursor.statusmessage == "DROP FUNCTION"


def test_code_may_run_where_the_encoding_has_its_other_name(db: psycopg.Connection) -> None:
    db.execute("SET client_encoding TO 'UNICODE'")
    cursor = db.execute(FIND_OR_CREATE)
    assert cursor.nextset() and cursor.fetchall() == [("made", None)]


def test_functions_and_procedures(db: psycopg.Connection) -> None:
    db.execute("create function pg_temp.f(int) returns int language sql as 'select $1 + 1'")
    assert rows(db, "select pg_temp.f(n) from generate_series(1, 2) n") == [(2,), (3,)]
    assert db.execute("select pg_temp.f(%s)", (5,), prepare=True).fetchone() == (6,)
    db.execute(
        "create procedure pg_temp.p() language plpgsql as 'begin null; end'; call pg_temp.p()"
    )
    with pytest.raises(psycopg.errors.UndefinedFunction):  # never found without its schema
        db.execute("select f(1)")
    db.execute("drop function pg_temp.f(int)")
    with pytest.raises(psycopg.errors.UndefinedFunction):
        db.execute("select pg_temp.f(1)")


def test_a_function_goes_with_its_transaction(db: psycopg.Connection) -> None:
    db.execute("create type pg_temp.kept as enum ('a')")
    with db.transaction(force_rollback=True):
        db.execute("create function pg_temp.f() returns int language sql as 'select 1'")
        assert rows(db, "select pg_temp.f()") == [(1,)]
    with pytest.raises(psycopg.errors.UndefinedFunction):
        db.execute("select pg_temp.f()")
    assert rows(db, "select 'a'::kept") == [("a",)]


def test_types(db: psycopg.Connection) -> None:
    db.execute("create type pg_temp.mood as enum ('sad', 'ok')")
    db.execute("create type pg_temp.pair as (a int, b mood)")
    db.execute("create domain pg_temp.positive as int check (value > 0)")
    assert rows(db, "select 'ok'::mood, array['sad']::pg_temp.mood[]") == [("ok", "{sad}")]
    assert rows(db, "select (row(1, 'ok')::pair).b, 3::positive") == [("ok", 3)]
    with pytest.raises(psycopg.errors.CheckViolation):
        db.execute("select 0::positive")
    db.execute("create temp table t (m mood, p pair); alter type mood add value 'new'")
    db.execute("insert into t values ('new', row(1, 'sad'))")
    assert rows(db, "select m, p from t") == [("new", "(1,sad)")]
    db.execute("discard temp")
    with pytest.raises(psycopg.errors.UndefinedObject):
        db.execute("select 'ok'::mood")


def test_they_are_the_sessions_alone(gateway: Gateway, db: psycopg.Connection) -> None:
    db.execute("create type pg_temp.mood as enum ('a')")
    db.execute("create function pg_temp.f() returns int language sql as 'select 1'")
    with psycopg.connect(gateway.dsn(gateway.token(DBA)), autocommit=True) as second:
        with pytest.raises(psycopg.errors.UndefinedObject):
            second.execute("select 'a'::mood")
        with pytest.raises(psycopg.errors.UndefinedFunction):
            second.execute("select pg_temp.f()")


def test_a_type_that_code_left_may_not_be_named(db: psycopg.Connection) -> None:
    db.execute("do $$begin create type pg_temp.hidden as enum ('a'); end$$")
    with pytest.raises(psycopg.Error, match="cannot determine what made"):
        db.execute("select 'a'::hidden")
    db.execute("discard temp")
    db.execute("create type pg_temp.hidden as enum ('b')")
    assert rows(db, "select 'b'::hidden") == [("b",)]


def test_a_type_that_code_changed_is_read_again(db: psycopg.Connection) -> None:
    db.execute("create domain pg_temp.d as int")
    assert rows(db, "select 0::d") == [(0,)]
    db.execute("do $$begin alter domain pg_temp.d add check (value > 0); end$$")
    with pytest.raises(psycopg.errors.CheckViolation):
        db.execute("select 0::d")
    assert rows(db, "select 1::d") == [(1,)]


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("create type pg_temp.customers as enum ('a')", "SP1107"),
        ("create domain pg_temp.int4 as text", "SP1107"),
        ('create collation pg_temp.c from "C"', "SP1107"),
    ],
)
def test_what_is_refused(db: psycopg.Connection, sql: str, code: str) -> None:
    with pytest.raises(psycopg.Error) as caught:
        db.execute(sql)
    assert str(caught.value).startswith(f"[{code}]")


@pytest.mark.parametrize(
    "sql",
    [
        "create function pg_temp.f() returns int language sql as 'select 1'",
        "create type pg_temp.mood as enum ('a')",
        "create type pg_temp.pair as (a int)",
        "create domain pg_temp.d as int",
    ],
)
def test_a_subject_with_masks_makes_none(gateway: Gateway, sql: str) -> None:
    refused = pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"^\[SP1103\]")
    with psycopg.connect(gateway.dsn(), autocommit=True) as masked, refused:
        masked.execute(sql)


def test_a_function_that_code_left_is_not_what_policy_lists(
    gateway: Gateway, any_postgres: Server
) -> None:
    """``functions`` names what somebody has read; each session's pg_temp is another one."""
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute(
            "create or replace function public.helper() returns int language plpgsql as $$begin"
            " create function pg_temp.helper(int) returns text language sql as"
            " 'select email from public.customers limit 1'; return 1; end$$"
        )
    try:
        with psycopg.connect(gateway.dsn(), autocommit=True) as masked:
            masked.execute("select public.helper(); create temp table t (n int)")
            with pytest.raises(psycopg.Error, match=r"^\[SP11"):
                masked.execute("select pg_temp.helper(1)")
    finally:
        with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as admin:
            admin.execute("drop function public.helper()")
