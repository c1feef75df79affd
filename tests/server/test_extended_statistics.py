"""The most common values that extended statistics keep of masked columns, together with others: the
planner's guesses, and so the order of rows, must not depend on them.
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
  - {name: agents work, subjects: {groups: [claude-postgres]}, allow: [read, write, explain],
     relations: ["kept.*"]}
masks:
  - {columns: ["kept.*.secret"], with: redact}
"""
#: Two tables that differ in the masked column only: how often a value is there twice.
TABLE = """
create table kept.{name} (id int primary key, a int, b int, secret text);
insert into kept.{name} select i, i % 10, (i / 3) % 10, {secret} from generate_series(1, 3000) i;
create index on kept.{name} (a, b);
create statistics kept.{name}_together (mcv) on a, b, secret from kept.{name};
"""
CONDITIONS = ["a = 1 and b = 2", "a in (1, 2) and b > 7"]


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute("drop schema if exists kept cascade; create schema kept")
        admin.execute(f"grant all on schema kept to {postgres.user}; set role {postgres.user}")
        for name, secret in (("same", "'x'"), ("many", "i::text")):
            admin.execute(TABLE.format(name=name, secret=secret).encode())
        admin.execute("analyze kept.same, kept.many; reset role")
        running = Gateway(issuer, {"shop": postgres}, policy=POLICY).start()
        try:
            yield running
        finally:
            running.stop()
            admin.execute("drop schema kept cascade")


@pytest.fixture
def session(gateway: Gateway) -> Iterator[psycopg.Connection]:
    with psycopg.connect(gateway.dsn(gateway.token()), autocommit=True) as connection:
        yield connection


def both(session: psycopg.Connection, sql: str) -> tuple[str, str]:
    """What a statement gives over either table."""
    same, many = (
        str(session.execute(sql.format(name=name).encode()).fetchall()).replace(name, "t")
        for name in ("same", "many")
    )
    return same, many


@pytest.mark.parametrize("condition", CONDITIONS)
def test_explain_tells_no_guess(session: psycopg.Connection, condition: str) -> None:
    """It tells the plan, which is the only one here."""
    session.execute("set enable_seqscan = off; set enable_bitmapscan = off")
    same, many = both(session, f"explain select id from kept.{{name}} where {condition}")
    assert same == many


@pytest.mark.parametrize("condition", CONDITIONS)
def test_rows_come_in_the_order_of_their_places(
    session: psycopg.Connection, condition: str
) -> None:
    """Whatever plan was chosen: that depends on the guess, where nobody turns plans off."""
    orders = []
    for plan in ("seqscan", "bitmapscan"):
        session.execute(f"set enable_{plan} = off".encode())
        orders += both(session, f"select id from kept.{{name}} where {condition}")
    assert len(set(orders)) == 1


def test_writes_that_follow_the_guess_are_refused(session: psycopg.Connection) -> None:
    for sql in (
        "update kept.same set b = b where a = 1 and b = 2 returning id",
        "delete from kept.same where a = 1 and b > 8 returning id",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP1201"):
            session.execute(sql.encode())


def test_writes_by_the_key_pass(session: psycopg.Connection) -> None:
    rows = session.execute(
        "update kept.many set b = b where id in (3, 1, 2) returning id, secret"
    ).fetchall()
    assert rows == [(number, "[redacted]") for number in (1, 2, 3)]
    session.execute("insert into kept.many (id, a, b) values (9000, 1, length(current_date::text))")
    assert session.execute("delete from kept.many where id = 9000 returning a").fetchall() == [(1,)]
