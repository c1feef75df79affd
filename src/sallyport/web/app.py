"""The console as an ASGI application: routes, errors as pages or problems, probes.

:func:`build` takes what the composition root made; nothing here opens a socket. Every page but
``/sign-in``, the probes and static files needs a sign-in; everything under ``/api/v1`` but the
OpenAPI document needs a bearer token.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from importlib import resources

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from sallyport.operations.access import ForbiddenError
from sallyport.web import slack, witness
from sallyport.web.api import operations as api
from sallyport.web.api.openapi import openapi
from sallyport.web.api.resources import OPERATIONS
from sallyport.web.auth import saml, sign_out
from sallyport.web.auth import sign_in as auth
from sallyport.web.console import Console, Endpoint, action, console_of, page
from sallyport.web.metrics import metrics
from sallyport.web.pages import (
    actions,
    approvals,
    connect,
    containments,
    findings,
    locks,
    overview,
    policy,
    sessions,
    statements,
    targets,
    terminal,
)
from sallyport.web.security import BodyTooLargeError, Guard
from sallyport.web.settings import Services

log = structlog.get_logger("sallyport.web")


def build(services: Services) -> Starlette:
    """The application; ``sallyport.web.serve`` runs it."""
    console = Console(services)
    mcp = services.mcp() if services.mcp is not None else None

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            async with mcp.run() if mcp is not None else contextlib.nullcontext():
                yield
        finally:
            await console.close()

    app = Starlette(
        routes=[*_routes(), *(mcp.routes if mcp is not None else ())],
        lifespan=lifespan,
        middleware=[Middleware(Guard, settings=services.settings)],
        exception_handlers={
            HTTPException: _http_error,
            ForbiddenError: _forbidden,
            BodyTooLargeError: _too_large,
            Exception: _failed,
        },
    )
    app.state.console = console
    return app


def _routes() -> list[Route]:
    def get(path: str, endpoint: Endpoint) -> Route:
        return Route(path, endpoint, methods=["GET"])

    def post(path: str, endpoint: Endpoint) -> Route:
        return Route(path, endpoint, methods=["POST"])

    return [
        get("/", page("overview.read", overview.overview)),
        get("/overview/live", page("overview.read", overview.live, background=True)),
        get("/approvals", page("approvals.list", approvals.inbox)),
        get("/approvals/stream", page("approvals.list", approvals.stream, background=True)),
        get("/approvals/{id}", page("approvals.read", approvals.show)),
        get(
            "/approvals/{id}/sample",
            page("approvals.read", approvals.sample, background=True, name="approvals.sample"),
        ),
        get("/approvals/{id}/status", page("approvals.read", approvals.status, background=True)),
        post("/approvals/{id}/decision", action("approvals.decide", approvals.decide)),
        post(
            "/grants/{id}/revoke",
            action("approvals.decide", approvals.revoke, name="approvals.revoke"),
        ),
        get("/sessions", page("sessions.list", sessions.index)),
        get("/statements", page("sessions.read", statements.index, name="statements.search")),
        get("/sessions/{id}", page("sessions.read", sessions.show)),
        post("/sessions/{id}/kill", action("sessions.kill", sessions.kill)),
        get("/sessions/{id}/replay", page("sessions.replay", sessions.replay)),
        get("/sessions/{id}/replay/steps", page("sessions.replay", sessions.replay_steps)),
        get("/policy", page("policy.read", policy.show)),
        post("/policy/explain", action("policy.explain", policy.explain)),
        get("/policy/versions/{id}", page("policy.read", policy.version)),
        get("/targets", page("targets.read", targets.show)),
        get("/locks", page("locks.read", locks.index)),
        post("/locks", action("locks.lock", locks.lock)),
        post("/locks/{id}/release", action("locks.release", locks.release)),
        get("/findings", page("findings.read", findings.index)),
        get("/findings/{id}", page("findings.read", findings.show)),
        post("/findings/{id}/acknowledge", action("findings.acknowledge", findings.acknowledge)),
        get("/agents/{id}", page("findings.read", findings.agent)),
        post("/agents/{id}/reset", action("baselines.reset", findings.reset)),
        get("/containments", page("containments.read", containments.index)),
        post("/containments/{id}/release", action("containments.release", containments.release)),
        get("/connect", page("tokens.list", connect.index)),
        post("/connect", action("tokens.issue", connect.issue)),
        get("/connect/terminal", page("tokens.list", terminal.ask)),
        post(
            "/connect/terminal", action("tokens.issue", terminal.hand_over, name="tokens.terminal")
        ),
        post("/connect/{id}/revoke", action("tokens.revoke", connect.revoke)),
        get("/actions", page("audit.actions", actions.index)),
        get("/sign-in", auth.sign_in),
        get("/sign-in/start", auth.start),
        get("/sign-in/callback", auth.callback),
        get("/sign-in/saml/{name}", saml.start),
        post("/saml/{name}/acs", saml.consume),
        post("/saml/{name}/finish", saml.finish),
        get("/saml/{name}/metadata", saml.metadata),
        get("/saml/{name}/slo", sign_out.single_logout),
        post("/saml/{name}/slo", sign_out.single_logout),
        post("/sign-out", sign_out.sign_out),
        post(slack.PATH, slack.interactions),
        post(witness.PATH, witness.add_checkpoint),
        get("/static/{name}", static),
        get("/healthz", healthz),
        get("/readyz", readyz),
        get("/metrics", metrics),
        get(f"{api.PREFIX}/openapi.json", openapi),
        *api.routes(OPERATIONS),
    ]


async def healthz(request: Request) -> Response:
    """The process answers."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """A session could start now, on any target or on that of ``?target=NAME``. What is wrong and
    keeps nobody out is a warning behind the ok.
    """
    gateway = console_of(request).services.gateway
    try:
        problem = gateway.ready(request.query_params.get("target", ""))
    except LookupError:
        return PlainTextResponse("there is no such target\n", 404)
    policy = gateway.policy()
    if problem:
        return PlainTextResponse(f"{problem}\n", 503)
    # Asked without a token, so what the file says is not quoted.
    warning = f"warning: the policy file was not loaded; version {policy.version} stays in force\n"
    texts = "".join(f"warning: {text}\n" for text in gateway.warnings())
    return PlainTextResponse("ok\n" + (warning if policy.problem else "") + texts)


def _static_files() -> dict[str, tuple[bytes, str]]:
    files = {}
    for resource in resources.files("sallyport.web").joinpath("static").iterdir():
        kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}.get(
            resource.name.rpartition(".")[2], "text/plain"
        )
        files[resource.name] = resource.read_bytes(), kind
    return files


_STATIC = _static_files()


async def static(request: Request) -> Response:
    """One of the few files there are; they are read once."""
    file = _STATIC.get(request.path_params["name"])
    if file is None:
        raise HTTPException(404)
    return Response(file[0], media_type=file[1], headers={"Cache-Control": "public, max-age=300"})


# -- errors ----------------------------------------------------------------------------------------


async def _error(
    request: Request, status: int, title: str, text: str, headers: dict[str, str] | None = None
) -> Response:
    if request.url.path.startswith(api.PREFIX):
        return api.ProblemError(status, title, text, headers).response()
    console = console_of(request)
    signin = await console.sign_in_of(request, touch=False)
    # Somebody without a role has no other page to sign out on.
    who = (signin.subject.email or signin.subject.id) if signin is not None else ""
    values = {
        "title": title, "text": text, "status": status, "path": request.url.path,
        "who": who, "csrf": signin.csrf if signin is not None else "",
    }  # fmt: skip
    return HTMLResponse(console.render("error.html", values), status, headers)


_TITLES = {
    403: "Not permitted", 404: "Not found", 405: "Method not allowed", 409: "Conflict",
    413: "Too large", 415: "Not a form",
    422: "Not valid", 429: "Too many requests",
}  # fmt: skip


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    title = _TITLES.get(error.status_code, "Error")
    text = (
        error.detail
        if error.status_code != 404 or error.detail != "Not Found"
        else "There is no such page."
    )
    return await _error(request, error.status_code, title, text, dict(error.headers or {}))


async def _forbidden(request: Request, error: Exception) -> Response:
    return await _error(request, 403, "Not permitted", str(error))


async def _too_large(request: Request, error: Exception) -> Response:
    return await _error(request, 413, "Too large", "The request is too large.")


async def _failed(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, error=type(error).__name__, exc_info=error)
    return await _error(
        request, 500, "Internal error", "The console failed. See the gateway's log."
    )
