"""Signing in; out: :mod:`sallyport.web.auth.sign_out`.

``/sign-in`` says with whom; ``/sign-in/start`` sends the browser to the issuer;
``/sign-in/callback`` takes it back and makes a new session id. A sign-in that comes back must have
been begun in the same browser (cookie, state), at any gateway of the store. Rate-limited by
address.
"""

from __future__ import annotations

import math
import re

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sallyport.audit.refusedlogins import SIGN_IN, RefusedLogin
from sallyport.core.subject import Subject
from sallyport.web.auth.begun import PENDING_SECONDS, Pending
from sallyport.web.auth.oidc import SignInError
from sallyport.web.console import Console, Visit, address_of, console_of

log = structlog.get_logger("sallyport.web")

_LOCAL_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,1000}\Z|/\Z")


def local_path(text: str) -> str:
    """``text`` when it leads to a page of this console, else ``/``: nobody is sent elsewhere after
    signing in.
    """
    return text if _LOCAL_PATH.match(text) and not text.startswith("/sign-") else "/"


def _sign_in_page(
    console: Console, onward: str, problem: str = "", status: int = 200
) -> HTMLResponse:
    settings = console.services.settings
    values = {
        "onward": onward,
        "problem": problem,
        "issuer": settings.issuer.issuer if settings.issuer is not None else "",
        "configured": bool(settings.client_id),
        "saml": list(console.services.saml.values()),
    }
    return HTMLResponse(console.render("sign-in.html", values), status)


async def sign_in(request: Request) -> Response:
    """The page with the ways to sign in."""
    return _sign_in_page(console_of(request), local_path(request.query_params.get("next", "/")))


async def start(request: Request) -> Response:
    """Send the browser to the issuer (OpenID Connect Core, section 3.1.2.1)."""
    console = console_of(request)
    onward = local_path(request.query_params.get("next", "/"))
    limit_sign_ins(console, request)
    if not console.services.settings.client_id:
        return _sign_in_page(console, onward, status=503)
    pending = Pending(onward)
    try:
        url = await console.client.authorization_url(pending)
    except SignInError as error:
        return signin_failed(request, error, onward, 502)
    return pending_response(console, RedirectResponse(url, 303), pending)


def pending_response(console: Console, response: Response, pending: Pending) -> Response:
    """The response with the cookie of a sign-in that was begun."""
    cookie = console.begun.cookie_of(pending)
    _set(console, response, console.pending_cookie, cookie, PENDING_SECONDS)
    return response


async def take_pending(request: Request) -> Pending | None:
    """The sign-in that this browser began, once."""
    console = console_of(request)
    return await console.begun.pending_of(request.cookies.get(console.pending_cookie, ""))


async def callback(request: Request) -> Response:
    """Take the issuer's answer (OpenID Connect Core, section 3.1.2.5), once."""
    console = console_of(request)
    pending = await take_pending(request)
    try:
        if pending is None or pending.provider:
            raise SignInError("This sign-in took too long, or began in another browser. Try again.")
        answer = request.query_params.multi_items()
        if len({name for name, _ in answer}) != len(answer):
            raise SignInError("The identity provider's answer has a parameter twice.")
        subject = await console.client.finish(pending, dict(answer))
    except SignInError as error:
        onward = pending.onward if pending is not None else "/"
        return signin_failed(request, error, onward, 403)
    return signed_in(request, subject, pending.onward)


def signin_failed(request: Request, error: SignInError, onward: str, status: int) -> Response:
    """The page that says so. That is recorded, with what the operator alone is told."""
    console, address = console_of(request), address_of(request)
    log.warning("sign-in failed", reason=error.reason, address=address)
    console.services.actions.login_refused(
        RefusedLogin(address, "web", "", error.reason, error.subject, name=SIGN_IN)
    )
    return _sign_in_page(console, onward, str(error), status)


def signed_in(request: Request, subject: Subject, onward: str, ends: float = math.inf) -> Response:
    """Onward, with a new session. ends: Unix seconds at which the provider wants it over."""
    console = console_of(request)
    console.signins.close(request.cookies.get(console.cookie, ""))
    roles = sorted(console.services.access.principal(subject).roles)
    log.info(
        "signed in",
        subject=subject.id,
        issuer=subject.issuer,
        roles=roles,
        address=address_of(request),
    )
    console.services.actions.record(
        SIGN_IN, subject, address_of(request), "web", details={"roles": ", ".join(roles)}
    )
    response = RedirectResponse(onward, 303)
    _set(console, response, console.cookie, console.signins.open(subject, ends), None)
    _forget(console, response, console.pending_cookie)
    return response


def close_sign_in(visit: Visit) -> Response:
    """This browser is signed out, and goes to the page to sign in."""
    console = visit.console
    console.signins.close(visit.request.cookies.get(console.cookie, ""))
    log.info("signed out", subject=visit.signin.subject.id, issuer=visit.signin.subject.issuer)
    response = RedirectResponse("/sign-in", 303)
    _forget(console, response, console.cookie)
    return response


def limit_sign_ins(console: Console, request: Request) -> None:
    """Count a sign-in for its address. Raises HTTPException (429) where there were too many."""
    limit, address = console.sign_in_limit, address_of(request)
    # What comes back counts with its beginning: without one nothing is asked of the issuer.
    if limit.exceeded(address):
        raise HTTPException(
            429,
            "Too many sign-ins from your address. Wait a minute.",
            {"Retry-After": str(limit.retry_after)},
        )
    limit.count(address)


def _set(console: Console, response: Response, name: str, value: str, seconds: int | None) -> None:
    secure = console.services.settings.secure
    response.set_cookie(
        name, value, max_age=seconds, path="/", httponly=True, samesite="lax", secure=secure
    )


def _forget(console: Console, response: Response, name: str) -> None:
    secure = console.services.settings.secure
    response.delete_cookie(name, path="/", httponly=True, samesite="lax", secure=secure)
