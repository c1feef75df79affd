"""Runs the console inside the gateway's own event loop, without signal handlers of its own.

:func:`serve` runs until it is cancelled, then lets requests end for a few seconds. It raises ConfigError when it cannot listen.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
import uvicorn
from starlette.applications import Starlette

from sallyport.core.errors import ConfigError

log = structlog.get_logger("sallyport.web")

_LAST_SECONDS = 3
#: Before a console that ended by itself is started again.
AGAIN_SECONDS = 1.0
_BACKLOG = 256


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the gateway's."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._listening()


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or later, HTTP/1.1. Raises ConfigError when the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the console cannot use {certificate} and {key}: {error}") from None
    return context


async def serve(
    app: Starlette,
    host: str,
    port: int,
    tls: ssl.SSLContext | None = None,
    ready: Callable[[str, int], None] | None = None,
) -> None:
    """``port`` 0 takes a free one; ``ready`` is told the address. Raises ConfigError, and CancelledError at the end."""
    listening = _listen(host, port)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_LAST_SECONDS,
        limit_concurrency=500,
        h11_max_incomplete_event_size=32_768,
        http="h11",
        ws="none",
    )
    config.load()
    config.ssl = tls

    def announce() -> None:
        if ready is not None:
            ready(*listening.getsockname()[:2])

    server = _Server(config, announce)
    running = asyncio.get_running_loop().create_task(server.serve([listening]), name="console")
    try:
        await asyncio.shield(running)
    finally:
        app.state.console.closing = True
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([running], timeout=_LAST_SECONDS + 2)
        for one in getattr(server, "servers", ()):  # where it was cut off, it did not close them itself
            one.close()
        listening.close()


async def serve_always(
    build: Callable[[], Starlette],
    host: str,
    port: int,
    tls: ssl.SSLContext | None = None,
    ready: Callable[[str, int], None] | None = None,
) -> None:
    """As :func:`serve`, and again whenever it ends by itself: what waits for people is not lost with the server that shows it.

    ``build`` makes the application, anew each time; whoever was signed in signs in again. Raises ConfigError when it cannot even start once.
    """
    found: list[int] = []

    def announce(at: str, got: int) -> None:
        found[:] = [got]
        if ready is not None:
            ready(at, got)

    while True:
        wanted = found[0] if found else port
        one = asyncio.get_running_loop().create_task(
            serve(build(), host, wanted, tls, announce), name="console once"
        )
        try:
            await asyncio.wait({one})
        finally:
            one.cancel()
            await asyncio.wait({one})
        error = None if one.cancelled() else one.exception()
        if not found:
            raise error or ConfigError("the console ended before it listened; the log says why")
        log.error(
            "the console ended; it is started again", reason=repr(error) if error else "", exc_info=error
        )
        await asyncio.sleep(AGAIN_SECONDS)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"the console cannot listen on {host}:{port}: {error.strerror}. Change 'console: {{listen: ...}}' in the configuration."
        ) from None
    listening.setblocking(False)
    return listening
