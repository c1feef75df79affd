"""Runs the console inside the gateway's own event loop, without signal handlers of its own.

:func:`serve` runs until it is cancelled, then lets requests end for a few seconds. It raises
ConfigError when it cannot listen.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from sallyport.core.errors import ConfigError
from sallyport.core.tls import harden
from sallyport.web.listener import Listener

log = structlog.get_logger("sallyport.web")

_LAST_SECONDS = 3
#: Before a console that ended by itself is started again.
AGAIN_SECONDS = 1.0
_BACKLOG = 256


class _Http(H11Protocol):
    """uvicorn's protocol, which says when its connection is gone."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        app_state: dict[str, Any],
        lost: Callable[[], None],
    ) -> None:
        super().__init__(config, state, app_state)
        self._lost = lost

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._lost()


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, listening: socket.socket, announce: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._listening, self._announce = listening, announce
        self._accepting: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the gateway's."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])  # connections are accepted here
        if self.started:
            listener = Listener(self._listening, self.config.ssl, self._protocol)
            self._accepting = asyncio.get_running_loop().create_task(
                listener.run(), name="console listener"
            )
            self._accepting.add_done_callback(self._deaf)
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.stop_accepting()
        await super().shutdown(sockets)

    async def stop_accepting(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])

    def _deaf(self, accepting: asyncio.Task[None]) -> None:
        if not accepting.cancelled():  # it ends only by being cancelled: the console starts again
            log.error("the console stopped accepting", exc_info=accepting.exception())
            self.should_exit = True

    def _protocol(self, lost: Callable[[], None]) -> asyncio.Protocol:
        return _Http(self.config, self.server_state, self.lifespan.state, lost)


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or later, HTTP/1.1. Raises ConfigError when the files cannot be used."""
    context = harden(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
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
    """``port`` 0 takes a free one; ``ready`` is told the address. Raises ConfigError, and
    CancelledError at the end.
    """
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

    server = _Server(config, listening, announce)
    running = asyncio.get_running_loop().create_task(server.serve([]), name="console")
    try:
        await asyncio.shield(running)
    finally:
        app.state.console.closing = True
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([running], timeout=_LAST_SECONDS + 2)
        await server.stop_accepting()  # where it was cut off, it did not do so itself
        listening.close()


async def serve_always(
    build: Callable[[], Starlette],
    host: str,
    port: int,
    tls: ssl.SSLContext | None = None,
    ready: Callable[[str, int], None] | None = None,
) -> None:
    """As :func:`serve`, and again whenever it ends by itself: what waits for people is not lost
    with the server that shows it.

    ``build`` makes the application, anew each time; whoever was signed in signs in again. Raises
    ConfigError when it cannot even start once.
    """
    ports: list[int] = []

    def announce(at: str, got: int) -> None:
        ports[:] = [got]
        if ready is not None:
            ready(at, got)

    while True:
        next_port = ports[0] if ports else port
        task = asyncio.get_running_loop().create_task(
            serve(build(), host, next_port, tls, announce), name="console once"
        )
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            await asyncio.wait({task})
        error = None if task.cancelled() else task.exception()
        if not ports:
            raise error or ConfigError("the console ended before it listened; the log says why")
        log.error(
            "the console ended; it is started again",
            reason=repr(error) if error else "",
            exc_info=error,
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
            f"the console cannot listen on {host}:{port}: {error.strerror}. Change 'console:"
            " {listen: ...}' in the configuration."
        ) from None
    listening.setblocking(False)
    return listening
