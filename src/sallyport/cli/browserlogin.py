"""``sallyport login --saml``: sign in at the console, in a browser on this machine, and take a
session token over.

The console sends the browser to this program's loopback with a code (RFC 8252 section 7.3); only
who has the verifier, which never left this process, gets a token for it (PKCE, RFC 7636). Nothing
that arrives here is more than that code.
"""

from __future__ import annotations

import secrets
import webbrowser
from collections.abc import Callable
from urllib.parse import urlencode

from sallyport.cli.loopback import LoopbackListener
from sallyport.cli.rest import RestClient
from sallyport.core.clock import unix_seconds
from sallyport.core.secret import Secret
from sallyport.identity.oidc.client import Grant
from sallyport.identity.pkce import challenge_of


def sign_in(url: str, minutes: int, show: Callable[[str], None]) -> Grant:
    """A session token of whoever signs in. url: the console's. minutes: its lifetime, 0 for as long
    as it may live. show: gets the address to open. Raises SallyportError.
    """
    client = RestClient(url, token=None)
    client.get("/openapi.json")  # whether a console is there, before a person is sent to it
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    with LoopbackListener(state) as listener:
        query = urlencode(
            {"port": listener.server_port, "challenge": challenge_of(verifier), "state": state}
        )
        page = f"{url.rstrip('/')}/connect/terminal?{query}"
        show(page)
        webbrowser.open(page)
        code = listener.wait()["code"]
    answer = client.post("/tokens", {"code": code, "verifier": verifier, "minutes": minutes})
    return Grant(Secret(answer["secret"]), unix_seconds(answer["token"]["expires_at"]))
