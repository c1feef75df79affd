"""What every request of the console shares: services, sign-ins, templates; and the ways a handler
gets hold of who is asking.

:func:`page` and :func:`action` wrap handlers: nobody reaches one without a sign-in that may do it,
and no POST passes without its CSRF token. What they raise becomes a page: see
:func:`sallyport.web.app.build`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sallyport.audit.replay import Step
from sallyport.core.address import forwarded_address
from sallyport.core.errors import SallyportError
from sallyport.core.rate_limit import RateLimit
from sallyport.identity.replay import UsedMessages
from sallyport.operations.access import ROLES, Principal
from sallyport.operations.pages import Page, Pager, step_weight
from sallyport.operations.sessions import Sessions
from sallyport.web.auth.begun import Begun
from sallyport.web.auth.oidc import CodeClient
from sallyport.web.auth.signin import SignIn
from sallyport.web.auth.signins import SignIns
from sallyport.web.pages.rendering import environment
from sallyport.web.recorded import Doing, recorded
from sallyport.web.settings import Services

Handler = Callable[["Visit"], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]

_SIGN_INS_A_MINUTE = 20


class FormError(SallyportError):
    """A form was not usable. The text says what to do."""


class Console:
    """One per application."""

    def __init__(self, services: Services) -> None:
        self.services = services
        settings, clock = services.settings, services.clock
        shared = services.shared
        self.signins = SignIns(
            clock,
            absolute=settings.session_seconds,
            idle=settings.idle_seconds,
            shared=shared.signins,
        )
        self.begun = Begun(clock, shared.box, UsedMessages(clock, store=shared.used))
        self.client = CodeClient(settings, clock, services.locks)
        self.pager = Pager()
        self.sign_in_limit = RateLimit(clock, _SIGN_INS_A_MINUTE, 60.0)
        #: Messages of single logout that were refused.
        self.logout_limit = RateLimit(clock, _SIGN_INS_A_MINUTE, 60.0)
        self.templates = environment()
        self.closing = False
        prefix = "__Host-" if settings.secure else ""
        self.cookie, self.pending_cookie = f"{prefix}sallyport", f"{prefix}sallyport_signin"

    def sessions_for(self, principal: Principal) -> Sessions:
        return self.services.sessions.as_caller(principal.authorize)

    async def replay_page(
        self, principal: Principal, session_id: str, start: int, size: int, maximum: int
    ) -> Page[Step]:
        """Steps from ``start`` on, of about ``maximum`` characters. Raises RecordingError."""
        sessions = self.sessions_for(principal)
        return await run_in_threadpool(
            self.pager.page,
            ("replay", session_id, principal.subject),
            lambda: sessions.replay(session_id),
            start,
            size,
            weigh=step_weight,
            maximum=maximum,
        )

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        return self.templates.get_template(template).render(**values)

    async def sign_in_of(self, request: Request, *, touch: bool = True) -> SignIn | None:
        """None for somebody who was locked since, whose issuer left, or whose SAML session was
        ended: their sign-in is over.
        """
        cookie, services = request.cookies.get(self.cookie, ""), self.services
        signin = await self.signins.get(cookie, touch=touch)
        if signin is None:
            return None
        is_locked = services.locks.of(signin.subject, agents=False) is not None
        is_over = any(provider.is_over(signin.subject) for provider in services.saml.values())
        if is_locked or is_over or signin.subject.issuer in services.authenticator.retired:
            self.signins.close(cookie)
            return None
        return signin

    async def close(self) -> None:
        self.closing = True
        self.pager.close()
        await self.client.close()


class Visit:
    """One request of somebody who is signed in."""

    def __init__(self, console: Console, request: Request, signin: SignIn, name: str = "") -> None:
        """``name``: of the action that is recorded."""
        self.console, self.request, self.signin = console, request, signin
        self.services = console.services
        self.principal = console.services.access.principal(signin.subject, address_of(request))
        self.form: FormData = FormData()
        self.doing = Doing(name, self.principal, "web", request.path_params.get("id", ""))
        self.doing.add(request.query_params)

    @property
    def sessions(self) -> Sessions:
        return self.console.sessions_for(self.principal)

    def page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(self.fragment(template, **values), status)

    def fragment(self, template: str, **values: Any) -> str:
        """A template with what every template may use."""
        return self.console.render(template, {**self.context(), **values})

    def context(self) -> dict[str, Any]:
        return {
            "me": self.principal,
            "may": self.principal.may,
            "csrf": self.signin.csrf,
            "path": self.request.url.path,
            "now": self.services.clock.now(),
            "roles": [role for role in ROLES if role in self.principal.roles],
            "policy_problem": self.services.gateway.policy().problem,
            "tokens_on": self.services.session_tokens is not None,
            "watch_on": self.services.watching is not None,
            "approvals_on": self.services.approvals is not None,
            "waiting": (
                len(self.services.approvals.pending()) if self.services.approvals is not None else 0
            ),
        }

    def field(self, name: str, maximum: int = 10_000) -> str:
        """One text field of the form. Raises FormError."""
        value = self.form.get(name, "")
        if not isinstance(value, str) or len(value) > maximum:
            raise FormError(f"The field {name} must be a text of at most {maximum} characters.")
        return value.strip()


def console_of(request: Request) -> Console:
    """The console that answers the request."""
    console = request.app.state.console
    if not isinstance(console, Console):
        raise TypeError("the application has no console")
    return console


def address_of(request: Request) -> str:
    """Who the request comes from: its peer, or whom a trusted proxy names."""
    peer = request.client.host if request.client else ""
    settings = console_of(request).services.settings
    if not settings.forwarding_header:
        return peer
    return forwarded_address(
        peer, request.headers.getlist(settings.forwarding_header), settings.proxies
    )


def page(
    permission: str, handler: Handler, *, background: bool = False, name: str = ""
) -> Endpoint:
    """A GET handler for whoever may do ``permission``. ``background``: a page asks for it by
    itself, which is no sign of anybody. ``name``: of the action, when it is not the permission's.
    """

    async def endpoint(request: Request) -> Response:
        console = console_of(request)
        signin = await console.sign_in_of(request, touch=not background)
        if signin is None:
            return _to_sign_in(request, background)
        visit = Visit(console, request, signin, name or permission)
        visit.doing.silent = background and not name
        with recorded(console.services.actions, visit.doing):
            visit.principal.require(permission)
            response = await handler(visit)
            visit.doing.status = response.status_code
        return response

    return endpoint


def action(permission: str, handler: Handler, *, name: str = "") -> Endpoint:
    """A POST handler: as :func:`page`, and the CSRF token must be there."""

    async def endpoint(request: Request) -> Response:
        console = console_of(request)
        signin = await console.sign_in_of(request)
        if signin is None:
            raise HTTPException(403, "Your sign-in has ended. Sign in, and send the form again.")
        visit = Visit(console, request, signin, name or permission)
        with recorded(console.services.actions, visit.doing):
            visit.form = await checked_form(request, signin)
            visit.doing.add(visit.form)
            if permission:
                visit.principal.require(permission)
            response = await handler(visit)
            visit.doing.status = response.status_code
        return response

    return endpoint


async def checked_form(request: Request, signin: SignIn) -> FormData:
    """The form of a POST of our own pages, else 403."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    if site not in ("same-origin", "none") or (
        origin is not None and origin.partition("//")[2] != host
    ):
        raise HTTPException(403, "This form was sent from another site.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "A form is expected.")
    form = await request.form(max_fields=50, max_files=0)
    token = form.get("csrf", "")
    if not isinstance(token, str) or not signin.csrf_matches(token):
        raise HTTPException(
            403,
            "The form has expired, or is for another sign-in. Go back, reload the page and send it"
            " again.",
        )
    return form


def _to_sign_in(request: Request, background: bool) -> Response:
    if background:
        # htmx follows this; a stream just ends.
        return Response("", 401, {"HX-Redirect": "/sign-in"})
    onward = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/sign-in?{urlencode({'next': onward})}", 303)
