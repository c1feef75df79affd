"""Peers that vanish without a word: TCP keepalive, and what TCP knows of data that nobody
acknowledges.

Keepalive finds the peer that vanished while nothing was on its way to it; the kernel then ends the
connection by itself. Data that is on its way puts keepalive off, and TCP goes on sending for a
quarter of an hour. Linux has TCP_USER_TIMEOUT for that, but it also ends connections whose peer is
there and does not read (a client that shows rows in a pager, a COPY that waits for a lock), so that
time is measured here, from TCP_INFO: only while segments or window probes stay without any answer.
"""

from __future__ import annotations

import asyncio
import select
import socket
from dataclasses import dataclass
from enum import Enum
from time import monotonic

#: Of struct tcp_info (linux/tcp.h): tcpi_retransmits and tcpi_probes, each a byte.
_RETRANSMITS, _PROBES, _TCP_INFO_SIZE = 2, 3, 104
#: Window probes without an answer: the first is often just on its way.
_SILENT_PROBES = 2


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Whole seconds. A peer is gone after ``idle`` + ``probes`` * ``interval`` without a sign, or
    after ``user_timeout`` in which it acknowledged nothing of what was sent.
    """

    idle: int = 30
    interval: int = 10
    probes: int = 3
    user_timeout: int = 60

    def apply(self, transport: asyncio.BaseTransport) -> None:
        """Turn keepalive on; nothing to do for a Unix socket."""
        peer = transport.get_extra_info("socket")
        if peer is None or peer.family not in (socket.AF_INET, socket.AF_INET6):
            return
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, self.idle)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, self.interval)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, self.probes)


class PeerState(Enum):
    """What is known of a peer that may not be read at the moment."""

    PRESENT = 0
    #: it has closed its side, whatever it sent before that nobody has read (poll(2), POLLRDHUP:
    #: Linux)
    LEFT = 1
    #: the kernel has given the connection up, or should: nothing is acknowledged any more
    VANISHED = 2


class PeerWatch:
    """One connection, looked at every few seconds."""

    __slots__ = ("_seconds", "_since", "_transport")

    def __init__(self, transport: asyncio.BaseTransport, seconds: float) -> None:
        """``seconds``: how long what was sent may stay unacknowledged."""
        self._transport = transport
        self._seconds = seconds
        self._since = 0.0  # when it was first seen to be without an answer; 0: it has one

    def state(self) -> PeerState:
        """Also while reading is paused, when the event loop would tell nobody of an end."""
        if self._transport.is_closing():
            return PeerState.PRESENT
        events = _events(self._transport)
        if events & (select.POLLERR | select.POLLHUP) or self._is_unanswered():
            return PeerState.VANISHED
        return PeerState.LEFT if events else PeerState.PRESENT

    def _is_unanswered(self) -> bool:
        """Whether what was sent has stayed unacknowledged for too long."""
        if not _is_unanswered(self._transport):
            self._since = 0.0
            return False
        now = monotonic()
        self._since = self._since or now
        return now - self._since >= self._seconds


def _is_unanswered(transport: asyncio.BaseTransport) -> bool:
    peer = transport.get_extra_info("socket")
    if (
        peer is None
        or peer.family not in (socket.AF_INET, socket.AF_INET6)
        or not hasattr(socket, "TCP_INFO")
    ):
        return False
    try:
        info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    except OSError:
        return False  # it has just been closed
    return bool(info[_RETRANSMITS] > 0 or info[_PROBES] >= _SILENT_PROBES)


def _events(transport: asyncio.BaseTransport) -> int:
    """What poll(2) says of the end of the connection; 0 when nothing."""
    peer = transport.get_extra_info("socket")
    number = peer.fileno() if peer is not None else -1
    if number < 0:
        return 0
    poll = select.poll()
    poll.register(number, getattr(select, "POLLRDHUP", 0))
    return next((events & ~select.POLLNVAL for _, events in poll.poll(0)), 0)
