"""A policy that gives masks to a subject whose session is open: what belongs to no statement is
withheld as well, and no statement runs over a connection without the settings that masks need.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server

MASKED = """version: 1
rules:
  - {name: agents work, subjects: {groups: [claude-postgres]}, allow: [all]}
masks:
  - {columns: ["arrivals.*.secret"], with: redact}
"""
OPEN = MASKED.partition("masks:")[0]
SCHEMA = """
create table arrivals.led (id int primary key, secret text);
create index on arrivals.led (secret, id);
insert into arrivals.led select i, 'value ' || 100 - i from generate_series(1, 9) i;
"""
QUERY = "select id, secret from arrivals.led"


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute("drop schema if exists arrivals cascade; create schema arrivals")
        admin.execute(f"grant all on schema arrivals to {postgres.user}")
        admin.execute(f"set role {postgres.user}; {SCHEMA}; reset role")
        admin.execute("vacuum arrivals.led")
        running = Gateway(issuer, {"shop": postgres}, policy=OPEN).start()
        try:
            yield running
        finally:
            running.stop()
            admin.execute("drop schema arrivals cascade")


@pytest.fixture
def session(gateway: Gateway) -> Iterator[psycopg.Connection]:
    """Older than the masks."""
    gateway.change_policy(OPEN)
    with psycopg.connect(gateway.dsn(), autocommit=True) as opened:
        yield opened


def test_a_payload_is_withheld_before_the_next_statement(
    gateway: Gateway, postgres: Server, session: psycopg.Connection
) -> None:
    session.execute("listen arrivals")
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute("notify arrivals, 'shown'")
        shown = next(session.notifies(timeout=20, stop_after=1))
        gateway.change_policy(MASKED)
        admin.execute("notify arrivals, 'withheld'")
        withheld = next(session.notifies(timeout=20, stop_after=1))
    assert (shown.payload, withheld.payload) == ("shown", "")


def test_rows_do_not_come_in_the_order_of_masked_values(
    gateway: Gateway, session: psycopg.Connection
) -> None:
    """An index-only scan gives them so; it is off only in sessions that begin with masks."""
    for setting in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):
        session.execute(f"set {setting} = off".encode())
    with session.transaction():
        session.execute(f"declare c cursor for {QUERY}".encode())
        gateway.change_policy(MASKED)
        with pytest.raises(errors.FeatureNotSupported, match=r"\[SP1206\].*in this session"):
            session.execute("fetch all from c")
        session.execute("rollback")
        session.execute("begin")
    for statement in (QUERY, "copy arrivals.led to stdout", "select 1"):
        with pytest.raises(errors.FeatureNotSupported, match=r"\[SP1206\].*in this session"):
            session.execute(statement.encode(), prepare=True)
    with psycopg.connect(gateway.dsn(), autocommit=True) as later:
        later.execute("set enable_seqscan = off")
        later.execute("set enable_bitmapscan = off")
        rows = later.execute(QUERY.encode()).fetchall()
    assert rows == [(number, "[redacted]") for number in range(1, 10)]


CHANGES: list[tuple[str, list[str]]] = [
    ("set enable_indexonlyscan = on", []),
    ("select set_config('enable_memoize', 'on', false)", []),
    ("select set_config($1, $2, false)", ["enable_memoize", "on"]),
]


@pytest.mark.parametrize(("change", "values"), CHANGES)
def test_a_session_that_changed_such_settings_meanwhile_ends_its_work(
    gateway: Gateway, change: str, values: list[str]
) -> None:
    gateway.change_policy(MASKED)
    dsn = gateway.dsn()
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.RawCursor) as session:
        session.execute(QUERY.encode())
        gateway.change_policy(OPEN)
        session.execute(change.encode(), values)
        assert len(session.execute(QUERY.encode()).fetchall()) == 9
        gateway.change_policy(MASKED)
        with pytest.raises(errors.FeatureNotSupported, match=r"\[SP1206\]"):
            session.execute(QUERY.encode())


def test_a_session_that_began_with_masks_goes_on(gateway: Gateway) -> None:
    gateway.change_policy(MASKED)
    with psycopg.connect(gateway.dsn(), autocommit=True) as session:
        assert session.execute(QUERY.encode()).fetchone() == (1, "[redacted]")
        session.execute("set enable_seqscan = on")
        gateway.change_policy(OPEN)
        assert session.execute(QUERY.encode()).fetchone() == (1, "value 99")
        gateway.change_policy(MASKED + '  - {columns: ["arrivals.led.id"], with: "null"}\n')
        assert session.execute(QUERY.encode()).fetchone() == (None, "[redacted]")


def test_a_session_that_makes_the_masked_column_goes_on(gateway: Gateway) -> None:
    """The policy masked it before there was one."""
    gateway.change_policy(MASKED.replace("arrivals.*.secret", "arrivals.*.card"))
    with psycopg.connect(gateway.dsn(), autocommit=True) as session:
        session.execute("create table arrivals.made (id int, card text)")
        session.execute("insert into arrivals.made values (1, '4111')")
        rows = session.execute("select id, card from arrivals.made").fetchall()
        session.execute("drop table arrivals.made")
    assert rows == [(1, "[redacted]")]
