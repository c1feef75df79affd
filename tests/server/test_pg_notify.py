"""``SELECT pg_notify(channel, payload)``: the action notify, for the client's own values."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import DBA, Gateway
from tests.support.postgres import Server

POLICY = """version: 1
rules:
  - {name: agents tell, subjects: {groups: [claude-postgres]}, allow: [read, notify, listen]}
  - {name: the owner reads, subjects: {groups: [dba]}, allow: [read]}
masks:
  - {columns: ["public.customers.ssn"], with: redact}
"""


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    running = Gateway(issuer, {"shop": postgres}, policy=POLICY).start()
    yield running
    running.stop()


def connect(gateway: Gateway, who: str = "claude-agent") -> psycopg.Connection:
    return psycopg.connect(gateway.dsn(gateway.token(who)), autocommit=True)


@pytest.mark.parametrize("cursor", [psycopg.ClientCursor, psycopg.Cursor])
def test_who_may_notify_may_call_it(gateway: Gateway, cursor: type[psycopg.Cursor]) -> None:
    with connect(gateway) as listener, connect(gateway) as session:
        listener.execute("listen channel")
        cursor(session).execute("select pg_notify(%s, %s)", ["channel", "payload"])
        told = next(listener.notifies(timeout=30))
        assert told.channel == "channel"


def test_who_may_not_notify_may_not_call_it(gateway: Gateway) -> None:
    with connect(gateway, DBA) as session:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP1001"):
            session.execute("select pg_notify('channel', 'payload')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP1001"):
            session.execute("notify channel")


@pytest.mark.parametrize(
    "sql",
    [
        "select pg_notify('channel', ssn) from customers",
        "select pg_notify('channel', (select max(ssn) from customers))",
        "select pg_notify('channel', 'x') from customers where ssn like '9%'",
        "select case when exists (select from customers) then pg_notify('channel', 'x') end",
        "explain analyze select pg_notify('channel', 'x')",
        "select pg_notify('channel', current_query())",
    ],
)
def test_what_depends_on_data_is_not_sent(gateway: Gateway, sql: str) -> None:
    denied = pytest.raises(psycopg.errors.InsufficientPrivilege, match="pg_notify")
    with connect(gateway) as session, denied:
        session.execute(sql.encode())
