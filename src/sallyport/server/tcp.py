"""The client's TCP connection (or Unix socket) as the port of a session, with or without TLS."""

from __future__ import annotations

import asyncio
from typing import Any

from sallyport.server.peers import KeepAlive, PeerState, PeerWatch
from sallyport.server.tls import TlsLayer

WRITE_HIGH_WATER = 512 * 1024
#: How long a peer may take to read the last bytes of its connection (seconds).
_LINGER = 10.0
#: How long what a client still sends is read and thrown away after its session has ended (seconds).
#: A socket that is closed with unread bytes is reset, and a reset takes the last words with it (RFC
#: 9112 section 9.6 has the same).
_HALF_CLOSED = 1.0


class TcpPort:
    """Implements :class:`~sallyport.server.ports.ClientPort` over a transport. ``tls``: what
    encrypts, from its handshake on. ``is_hosted``: a session has begun, whose end its client should
    be able to read whatever it is sending.
    """

    __slots__ = ("_is_closed", "_is_lost", "_lingering", "_transport", "_watch", "is_hosted", "tls")

    def __init__(self, transport: Any, keep_alive: KeepAlive) -> None:
        self.tls: TlsLayer | None = None
        self._transport = transport
        self._watch = PeerWatch(transport, keep_alive.user_timeout)
        self._lingering: asyncio.TimerHandle | None = None
        self._is_lost = self._is_closed = self.is_hosted = False
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        keep_alive.apply(transport)

    def write(self, data: bytes | bytearray) -> None:
        if not (self._is_lost or self._is_closed):
            self._transport.write(self.tls.send(data) if self.tls is not None else data)

    def write_encrypted(self, data: bytes) -> None:
        if not (self._is_lost or self._is_closed):
            self._transport.write(data)

    def pause(self) -> None:
        if not (self._is_closed or self._transport.is_closing()):
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self, *, at_once: bool = False) -> None:
        if self._is_lost:
            return
        if at_once:
            self._transport.abort()
        elif not (self._is_closed or self._transport.is_closing()):
            self._is_closed = True
            if self.tls is not None:
                self._transport.write(self.tls.finish())
            loop = asyncio.get_running_loop()
            if self.is_hosted and self._half_close():
                self._lingering = loop.call_later(_HALF_CLOSED, self._close_transport)
            else:
                self._close_transport()

    def _half_close(self) -> bool:
        """Send no more, and go on reading. False where that cannot be done."""
        if not self._transport.can_write_eof():
            return False
        self._transport.resume_reading()
        try:
            self._transport.write_eof()
        except (
            OSError
        ):  # asyncio's own transports shut the socket down, which the peer may have reset
            return False
        return True

    def _close_transport(self) -> None:
        self._transport.close()
        self._lingering = asyncio.get_running_loop().call_later(_LINGER, self._transport.abort)

    def peer_state(self) -> PeerState:
        return self._watch.state()

    @property
    def unsent(self) -> int:
        return int(self._transport.get_write_buffer_size())

    @property
    def lane_descriptor(self) -> int:
        if self._is_lost or self._is_closed or self._transport.is_closing():
            return -1
        socket = self._transport.get_extra_info("socket")
        return socket.fileno() if socket is not None else -1

    def lost(self) -> None:
        """The transport is gone."""
        self._is_lost = True
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
