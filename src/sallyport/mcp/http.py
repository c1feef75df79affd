"""``/mcp``: MCP over Streamable HTTP, as an OAuth 2.0 protected resource (RFC 9728).

Every request carries a bearer token, which the gateway's own authenticator checks (issuer,
audience, locks); a session of MCP serves nobody but the subject who began it. What a browser sends
from another site is refused (Origin); the Host header is checked by the web server around this. The
caller's statements go over a connection within the process to the gateway's own way in, with the
same token.

There is no stream for GET: nothing is ever said but in answer to a request, and streams that stay
open would use up what the console's web server takes at once.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from sallyport.core.errors import RefusedError
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.authenticate import Authenticator, LockedError, LoginRefused
from sallyport.mcp.presence import Presence
from sallyport.mcp.sessions import Caller, Limits, SessionBook
from sallyport.mcp.tools import program_name, server
from sallyport.mcp.wire_session import Streams

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

PATH: Final = "/mcp"
#: Where RFC 9728 section 3.1 has the metadata of the resource ``/mcp``.
METADATA: Final = f"/.well-known/oauth-protected-resource{PATH}"
_SESSION: Final = "mcp-session-id"
#: Which every request but the first has.
_VERSION: Final = "mcp-protocol-version"
_MAX_BODY: Final = 1 << 20
_BODY_SECONDS: Final = 20.0
#: Requests that are being answered: of one subject, and in all. The web server takes 500, and
#: people must reach the console.
_MOST_AT_ONCE: Final = 32
_MOST_IN_ALL: Final = 300
#: Sessions of MCP: of one subject, beyond which the one that was used least lately ends; and in all
_MOST_SESSIONS: Final = 64
_MOST_SESSIONS_IN_ALL: Final = 2000
_SESSION_SECONDS: Final = 1800.0
_WHO: Final = "sallyport.who"


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """``url``: scheme, host and port as clients see them. ``authorization_servers``: the issuers
    that clients may get tokens from. ``limits``: of the sessions.
    """

    url: str
    version: str
    authorization_servers: tuple[str, ...]
    scopes: tuple[str, ...] = ()
    limits: Limits = Limits()  # noqa: RUF009  frozen

    @property
    def resource(self) -> str:
        """What a token may be asked for (RFC 8707)."""
        return self.url + PATH


@dataclass(frozen=True, slots=True)
class Services:
    """Of the gateway. ``connect``: to its own way in, for the client at an address. ``targets``:
    those that are open to a subject. ``address``: whom a request comes from. ``refused``: records a
    login that was.
    """

    authenticator: Authenticator
    connect: Callable[[str, int], Awaitable[Streams]]
    targets: Callable[[Subject], tuple[str, ...]]
    address: Callable[[Request], str]
    refused: Callable[[str, LoginRefused], object]


@dataclass(frozen=True, slots=True)
class _Who:
    subject: Subject
    token: Secret
    address: str
    port: int

    @property
    def owner(self) -> str:
        return json.dumps([self.subject.issuer, self.subject.id, self.subject.agent])


class HttpEntrance:
    """``routes``: for the web server. :meth:`run` must be entered while it serves; once."""

    def __init__(self, settings: HttpSettings, services: Services) -> None:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        self._settings, self._services = settings, services
        self._book = SessionBook(settings.limits)
        self._presence = Presence(self._book)
        self._at_once: Counter[str] = Counter()
        self._session_seconds = max(_SESSION_SECONDS, 2 * settings.limits.idle_seconds)
        self._used: OrderedDict[tuple[str, str], float] = OrderedDict()  # by owner and session
        self._manager: StreamableHTTPSessionManager = StreamableHTTPSessionManager(
            server(self._book, self._caller, settings.version),
            max_request_body_size=_MAX_BODY,
            max_sessions=_MOST_SESSIONS_IN_ALL,
            session_idle_timeout=self._session_seconds,
        )
        self.routes = [
            Route(PATH, self),
            Route(METADATA, self._metadata, methods=["GET"]),
        ]

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve, and end every session at the end."""
        import anyio

        async with self._manager.run(), anyio.create_task_group() as group:
            group.start_soon(self._book.run)
            try:
                yield
            finally:
                group.cancel_scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        origin = request.headers.get("origin", "")
        if origin and origin.lower() != self._settings.url.lower():
            await _problem(403, "origin", "Requests from other sites are refused.")(
                scope, receive, send
            )
            return
        who = await self._authenticated(request)
        if isinstance(who, Response):
            await who(scope, receive, send)
            return
        busy = self._busy(request, who)
        if busy is not None:
            await busy(scope, receive, send)
            return
        self._at_once[who.owner] += 1
        try:
            await self._answer(request, who, receive, send)
        finally:
            self._at_once[who.owner] -= 1
            if not self._at_once[who.owner]:
                del self._at_once[who.owner]

    def _busy(self, request: Request, who: _Who) -> Response | None:
        if request.method not in ("POST", "DELETE"):
            words = "There is no stream for GET: answers come with their requests."
            return _problem(405, "method", words, {"Allow": "POST, DELETE"})
        if self._at_once[who.owner] >= _MOST_AT_ONCE:
            return _problem(429, "busy", f"More than {_MOST_AT_ONCE} requests at once.")
        if self._at_once.total() >= _MOST_IN_ALL:
            words = "The gateway answers too many requests at once."
            return _problem(503, "busy", words, {"Retry-After": "5"})
        return None

    async def _answer(self, request: Request, who: _Who, receive: Receive, send: Send) -> None:
        body = b""
        if request.method == "POST":
            try:
                async with asyncio.timeout(_BODY_SECONDS):
                    received = await _body(receive)
            except TimeoutError:
                slow = _problem(408, "slow", "The request did not come in time.")
                slow.headers["Connection"] = "close"
                await slow(request.scope, receive, send)
                return
            if received is None:
                return  # the client has gone
            body = received
        key = request.headers.get(_SESSION, "")
        with self._presence.of(who.owner, key, receive, send) as (heard, said):
            status, session = await self._serve(request, who, _behind(body, heard), said)
        if request.method == "DELETE":
            if 200 <= status < 300:
                await self._forget(who.owner, key)
        elif 200 <= status < 300 and session:
            await self._note_use(request, who, session)

    async def _note_use(self, request: Request, who: _Who, session: str) -> None:
        """Sessions of MCP that are not used end by themselves; a subject who opens one after the
        other must not use up everybody's.
        """
        now = time.monotonic()
        self._used[who.owner, session] = now
        self._used.move_to_end((who.owner, session))
        while self._used and next(iter(self._used.values())) < now - self._session_seconds:
            self._used.popitem(last=False)
        theirs = [key for owner, key in self._used if owner == who.owner]
        for key in theirs[: max(0, len(theirs) - _MOST_SESSIONS)]:
            headers = [(_SESSION.encode(), key.encode())]
            scope = {**request.scope, "method": "DELETE", "headers": headers}
            await self._serve(Request(scope), who, _nothing, _unsent)
            await self._forget(who.owner, key)

    async def _forget(self, owner: str, key: str) -> None:
        self._used.pop((owner, key), None)
        await self._book.end(owner, key)

    async def _serve(
        self, request: Request, who: _Who, receive: Receive, send: Send
    ) -> tuple[int, str]:
        """Status, and the session of MCP that the answer names."""
        from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
        from mcp.server.auth.provider import AccessToken

        # For the SDK's check of who owns a session. It gets no token: it has no use for one.
        access = AccessToken(
            token="",
            client_id=who.subject.agent,
            scopes=[],
            subject=who.subject.id,
            claims={"iss": who.subject.issuer},
        )
        scope = {**request.scope, "user": AuthenticatedUser(access), _WHO: who}
        status, session = 0, ""

        async def watched(message: Message) -> None:
            nonlocal status, session
            if message["type"] == "http.response.start":
                status = message["status"]
                session = Headers(raw=message.get("headers", [])).get(_SESSION, "")
            await send(message)

        await self._manager.handle_request(scope, receive, watched)
        return status, session

    async def _authenticated(self, request: Request) -> _Who | Response:
        address = self._services.address(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return self._unauthorized("", "Send 'Authorization: Bearer <token>'.")
        secret = Secret(token.strip())
        try:
            subject = await self._services.authenticator.authenticate(
                secret,
                label="mcp",
                entrance="mcp",
                address=address,
                is_logged=_SESSION not in request.headers and _VERSION not in request.headers,
            )
        except LoginRefused as error:
            self._services.refused(address, error)
            words = f"{error.refusal.text}. {error.refusal.hint}"
            if isinstance(error, LockedError):
                return _problem(403, error.refusal.code.id, words)
            if error.refusal.code.id == "SP1607":
                return _problem(429, "SP1607", words, {"Retry-After": "60"})
            return self._unauthorized("invalid_token", words)
        except RefusedError as error:
            return _problem(503, error.refusal.code.id, error.refusal.text)
        return _Who(subject, secret, address, request.client.port if request.client else 0)

    def _unauthorized(self, error: str, description: str) -> Response:
        """RFC 6750 section 3, RFC 9728 section 5.1."""
        challenge = f'Bearer resource_metadata="{self._settings.url}{METADATA}"'
        if error:
            challenge += f', error="{error}"'
        return _problem(401, error or "no_token", description, {"WWW-Authenticate": challenge})

    async def _metadata(self, request: Request) -> Response:
        settings = self._settings
        document: dict[str, Any] = {
            "resource": settings.resource,
            "authorization_servers": list(settings.authorization_servers),
            "bearer_methods_supported": ["header"],
            "resource_name": "Sallyport",
        }
        if settings.scopes:
            document["scopes_supported"] = list(settings.scopes)
        return Response(json.dumps(document), media_type="application/json")

    async def _caller(self, context: Any) -> Caller:
        """Who makes a call: of the request that brought it."""
        from mcp_types.version import MODERN_PROTOCOL_VERSIONS

        who: _Who = context.request.scope[_WHO]
        is_stateless = context.session.protocol_version in MODERN_PROTOCOL_VERSIONS
        key = "" if is_stateless else context.request.headers.get(_SESSION, "")
        startup = {
            "user": "mcp",
            "application_name": program_name(context.session.client_params),
            "client_encoding": "UTF8",
        }
        subject = who.subject
        shown = {"subject": subject.id, "issuer": subject.issuer, "groups": sorted(subject.groups)}
        return Caller(
            who.owner,
            key,
            who.token,
            partial(self._services.connect, who.address, who.port),
            startup,
            self._services.targets(subject),
            {**shown, "agent": subject.agent} if subject.agent else shown,
            str(context.request_id) if key else "",
        )


def _problem(
    status: int, error: str, description: str, headers: Mapping[str, str] | None = None
) -> Response:
    body = {"error": error, "error_description": description}
    return Response(json.dumps(body), status, dict(headers or {}), "application/json")


async def _body(receive: Receive) -> bytes | None:
    """All of it; None: the client has gone. The web server around this bounds its length."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def _behind(body: bytes, receive: Receive) -> Receive:
    """A body that was read, and then what comes behind it."""
    is_read = False

    async def replayed() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


async def _unsent(message: Message) -> None:
    """For a request that nobody sent."""
