"""Accepts the console's connections: bounded, and with silent ones ended first when room is needed.

uvicorn would take as many connections as come and wait for their requests for ever; a few thousand
of them would be all descriptors that this process has. A connection is silent while no request of
it is being answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

import structlog

from sallyport.core.address import network_of
from sallyport.server.arrivals import Arrivals
from sallyport.server.descriptors import Descriptors

log = structlog.get_logger("sallyport.web")

#: Connections at once, below uvicorn's own bound on what it answers. Where few files may be open,
#: half of the reserve.
MAXIMUM = 400
_HANDSHAKE_SECONDS = 10.0
#: Before accepting is tried again after it failed (descriptors may have run out).
_AGAIN_SECONDS = 0.2


class ConsoleConnection:
    """One accepted connection. ``protocol``: uvicorn's, once TLS (if any) is there; told apart by
    what it has answered.
    """

    def __init__(self, accepted: socket.socket, address: str) -> None:
        self.socket = accepted
        self.network = network_of(address)
        self.protocol: Any = None

    @property
    def is_silent(self) -> bool:
        cycle = getattr(self.protocol, "cycle", None)
        return cycle is None or bool(cycle.response_complete)

    def evict(self) -> None:
        # The transport owns the descriptor: it sees the end of its stream and closes.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class Listener:
    """``make``: a new HTTP protocol, which calls what it is given when its connection is lost."""

    def __init__(
        self,
        listening: socket.socket,
        tls: ssl.SSLContext | None,
        make: Callable[[Callable[[], None]], asyncio.Protocol],
    ) -> None:
        self._listening, self._tls, self._make = listening, tls, make
        maximum = min(MAXIMUM, Descriptors.raised().reserve // 2)
        # No bound per address: people often come through one proxy.
        self._connections: Arrivals[ConsoleConnection] = Arrivals(maximum, maximum)
        self._starting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    accepted, address = await loop.sock_accept(self._listening)
                except OSError as error:
                    log.error("the console could not accept a connection", reason=error.strerror)
                    await asyncio.sleep(_AGAIN_SECONDS)
                    continue
                connection = ConsoleConnection(accepted, str(address[0]))
                if not self._connections.admit(connection):
                    accepted.close()
                    continue
                task = loop.create_task(self._start(connection), name="console connection")
                self._starting.add(task)
                task.add_done_callback(self._starting.discard)
        finally:
            for task in self._starting:
                task.cancel()

    async def _start(self, connection: ConsoleConnection) -> None:
        def lost() -> None:
            self._connections.discard(connection)

        connection.protocol = self._make(lost)
        handshake = _HANDSHAKE_SECONDS if self._tls is not None else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection.protocol,
                connection.socket,
                ssl=self._tls,
                ssl_handshake_timeout=handshake,
            )
        except (OSError, asyncio.CancelledError):
            lost()
            connection.socket.close()
