"""Connecting: a session token for whoever is signed in, shown once with its connection string, and
those that are valid.
"""

from __future__ import annotations

from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from sallyport.core.errors import RefusedError
from sallyport.operations.tokens import TokenError, TokenOperations, TokenRequest
from sallyport.web.console import FormError, Visit


def operations(visit: Visit) -> TokenOperations:
    """Raises HTTPException (404) where the gateway issues no session tokens."""
    if visit.services.session_tokens is None:
        raise HTTPException(404)
    return TokenOperations(visit.services.session_tokens, visit.services.gateway)


async def index(visit: Visit) -> Response:
    """One's own session tokens, and how to get one."""
    return _page(visit)


def _page(visit: Visit, problem: str = "", status: int = 200, connection: str = "") -> Response:
    return visit.page(
        "connect.html",
        status,
        tokens=operations(visit).list(visit.principal),
        targets=[target.name for target in visit.services.gateway.targets()],
        connection=connection,
        problem=problem,
    )


async def issue(visit: Visit) -> Response:
    """The page with the token on it: the only time that it is shown."""
    try:
        minutes = visit.field("minutes", 20)
        if minutes and not (minutes.isascii() and minutes.isdecimal() and len(minutes) <= 6):
            raise FormError("Minutes: a whole number, or nothing for the longest lifetime.")
        request = TokenRequest(visit.field("target", 200), (), int(minutes or "0"))
        secret, token = await operations(visit).issue(visit.principal, request)
    except (FormError, TokenError) as error:
        visit.doing.reason = str(error)
        return _page(visit, str(error), 422)
    except RefusedError as error:
        visit.doing.reason = error.refusal.text
        return _page(visit, error.refusal.text, 503)
    visit.doing.object_id = token.id
    address = visit.services.settings.wire_address
    target = quote(request.target, safe="") or "TARGET"
    return _page(visit, connection=f"postgresql://me:{secret.reveal()}@{address}/{target}")


async def revoke(visit: Visit) -> Response:
    """Revoke a session token: its sessions end."""
    try:
        token, ended = await operations(visit).revoke(
            visit.principal, visit.request.path_params["id"]
        )
    except TokenError as error:
        raise HTTPException(409, str(error)) from None
    except RefusedError as error:
        raise HTTPException(
            503, f"It is revoked, but only until the gateway stops: {error.refusal.text}"
        ) from None
    visit.doing.add({"subject": token.subject.id, "sessions_ended": str(ended)})
    return RedirectResponse("/connect", 303)
