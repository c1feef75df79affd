"""Sessions behind ``sallyport proxy`` go on when their token expires: real drivers, an issuer whose
tokens live for seconds, and a gateway that ends a session with its token.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from tests.server.test_connect import credentials, proxying
from tests.server.test_expiry import identity
from tests.support.gateway import Gateway
from tests.support.postgres import Server

LIFETIME = 6.0


@pytest.fixture(scope="module")
def gateway(postgres: Server) -> Iterator[Gateway]:
    with DevIssuer(lifetime=LIFETIME) as issuer:
        running = Gateway(issuer, {"shop": postgres}, extra=identity(issuer, 0)).start()
        try:
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="module")
def dsn(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    words = [*credentials(gateway), "--listen", f"127.0.0.1:{free_port()}"]
    with proxying(gateway, tmp_path_factory.mktemp("home"), *words) as dsn:
        yield dsn


def test_without_renewal_the_session_would_end(gateway: Gateway) -> None:
    with (
        psycopg.connect(gateway.dsn(), autocommit=True) as connection,
        pytest.raises(psycopg.OperationalError, match="SP1609"),
    ):
        for _ in range(400):
            connection.execute("SELECT 1")
            time.sleep(0.1)


def test_an_idle_session_and_a_busy_one(dsn: str) -> None:
    ends = time.monotonic() + 2.5 * LIFETIME
    with (
        psycopg.connect(dsn, autocommit=True) as idle,
        psycopg.connect(dsn, autocommit=True) as busy,
        psycopg.connect(dsn) as transaction,
    ):
        heard: list[str] = []
        busy.add_notice_handler(lambda notice: heard.append(str(notice.message_primary)))
        transaction.execute("SELECT 1")
        asked = 0
        while time.monotonic() < ends:
            asked += 1
            assert busy.execute("SELECT %s::int + 1", (asked,)).fetchone() == (asked + 1,)
            with busy.pipeline():
                cursors = [busy.execute("SELECT %s::int", (n,)) for n in range(5)]
            assert [cursor.fetchone() for cursor in cursors] == [(n,) for n in range(5)]
            with busy.cursor().copy("COPY (SELECT id FROM products) TO STDOUT") as copy:
                assert len(list(copy.rows())) > 1
        for connection in (idle, transaction):
            assert connection.execute("SELECT 'still ' || 'here'").fetchone() == ("still here",)
        assert transaction.info.transaction_status.name == "INTRANS"
        assert asked > 10 and heard == []


def test_asyncpg(dsn: str) -> None:
    async def work() -> int:
        connection = await asyncpg.connect(dsn)
        statement = await connection.prepare("SELECT $1::int * 2")
        ends, count = time.monotonic() + 2 * LIFETIME, 0
        while time.monotonic() < ends:
            count += 1
            assert await statement.fetchval(count) == count * 2
        await connection.close()
        return count

    assert asyncio.run(work()) > 10


def test_a_token_of_somebody_else_does_not_renew(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy says so, and the session ends with its token. Three times the life of the other
    tests': what is left of it after the attempt must suffice for the gateway's answer.
    """
    monkeypatch.setattr(gateway.issuer, "lifetime", 3 * LIFETIME)
    file = tmp_path / "token"
    words = ["--token-file", str(file), "--listen", f"127.0.0.1:{free_port()}"]
    with proxying(gateway, tmp_path, *words) as dsn:
        file.write_text(gateway.token())  # its life begins once the proxy listens
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("SELECT 1")
            file.write_text(gateway.token("paul-privacy"))
            with pytest.raises(psycopg.OperationalError):
                for _ in range(400):
                    connection.execute("SELECT 1")
                    time.sleep(0.1)
        said = (tmp_path / "said").read_text()
    assert "was not renewed" in said and "another identity" in said, said


def test_a_token_file_that_changes_renews(gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "token"
    words = ["--token-file", str(file), "--listen", f"127.0.0.1:{free_port()}"]
    with proxying(gateway, tmp_path, *words) as dsn, ExitStack() as stack:
        file.write_text(gateway.token())  # its life begins once the proxy listens
        connection = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        ends = time.monotonic() + 2 * LIFETIME
        while time.monotonic() < ends:
            draft = tmp_path / "draft"
            draft.write_text(gateway.token())
            draft.rename(file)
            connection.execute("SELECT 1")
            time.sleep(0.2)
