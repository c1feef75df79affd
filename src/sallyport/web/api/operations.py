"""REST under ``/api/v1``: a table of operations, each with its permission, and the same
authorization as everywhere.

Bearer tokens only, checked by the same authenticator as on the wire: a cookie counts for nothing
here, so no page can make a browser call it. Errors are problem+json (RFC 9457); their ``detail``
says what to do. Texts are as recorded, in ASCII JSON (so inert in a terminal until something
decodes them).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sallyport.audit import events as ev
from sallyport.audit.refusedlogins import RefusedLogin
from sallyport.core.clock import unix_seconds
from sallyport.core.errors import RefusedError
from sallyport.core.secret import Secret
from sallyport.identity.authenticate import LockedError, LoginRefused
from sallyport.identity.problems import printable
from sallyport.operations.access import ForbiddenError, Principal
from sallyport.web.console import Console, address_of, console_of
from sallyport.web.recorded import Doing, asked_for, recorded

PREFIX = "/api/v1"
#: Characters of one detail that are recorded of what was refused.
_REFUSED_LENGTH = 1000


class ProblemError(Exception):
    """An answer that is an error. ``detail`` says what is wrong and what to do."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail
        self.headers, self.more = dict(headers or {}), more

    def response(self) -> Response:
        body = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        return json_response(
            {**body, **self.more}, self.status, "application/problem+json", self.headers
        )


