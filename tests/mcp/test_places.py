"""Where ``/mcp`` is served: behind TLS, with several workers; and how its sessions end there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from tests.mcp.clients import data_of, text_of
from tests.mcp.conftest import POLICY
from tests.mcp.test_http import ask, rows
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for


@contextmanager
def served(
    issuer: DevIssuer, server: Server, *, tls: bool = False, **extra: Any
) -> Iterator[Gateway]:
    console = {"listen": f"127.0.0.1:{free_port()}", "roles": {"reviewer": ["dba"]}}
    settings = {"console": console, "mcp": {}, **extra}
    gateway = Gateway(issuer, {"shop": server}, POLICY, tls=tls, extra=settings).start()
    try:
        wait_for(lambda: "console listens" in gateway.output())
        yield gateway
    finally:
        gateway.stop()


def converse(
    gateway: Gateway, work: Callable[[Client], Awaitable[None]], mode: str = "legacy"
) -> None:
    scheme = "https" if gateway.tls else "http"
    url = f"{scheme}://{gateway.extra['console']['listen']}/mcp"
    headers = {"Authorization": f"Bearer {gateway.token()}"}
    verify = str(gateway.ca) if gateway.ca else True

    async def run() -> None:
        async with httpx2.AsyncClient(headers=headers, timeout=60, verify=verify) as browser:
            transport = streamable_http_client(url, http_client=browser)
            async with Client(transport, mode=mode) as client:
                await work(client)

    asyncio.run(run())


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_behind_tls_with_workers(mcp_issuer: DevIssuer, mcp_postgres: Server, mode: str) -> None:
    """The first worker serves it. A session that it opens can be cancelled, and is recorded."""

    async def work(client: Client) -> None:
        [(id_, ssn)] = await rows(client, "SELECT id, ssn FROM customers WHERE id = 1")
        assert id_ == 1 and ssn.startswith("*")
        session = data_of(await ask(client, "BEGIN", session="new"))["session"]
        held = await ask(
            client, "DELETE FROM waits WHERE id = 100", session=session, wait_seconds=1
        )
        assert data_of(held)["state"] == "waiting_for_approval", text_of(held)
        cancel = {"session": session, "cancel": True, "wait_seconds": 30}
        told = await client.call_tool("status", cancel)
        assert data_of(told)["sqlstate"] == "57014", text_of(told)
        await ask(client, "ROLLBACK", session=session)

    with served(mcp_issuer, mcp_postgres, tls=True, workers=2) as gateway:
        wait_for(lambda: "workers listen" in gateway.output())
        converse(gateway, work, mode)


def test_the_idle_end(mcp_issuer: DevIssuer, mcp_postgres: Server) -> None:
    async def work(client: Client) -> None:
        await ask(client, "BEGIN")
        await ask(client, "INSERT INTO waits (id) VALUES (4001)")
        named = data_of(await ask(client, "SELECT 1", session="new"))["session"]
        await asyncio.sleep(4)
        assert data_of(await client.call_tool("status", {}))["sessions"][0]["state"] == "idle"
        ended = await ask(client, "COMMIT")
        assert ended.is_error and "without use" in text_of(ended), text_of(ended)
        assert await rows(client, "SELECT id FROM waits WHERE id = 4001") == []
        gone = await ask(client, "SELECT 1", session=named)
        assert gone.is_error and "no such session" in text_of(gone)
        await asyncio.sleep(4)  # nothing was in it
        assert await rows(client, "SELECT 1") == [[1]]
        await ask(client, "SET statement_timeout = '1min'")
        await asyncio.sleep(4)
        assert "without use" in text_of(await ask(client, "SELECT 1"))

    with served(mcp_issuer, mcp_postgres, mcp={"idle_seconds": 1.0}) as gateway:
        converse(gateway, work)
