"""The server around the application: its own port, no signal handlers, an end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import time
from pathlib import Path

import httpx2
import pytest

from sallyport.core.errors import ConfigError
from sallyport.web.serve import serve, server_context
from tests.support.certificates import Authority
from tests.web.world import World


async def _served(place: World, tls: ssl.SSLContext | None, verify: ssl.SSLContext | bool) -> None:
    address: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
    before = signal.getsignal(signal.SIGINT)
    task = asyncio.get_running_loop().create_task(
        serve(place.app, "127.0.0.1", 0, tls, lambda host, port: address.set_result((host, port)))
    )
    host, port = await asyncio.wait_for(address, 10)
    assert signal.getsignal(signal.SIGINT) == before
    async with httpx2.AsyncClient(verify=verify, trust_env=False) as http:
        answer = await http.get(f"{'https' if tls else 'http'}://{host}:{port}/healthz")
    assert answer.text == "ok\n"
    assert "server" not in answer.headers
    began = time.monotonic()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 5
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, port), 1)


def test_it_serves_and_stops(place: World) -> None:
    asyncio.run(_served(place, None, True))


def test_with_tls(place: World, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    made = authority.issue("console")
    trust = ssl.create_default_context(cafile=authority.file)
    asyncio.run(_served(place, server_context(made.certificate, made.key), trust))


def test_a_port_that_is_taken(place: World) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="cannot listen"),
    ):
        asyncio.run(serve(place.app, "127.0.0.1", taken.getsockname()[1]))


def test_files_that_are_no_certificate(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot use"):
        server_context(tmp_path / "no", tmp_path / "no")
