"""Who asks for a session token where no bearer token says so: a SAML response, or a sign-in of the
console that a terminal takes over.

Both are proofs that count once. They pass the same checks as a token on the wire (what the
configuration requires, locks, the bound on failures of an address), and are bounded like sign-ins
before anything is verified.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from starlette.requests import Request

from sallyport.core.subject import Subject
from sallyport.identity.authenticate import LockedError, LoginRefused
from sallyport.identity.problems import IdentityProblem
from sallyport.operations.access import Principal
from sallyport.web.api.operations import ProblemError, body_of, invalid, principal_of, unauthorized
from sallyport.web.auth.sign_in import limit_sign_ins
from sallyport.web.console import Console, address_of
from sallyport.web.settings import SamlSignIn

_GONE: Final = "the code was used, has expired or is not of this terminal"


class Proofs(Protocol):
    """A body with them; "" where there is none."""

    @property
    def saml_response(self) -> str: ...
    @property
    def saml(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def verifier(self) -> str: ...


def is_bearer(request: Request) -> bool:
    """Whether the request comes with a token of its own, not with a cookie."""
    return "authorization" in request.headers


async def identified(console: Console, request: Request, kind: type[Any]) -> Principal:
    """Who asks, by bearer token or by what the body (of type ``kind``, with :class:`Proofs`) shows.
    Raises ProblemError, HTTPException (429), LockedError.
    """
    if is_bearer(request):
        return await principal_of(console, request)
    try:
        body: Proofs = await body_of(request, kind)
    except ProblemError:
        return await principal_of(console, request)  # which says that there is no token
    if not body.saml_response and not body.code:
        return await principal_of(console, request)
    if body.saml_response and body.code:
        raise invalid("saml_response and code: send one of them.")
    limit_sign_ins(console, request)
    outcome = await _outcome(console, body)
    authenticator, address = console.services.authenticator, address_of(request)
    if isinstance(outcome, Subject):
        outcome = authenticator.still_accepted(outcome) or outcome
    try:
        subject = authenticator.admit(outcome, label="", entrance="rest", address=address)
    except LockedError:
        raise
    except LoginRefused as error:
        raise unauthorized(console, request, error, "The identity is not accepted") from None
    return console.services.access.principal(subject, address)


async def _outcome(console: Console, body: Proofs) -> Subject | IdentityProblem:
    if body.code:
        signin = await console.begun.handed_over(body.code, body.verifier)
        taken = await console.signins.by_name(signin) if signin else None
        return (
            taken.subject
            if taken is not None
            else IdentityProblem(_GONE, _GONE, "Run sallyport login again.")
        )
    return await _provider(console, body.saml).verify_response(body.saml_response)


def _provider(console: Console, name: str) -> SamlSignIn:
    """The provider of that name; "": the only one. Raises ProblemError."""
    providers = console.services.saml
    if not providers:
        raise invalid("saml_response: this gateway has no SAML provider (identity.saml).")
    if not name and len(providers) == 1:
        return next(iter(providers.values()))
    if name not in providers:
        raise invalid(f"saml: one of {', '.join(sorted(providers))}")
    return providers[name]
