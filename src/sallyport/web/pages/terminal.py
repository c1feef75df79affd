"""``sallyport login --saml``: a terminal on the browser's machine takes over the sign-in, once
somebody has said so on this page.

The terminal listens on its loopback and names the port. What goes there is a code (RFC 8252 section
7.3), which is worth nothing without the verifier that the terminal keeps (RFC 7636).
"""

from __future__ import annotations

import re
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from sallyport.web.auth.signins import name_of
from sallyport.web.console import Visit
from sallyport.web.pages.connect import operations
from sallyport.web.security import CONTENT_SECURITY_POLICY

_PORT = re.compile(r"[1-9][0-9]{0,4}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_STATE = re.compile(r"[A-Za-z0-9_-]{16,64}")


async def ask(visit: Visit) -> Response:
    """Ask who is signed in whether a program on their machine gets a session token (RFC 8252)."""
    operations(visit)  # 404 where no tokens are issued
    query = visit.request.query_params
    port, challenge, state = (query.get(name, "") for name in ("port", "challenge", "state"))
    address = _address(port, challenge, state)
    page = visit.page("terminal.html", port=port, challenge=challenge, state=state)
    # Chromium holds a form's redirects to form-action too.
    page.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY.replace(
        "form-action 'self'", f"form-action 'self' {address}"
    )
    return page


async def hand_over(visit: Visit) -> Response:
    """Send the browser to that program with a code, which PKCE binds to it (RFC 7636)."""
    operations(visit)
    challenge, state = visit.field("challenge", 100), visit.field("state", 100)
    address = _address(visit.field("port", 10), challenge, state)
    console = visit.console
    signin = name_of(visit.request.cookies.get(console.cookie, ""))
    code = console.begun.handover_code(signin, challenge)
    return RedirectResponse(f"{address}/?{urlencode({'code': code, 'state': state})}", 303)


def _address(port: str, challenge: str, state: str) -> str:
    """Where the terminal listens. Raises HTTPException."""
    fits = _PORT.fullmatch(port) and _CHALLENGE.fullmatch(challenge) and _STATE.fullmatch(state)
    if not fits or not 1024 <= int(port) <= 65535:
        raise HTTPException(400, "This address is not one that sallyport login made. Run it again.")
    return f"http://127.0.0.1:{port}"