def json_response(
    value: Any,
    status: int = 200,
    kind: str = "application/json",
    headers: Mapping[str, str] | None = None,
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


FAR = 2**40
TIME = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "integer", "minimum": 0, "maximum": FAR},
    ]
}
POSITION = {"type": "integer", "minimum": 0, "maximum": FAR}
TEXT = {"type": "string", "maxLength": 300}
ANY_OBJECT = {"type": "object"}
LIMIT = Parameter(
    "limit",
    "The maximum number of results.",
    {"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
)


class Call:
    """One request of somebody with a token. ``body``: decoded, of the operation's type. ``doing``:
    what will be recorded of it.
    """

    def __init__(
        self, console: Console, request: Request, principal: Principal, body: Any, doing: Doing
    ) -> None:
        self.console, self.request, self.principal, self.body = console, request, principal, body
        self.doing = doing
        self.services = console.services
        self.sessions = console.sessions_for(principal)

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    def text(self, name: str, maximum: int = 300) -> str:
        """A query parameter, "" when it is not there. Raises ProblemError."""
        values = self.request.query_params.getlist(name)
        if len(values) > 1 or any(len(value) > maximum for value in values):
            raise invalid(f"{name}: one value of at most {maximum} characters")
        return values[0] if values else ""

    def number(self, name: str, default: int, minimum: int, maximum: int) -> int:
        """A whole number in the query. Raises ProblemError."""
        if name not in self.request.query_params:
            return default
        text = self.text(name)
        if (
            not text.isascii()
            or not text.isdecimal()
            or len(text) > 15
            or not minimum <= int(text) <= maximum
        ):
            raise invalid(f"{name}: a whole number from {minimum} to {maximum}")
        return int(text)

    def seconds(self, name: str) -> float | None:
        """Unix seconds of a time in the query (RFC 3339, or Unix seconds); None when it is not
        there. Raises ProblemError.
        """
        if name not in self.request.query_params:
            return None
        text = self.text(name)
        if text.isdecimal():
            return float(self.number(name, 0, 0, FAR))
        try:
            return unix_seconds(text)
        except ValueError as error:
            raise invalid(f"{name}: {error}") from None

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
    """One row of the table. ``body``: type of the request's JSON, None when it has none.
    ``answer``: type or JSON schema of the result. ``action``: its name in the record, when it is
    not the permission's. ``identify``: who asks, where that is not only told by a bearer token;
    raises as :func:`principal_of`.
    """

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
    action: str = ""
    identify: Callable[[Console, Request], Awaitable[Principal]] | None = None


def invalid(detail: str) -> ProblemError:
    """422: the request cannot be used, for the reason in ``detail``."""
    return ProblemError(422, "Not usable", detail)


def not_found(detail: str) -> ProblemError:
    """404: there is nothing like that, or this person may not see it."""
    return ProblemError(404, "Not found", detail)


async def principal_of(console: Console, request: Request) -> Principal:
    """Who sent the token. Raises ProblemError (401; 429 for a bad one when its address has sent too
    many), LockedError.
    """
    address = address_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        detail = "Send 'Authorization: Bearer <token>' with an access token for this gateway."
        raise ProblemError(401, "No token", detail, {"WWW-Authenticate": "Bearer"})
    try:
        subject = await console.services.authenticator.authenticate(
            Secret(token.strip()), label="", entrance="rest", address=address
        )
    except LockedError:
        raise
    except LoginRefused as error:
        raise unauthorized(console, request, error, "The token is not valid") from None
    except RefusedError as error:
        detail = f"{error.refusal.text}. {error.refusal.hint}"
        raise ProblemError(503, "The store cannot be reached", detail) from None
    return console.services.access.principal(subject, address)


def unauthorized(
    console: Console, request: Request, error: LoginRefused, title: str
) -> ProblemError:
    """What whoever is refused gets: 401, or 429 when their address has failed too often. Why is
    recorded.
    """
    asked = {name: printable(text, 100) for name, text in error.whose.items()}
    console.services.actions.login_refused(
        RefusedLogin(
            address_of(request), "rest", error.refusal.code.id, error.reason, details=asked
        )
    )
    if error.refusal.code.id == "SP1607":
        wait = {"Retry-After": "60"}
        return ProblemError(
            429, "Too many invalid tokens", "Wait a minute, then send a valid token.", wait
        )
    detail = f"{error.refusal.text}. {error.refusal.hint}"
    return ProblemError(401, title, detail, {"WWW-Authenticate": 'Bearer error="invalid_token"'})


def endpoint(operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    """The operation as Starlette calls it."""

    async def answer(request: Request) -> Response:
        try:
            console = console_of(request)
            try:
                principal = await (operation.identify or principal_of)(console, request)
            except LockedError as error:
                raise await _locked(console, request, operation, error) from None
            doing = Doing(
                operation.action or operation.permission,
                principal,
                "rest",
                request.path_params.get("id", ""),
            )
            with recorded(console.services.actions, doing):
                try:
                    principal.require(operation.permission)
                except ForbiddenError:
                    doing.details = await _refused_request(request, operation)
                    raise
                return json_response(await _answer(operation, console, request, doing))
        except ForbiddenError as error:
            return ProblemError(403, "Not permitted", str(error)).response()
        except HTTPException as error:
            return ProblemError(
                error.status_code, "Not done", error.detail, error.headers
            ).response()
        except ProblemError as error:
            return error.response()

    return answer


async def _answer(operation: Operation, console: Console, request: Request, doing: Doing) -> Any:
    """Raises ProblemError."""
    unknown = set(request.query_params) - {parameter.name for parameter in operation.query}
    if unknown:
        names = ", ".join(parameter.name for parameter in operation.query) or "none"
        raise invalid(f"There is no parameter {min(unknown)[:100]!r}. There are: {names}.")
    doing.add(request.query_params)
    body = None
    if operation.body is not None:
        body = await body_of(request, operation.body)
        doing.add(msgspec.to_builtins(body))
    return await operation.handler(Call(console, request, doing.principal, body, doing))


async def _refused_request(request: Request, operation: Operation) -> dict[str, str]:
    """What somebody asked for who may not: whom they would have locked, say. In short: it is not
    for them to fill the record.
    """
    names = {parameter.name for parameter in operation.query}
    asked = asked_for({name: text for name, text in request.query_params.items() if name in names})
    if operation.body is not None:
        try:
            asked |= asked_for(msgspec.to_builtins(await body_of(request, operation.body)))
        except ProblemError as problem:
            asked["body"] = f"not usable: {problem.detail}"
    return {name: text[:_REFUSED_LENGTH] for name, text in asked.items()}


async def _locked(
    console: Console, request: Request, operation: Operation, error: LockedError
) -> ProblemError:
    """The token is good, but whose it is may do nothing now. That they tried is recorded, within
    bounds.
    """
    refusal = error.refusal
    if not error.is_excessive:
        console.services.actions.record(
            operation.action or operation.permission,
            error.subject,
            address_of(request),
            "rest",
            object_id=request.path_params.get("id", ""),
            outcome=ev.REFUSED,
            reason=refusal.text,
            details=await _refused_request(request, operation),
        )
    detail = f"{refusal.text}. {refusal.detail}. {refusal.hint}"
    return ProblemError(403, "Locked", detail, code=refusal.code.id)


async def body_of(request: Request, kind: type) -> Any:
    """The request's JSON. Raises ProblemError."""
    if (
        request.headers.get("content-type", "").partition(";")[0].strip().lower()
        != "application/json"
    ):
        raise ProblemError(415, "Not JSON", "Send 'Content-Type: application/json'.")
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise invalid(f"The body: {str(error)[:300]}") from None


def routes(operations: tuple[Operation, ...]) -> list[Route]:
    """A route for each path, with all its methods."""
    return [
        Route(
            PREFIX + operation.path,
            endpoint(operation),
            methods=[operation.method],
            name=operation.name,
        )
        for operation in operations
    ]
