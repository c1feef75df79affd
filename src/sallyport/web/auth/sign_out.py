"""Signing out, and single logout of SAML (profiles, section 4.4).

Who signed in with a SAML provider that has single logout signs out of it as well: the console's
sign-in ends, the session tokens that came of the same session are revoked, and the database
sessions that they opened end; then the browser goes to the provider with a signed request. The same
happens when the provider sends a signed request to ``/saml/{name}/slo``. What ends is told by the
NameID and SessionIndex of the request, not by a cookie, which another site's post does not bring.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sallyport.core.errors import SallyportError
from sallyport.core.subject import Subject
from sallyport.identity.single_logout import LogoutRequest, LogoutResponse
from sallyport.operations.tokens import EndedTokens, TokenOperations
from sallyport.web.auth.saml import TO_PROVIDER, provider_of
from sallyport.web.auth.sign_in import close_sign_in
from sallyport.web.console import Console, Visit, action, address_of, console_of
from sallyport.web.security import CONTENT_SECURITY_POLICY
from sallyport.web.settings import SamlRequest, SamlSignIn

log = structlog.get_logger("sallyport.web")

_OVER = "You are signed out, and the session tokens of this sign-in are revoked."
_ELSEWHERE = "At the identity provider you may be signed in still"


async def _sign_out(visit: Visit) -> Response:
    console, subject = visit.console, visit.signin.subject
    closed = close_sign_in(visit)
    provider = _provider_for(console, subject)
    if provider is None or not provider.signs_out:
        return closed
    provider.end(provider.session_of(subject))
    await provider.store_ended()
    ended = await _end_tokens(console, provider.is_over, subject.email or subject.id)
    visit.doing.add(_details(provider, ended))
    id_ = console.begun.logout_id(provider.name)
    try:
        onward = await provider.logout_request(subject, id_)
    except SallyportError as error:
        log.warning("the SAML provider is not asked to sign out", reason=str(error))
        page = _page(console, f"{_OVER} {_ELSEWHERE}: it could not be asked.")
    else:
        page = _onward(console, onward)
    for name, value in closed.raw_headers:
        if name == b"set-cookie":
            page.raw_headers.append((name, value))
    return page


sign_out = action("", _sign_out, name="sign-out")


async def single_logout(request: Request) -> Response:
    """The provider's request, or its answer to ours."""
    provider, console = provider_of(request), console_of(request)
    limit, address = console.logout_limit, address_of(request)
    if limit.exceeded(address):
        raise HTTPException(429, "Too many failed requests from your address. Wait a minute.")
    fields = None
    if request.method == "POST":
        form = await request.form(max_fields=10, max_files=0)
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    try:
        query = request.scope["query_string"].decode("ascii", "replace")
        message = await provider.read_logout(query, fields)
    except SallyportError:
        limit.count(address)
        raise HTTPException(
            403, "The identity provider's message was refused. The gateway's log says why."
        ) from None
    if isinstance(message, LogoutResponse):
        return await _answered(console, provider, message)
    return await _asked(console, provider, message, address)


async def _answered(console: Console, provider: SamlSignIn, message: LogoutResponse) -> Response:
    if not await console.begun.is_logout_id(message.request_id, provider.name):
        log.warning("saml_logout_refused", provider=provider.name, reason="InResponseTo")
        raise HTTPException(403, "The identity provider's message answers no request of ours.")
    if message.problem:
        log.warning("saml_logout_incomplete", provider=provider.name, reason=message.problem)
        return _page(console, f"{_OVER} {_ELSEWHERE}, or in other programs: {message.problem}.")
    return _page(console, f"{_OVER} You are signed out at the identity provider as well.")


async def _asked(
    console: Console, provider: SamlSignIn, message: LogoutRequest, address: str
) -> Response:
    provider.end(message.ended)
    is_stored = await provider.store_ended()
    subjects = console.signins.close_where(message.ended.covers)
    tokens = console.services.session_tokens
    if tokens is not None:
        subjects += [t.subject for t in tokens.active() if message.ended.covers(t.subject)]
    ended = await _end_tokens(console, message.ended.covers, provider.title)
    people = list({(subject.issuer, subject.id): subject for subject in subjects}.values())
    for subject in people:
        console.services.actions.record(
            "sign-out", subject, address, "web", details=_details(provider, ended)
        )
    log.info(
        "the SAML provider ended a session",
        provider=provider.name,
        subjects=[subject.id for subject in people],
        tokens=ended.tokens,
        sessions=ended.sessions,
    )
    try:
        answer = await provider.logout_response(message, is_done=ended.is_stored and is_stored)
    except SallyportError as error:
        log.warning("the SAML provider's logout is not answered", reason=str(error))
        return _page(console, _OVER)
    if answer.fields:
        return _onward(console, answer)
    return RedirectResponse(answer.url, 303)


async def _end_tokens(
    console: Console, is_theirs: Callable[[Subject], bool], by: str
) -> EndedTokens:
    services = console.services
    if services.session_tokens is None:
        return EndedTokens()
    operations = TokenOperations(services.session_tokens, services.gateway)
    return await operations.end(is_theirs, by)


def _provider_for(console: Console, subject: Subject) -> SamlSignIn | None:
    providers = console.services.saml.values()
    return next((each for each in providers if subject.issuer in each.issuers), None)


def _details(provider: SamlSignIn, ended: EndedTokens) -> dict[str, str]:
    return {
        "provider": provider.name,
        "tokens_revoked": str(ended.tokens),
        "sessions_ended": str(ended.sessions),
    }


def _page(console: Console, text: str) -> Response:
    return HTMLResponse(console.render("signed-out.html", {"text": text}))


def _onward(console: Console, onward: SamlRequest) -> Response:
    """A page that goes on by itself: a form's answer may not redirect to another site
    (``form-action``), a page may lead there.
    """
    values = {
        "title": "Sign out",
        "url": onward.url,
        "fields": onward.fields,
        "sends_itself": True,
        "button": TO_PROVIDER,
    }
    response = HTMLResponse(console.render("saml-post.html", values))
    parts = urlsplit(onward.url)
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY.replace(
        "form-action 'self'", f"form-action 'self' {parts.scheme}://{parts.netloc}"
    )
    if not onward.fields:
        response.headers["Refresh"] = f"0; url={onward.url}"
    return response
