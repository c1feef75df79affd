"""MCP clients of the SDK, against a real gateway."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from tests.support import requests
from tests.support.gateway import Gateway

SALLYPORT = str(Path(sys.executable).with_name("sallyport"))


@asynccontextmanager
async def stdio(
    gateway: Gateway, home: Path, *words: str, token: str = "", mode: str = "auto"
) -> AsyncIterator[Client]:
    """``sallyport mcp`` as a client starts it, with a token file."""
    file = home / "token"
    file.write_text(token or gateway.token())
    ca = ["--ca", str(gateway.ca)] if gateway.ca else []
    targets = [word for name in gateway.targets for word in ("--target", name)]
    server = StdioServerParameters(
        command=SALLYPORT,
        args=[
            "mcp", *targets, "--gateway", f"127.0.0.1:{gateway.port}", "--user", "claude", *ca,
            "--token-file", str(file), *words,
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "XDG_STATE_HOME": str(home)},
    )  # fmt: skip
    async with Client(stdio_client(server), mode=mode) as client:
        yield client


def text_of(result: Any) -> str:
    return "\n".join(part.text for part in result.content)


def data_of(result: Any) -> dict[str, Any]:
    """The structured content; what the text's fence holds must be part of it."""
    data: dict[str, Any] = result.structured_content
    match = re.search(r"<data-(\w+)> \([^)]*\)\n(.*)\n</data-\1>$", text_of(result), re.MULTILINE)
    if match is not None:
        inside = json.loads(match.group(2))
        assert {name: data[name] for name in inside} == inside
    return data


@asynccontextmanager
async def http(gateway: Gateway, token: str = "", mode: str = "auto") -> AsyncIterator[Client]:
    """The gateway's ``/mcp``, with a bearer token."""
    headers = {"Authorization": f"Bearer {token or gateway.token()}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60, follow_redirects=True) as browser:
        transport = streamable_http_client(mcp_url(gateway), http_client=browser)
        async with Client(transport, mode=mode) as client:
            yield client


def mcp_url(gateway: Gateway) -> str:
    return f"http://{gateway.extra['console']['listen']}/mcp"


def outside(result: Any) -> str:
    """What a result says outside of its fences: in the gateway's own words."""
    return re.sub(r"<data-(\w+)> \([^)]*\)\n.*\n</data-\1>", "", text_of(result))


class Raw:
    """A client of the ``initialize`` era that sends what it likes: requests as they are on the
    wire, with ids of one's choice.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json, text/event-stream",
        }
        me = {"name": "raw", "version": "1"}
        params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": me}
        answer = self.post(self.request(0, "initialize", params))
        self.headers |= {
            "Mcp-Session-Id": answer.headers["mcp-session-id"],
            "MCP-Protocol-Version": "2025-06-18",
        }
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert self.post(ready).status_code == 202

    @staticmethod
    def request(number: int | str, method: str, params: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}

    def post(self, body: Any, **more: str) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {**self.headers, "Content-Type": "application/json", **more}
        return requests.post(self.url, headers=headers, content=content, timeout=60)

    def delete(self, **more: str) -> int:
        return requests.request(
            "DELETE", self.url, headers={**self.headers, **more}, timeout=60
        ).status_code

    def call(self, number: int | str, tool: str, **arguments: Any) -> dict[str, Any]:
        """The result's structured content."""
        return dict(self.result(number, tool, arguments)["structuredContent"])

    def result(self, number: int | str, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Of a tool call."""
        params = {"name": tool, "arguments": arguments}
        answer = self.post(self.request(number, "tools/call", params))
        assert answer.status_code == 200, answer.text
        lines = [line[6:] for line in answer.text.split("\n") if line.startswith("data: {")]
        return dict(json.loads(lines[-1])["result"])
