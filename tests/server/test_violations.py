"""Violated constraints are named to who has masks where they read nothing that is masked, and no
value is told; errors of privileges pass.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server

POLICY = """version: 1
functions: ["viol.raises"]
rules:
  - {name: all, allow: [read, write, temp], relations: ["viol.*"]}
masks:
  - {columns: ["viol.*.ssn", "viol.other.secret"], with: redact, write: allow}
"""
CANARY = "911-77"
SCHEMA = f"""
create table viol.teams (id int primary key);
insert into viol.teams values (1);
create table viol.people (id int primary key, name text not null, age int check (age > 0),
  team int references viol.teams deferrable, during int4range, ssn text,
  constraint named unique (name), exclude using gist (during with &&));
create unique index by_expression on viol.people (lower(name)) where age > 5;
insert into viol.people values (1, 'Ada', 30, 1, '[1,5)', '{CANARY}-0001');
create table viol.guarded (id int primary key, age int, ssn text not null unique,
  constraint both_read check (age < 1000 or ssn <> 'x'),
  constraint on_row check (guarded is not null or age is null));
create unique index by_secret on viol.guarded (age) where ssn like '9%';
insert into viol.guarded values (1, 30, '{CANARY}-0001');
create table viol.other (id int primary key, secret text);
insert into viol.other values (1, '{CANARY}-0002');
create table viol.sealed (id int);
create function viol.raises() returns trigger language plpgsql as $$ begin
  raise exception using errcode = '23505', message = (select string_agg(ssn, ',') from viol.people),
    schema = 'viol', table = 'people', constraint = 'named'; end $$;
create table viol.loud (id int primary key, name text);
create trigger t before insert on viol.loud for each row execute function viol.raises();
"""


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, any_postgres: Server) -> Iterator[Gateway]:
    user = any_postgres.user
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute("drop schema if exists viol cascade; create schema viol")
        admin.execute(SCHEMA)
        admin.execute(f"grant usage on schema viol to {user}")
        admin.execute(f"grant all on all tables in schema viol to {user}")
        admin.execute(f"revoke insert on viol.sealed from {user}")
        running = Gateway(issuer, {"shop": any_postgres}, policy=POLICY).start()
        try:
            yield running
        finally:
            running.stop()
            admin.execute("drop schema viol cascade")


def refused(gateway: Gateway, sql: str, binary: bool, *, in_block: bool = False) -> psycopg.Error:
    with psycopg.connect(gateway.dsn(gateway.token("claude-agent"))) as db:
        db.autocommit = not in_block
        db.cursor_factory = psycopg.RawCursor if binary else psycopg.ClientCursor
        with pytest.raises(psycopg.Error) as caught:
            db.execute(sql)
            db.commit()
    return caught.value


INTO = "insert into viol.people"
NAMED = [
    (f"{INTO} (id, age) values (2, 1)", "23502", None, "people.name"),
    (f"{INTO} (id, name) values (1, 'B')", "23505", "people_pkey", "people.id"),
    (f"{INTO} (id, name, age) values (2, 'B', -1)", "23514", "people_age_check", "people.age"),
    (
        f"{INTO} (id, name, during) values (2, 'B', '[2,3)')",
        "23P01",
        "people_during_excl",
        "during",
    ),
    (f"{INTO} (id, name) values (2, 'Ada')", "23505", "named", "people.name"),
    (f"{INTO} (id, name, age) values (2, 'aDA', 31)", "23505", "by_expression", "people.age"),
    (f"{INTO} (id, name, team) values (2, 'B', 77)", "23503", "people_team_fkey", "teams.id"),
    (f"{INTO} (id, name, ssn) values (1, 'B', 'y')", "23505", "people_pkey", "people.id"),
]


@pytest.mark.parametrize("binary", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize(("sql", "sqlstate", "constraint", "column"), NAMED)
def test_what_reads_no_masked_column_is_named(
    gateway: Gateway, sql: str, sqlstate: str, constraint: str | None, column: str, binary: bool
) -> None:
    error = refused(gateway, sql, binary)
    assert error.sqlstate == sqlstate
    if constraint is None:
        assert error.diag.column_name == "name"
    assert error.diag.constraint_name == constraint
    assert (constraint or "name") in str(error.diag.message_primary)
    assert column in str(error.diag.message_detail)
    assert CANARY not in str(error) and "Ada" not in str(error) and "77" not in str(error)


def test_a_deferred_one_is_named_at_commit(gateway: Gateway) -> None:
    with psycopg.connect(gateway.dsn(gateway.token("claude-agent"))) as db:
        db.execute("set constraints all deferred")
        db.execute("insert into viol.people (id, name, team) values (5, 'C', 88)")
        with pytest.raises(psycopg.errors.ForeignKeyViolation) as caught:
            db.commit()
    assert caught.value.diag.constraint_name == "people_team_fkey"
    assert "88" not in str(caught.value)


WITHHELD = [
    f"insert into viol.guarded (id, ssn) values (2, '{CANARY}-0001')",
    "insert into viol.guarded (id) values (2)",
    "insert into viol.guarded (id, age, ssn) values (2, 30, '9')",
    "insert into viol.guarded (id, age, ssn) values (2, 1001, 'x')",
    "insert into viol.guarded (id, age) values (2, 3)",
    "insert into viol.loud values (1, 'x')",
]


@pytest.mark.parametrize("binary", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize("sql", WITHHELD)
def test_what_reads_a_masked_column_is_not(gateway: Gateway, sql: str, binary: bool) -> None:
    error = refused(gateway, sql, binary)
    assert "[SP12" in str(error) or "withheld" in str(error.diag.message_primary), error
    assert error.diag.message_detail is None or "[SP12" in str(error)
    assert CANARY not in str(error).replace(f"'{CANARY}-0001'", "")


@pytest.mark.parametrize("binary", [False, True], ids=["simple", "extended"])
def test_errors_of_privileges_pass(gateway: Gateway, binary: bool) -> None:
    error = refused(
        gateway, "insert into viol.sealed select id from viol.other where id = 1", binary
    )
    assert error.diag.message_primary == "permission denied for table sealed"
