"""A session ends with its token: real drivers, whose token expires while they are connected."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import psycopg
import pytest

from sallyport.core.ids import new_id
from sallyport.demo.issuer import DevIssuer
from tests.server.conftest import backends
from tests.support.gateway import AGENT, SHOP_POLICY, Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for

HOLDS = """\
version: 1
rules:
  - {name: read, allow: [read, set], relations: ["public.*"]}
  - {name: updates wait, hold: [update], relations: ["public.*"], reviewers: {groups: [dba]}}
"""
MakeGateway = Callable[..., Gateway]


def identity(issuer: DevIssuer, grace: float) -> dict[str, Any]:
    entry = {"issuer": issuer.url, "audience": issuer.audience, "clock_skew": 0}
    return {"identity": {"oidc": [entry], "expiry": {"grace": grace}}}


@contextmanager
def running(
    issuer: DevIssuer, server: Server, grace: float, policy: str = SHOP_POLICY
) -> Iterator[Gateway]:
    gateway = Gateway(
        issuer, {"shop": server}, policy=policy, extra=identity(issuer, grace)
    ).start()
    try:
        yield gateway
    finally:
        gateway.stop()


def token(gateway: Gateway, seconds: float) -> str:
    """One that expires so soon."""
    issuer, now = gateway.issuer, time.time()
    client = issuer.clients[AGENT]
    claims = {
        "iss": issuer.url,
        "sub": client.subject,
        "aud": issuer.audience,
        "client_id": AGENT,
        "iat": int(now),
        "exp": now + seconds,
        "jti": new_id("jti"),
        "groups": list(client.groups),
    }
    text = issuer.sign(claims).reveal()
    gateway._tokens.add(text)
    return text


class ExpiringSession(psycopg.Connection[Any]):
    """Keeps notices. libpq takes the FATAL error for one when it reads it in one piece with the
    answer before, as slow clients do (pqParseInput3, fe-protocol3.c).
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.notices: list[str] = []
        self.add_notice_handler(self._keep)

    def _keep(self, notice: psycopg.errors.Diagnostic) -> None:
        words = (notice.sqlstate, notice.message_primary, notice.message_detail)
        self.notices.append(" ".join(word or "" for word in words))


def connect(gateway: Gateway, seconds: float, name: str) -> ExpiringSession:
    dsn = gateway.dsn(token(gateway, seconds))
    return ExpiringSession.connect(dsn, application_name=name, autocommit=True)


def end_of(connection: ExpiringSession, sql: str = "SELECT 1") -> str:
    """What the driver has been told once the session is over: SQLSTATE and text."""
    with pytest.raises(psycopg.OperationalError) as caught:
        while True:
            connection.execute(sql)
    return " ".join([*connection.notices, f"{caught.value.sqlstate} {caught.value}"])


