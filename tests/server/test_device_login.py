"""The user name ``login``: a real psql is told where to sign in, waits, and goes on as the person
that signed in there.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.session.login.client import ClientLogin
from tests.support.gateway import PRIVACY, Gateway
from tests.support.waiting import wait_for

NOTICE = re.compile(r"NOTICE:  to sign in, open (\S+) and confirm the code (\S+)")
SETTINGS = {"client_id": "sallyport-cli", "wait_seconds": 60}


@pytest.fixture
def make(make_gateway: Callable[..., Gateway]) -> Callable[..., Gateway]:
    """A gateway whose clients may sign in; words are merged over ``identity.device_login``."""

    def make(issuer: DevIssuer, limits: dict[str, object] | None = None, **more: object) -> Gateway:
        identity = {
            "oidc": [{"issuer": issuer.url, "audience": issuer.audience}],
            "device_login": SETTINGS | more,
        }
        return make_gateway(extra={"identity": identity, "limits": limits or {}})

    return make


@contextmanager
def psql(gateway: Gateway, home: Path, sql: str, user: str = "login") -> Iterator[Psql]:
    running = Psql(gateway, home, sql, user)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait(20)


class Psql:
    """One that is told nothing but host, port, target and user name."""

    def __init__(self, gateway: Gateway, home: Path, sql: str, user: str) -> None:
        self._home = home
        dsn = f"host=127.0.0.1 port={gateway.port} dbname=shop user={user} sslmode=disable"
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        with (home / "out").open("w") as out, (home / "err").open("w") as err:
            self.process = subprocess.Popen(
                ["psql", "-XAtw", dsn, "-c", sql], env=env, stdout=out, stderr=err
            )

    @property
    def errors(self) -> str:
        return (self._home / "err").read_text()

    def address(self) -> str:
        """Where it was told to sign in."""
        wait_for(lambda: NOTICE.search(self.errors) is not None)
        told = NOTICE.search(self.errors)
        assert told is not None and told[2] in told[1], self.errors
        return told[1]

    def finish(self) -> tuple[int, str]:
        return self.process.wait(60), (self._home / "out").read_text().strip()


def sign_in(address: str, person: str) -> None:
    """What the person's browser asks, once they chose who to be."""
    base, _, query = address.partition("?")
    with urllib.request.urlopen(f"{base}/as?{query}&as={quote(person)}", timeout=60) as answer:
        assert answer.status == 200


def test_psql_goes_on_as_who_signed_in(
    make: Callable[..., Gateway], issuer: DevIssuer, tmp_path: Path
) -> None:
    gateway = make(issuer)
    sql = "SELECT current_setting('sallyport.subject'); SELECT email FROM customers WHERE id = 1"
    with psql(gateway, tmp_path, sql) as client:
        address = client.address()
        assert client.process.poll() is None, "it waits"
        assert "DETAIL:" in client.errors and "HINT:" in client.errors
        sign_in(address, PRIVACY)
        status, said = client.finish()
    assert status == 0, client.errors
    subject, email = said.splitlines()
    assert subject == "paul" and "***" not in email, "in clear for the privacy office"
    command = ("sessions", "list", "--json")
    wait_for(lambda: '"paul"' in gateway.run(*command).stdout)
    assert address.rpartition("=")[2] not in gateway.run(*command).stdout


def test_any_other_user_name_sends_a_token_as_ever(
    make: Callable[..., Gateway], issuer: DevIssuer
) -> None:
    gateway = make(issuer)
    with psycopg.connect(gateway.dsn()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_nobody_signs_in(make: Callable[..., Gateway], issuer: DevIssuer, tmp_path: Path) -> None:
    gateway = make(issuer, wait_seconds=10)
    with psql(gateway, tmp_path, "SELECT 1") as client:
        client.address()
        status, said = client.finish()
    assert (status, said, "SP1606" in client.errors) == (2, "", True), client.errors


def test_who_gives_up_leaves_nothing_behind(
    make: Callable[..., Gateway], issuer: DevIssuer, tmp_path: Path
) -> None:
    """The login outlives the ordinary deadline, and ends with its client."""
    gateway = make(issuer, limits={"login_seconds": 1.0})
    for _ in range(11):  # more than may wait at once
        with psql(gateway, tmp_path, "SELECT 1") as client:
            client.address()
    with psql(gateway, tmp_path, "SELECT 'in'") as client:
        address = client.address()
        with socket.create_connection(("127.0.0.1", gateway.port)) as silent:
            assert b"SP1606" in silent.recv(1000), "others keep the deadline of limits"
        sign_in(address, PRIVACY)
        assert client.finish() == (0, "in"), client.errors


def test_the_number_of_those_that_wait_is_bounded(
    make: Callable[..., Gateway], issuer: DevIssuer, tmp_path: Path
) -> None:
    gateway = make(issuer)
    startup = b"\0\3\0\0user\0login\0database\0shop\0\0"
    packet = (len(startup) + 4).to_bytes(4, "big") + startup
    waiting = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(10)]
    try:
        for connection in waiting:
            connection.settimeout(60)
            connection.sendall(packet)
            said = b""
            while b"to sign in" not in said:
                received = connection.recv(4096)
                assert received, said
                said += received
            assert said.startswith(b"R\0\0\0\x08\0\0\0\0N"), "AuthenticationOk, NoticeResponse"
        with psql(gateway, tmp_path, "SELECT 1") as client:
            assert client.finish()[0] == 2
        assert "SP1605" in client.errors and "wait" in client.errors
    finally:
        for connection in waiting:
            connection.close()


def test_the_issuer_is_down(make: Callable[..., Gateway], tmp_path: Path) -> None:
    with DevIssuer() as issuer:
        gateway = make(issuer)
    with psql(gateway, tmp_path, "SELECT 1") as client:
        assert client.finish()[0] == 2
    assert "SP1601" in client.errors and "nobody signed in" in client.errors


def test_it_is_off_unless_configured(gateway: Gateway, tmp_path: Path) -> None:
    with psql(gateway, tmp_path, "SELECT 1") as client:
        assert client.finish()[0] == 2
    assert "password" in client.errors, "psql is asked for one, and has none"


def test_a_token_in_clear_over_the_network_is_not_taken() -> None:
    """The check for TLS comes first: what a person signs in for must not be readable on the way."""
    login = ClientLogin(tls=True, loopback=False, sign_in_user="login")
    startup = b"\0\3\0\0user\0login\0database\0shop\0\0"
    login.receive((len(startup) + 4).to_bytes(4, "big") + startup)
    assert login.to_client.startswith(b"E") and b"SP1602" in login.to_client
