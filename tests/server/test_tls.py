"""TLS on both legs, and what is sent instead of it."""

from __future__ import annotations

import ssl
import time
import warnings
from collections.abc import Callable

import psycopg
import pytest

from sallyport.wire import backend, frontend
from tests.server.raw import Raw
from tests.support.certificates import Authority
from tests.support.gateway import Gateway
from tests.support.places import scratch_dir
from tests.support.postgres import Server


def test_both_legs_are_encrypted(tls_gateway: Gateway, postgres_tls: Server) -> None:
    with psycopg.connect(tls_gateway.dsn()) as db:
        assert db.pgconn.ssl_in_use
        assert db.execute("SELECT count(*) FROM customers").fetchone() == (2000,)
    with psycopg.connect(postgres_tls.superuser_dsn) as db:
        rows = db.execute(
            "SELECT bool_and(s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE"
            " usename = 'sallyport_agent'"
        ).fetchone()
    assert rows == (True,)


def test_a_cancel_request_over_tls_ends_cleanly(tls_gateway: Gateway) -> None:
    """libpq waits for the end of that connection; one without close_notify is an error to it."""
    with psycopg.connect(tls_gateway.dsn()) as db:
        db.cancel_safe(timeout=60)
        assert db.execute("SELECT count(*) FROM customers").fetchone() == (2000,)


@pytest.mark.parametrize("sent", [frontend.terminate(), b"x" * 5 + b"\xff" * 4])
def test_the_end_of_tls_is_announced(tls_gateway: Gateway, sent: bytes) -> None:
    with Raw(tls_gateway) as raw:
        raw.send(frontend.ssl_request()).read(1)
        raw.tls().login()
        assert isinstance(raw.socket, ssl.SSLSocket)
        raw.socket.suppress_ragged_eofs = False  # an end without close_notify is an SSLEOFError
        raw.send(sent)
        while raw.socket.recv(65536):
            pass


def test_direct_tls(tls_gateway: Gateway) -> None:
    with Raw(tls_gateway) as raw:
        raw.tls(alpn="postgresql")
        assert isinstance(raw.socket, ssl.SSLSocket)
        assert raw.socket.selected_alpn_protocol() == "postgresql"
        raw.login()
        raw.send(frontend.query("SELECT 1"))
        assert raw.until("Z")[-2] == backend.command_complete("SELECT 1")


@pytest.mark.parametrize("alpn", [None, "http/1.1"])
def test_direct_tls_of_another_protocol_is_not_answered(
    tls_gateway: Gateway, alpn: str | None
) -> None:
    with Raw(tls_gateway) as raw:
        try:
            raw.tls(alpn=alpn).startup()
            assert raw.closed()
        except (ssl.SSLError, ConnectionError):
            pass


def test_tls_after_gssenc_request(tls_gateway: Gateway) -> None:
    with Raw(tls_gateway) as raw:
        assert raw.send(frontend.gssenc_request()).read(1) == b"N"
        assert raw.send(frontend.ssl_request()).read(1) == b"S"
        raw.tls().login()


def test_what_came_before_tls_is_never_read(tls_gateway: Gateway) -> None:
    with Raw(tls_gateway) as raw:
        raw.send(
            frontend.ssl_request(), frontend.startup_message({"user": "a", "database": "shop"})
        )
        assert raw.error()["C"] == "08P01"
        assert raw.closed()


def test_old_tls_is_refused(tls_gateway: Gateway) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Raw(tls_gateway) as raw:
        assert raw.send(frontend.ssl_request()).read(1) == b"S"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(raw.socket)


def test_garbage_instead_of_tls(tls_gateway: Gateway) -> None:
    for garbage in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\xff\xff" + b"x" * 64,
        b"\x00" * 64,
        b"\xff" * 9,
    ):
        with Raw(tls_gateway) as raw:
            raw.send(garbage)
            raw.socket.settimeout(3.0)
            data = b""
            while True:
                try:
                    more = raw.socket.recv(4096)
                except (ConnectionResetError, TimeoutError):
                    break
                if not more:
                    break
                data += more
            assert b"root" not in data
    with Raw(tls_gateway) as raw:
        raw.send(frontend.ssl_request())
        assert raw.read(1) == b"S"
        raw.send(b"this is no ClientHello" * 10)
        raw.socket.recv(100)
        assert raw.closed()


def test_a_handshake_that_never_ends_is_ended(tls_gateway: Gateway) -> None:
    with Raw(tls_gateway) as raw:
        raw.send(frontend.ssl_request())
        assert raw.read(1) == b"S"
        started = time.monotonic()
        assert raw.closed()
        assert time.monotonic() - started < 4


def test_a_login_that_never_ends_is_ended(tls_gateway: Gateway) -> None:
    with Raw(tls_gateway) as silent, Raw(tls_gateway) as two, Raw(tls_gateway) as three:
        two.send(b"\0\0\0")
        three.send(frontend.ssl_request())
        three.read(1)
        three.tls().startup()
        three.until("R")
        assert silent.error()["C"] == "57P05"
        assert two.error()["C"] == "57P05"
        assert three.error()["C"] == "57P05"
        assert silent.closed()
        assert two.closed()
    with psycopg.connect(tls_gateway.dsn()) as db:
        assert db.execute("SELECT 1").fetchone() == (1,)


def test_the_wrong_authority_is_refused(
    make_gateway: Callable[..., Gateway], postgres_tls: Server
) -> None:
    stranger = Authority(scratch_dir("ca"), "Somebody else's CA")
    wrong = Server(postgres_tls.version, postgres_tls.cluster, stranger.file)
    gateway = make_gateway(targets={"shop": wrong})
    with pytest.raises(psycopg.OperationalError, match="SP1604") as caught:
        psycopg.connect(gateway.dsn())
    assert "could not establish TLS" in str(caught.value)
    assert "certificate" not in str(caught.value)
    assert "certificate" in gateway.output()


def test_a_certificate_for_another_name_is_refused(
    make_gateway: Callable[..., Gateway], postgres_tls: Server
) -> None:
    named = Server(postgres_tls.version, postgres_tls.cluster, postgres_tls.ca, host="127.0.0.2")
    gateway = make_gateway(targets={"shop": named})
    with pytest.raises(psycopg.OperationalError, match="SP1604"):
        psycopg.connect(gateway.dsn())
    assert "certificate" in gateway.output() or "refused" in gateway.output().lower()
