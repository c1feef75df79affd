"""Operations of the REST interface: session tokens."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import Request

from sallyport.core.errors import RefusedError
from sallyport.operations.access import Principal
from sallyport.operations.tokens import (
    MAX_MINUTES,
    MAX_NETWORKS,
    TokenError,
    TokenOperations,
    TokenRequest,
    token_data,
)
from sallyport.web.api.operations import (
    Call,
    Operation,
    Parameter,
    ProblemError,
    invalid,
    not_found,
)
from sallyport.web.auth.exchange import identified, is_bearer
from sallyport.web.auth.saml import MAX_RESPONSE
from sallyport.web.console import Console


class TokenBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``target`` "": any. ``networks``: addresses or CIDR that may use it; none: from anywhere.
    ``minutes`` 0: as long as it may live, which is never longer than the identity that it stands
    for. That is the bearer token of the request, or in its place one of these: ``saml_response``,
    base64 as the provider posts it, of the provider ``saml`` (its name; not needed where there is
    one); ``code`` and ``verifier``, with which ``sallyport login --saml`` takes over a sign-in of
    the console.
    """

    target: Annotated[str, Meta(max_length=200)] = ""
    networks: Annotated[
        list[Annotated[str, Meta(max_length=60)]], Meta(max_length=MAX_NETWORKS)
    ] = []
    minutes: Annotated[int, Meta(ge=0, le=MAX_MINUTES)] = 0
    saml_response: Annotated[str, Meta(max_length=MAX_RESPONSE)] = ""
    saml: Annotated[str, Meta(max_length=40)] = ""
    code: Annotated[str, Meta(max_length=400)] = ""
    verifier: Annotated[str, Meta(max_length=128)] = ""


class IssuedToken(msgspec.Struct, frozen=True):
    """``secret``: the token's text, which is shown this once."""

    secret: str
    token: dict[str, Any]


class TokenList(msgspec.Struct, frozen=True):
    """Newest first."""

    tokens: list[dict[str, Any]]


class RevokedToken(msgspec.Struct, frozen=True):
    """``sessions``: how many live sessions it ended."""

    token: dict[str, Any]
    sessions: int


def _operations(call: Call) -> TokenOperations:
    tokens = call.services.session_tokens
    if tokens is None:
        raise not_found("This gateway issues no session tokens.")
    return TokenOperations(tokens, call.services.gateway)


async def list_tokens(call: Call) -> Any:
    """``GET /tokens``."""
    everybody = call.choice("of", "everybody") == "everybody"
    return {
        "tokens": [
            token_data(t) for t in _operations(call).list(call.principal, everybody=everybody)
        ]
    }


async def issue_token(call: Call) -> Any:
    """``POST /tokens``."""
    body = call.body
    if is_bearer(call.request) and (body.saml_response or body.code):
        raise invalid(
            "Two identities: send a bearer token, a SAML response or a code, and nothing else of"
            " them."
        )
    request = TokenRequest(body.target, tuple(body.networks), body.minutes)
    try:
        secret, token = await _operations(call).issue(call.principal, request)
    except TokenError as error:
        raise invalid(str(error)) from None
    except RefusedError as error:
        raise ProblemError(503, "Not stored", error.refusal.text) from None
    call.doing.object_id = token.id
    return {"secret": secret.reveal(), "token": token_data(token)}


async def revoke_token(call: Call) -> Any:
    """``POST /tokens/{id}/revoke``."""
    try:
        token, ended = await _operations(call).revoke(call.principal, call.path("id"))
    except TokenError as error:
        raise not_found(str(error)) from None
    except RefusedError as error:
        detail = (
            "It is revoked, but until it can be stored, which is tried again, only while the"
            f" gateway runs: {error.refusal.text}"
        )
        raise ProblemError(503, "Not stored", detail) from None
    call.doing.add({"subject": token.subject.id, "sessions_ended": str(ended)})
    return {"token": token_data(token), "sessions": ended}


async def _identify(console: Console, request: Request) -> Principal:
    return await identified(console, request, TokenBody)


TOKENS: tuple[Operation, ...] = (
    Operation(
        "GET", "/tokens", "listTokens", "tokens.list", "Your valid session tokens, newest first.",
        list_tokens, TokenList,
        (Parameter("of", "'everybody': needs locks.read.",
        {"type": "string", "enum": ["everybody"]}),), errors=(404,),
    ),
    Operation(
        "POST", "/tokens", "issueToken", "tokens.issue", (
            "Exchange an identity for a session token: a bearer token, or a SAML response in"
            " the body."
        ),
        issue_token, IssuedToken, body=TokenBody, errors=(404, 503), identify=_identify,
    ),
    Operation(
        "POST", "/tokens/{id}/revoke", "revokeToken", "tokens.revoke",
        "Revoke a session token, and end its live sessions.",
        revoke_token, RevokedToken, errors=(404, 503),
    ),
)  # fmt: skip
