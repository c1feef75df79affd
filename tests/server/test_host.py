"""A session without a socket of its own: hosted for a port in memory, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from sallyport.app.gateway import gateway_running
from sallyport.config import load_config
from sallyport.core.errors import refuse
from sallyport.core.secret import Secret
from sallyport.demo.issuer import DevIssuer
from sallyport.server.admission import admit, identify
from sallyport.server.gateway import Gateway as RunningGateway
from sallyport.server.host import SessionHost
from sallyport.server.peers import PeerState
from sallyport.session.login.client import Authenticate
from sallyport.session.login.upstream import UpstreamLogin
from sallyport.wire import backend, frontend
from sallyport.wire.frames import split
from tests.support.gateway import Gateway
from tests.support.postgres import Server


class MemoryPort:
    """A client in this process: keeps what it is sent."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.arrived = asyncio.Event()
        self.paused = self.closed = False
        self.state = PeerState.PRESENT
        self.unsent = 0
        self.lane_descriptor = -1
        self.tls = None

    def write(self, data: bytes | bytearray) -> None:
        self.received += data
        self.arrived.set()

    def write_encrypted(self, data: bytes) -> None:
        self.write(data)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self, *, at_once: bool = False) -> None:
        self.closed = True
        self.arrived.set()

    def peer_state(self) -> PeerState:
        return self.state

    async def until_ready(self) -> list[bytes]:
        """The messages up to ReadyForQuery, or to the end."""
        while True:
            spans, rest = split(self.received, 0, 1 << 20, False)
            messages = [bytes(self.received[start:end]) for _, start, end, _ in spans]
            if self.closed or (messages and messages[-1][:1] == b"Z"):
                del self.received[:rest]
                return messages
            self.arrived.clear()
            await self.arrived.wait()


@asynccontextmanager
async def hosted(files: Gateway) -> AsyncIterator[tuple[RunningGateway, SessionHost, MemoryPort]]:
    request = Authenticate(Secret(files.token()), "memory", "shop", {}, 0)
    async with asyncio.timeout(30), gateway_running(load_config(files.config_file)) as (gateway, _):
        admitted = await admit(gateway, request, await identify(gateway, request, ""))
        port = MemoryPort()
        host = SessionHost(gateway, admitted, request, port, "in memory", "wire")
        host.begin(request.minor, b"", bytearray())
        yield gateway, host, port


@pytest.fixture
def files(issuer: DevIssuer, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    """Configuration and policy of a gateway that this process runs itself."""
    gateway = Gateway(issuer, {"shop": postgres}, extra={"listen": "127.0.0.1:0"})
    gateway.write()
    for name, value in gateway.environment.items():
        monkeypatch.setenv(name, value)
    return gateway


def test_no_session_keeps_what_only_its_login_needed(files: Gateway) -> None:
    async def scenario() -> None:
        async with hosted(files) as (_, _, port):
            assert (await port.until_ready())[-1] == backend.ready_for_query(b"I")
            kept = [login for login in gc.get_objects() if isinstance(login, UpstreamLogin)]
            assert not kept  # the password is in it

    asyncio.run(scenario())


def test_a_session_in_memory_is_masked_and_ends_whole(files: Gateway, postgres: Server) -> None:
    with psycopg.connect(postgres.superuser_dsn) as db:
        row = db.execute(
            "SELECT id, ssn FROM customers WHERE ssn IS NOT NULL ORDER BY id LIMIT 1"
        ).fetchone()
    assert row is not None
    identity, secret = row

    async def scenario() -> None:
        async with hosted(files) as (gateway, host, port):
            assert (await port.until_ready())[-1] == backend.ready_for_query(b"I")
            assert gateway.sessions == 1 and host.is_idle
            host.receive(frontend.query(f"SELECT ssn FROM customers WHERE id = {identity}"))
            messages = await port.until_ready()
            rows = [message for message in messages if message[:1] == b"D"]
            assert len(rows) == 1 and rows[0].endswith(secret[-4:].encode())
            assert secret.encode() not in b"".join(messages)
            host.receive(frontend.query("SELECT 1/0"))
            assert any(b"C22012\0" in message for message in await port.until_ready())
            host.receive(frontend.terminate())
            assert port.closed and gateway.sessions == 0

    asyncio.run(scenario())


def test_a_client_in_memory_that_vanished_ends_its_session(files: Gateway) -> None:
    async def scenario() -> None:
        async with hosted(files) as (gateway, host, port):
            await port.until_ready()
            port.state = PeerState.VANISHED
            host.check_peers()
            assert port.closed and gateway.sessions == 0
            host.receive(frontend.query("SELECT 1"))  # too late, and harmless
            assert not port.received

    asyncio.run(scenario())


def test_one_session_in_memory_is_told_why_it_is_ended(files: Gateway) -> None:
    async def scenario() -> None:
        async with hosted(files) as (gateway, host, port):
            await port.until_ready()
            host.shut(refuse("SP1803", "enough"), "ended by a test")
            (message,) = await port.until_ready()
            assert b"[SP1803] enough" in message and b"VFATAL\0" in message
            assert port.closed and gateway.sessions == 0

    asyncio.run(scenario())
