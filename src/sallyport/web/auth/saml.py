"""Signing in with a SAML provider.

``/sign-in/saml/{name}`` sends the browser to it. The provider's page posts the response to
``/saml/{name}/acs`` from another site, with which browsers send no cookie; so it is given back,
unread, in a page of ours that posts it to ``/saml/{name}/finish`` with the cookie of the sign-in
that the browser began. Only there is the response verified, against the request of that very
sign-in: nobody is signed in to somebody else's account by a page that posts a response of theirs.
No gateway keeps anything between the three, so each may be answered by another one.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sallyport.core.errors import SallyportError
from sallyport.identity.authenticate import LockedError
from sallyport.identity.problems import IdentityProblem
from sallyport.web.auth.begun import Pending
from sallyport.web.auth.oidc import SignInError
from sallyport.web.auth.sign_in import (
    limit_sign_ins,
    local_path,
    pending_response,
    signed_in,
    signin_failed,
    take_pending,
)
from sallyport.web.console import console_of
from sallyport.web.security import CONTENT_SECURITY_POLICY
from sallyport.web.settings import SamlSignIn

#: Characters of base64: what :mod:`sallyport.identity.saml` reads at most, and some white space.
MAX_RESPONSE: Final = 360_000
TO_PROVIDER: Final = "Continue to the identity provider"


def provider_of(request: Request) -> SamlSignIn:
    """That of the address. Raises HTTPException (404)."""
    provider = console_of(request).services.saml.get(request.path_params["name"])
    if provider is None:
        raise HTTPException(404, "There is no such identity provider.")
    return provider


async def start(request: Request) -> Response:
    """Send the browser to the identity provider, by its binding (SAML bindings, sections 3.4 and
    3.5).
    """
    provider, console = provider_of(request), console_of(request)
    limit_sign_ins(console, request)
    pending = Pending(local_path(request.query_params.get("next", "/")), provider.name)
    try:
        asked = await provider.request(f"_{pending.nonce}")
    except SallyportError as error:
        return signin_failed(
            request,
            SignInError(f"The identity provider cannot be used: {error}"),
            pending.onward,
            502,
        )
    if asked.fields:
        values = {
            "title": "Sign in",
            "url": asked.url,
            "fields": asked.fields,
            "sends_itself": False,
            "button": TO_PROVIDER,
        }
        page = console.render("saml-post.html", values)
        response: Response = HTMLResponse(page)
        parts = urlsplit(asked.url)
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY.replace(
            "form-action 'self'", f"form-action {parts.scheme}://{parts.netloc}"
        )
    else:
        response = RedirectResponse(asked.url, 303)
    return pending_response(console, response, pending)


async def consume(request: Request) -> Response:
    """The assertion consumer service."""
    provider, console = provider_of(request), console_of(request)
    values = {
        "title": "Sign in",
        "url": f"/saml/{quote(provider.name)}/finish",
        "fields": {"SAMLResponse": await _response(request)},
        "sends_itself": True,
        "button": "Continue",
    }
    return HTMLResponse(console.render("saml-post.html", values))


async def finish(request: Request) -> Response:
    """Take the response that the browser brings (SAML bindings, section 3.5)."""
    provider, console = provider_of(request), console_of(request)
    limit_sign_ins(console, request)
    text = await _response(request)
    pending = await take_pending(request)
    onward = pending.onward if pending is not None else "/"
    try:
        if pending is not None and pending.provider != provider.name:
            raise SignInError("This sign-in was begun with another identity provider. Try again.")
        subject = await provider.verify_response(
            text, f"_{pending.nonce}" if pending is not None else ""
        )
        if isinstance(subject, IdentityProblem):
            raise SignInError(
                f"{subject.message[:1].upper()}{subject.message[1:]}. The gateway's log says why.",
                reason=subject.reason,
            )
        try:
            console.services.authenticator.refuse_locked(subject, entrance="web")
        except LockedError as error:
            refusal = error.refusal
            raise SignInError(
                f"{refusal.text}. {refusal.detail}. {refusal.hint}", error.subject
            ) from None
    except SignInError as error:
        return signin_failed(request, error, onward, 403)
    return signed_in(request, subject, onward, subject.expires_at)


async def _response(request: Request) -> str:
    """That of the form, unread. Raises HTTPException (400, 413)."""
    form = await request.form(max_fields=10, max_files=0)
    responses = form.getlist("SAMLResponse")
    if len(responses) != 1 or not isinstance(responses[0], str):
        raise HTTPException(400, "One SAMLResponse is expected.")
    text = "".join(responses[0].split())  # base64, which may be folded
    if len(text) > MAX_RESPONSE:
        raise HTTPException(413, "The SAMLResponse is too large.")
    return text


async def metadata(request: Request) -> Response:
    """Ours, for the provider's administrator."""
    try:
        document = provider_of(request).descriptor()
    except SallyportError as error:
        raise HTTPException(500, f"The metadata cannot be signed: {error}") from None
    return Response(document, media_type="application/samlmetadata+xml")
