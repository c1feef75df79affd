"""An index with a masked column in it may decide in which order the server visits rows. What a
statement's own volatile functions see must not tell of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server

POLICY = """version: 1
rules:
  - {name: agents work, subjects: {groups: [claude-postgres]}, allow: [read, write, lock],
     relations: ["visited.*"]}
masks:
  - {columns: ["visited.*.secret"], with: redact}
"""
#: Two tables that differ in the masked column only.
TABLE = """
create table visited.{name} (id int primary key, b int, secret int);
create index on visited.{name} (b, secret);
insert into visited.{name} select i, i % 3, {secret} from generate_series(1, 60) i;
create view visited.v_{name} as select id, b from visited.{name} where b < 9;
"""
QUERIES = [
    "select id from visited.{name} where b = 1 and nextval('visited.turn') % 2 = 0",
    "select id from visited.v_{name} where b = 1 and nextval('visited.turn') % 2 = 0",
    (
        "with x as (select * from visited.{name} where b = 1) select id from x"
        " where nextval('visited.turn') % 2 = 0"
    ),
    "select (select id from visited.{name} where b = 2 and nextval('visited.turn') = 3)",
    "select array_agg(id) from visited.{name} where b = 1 and nextval('visited.turn') < 5",
]


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute("drop schema if exists visited cascade; create schema visited")
        admin.execute(f"grant all on schema visited to {postgres.user}; set role {postgres.user}")
        for name, secret in (("up", "i * 7 % 61"), ("down", "i * 11 % 61")):
            admin.execute(TABLE.format(name=name, secret=secret).encode())
        admin.execute("create sequence visited.turn; reset role")
        running = Gateway(issuer, {"shop": postgres}, policy=POLICY).start()
        try:
            yield running
        finally:
            running.stop()
            admin.execute("drop schema visited cascade")


@pytest.fixture
def session(gateway: Gateway) -> Iterator[psycopg.Connection]:
    with psycopg.connect(gateway.dsn(gateway.token()), autocommit=True) as connection:
        connection.execute("set enable_seqscan = off; set enable_bitmapscan = off")
        yield connection


@pytest.mark.parametrize("query", QUERIES)
def test_conditions_see_rows_as_they_lie(
    session: psycopg.Connection, postgres: Server, query: str
) -> None:
    answers = []
    for name in ("up", "down"):
        with psycopg.connect(postgres.superuser_dsn, autocommit=True) as admin:
            admin.execute("alter sequence visited.turn restart")
        answers.append(session.execute(query.format(name=name).encode()).fetchall())
    assert answers[0] == answers[1]
    assert answers[0]


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("delete from visited.up where b = 1 and clock_timestamp() < now() + '1 s'", "SP1201"),
        ("delete from visited.up where b = 9 and now() > '2020-01-01'", "SP1201"),
        ("delete from visited.up using (select random() r) x where b = 1 and r > 2", "SP1201"),
        (
            "select id from visited.up where b = 1 and clock_timestamp() > now() for update",
            "SP1206",
        ),
    ],
)
def test_where_no_barrier_can_stand_it_is_refused(
    session: psycopg.Connection, sql: str, code: str
) -> None:
    with pytest.raises(psycopg.Error, match=code):
        session.execute(sql.encode())


@pytest.mark.parametrize(
    "sql",
    [
        "delete from visited.up where id = 999 and clock_timestamp() > '2020-01-01'",
        "select id from visited.up where b = 1 and now() > '2020-01-01' for update skip locked",
        "select id from visited.up where id = 1 and clock_timestamp() > '2020-01-01'",
    ],
)
def test_statements_of_the_same_shape_pass(session: psycopg.Connection, sql: str) -> None:
    session.execute(sql.encode())
