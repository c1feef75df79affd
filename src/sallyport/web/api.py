"""REST under ``/api/v1``: a table of operations, each with its permission, and the same authorization as everywhere.

Bearer tokens only, checked by the same authenticator as on the wire: a cookie counts for nothing here, so no page can make a browser call
it. Errors are problem+json (RFC 9457); their ``detail`` says what to do. Texts are as recorded, in ASCII JSON (so inert in a terminal until
something decodes them).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sallyport.core.secret import Secret
from sallyport.identity.authenticate import LoginRefused
from sallyport.operations.access import ForbiddenError, Principal
from sallyport.web.console import Console, address_of, console_of

PREFIX = "/api/v1"
_MAX_BODY = 1 << 20


class ProblemError(Exception):
    """An answer that is an error. ``detail`` says what is wrong and what to do."""

    def __init__(
        self, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail
        self.headers, self.more = dict(headers or {}), more

    def response(self) -> Response:
        body = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail}
        return json_response({**body, **self.more}, self.status, "application/problem+json", self.headers)


def json_response(
    value: Any, status: int = 200, kind: str = "application/json", headers: Mapping[str, str] | None = None
) -> Response:
    """ASCII only, so that nothing in it acts on a terminal."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False).replace("\x7f", "\\u007f")
    return Response(text, status, dict(headers or {}), kind)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter. ``schema``: JSON schema."""

    name: str
    description: str
    schema: Mapping[str, Any]


class Call:
    """One request of somebody with a token. ``body``: decoded, of the operation's type."""

    def __init__(self, console: Console, request: Request, principal: Principal, body: Any) -> None:
        self.console, self.request, self.principal, self.body = console, request, principal, body
        self.services = console.services
        self.sessions = console.sessions_for(principal)

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    def text(self, name: str, most: int = 300) -> str:
        """A query parameter, "" when it is not there. Raises ProblemError."""
        values = self.request.query_params.getlist(name)
        if len(values) > 1 or any(len(value) > most for value in values):
            raise invalid(f"{name}: one value of at most {most} characters")
        return values[0] if values else ""

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number in the query. Raises ProblemError."""
        if name not in self.request.query_params:
            return default
        text = self.text(name)
        if not text.isascii() or not text.isdecimal() or len(text) > 15 or not least <= int(text) <= most:
            raise invalid(f"{name}: a whole number from {least} to {most}")
        return int(text)

    def choice(self, name: str, *values: str) -> str:
        """One of ``values``, "" when it is not there. Raises ProblemError."""
        if name not in self.request.query_params:
            return ""
        text = self.text(name)
        if text not in values:
            raise invalid(f"{name}: one of {', '.join(values)}")
        return text


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table. ``body``: type of the request's JSON, None when it has none. ``answer``: type or JSON schema of the result."""

    method: str
    path: str
    name: str
    permission: str
    summary: str
    handler: Callable[[Call], Awaitable[Any]]
    answer: Any
    query: tuple[Parameter, ...] = ()
    body: type | None = None
    errors: tuple[int, ...] = field(default=())


def invalid(detail: str) -> ProblemError:
    return ProblemError(422, "Not usable", detail)


def not_found(detail: str) -> ProblemError:
    return ProblemError(404, "Not found", detail)


async def principal_of(console: Console, request: Request) -> Principal:
    """Who sent the token. Raises ProblemError (401, 429)."""
    limit, address = console.token_limit, address_of(request)
    if limit.exceeded(address):
        wait = {"Retry-After": str(limit.retry_after)}
        raise ProblemError(429, "Too many bad tokens", "Wait a minute, then send a good one.", wait)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        detail = "Send 'Authorization: Bearer <token>' with an access token for this gateway."
        raise ProblemError(401, "No token", detail, {"WWW-Authenticate": "Bearer"})
    try:
        subject = await console.services.authenticator.authenticate(
            Secret(token.strip()), label="", entrance="rest"
        )
    except LoginRefused as error:
        limit.count(address)
        detail = f"{error.refusal.text}. {error.refusal.hint}"
        header = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        raise ProblemError(401, "The token is not valid", detail, header) from None
    return console.services.access.principal(subject, address)


def endpoint(operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    """The operation as Starlette calls it."""

    async def answer(request: Request) -> Response:
        try:
            console = console_of(request)
            principal = await principal_of(console, request)
            principal.require(operation.permission)
            unknown = set(request.query_params) - {one.name for one in operation.query}
            if unknown:
                known = ", ".join(one.name for one in operation.query) or "none"
                raise invalid(f"There is no parameter {min(unknown)[:100]!r}. There are: {known}.")
            body = await _body(request, operation.body) if operation.body is not None else None
            return json_response(await operation.handler(Call(console, request, principal, body)))
        except ForbiddenError as error:
            return ProblemError(403, "Not permitted", str(error)).response()
        except ProblemError as error:
            return error.response()

    return answer


async def _body(request: Request, kind: type) -> Any:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ProblemError(415, "Not JSON", "Send 'Content-Type: application/json'.")
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise invalid(f"The body: {str(error)[:300]}") from None


def routes(operations: tuple[Operation, ...]) -> list[Route]:
    """A route for each path, with all its methods."""
    return [
        Route(PREFIX + one.path, endpoint(one), methods=[one.method], name=one.name) for one in operations
    ]
