"""What one client can use up of ``/mcp``, and what of it others do not feel: the entrance as an
ASGI application, with an authenticator that knows everybody.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message

from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.mcp import http
from sallyport.mcp.http import HttpEntrance, HttpSettings, Services
from sallyport.mcp.wire_session import Streams

URL = "http://127.0.0.1:8642"
HEADERS = {
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
    "host": "127.0.0.1:8642",
}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"},
    },
}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


class Authenticator:
    """Everybody is who the token says. ``logged``: the logins that a log would have."""

    def __init__(self) -> None:
        self.logged: list[str] = []

    async def authenticate(self, token: Secret, *, is_logged: bool = True, **more: Any) -> Subject:
        if is_logged:
            self.logged.append(token.reveal())
        return Subject(token.reveal(), "https://idp.example", frozenset())


class Browser:
    """Requests to one entrance."""

    def __init__(self) -> None:
        self.authenticator = Authenticator()

        async def connect(host: str, port: int) -> Streams:
            raise OSError

        services = Services(
            self.authenticator,  # type: ignore[arg-type]
            connect,
            lambda subject: ("shop",),
            lambda request: "192.0.2.1",
            lambda address, error: None,
        )
        self.entrance = HttpEntrance(HttpSettings(URL, "1", ()), services)

    async def send(
        self,
        body: bytes | Any,
        who: str = "ada",
        method: str = "POST",
        receive: Callable[[], Awaitable[Message]] | None = None,
        **headers: str,
    ) -> SimpleNamespace:
        """``receive``: gives the body in its own time."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {**HEADERS, "authorization": f"Bearer {who}"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        scope = {
            "type": "http",
            "method": method,
            "path": "/mcp",
            "query_string": b"",
            "client": ("192.0.2.1", 1),
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        }
        sent: list[Message] = []
        came = False

        async def whole() -> Message:
            nonlocal came
            if came:
                await asyncio.Event().wait()  # the client stays
            came = True
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await self.entrance(scope, receive or whole, send)
        start = sent[0] if sent else {"status": 0, "headers": []}
        named = {name.decode(): value.decode() for name, value in start["headers"]}
        text = b"".join(message.get("body", b"") for message in sent[1:]).decode()
        return SimpleNamespace(status=start["status"], headers=named, text=text)

    async def initialize(self, who: str = "ada") -> str:
        answer = await self.send(INITIALIZE, who)
        assert answer.status == 200, answer.text
        return str(answer.headers["mcp-session-id"])


def serve(work: Callable[[Browser], Awaitable[None]]) -> None:
    async def run() -> None:
        browser = Browser()
        async with browser.entrance.run():
            await work(browser)

    asyncio.run(run())


async def never() -> Message:
    """A body that does not come."""
    await asyncio.Event().wait()
    raise AssertionError


def test_requests_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_MOST_IN_ALL", 40)

    async def work(browser: Browser) -> None:
        def wait(who: str) -> asyncio.Task[SimpleNamespace]:
            waits = browser.send(b"", who, receive=never)
            return asyncio.get_running_loop().create_task(waits, name=who)

        waiting = [wait("ada") for _ in range(32)]
        await asyncio.sleep(0.05)
        assert (await browser.send(PING)).status == 429
        assert (await browser.send(PING, "bob")).status not in (429, 503)
        waiting += [wait("bob") for _ in range(8)]
        await asyncio.sleep(0.05)
        full = await browser.send(PING, "cyd")
        assert (full.status, full.headers["retry-after"]) == (503, "5")
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert (await browser.send(PING)).status not in (429, 503)

    serve(work)


def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_BODY_SECONDS", 0.1)

    async def work(browser: Browser) -> None:
        slow = await browser.send(b"", receive=never)
        assert (slow.status, slow.headers["connection"]) == (408, "close")

        async def gone() -> Message:
            return {"type": "http.disconnect"}

        assert (await browser.send(b"", receive=gone)).status == 0

    serve(work)


def test_there_is_no_stream_to_leave_open() -> None:
    async def work(browser: Browser) -> None:
        session = await browser.initialize()
        for more in ({}, {"last_event_id": "1"}):
            answer = await browser.send(b"", method="GET", mcp_session_id=session, **more)
            assert (answer.status, answer.headers["allow"]) == (405, "POST, DELETE")

    serve(work)


def test_sessions_of_one_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subject who opens one after the other loses the one that was used least lately; others
    keep theirs.
    """
    monkeypatch.setattr(http, "_MOST_SESSIONS", 3)

    async def work(browser: Browser) -> None:
        bob = await browser.initialize("bob")
        first, second, third = [await browser.initialize() for _ in range(3)]
        assert (await browser.send(PING, mcp_session_id=first)).status == 200
        fourth = await browser.initialize()
        states = [
            (await browser.send(PING, mcp_session_id=session)).status
            for session in (first, second, third, fourth)
        ]
        assert states == [200, 404, 200, 200]
        assert (await browser.send(PING, "bob", mcp_session_id=bob)).status == 200

    serve(work)


def test_a_session_is_its_subject_s() -> None:
    async def work(browser: Browser) -> None:
        session = await browser.initialize()
        for method in ("POST", "DELETE"):
            answer = await browser.send(PING, "eve", method, mcp_session_id=session)
            assert answer.status == 404, method
        assert (await browser.send(PING, mcp_session_id=session)).status == 200
        assert (await browser.send(b"", method="DELETE", mcp_session_id=session)).status == 200
        assert (await browser.send(PING, mcp_session_id=session)).status == 404

    serve(work)


def test_the_first_request_of_a_session_is_logged() -> None:
    async def work(browser: Browser) -> None:
        session = await browser.initialize()
        for _ in range(3):
            await browser.send(PING, mcp_session_id=session, mcp_protocol_version="2025-06-18")
        assert browser.authenticator.logged == ["ada"]

    serve(work)


@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
@pytest.mark.parametrize(
    "body",
    [
        json.dumps([INITIALIZE, PING]).encode(),
        b"[" * 100_000,
        b'{"jsonrpc": "2.0", "id": ' + b"9" * 10_000 + b', "method": "ping"}',
        b"\xff\xfe",
        b"",
        b"null",
    ],
)
def test_bodies_that_are_no_request(body: bytes, version: str) -> None:
    async def work(browser: Browser) -> None:
        session = await browser.initialize()
        more = {"mcp_session_id": session} if version < "2026" else {}
        answer = await browser.send(body, mcp_protocol_version=version, **more)
        assert 400 <= answer.status < 500, answer.text
        assert (await browser.send(PING, mcp_session_id=session)).status == 200

    serve(work)


def test_origins() -> None:
    async def work(browser: Browser) -> None:
        for origin in ("null", "http://evil.example", URL + ".evil.example", "https://127.0.0.1"):
            assert (await browser.send(PING, origin=origin)).status == 403, origin
        assert browser.authenticator.logged == []  # nobody is asked for a token before
        assert (await browser.send(INITIALIZE, origin=URL)).status == 200

    serve(work)
