"""What a browser on this machine brings back: one request to a loopback address (RFC 8252 section
7.3).
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl, urlsplit

from sallyport.core.errors import SallyportError

_SECONDS = 300.0
_PAGE = (
    b"<!doctype html><title>Sallyport</title><p>The terminal goes on from here. This page can be"
    b" closed.</p>"
)


class LoopbackListener(HTTPServer):
    """One request at a time, on a port that the system picks. Requests without ``state`` are not
    for this sign-in and are not answered. Use it in a ``with``.
    """

    def __init__(self, state: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.timeout = 1.0
        self.state = state
        self.answer: Mapping[str, str] = {}

    def wait(self) -> Mapping[str, str]:
        """The parameters that the browser brought: ``code`` or ``error`` is one of them. Raises
        SallyportError when it does not come.
        """
        ends = time.monotonic() + _SECONDS
        while not self.answer:
            if time.monotonic() > ends:
                raise SallyportError("nobody signed in within 5 minutes: run it again")
            self.handle_request()
        return self.answer


class _Answer(BaseHTTPRequestHandler):
    timeout = 5.0

    def do_GET(self) -> None:
        listener = self.server
        pairs = parse_qsl(urlsplit(self.path).query)
        answer = dict(pairs)
        is_ours = (
            isinstance(listener, LoopbackListener)
            and listener.state
            and len(answer) == len(pairs)
            and hmac.compare_digest(answer.get("state", "").encode(), listener.state.encode())
        )
        if not is_ours or not (answer.get("code") or answer.get("error")):
            self.send_error(404)
            return
        listener.answer = answer  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(_PAGE)))
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(_PAGE)

    def log_message(self, format: str, *args: object) -> None:
        """Not on the terminal: it would show the code."""
