"""Files and directories that every user of the machine could read or change."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from sallyport.demo.postgres import free_port
from tests.support.gateway import Gateway
from tests.support.waiting import wait_for

_EVERYTHING = "version: 1\nrules:\n  - {name: all, allow: [read, write, ddl]}\n"


@pytest.fixture
def stopped(make_gateway: Callable[..., Gateway]) -> Gateway:
    """A gateway with TLS that ran once and can run again."""
    gateway = make_gateway(tls=True)
    gateway._end()
    return gateway


def refusal(gateway: Gateway) -> str:
    """What ``serve`` says when it does not start."""
    done = gateway.run("serve")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_that_everybody_can_read(stopped: Gateway) -> None:
    key = stopped.home / "gateway.key"
    key.chmod(0o644)
    said = refusal(stopped)
    assert "tls.key" in said
    assert f"chmod 600 {key}" in said
    key.chmod(0o640)
    stopped.start()


def test_a_configuration_that_everybody_can_change(stopped: Gateway) -> None:
    stopped.config_file.chmod(0o666)
    assert f"chmod o-w {stopped.config_file}" in refusal(stopped)


def test_a_policy_that_everybody_can_change(
    stopped: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken: the version that was in force last is."""
    stopped.policy_file.chmod(0o646)
    stopped.policy_file.write_text(_EVERYTHING)
    monkeypatch.setattr(stopped, "write", lambda: None)
    stopped.start()
    assert f"chmod o-w {stopped.policy_file}" in stopped.output()
    with (
        psycopg.connect(stopped.dsn(), autocommit=True) as db,
        pytest.raises(psycopg.Error, match="SP"),
    ):
        db.execute("CREATE TABLE opened (a int)")


def test_a_directory_where_everybody_can_replace_the_policy(stopped: Gateway) -> None:
    stopped.home.chmod(0o777)
    assert f"chmod o-w {stopped.home}" in refusal(stopped)
    stopped.home.chmod(0o1777)
    stopped.start()


def test_a_policy_that_becomes_open_while_the_gateway_runs(
    make_gateway: Callable[..., Gateway],
) -> None:
    gateway = make_gateway()
    gateway.policy_file.chmod(0o666)
    gateway.policy_file.write_text(_EVERYTHING)
    wait_for(lambda: "policy not reloaded" in gateway.log.read_text())
    with (
        psycopg.connect(gateway.dsn(), autocommit=True) as db,
        pytest.raises(psycopg.Error, match="SP"),
    ):
        db.execute("CREATE TABLE opened (a int)")


def test_a_secret_that_everybody_can_read(stopped: Gateway) -> None:
    secret = stopped.home / "mask.key"
    secret.write_text("0123456789abcdef0123456789abcdef")
    secret.chmod(0o604)
    stopped.extra = {"mask_keys": {"default": {"file": str(secret)}}}
    stopped.write()
    said = refusal(stopped)
    assert str(secret) in said
    assert "0123456789abcdef" not in said


def test_an_open_data_directory_is_closed(stopped: Gateway) -> None:
    data = stopped.home / "var"
    database = data / "sallyport.db"
    data.chmod(0o757)
    database.chmod(0o666)
    (data / "recordings").mkdir(exist_ok=True)
    (data / "recordings").chmod(0o755)
    stopped.start()
    assert [mode(path) & 0o007 for path in (data, database, data / "recordings")] == [0, 0, 0]
    assert stopped.log.read_text().count("was open to every user of this machine; closed") == 3
    stopped.restart()
    assert stopped.log.read_text().count("was open to every user of this machine; closed") <= 3


def test_a_data_directory_that_everybody_shares(stopped: Gateway) -> None:
    (stopped.home / "var").chmod(0o1777)
    assert "shared by every user" in refusal(stopped)


@pytest.mark.parametrize(
    "suites", ["ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES128-SHA", "AES128-SHA256"]
)
def test_no_cbc_suite_is_accepted(make_gateway: Callable[..., Gateway], suites: str) -> None:
    console = free_port()
    gateway = make_gateway(tls=True, extra={"console": {"listen": f"127.0.0.1:{console}"}})

    def handshake(ciphers: str, port: int) -> str:
        context = ssl.create_default_context(cafile=str(gateway.ca))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
        context.set_alpn_protocols(["postgresql", "http/1.1"])
        import socket

        with (
            socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
            context.wrap_socket(connection, server_hostname="127.0.0.1") as secured,
        ):
            cipher = secured.cipher()
            return cipher[0] if cipher else ""

    for port in (gateway.port, console):
        assert "GCM" in handshake("ECDHE+AESGCM", port)
        with pytest.raises((ssl.SSLError, OSError)):
            handshake(suites, port)
