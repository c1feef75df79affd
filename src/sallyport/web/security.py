"""What holds for every answer of the console: headers, known hosts, bounded requests.

Pure ASGI, so that streams pass through. The policy for content allows nothing but files of the
console itself: no inline script or style, no other host, no frames, no forms that lead elsewhere.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sallyport.web.settings import ConsoleSettings

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
MAX_BODY = 1 << 20
#: Asked by address, by whoever watches the process.
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})


class Guard:
    """The outermost layer."""

    def __init__(self, app: ASGIApp, settings: ConsoleSettings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._mark(MutableHeaders(scope=message), scope["path"])
            await send(message)

        problem = self._problem(scope)
        if problem:
            status, text = problem
            await PlainTextResponse(text, status)(scope, receive, guarded)
            return
        await self.app(scope, _bounded(receive), guarded)

    def _mark(self, headers: MutableHeaders, path: str) -> None:
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        if self.settings.secure:
            headers["Strict-Transport-Security"] = "max-age=31536000"
        if not path.startswith("/static/"):
            headers["Cache-Control"] = "no-store"

    def _problem(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        if scope["path"] not in _PROBES and not self.settings.knows_host(headers.get("host", "")):
            return (
                421,
                (
                    f"This is not the address of the console. Use {self.settings.public_url}"
                    " (console.public_url)."
                ),
            )
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:12]) > MAX_BODY:
            return 413, f"A request may have at most {MAX_BODY} bytes."
        return None


class BodyTooLargeError(Exception):
    """A body without a length went past the bound."""


def _bounded(receive: Receive) -> Receive:
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > MAX_BODY:
                raise BodyTooLargeError
        return message

    return bounded
