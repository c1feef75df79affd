"""What stands against code that the gateway does not read, beside masks and rules, and what behind
it is compared with what policy says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server

POLICY = """version: 1
functions: ["coded.move"]
rules:
  - {name: everything, allow: [all]}
"""
MOVE = """
create procedure coded.move(what text, value text) language plpgsql as
  'begin execute format(''set %s = %L'', what, value); end';
"""
BLOCK = "do $$ begin perform 1; end $$"
Session = psycopg.Connection


@pytest.fixture(scope="module")
def server(any_postgres: Server) -> Iterator[Server]:
    user = any_postgres.user
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute("drop schema if exists coded cascade")
        admin.execute(f"create schema coded; grant all on schema coded to {user}")
        admin.execute(f"set role {user}; {MOVE}")
        admin.execute("create table coded.notes (owner text, day date); reset role")
        try:
            yield any_postgres
        finally:
            admin.execute("drop schema coded cascade")


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, server: Server) -> Iterator[Gateway]:
    running = Gateway(issuer, {"shop": server}, policy=POLICY).start()
    yield running
    running.stop()


@contextmanager
def connected(gateway: Gateway, policy: str = POLICY) -> Iterator[Session]:
    gateway.change_policy(policy)
    dsn = gateway.dsn(gateway.token("dana-dba"))
    with psycopg.connect(dsn, autocommit=True) as session:
        yield session


def _ends(session: Session, sql: str) -> None:
    """The reason may be lost with the connection."""
    with pytest.raises(psycopg.Error):
        session.execute(sql)
        session.execute("select 1")
    with pytest.raises(psycopg.OperationalError):
        session.execute("select 1")


READERS = [
    (
        "alter table coded.notes enable row level security; create policy p on coded.notes"
        " using (owner = current_setting('sallyport.subject', true))",
        "sallyport.subject",
    ),
    (
        "create view coded.mine as select * from coded.notes"
        " where current_setting('sallyport.groups', true)::text[] && array[owner]",
        "sallyport.groups",
    ),
    (
        "create function coded.read(n text) returns text language sql"
        " as 'select current_setting(n, true)'",
        "any setting",
    ),
]


@pytest.mark.parametrize(("sql", "said"), READERS)
def test_the_database_decides_by_who_asks(
    issuer: DevIssuer, server: Server, sql: str, said: str
) -> None:
    """Such code could be somebody else for the length of a transaction."""
    gateway = Gateway(issuer, {"shop": server}, policy=POLICY)
    with psycopg.connect(server.superuser_dsn, autocommit=True) as admin:
        admin.execute(sql)
        try:
            gateway.start()  # and reads the catalog
            with connected(gateway) as session:
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP1103") as caught:
                    session.execute(
                        "do $$ begin perform set_config('sallyport.subject', 'x', true); end $$"
                    )
                assert said in (caught.value.diag.message_detail or "")
        finally:
            gateway.stop()
            admin.execute(
                "drop policy if exists p on coded.notes; drop view if exists coded.mine;"
                "drop function if exists coded.read; alter table coded.notes"
                " disable row level security"
            )


@pytest.mark.parametrize(
    "limit",
    ["rows", "bytes", "rows_per_session", "bytes_per_session", "rows_per_hour", "bytes_per_hour"],
)
def test_a_notice_is_no_row(gateway: Gateway, limit: str) -> None:
    with (
        connected(gateway, f"{POLICY}limits: {{{limit}: 1000000}}\n") as session,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP1103") as caught,
    ):
        session.execute("do $$ begin raise notice 'row'; end $$")
    assert limit in (caught.value.diag.message_detail or "")


def test_the_statement_timeout_is_an_upper_bound(gateway: Gateway) -> None:
    with connected(gateway, f"{POLICY}limits: {{statement_timeout: 90s}}\n") as session:
        session.execute(BLOCK)
        for within in ("'2s'", "90000"):
            session.execute(f"set statement_timeout = {within}")
            session.execute(BLOCK)
        session.execute(
            "do $$ begin perform set_config('statement_timeout', '1min', false); end $$"
        )
        _ends(session, "do $$ begin perform set_config('statement_timeout', '0', false); end $$")


def test_a_trusted_function_keeps_to_it_too(gateway: Gateway) -> None:
    with connected(gateway, f"{POLICY}limits: {{statement_timeout: 90s}}\n") as session:
        session.execute("call coded.move('statement_timeout', '5s')")
        _ends(session, "call coded.move('statement_timeout', '91s')")


def test_without_masked_dates_datestyle_is_the_sessions_own(gateway: Gateway) -> None:
    with connected(gateway) as session:
        session.execute("set datestyle = 'German'")
        session.execute(BLOCK)
        assert session.execute("show datestyle").fetchone() == ("German, DMY",)


def test_with_masked_dates_it_is_pinned(gateway: Gateway) -> None:
    policy = f'{POLICY}masks:\n  - {{columns: ["coded.notes.day"], with: redact}}\n'
    with connected(gateway, policy) as session:
        session.execute("call coded.move('DateStyle', 'ISO, DMY')")
        _ends(session, "call coded.move('DateStyle', 'German')")
