"""Connections that say nothing, descriptors that run out, tokens that are bad, and the proxies in
front.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import resource
import socket
import statistics
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import structlog

from sallyport.core.address import Networks
from sallyport.demo.postgres import free_port
from sallyport.server.connection import ClientConnection
from sallyport.server.loginrefusals import LoginRefusals
from sallyport.server.peers import KeepAlive
from sallyport.server.sparing import LINES, SparingLog
from sallyport.wire import backend, frontend
from sallyport.wire.proxy_protocol import SIGNATURE
from tests.server.raw import Raw
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.processes import Program
from tests.support.waiting import wait_for


@contextmanager
def silent(port: int, count: int, source: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    """Connections that say nothing."""
    with ExitStack() as stack:
        connections = []
        for _ in range(count):
            connection = socket.create_connection(
                ("127.0.0.1", port), 10, source_address=(source, 0)
            )
            connections.append(stack.enter_context(connection))
        yield connections


def login_seconds(gateway: Gateway, times: int = 20) -> float:
    """Median seconds of a login and a statement."""
    seconds = []
    for _ in range(times):
        began = time.monotonic()
        with psycopg.connect(gateway.dsn()) as db:
            db.execute("SELECT 1")
        seconds.append(time.monotonic() - began)
    return statistics.median(seconds)


@pytest.fixture
def with_console(make_gateway: Callable[..., Gateway]) -> Callable[..., tuple[Gateway, str]]:
    """A gateway, and the URL of its console, which listens."""

    def make(console: dict[str, object] | None = None, **extra: object) -> tuple[Gateway, str]:
        port = free_port()
        gateway = make_gateway(
            extra={"console": {"listen": f"127.0.0.1:{port}", **(console or {})}, **extra}
        )
        wait_for(lambda: "console listens" in gateway.output())
        return gateway, f"http://127.0.0.1:{port}"

    return make


def get(url: str, **headers: str) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=named), timeout=60
        ) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def peer_error(connection: socket.socket) -> str:
    """What the gateway said before it closed."""
    connection.settimeout(10)
    data = b""
    while piece := connection.recv(4096):
        data += piece
    return backend.parse_error_fields(data[5:])["M"]


# -- silent connections ----------------------------------------------------------------------------


def test_silent_connections_stop_no_login(
    make_gateway: Callable[..., Gateway], capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = make_gateway()
    before = login_seconds(gateway)
    with silent(gateway.port, 1100) as connections:
        during = login_seconds(gateway)
        # The oldest went; the latest are still there.
        assert "SP1605" in peer_error(connections[0])
        connections[-1].settimeout(0.1)
        with pytest.raises(TimeoutError):
            connections[-1].recv(1)
    with capsys.disabled():
        print(
            f"\nlogin {before * 1e3:.0f} ms; beside 1,000 silent connections {during * 1e3:.0f} ms"
        )


def test_the_address_with_most_of_them_makes_room(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(extra={"limits": {"max_logins": 20, "max_logins_per_address": 20}})
    with silent(gateway.port, 3, "127.0.0.2") as few, silent(gateway.port, 40) as many:
        assert "SP1605" in peer_error(many[0])
        for connection in few:
            connection.settimeout(0.05)
            with pytest.raises(TimeoutError):
                connection.recv(1)


def test_silent_connections_at_the_console(
    with_console: Callable[..., tuple[Gateway, str]],
) -> None:
    _, url = with_console()
    with silent(int(url.rpartition(":")[2]), 700):
        assert get(f"{url}/healthz") == (200, "ok\n")
        assert get(f"{url}/readyz")[0] == 200


# -- descriptors -----------------------------------------------------------------------------------


def test_when_descriptors_run_out(with_console: Callable[..., tuple[Gateway, str]]) -> None:
    """Logins are refused with a message, the console answers, and it ends when there are
    descriptors again.
    """
    gateway, url = with_console()
    with psycopg.connect(gateway.dsn()) as db:
        soft, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
        reserve = max(64, min(soft // 8, 1024))
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (reserve + 8, hard))
        for _ in range(3):
            with pytest.raises(psycopg.OperationalError, match=r"SP1605.*out of file descriptors"):
                psycopg.connect(gateway.dsn())
        assert get(f"{url}/healthz")[0] == 200
        db.execute("SELECT count(*) FROM orders")
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (soft, hard))
        psycopg.connect(gateway.dsn()).close()
    assert gateway.output().count("out of file descriptors") == 1


class Limited(Gateway):
    """A gateway that may open only so many files; it begins with half of them."""

    files = 400

    def command(self, *words: str) -> list[str]:
        return ["prlimit", f"--nofile={self.files // 2}:{self.files}", *super().command(*words)]


def test_sessions_are_bounded_by_open_files(gateway: Gateway, postgres: Server) -> None:
    limited = Limited(gateway.issuer, {"shop": postgres}).start()
    try:
        assert resource.prlimit(limited.pid, resource.RLIMIT_NOFILE) == (400, 400)
        assert re.search(r"max_sessions is lowered.*lowered_to=54", limited.output())
    finally:
        limited.stop()


# -- bad tokens ------------------------------------------------------------------------------------


def test_bad_tokens_count_on_wire_and_rest_together(
    with_console: Callable[..., tuple[Gateway, str]],
) -> None:
    gateway, url = with_console(limits={"failed_logins_per_minute": 6})
    url += "/api/v1/targets"
    for _ in range(3):
        with pytest.raises(psycopg.OperationalError, match="SP1601"):
            psycopg.connect(gateway.dsn("bad"))
        assert get(url, Authorization="Bearer bad")[0] == 401
    with pytest.raises(psycopg.OperationalError, match="SP1607"):
        psycopg.connect(gateway.dsn("bad"))
    assert get(url, Authorization="Bearer bad")[0] == 429
    psycopg.connect(gateway.dsn()).close()
    assert get(url, Authorization=f"Bearer {gateway.token()}")[0] in (200, 403)
    assert gateway.output().count("login_refused") == 6


# -- proxies ---------------------------------------------------------------------------------------


def header(address: str, port: int = 4711, *, more: bytes = b"") -> bytes:
    """A PROXY protocol header, version 2, of a TCP client."""
    packed = ipaddress.ip_address(address).packed
    body = packed + bytes(len(packed)) + port.to_bytes(2, "big") + (6432).to_bytes(2, "big") + more
    family = b"\x11" if len(packed) == 4 else b"\x21"
    return SIGNATURE + b"\x21" + family + len(body).to_bytes(2, "big") + body


def test_a_proxy_says_who_its_client_is(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(
        extra={"proxy_protocol": ["127.0.0.0/8"], "limits": {"failed_logins_per_minute": 2}},
        tls=True,
    )
    for address in ("192.0.2.7", "2001:db8::7"):
        for piece in (header(address, more=b"\x04\x00\x01x"), header(address)):
            with Raw(gateway) as raw:
                for byte in piece:
                    raw.send(bytes([byte]))
                raw.send(frontend.ssl_request())
                assert raw.read(1) == b"S"
                raw.tls().login()
        assert f"peer={address}:4711" in gateway.output()
    # Bounds are the client's: one that fails does not count for another.
    for address, code in [("192.0.2.8", "SP1601")] * 2 + [
        ("192.0.2.8", "SP1607"),
        ("192.0.2.9", "SP1601"),
    ]:
        with Raw(gateway) as raw:
            raw.send(header(address), frontend.ssl_request())
            assert raw.read(1) == b"S"
            raw.tls().startup().until("R")
            assert code in raw.send(frontend.password(b"bad")).error()["M"]


def test_a_client_behind_a_proxy_needs_tls(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(extra={"proxy_protocol": ["127.0.0.1"]})
    with Raw(gateway) as raw:
        assert "SP1602" in raw.send(header("192.0.2.7")).startup().error()["M"]
    with Raw(gateway) as raw:  # the balancer's own check: its own address counts
        raw.send(SIGNATURE + b"\x20\x00\x00\x00").login()


@pytest.mark.parametrize(
    "bad",
    [
        b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 6432\r\n",
        SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
        SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216),
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_a_proxy_without_its_header_is_refused(
    make_gateway: Callable[..., Gateway], bad: bytes
) -> None:
    gateway = make_gateway(extra={"proxy_protocol": ["127.0.0.1"]})
    with Raw(gateway) as raw:
        assert "SP1501" in raw.send(bad).error()["M"]
    with Raw(gateway) as raw:
        assert "SP1501" in raw.startup().error()["M"]


def test_a_header_from_anybody_else_is_not_believed(gateway: Gateway) -> None:
    with Raw(gateway) as raw:
        assert "SP1501" in raw.send(header("192.0.2.7")).error()["M"]


def test_a_forwarding_header(with_console: Callable[..., tuple[Gateway, str]]) -> None:
    console = {
        "forwarding_header": "X-Forwarded-For",
        "trusted_proxies": ["127.0.0.1", "192.0.2.250"],
    }
    _, url = with_console(console, limits={"failed_logins_per_minute": 2})
    url += "/api/v1/targets"

    def ask(forwarded: str) -> int:
        status, body = get(url, Authorization="Bearer bad", X_Forwarded_For=forwarded)
        assert json.loads(body)["status"] == status
        return status

    # What the client wrote itself stands left of what the proxies wrote.
    assert [ask(f"203.0.113.{n}, 192.0.2.8, 192.0.2.250") for n in range(3)] == [401, 401, 429]
    assert ask("192.0.2.9") == 401


def test_a_wrong_proxy_in_the_configuration_is_named(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway()
    for extra, named in (
        ({"proxy_protocol": ["10.0.0.0/40"]}, "10.0.0.0/40"),
        ({"console": {"forwarding_header": "X-Forwarded-For"}}, "trusted_proxies"),
    ):
        gateway.extra = extra
        gateway.write()
        misconfigured = Program(
            gateway.command("serve"), gateway.home / "other.log", gateway.environment
        )
        assert misconfigured.process.wait(20) == 2
        assert named in misconfigured.output


def test_loopback_behind_a_proxy_elsewhere_needs_tls() -> None:
    """What a balancer on another machine calls 127.0.0.1 is its own: the token would cross the
    network in clear.
    """

    class Transport:
        def get_extra_info(self, name: str) -> Any:
            return ("10.1.0.5", 50000) if name == "peername" else None

        def set_write_buffer_limits(self, high: int) -> None: ...

        def is_closing(self) -> bool:
            return False

        def write(self, data: bytes) -> None:
            written.append(bytes(data))

        def close(self) -> None: ...

        abort = close

    def nothing(*_: Any) -> None: ...

    async def run() -> None:
        gateway = SimpleNamespace(
            added=None,
            tls=None,
            proxies=Networks(["10.0.0.0/8"]),
            keep_alive=KeepAlive(),
            strangers=None,
            oauth=None,
            device_logins=None,
            limits=SimpleNamespace(login_seconds=60.0),
            admit_arrival=nothing,
            pending=SimpleNamespace(discard=nothing),
            refused_logins=LoginRefusals(),
        )
        connection = ClientConnection(gateway)  # type: ignore[arg-type]
        connection.connection_made(Transport())  # type: ignore[arg-type]
        connection.data_received(header("127.0.0.1"))
        connection.data_received(frontend.startup_message({"user": "claude", "database": "shop"}))

    written: list[bytes] = []
    asyncio.run(run())
    assert b"[SP1602]" in b"".join(written)


def test_strangers_do_not_fill_the_log(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway()
    for _ in range(200):
        with Raw(gateway) as raw:
            raw.send(frontend.cancel_request(1, b"nope"))
            assert raw.closed()
    assert 0 < gateway.output().count("cancel request with an unknown key") <= 120
    now = [0.0]
    sparing = SparingLog(lambda: now[0])
    with structlog.testing.capture_logs() as lines:
        for _ in range(LINES + 7):
            sparing.info("TLS failed")
        now[0] = 61.0
        sparing.info("TLS failed")
    assert len(lines) == LINES + 2
    assert lines[-2] == {
        "event": "lines about strangers that were left out",
        "count": 7,
        "log_level": "info",
    }
