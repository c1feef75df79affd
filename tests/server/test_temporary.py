"""Temporary tables: one action, the session's own, judged like any table, hiding nothing."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server

POLICY = """version: 1
rules:
  - {name: read, subjects: {groups: [claude-postgres]}, targets: [shop], allow: [read],
     relations: ["public.*"]}
  - {name: own, subjects: {groups: [claude-postgres]}, targets: [shop], allow: [temp]}
masks:
  - {columns: ["public.customers.email"], with: redact}
  - {columns: ["public.customers.ssn"], with: redact, copies: masked}
"""


@pytest.fixture(scope="module")
def door(issuer: DevIssuer, any_postgres: Server) -> Iterator[Gateway]:
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute(f"grant temp on database shop to {any_postgres.user}")
    running = Gateway(issuer, {"shop": any_postgres}, policy=POLICY).start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def db(door: Gateway) -> Iterator[psycopg.Connection]:
    with psycopg.connect(door.dsn(), autocommit=True) as connection:
        yield connection


def test_everything_that_is_done_with_one_is_one_action(db: psycopg.Connection) -> None:
    db.execute(
        "create temp table t (id serial primary key, name text default 'x', n int check (n > 0))"
    )
    db.execute("insert into t (n) values (1), (2)")
    db.execute("update t set name = 'y' where n = 2; delete from t where n = 1")
    assert db.execute("select id, name, n from t").fetchall() == [(2, "y", 2)]
    assert (
        db.execute("select * from pg_temp.t join customers c on c.id = t.id").fetchone() is not None
    )
    with db.cursor().copy("copy t (n) from stdin") as copy:
        copy.write("3\n4\n")
    with db.cursor().copy("copy t to stdout") as copy:
        assert len(list(copy)) == 3
    db.execute(
        "create index on t (n); alter table t add column more int; comment on table t is 'mine'"
    )
    db.execute("explain select * from t; lock table t; truncate t; analyze t")
    assert db.execute(
        "insert into t (n, more) values (%s, %s) returning more", (5, 6)
    ).fetchone() == (6,)
    db.execute("alter table t rename to u; select nextval('t_id_seq'); drop table u")
    with pytest.raises(psycopg.errors.UndefinedTable):
        db.execute("select * from u")


def test_forms_of_making_one(db: psycopg.Connection) -> None:
    db.execute("create temporary table a as select id from customers; create temp sequence s")
    db.execute("select id into temp b from customers limit 2; create table pg_temp.c (like a)")
    db.execute("create temp table if not exists c (id int); drop table if exists pg_temp.gone")
    assert db.execute("select (select count(*) from b), nextval('s')").fetchone() == (2, 1)
    assert db.execute("insert into c select * from b returning id").rowcount == 2


def test_it_lives_as_long_as_postgresql_says(db: psycopg.Connection) -> None:
    with db.transaction():
        db.execute("create temp table short (n int) on commit drop")
        assert db.execute("select count(*) from short").fetchone() == (0,)
    with pytest.raises(psycopg.errors.UndefinedTable):
        db.execute("select * from short")
    db.execute("create temp table t (n int) on commit delete rows")
    with db.transaction(force_rollback=True):
        db.execute("create temp table undone (n int); drop table t")
        db.execute("select n from undone")
    with pytest.raises(psycopg.errors.UndefinedTable):
        db.execute("select n from undone")
    assert db.execute("select n from t").fetchall() == []
    for discard in ("discard temp", "discard all"):
        db.execute("create temp table kept (n int)")
        db.execute(discard)
        with pytest.raises(psycopg.errors.UndefinedTable):
            db.execute("select n from kept")


def test_it_is_the_sessions_alone(door: Gateway, db: psycopg.Connection) -> None:
    db.execute("create temp table t (n int); insert into t values (1)")
    with psycopg.connect(door.dsn(), autocommit=True) as bystander:
        with pytest.raises(psycopg.errors.UndefinedTable):
            bystander.execute("select * from t")
        row = db.execute(
            "select nspname from pg_namespace where oid = pg_my_temp_schema()"
        ).fetchone()
        assert row is not None
        with pytest.raises(psycopg.Error):
            bystander.execute(f"select * from {row[0]}.t")
        bystander.execute("create temp table t (other text)")
        assert bystander.execute(
            "insert into t (other) values ('x') returning other"
        ).fetchone() == ("x",)
    assert db.execute("select n from t").fetchall() == [(1,)]


@pytest.mark.parametrize("prepare", [False, True])
def test_prepared_statements_follow(db: psycopg.Connection, prepare: bool) -> None:
    for kind in ("int", "text"):
        db.execute(f"create temp table p (v {kind})")
        assert db.execute(
            "insert into p values (%s) returning v", ("7",), prepare=prepare
        ).fetchone() == (7 if kind == "int" else "7",)
        db.execute("drop table p")


def test_schema_changes_of_others_leave_it(any_postgres: Server, db: psycopg.Connection) -> None:
    db.execute("create temp table t (n int); insert into t values (1)")
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute("create table made_meanwhile (n int)")
        try:
            admin.execute("grant select on made_meanwhile to public")
            assert db.execute(
                "select t.n from t left join made_meanwhile m using (n)"
            ).fetchall() == [(1,)]
        finally:
            admin.execute("drop table made_meanwhile")


@pytest.mark.parametrize(
    "sql",
    [
        "create temp table t as select email from customers",
        "select email || '' as e into temp t from customers",
        "create temp table customers (id int)",  # hides another relation
        "create temp table orders as select 1 as id",
        "create temp table pg_class (oid oid)",
        "create temp table text (a int)",
        "create temp sequence customers",
        "create temp view customers as select 1 as id",
        "create temp view pg_class as select 1 as oid",
        "create temp view text as select 1 as a",
        "create temp view public.v as select 1",
        "create temp materialized view v as select 1",
        "create function pg_temp.f() returns int language sql as 'select 1'",
        "create temp table t () inherits (customers)",
        "create temp table public.t (n int)",
        "create table t (n int)",
        "create domain pg_temp.d as int",
    ],
)
def test_what_is_refused(db: psycopg.Connection, sql: str) -> None:
    with pytest.raises(psycopg.Error, match=r"\[SP"):
        db.execute(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "insert into t select email from customers",
        "update t set a = (select email from customers limit 1)",
        "insert into t values ((select max(email) from customers))",
        "alter table t rename to customers",
        "alter table t inherit customers",
        "create view public.v as select * from t",
        "create or replace view v as select * from t",
        "create index customers on t (a)",  # an index hides relations as well
        "alter table t add constraint customers unique (a)",
        "alter index t_key rename to customers",
        "alter table t rename constraint t_key to customers",
    ],
)
def test_what_is_refused_of_one(db: psycopg.Connection, sql: str) -> None:
    db.execute("create temp table t (a text constraint t_key unique)")
    with pytest.raises(psycopg.Error, match=r"\[SP"):
        db.execute(sql)


def test_an_index_that_hides_a_relation_stops_unfollowed_code(
    any_postgres: Server, db: psycopg.Connection
) -> None:
    """An audit trigger that swallows its errors would no longer find its table."""
    db.execute("create temp table t (a text); create index audit_trail on t (a)")
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute("create table audit_trail (n int)")
        try:
            for _ in range(200):
                try:
                    db.execute("select n from audit_trail")
                except psycopg.Error as error:
                    if "SP1102" in str(error):
                        break
            else:
                raise AssertionError("the index in front of it was not noticed")
        finally:
            admin.execute("drop table audit_trail")


def test_masked_copies_hold_the_mask(db: psycopg.Connection) -> None:
    db.execute("create temp table t as select id, ssn from customers")
    ((value,),) = db.execute("select distinct ssn from t").fetchall()
    assert not any(c.isdigit() for c in value)


def test_a_rule_must_name_it(issuer: DevIssuer, postgres: Server) -> None:
    for more in ("", "packs: [read-only]\n"):
        allow = "[temp]" if more else "[all]"
        policy = f"version: 1\n{more}rules:\n  - {{name: r, allow: {allow}}}\n"
        door = Gateway(issuer, {"shop": postgres}, policy=policy).start()
        try:
            with (
                psycopg.connect(door.dsn(), autocommit=True) as db,
                pytest.raises(psycopg.errors.InsufficientPrivilege, match="temp is"),
            ):
                db.execute("create temp table t (n int)")
        finally:
            door.stop()


def test_what_appears_under_its_name_later(any_postgres: Server, db: psycopg.Connection) -> None:
    db.execute("create temp table later (n int); insert into later values (1)")
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute("create table later (n int); grant select on later to public")
        try:
            for _ in range(200):
                try:
                    db.execute("select n from later")
                except psycopg.Error:
                    break
            assert db.execute("select n from pg_temp.later").fetchall() == [(1,)]
            db.execute("drop table pg_temp.later")
            assert db.execute("select n from later").fetchall() == []
        finally:
            admin.execute("drop table later")
