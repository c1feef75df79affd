"""``sallyport login --saml``: sign in at the console, in a browser on this machine, and take a
session token over.

The console sends the browser to this program's loopback with a code (RFC 8252 section 7.3); only
who has the verifier, which never left this process, gets a token for it (PKCE, RFC 7636). Nothing
that arrives here is more than that code.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
import webbrowser
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from sallyport.cli.rest import RestClient
from sallyport.core.clock import unix_seconds
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret
from sallyport.identity.client import Grant

_SECONDS = 300.0
_DONE = (
    b"<!doctype html><title>Sallyport</title><p>You are logged in in the terminal. This page can be"
    b" closed.</p>"
)


class _Listener(HTTPServer):
    """On loopback; one request at a time. ``code`` "": it has not come yet."""

    def __init__(self, state: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.timeout = 1.0
        self.state, self.code = state, ""


class _Answer(BaseHTTPRequestHandler):
    timeout = 5.0

    def do_GET(self) -> None:
        listener = self.server
        query = parse_qs(urlsplit(self.path).query)
        state, code = query.get("state", [""])[0], query.get("code", [""])[0]
        is_ours = isinstance(listener, _Listener) and hmac.compare_digest(
            state.encode(), listener.state.encode()
        )
        if not is_ours or not code:
            self.send_error(404)
            return
        listener.code = code  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(_DONE)))
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(_DONE)

    def log_message(self, format: str, *args: object) -> None:
        """Not on the terminal: it would show the code."""


def sign_in(url: str, minutes: int, show: Callable[[str], None]) -> Grant:
    """A session token of whoever signs in. url: the console's. minutes: its lifetime, 0 for as long
    as it may live. show: gets the address to open. Raises SallyportError.
    """
    client = RestClient(url, token=None)
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    challenge = (
        base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    )
    with _Listener(state) as listener:
        query = urlencode({"port": listener.server_port, "challenge": challenge, "state": state})
        page = f"{url.rstrip('/')}/connect/terminal?{query}"
        show(page)
        webbrowser.open(page)
        ends = time.monotonic() + _SECONDS
        while not listener.code:
            if time.monotonic() > ends:
                raise SallyportError("nobody signed in within 5 minutes: run it again")
            listener.handle_request()
        code = listener.code
    answer = client.post("/tokens", {"code": code, "verifier": verifier, "minutes": minutes})
    return Grant(Secret(answer["secret"]), unix_seconds(answer["token"]["expires_at"]))