@pytest.fixture(scope="module")
def graceful(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    with running(issuer, postgres, 60) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def strict(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    with running(issuer, postgres, 0) as gateway:
        yield gateway


def test_a_busy_session_of_the_lane_ends_between_statements(
    graceful: Gateway, postgres: Server
) -> None:
    """Plain statements without a pause pass natively; none of them is cut off, and none runs
    afterwards.
    """
    connection = connect(graceful, 2.0, "expires-busy")
    connection.prepare_threshold = 0
    assert "57P05" in (said := end_of(connection, "SELECT count(*) FROM products")), said
    assert "[SP1609]" in said and "No transaction was interrupted" in said
    wait_for(lambda: backends(postgres, "application_name LIKE 'expires-busy%'") == 0)


def test_an_idle_session_ends_by_itself(graceful: Gateway, postgres: Server) -> None:
    async def wait() -> str:
        connection = await asyncpg.connect(
            graceful.dsn(token(graceful, 2.0)), server_settings={"application_name": "expires-idle"}
        )
        said: list[str] = []
        over = asyncio.Event()
        connection.add_termination_listener(lambda _: over.set())
        connection.add_log_listener(lambda _, message: said.append(str(message)))
        await asyncio.wait_for(over.wait(), 20)
        assert connection.is_closed()
        return " ".join(said)

    asyncio.run(wait())
    wait_for(lambda: backends(postgres, "application_name LIKE 'expires-idle%'") == 0)
    with connect(graceful, 60, "fresh") as again:
        assert again.execute("SELECT 1").fetchone() == (1,), "a fresh token opens a session"


def test_an_open_transaction_may_end_within_the_grace(graceful: Gateway) -> None:
    connection = connect(graceful, 2.0, "expires-transaction")
    until = time.time() + 3.5
    connection.execute("BEGIN")
    while time.time() < until:
        connection.execute("SELECT 1")
    connection.execute("UPDATE products SET stock = 7777 WHERE id = 1")
    assert connection.execute("SELECT stock FROM products WHERE id = 1").fetchone() == (7777,)
    with pytest.raises(psycopg.OperationalError) as caught:
        connection.execute("ROLLBACK")
        end_of(connection)
        raise psycopg.OperationalError("[SP1609] after the rollback was answered")
    assert "SP1609" in str(caught.value)


def test_a_running_statement_may_end_within_the_grace(graceful: Gateway) -> None:
    connection = connect(graceful, 2.0, "expires-running")
    sql = "SELECT count(*) FROM generate_series(1, 2000000) a WHERE a::text LIKE '%7%7%'"
    started = time.time()
    while time.time() < started + 1.9:
        assert connection.execute(sql).fetchone() is not None
    assert "[SP1609]" in end_of(connection, sql)


@pytest.mark.parametrize("in_transaction", [True, False])
def test_without_grace_what_runs_is_cancelled(
    strict: Gateway, postgres: Server, in_transaction: bool
) -> None:
    name = f"expires-cancelled-{in_transaction}"
    connection = connect(strict, 3.0, name)
    if in_transaction:
        connection.execute("BEGIN")
    said = end_of(connection, "SELECT count(*) FROM generate_series(1, 100000000000)")
    assert "57P05" in said and "rolled back" in said
    wait_for(lambda: backends(postgres, f"application_name LIKE '{name}%'") == 0)


@pytest.mark.parametrize("reads", ["at once", "late"])
def test_idle_in_transaction_ends_hard(strict: Gateway, postgres: Server, reads: str) -> None:
    name = f"expires-in-transaction-{reads}"
    connection = connect(strict, 3.0, name)
    connection.execute("BEGIN")
    if reads == "at once":
        connection.execute("SELECT 1")
    else:
        connection.pgconn.send_query(b"SELECT 1")
        connection.pgconn.flush()
    wait_for(lambda: backends(postgres, f"application_name LIKE '{name}%'") == 0)
    if reads == "late":
        generator = psycopg.generators.execute(connection.pgconn)
        (answer,) = psycopg.waiting.wait(generator, connection.pgconn.socket)
        assert answer.status == psycopg.pq.ExecStatus.TUPLES_OK
    assert "rolled back" in end_of(connection)


def test_copy_from_stdin_ends_with_the_token(strict: Gateway, postgres: Server) -> None:
    connection = connect(strict, 2.0, "expires-copy")
    with (
        pytest.raises(psycopg.OperationalError, match="SP1609"),
        connection.cursor() as cursor,
        cursor.copy("COPY products (stock) FROM STDIN") as copy,
    ):
        copy.write_row((1,))
        wait_for(lambda: backends(postgres, "application_name LIKE 'expires-copy%'") == 0)


def test_a_held_statement_has_no_grace(issuer: DevIssuer, postgres: Server) -> None:
    """Nobody may approve for an identity that is over."""
    with running(issuer, postgres, 3000, HOLDS) as gateway:
        connection = connect(gateway, 3.0, "expires-held")
        connection.execute("BEGIN")
        said = end_of(connection, "UPDATE products SET stock = stock WHERE id = 1")
        assert "57P05" in said and "canceled" in said
        wait_for(lambda: backends(postgres, "application_name LIKE 'expires-held%'") == 0)
