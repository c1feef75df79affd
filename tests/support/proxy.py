"""A TCP proxy that misbehaves on purpose: cuts, stalls, delays, and splits what passes into small
pieces.

Put it between a client and the gateway, or between the gateway and PostgreSQL. Faults are set per
direction and may be changed while connections are open; counters tell how many bytes passed.
"""

from __future__ import annotations

import copy
import dataclasses
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from tests.support.postgres import Server

_CHUNK = 65536
_CANCEL_REQUEST = (80877102).to_bytes(4, "big")
_LINGER_RESET = struct.pack("ii", 1, 0)  # close() sends RST


@dataclass
class Fault:
    """What happens to one direction of every connection.

    cut_after: bytes that pass before both sides are closed, -1 never. reset: cut with RST instead
    of FIN. stall_after: bytes that pass before nothing more does, -1 never. piece: largest write in
    bytes, 0 no limit. delay: seconds before each write.
    """

    cut_after: int = -1
    reset: bool = False
    stall_after: int = -1
    piece: int = 0
    delay: float = 0.0


@dataclass
class FaultProxy:
    """``with FaultProxy(host, port) as proxy:`` then connect to 127.0.0.1, ``proxy.port``.

    hold_cancels: CancelRequests (in clear) wait until it is False again. cancels: how many came.
    """

    host: str
    target_port: int
    from_client: Fault = field(default_factory=Fault)
    from_server: Fault = field(default_factory=Fault)
    listen: str = "127.0.0.1"
    hold_cancels: bool = False
    cancels: int = 0
    accepted: int = 0
    client_bytes: int = 0
    server_bytes: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server((self.listen, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        _hang_up(self._listener)
        self.cut()

    def cut(self, *, reset: bool = False) -> None:
        """Close every connection that is open now; later ones are served."""
        with self._lock:
            sockets, self._open = self._open, set()
        for endpoint in sockets:
            _hang_up(endpoint, reset=reset)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((self.host, self.target_port), timeout=60)
            except OSError:
                _hang_up(client, reset=True)
                continue
            server.settimeout(None)
            self.accepted += 1
            for endpoint in (client, server):
                endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            for args in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=args, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_client: bool) -> None:
        passed = 0
        reset = False
        try:
            while data := source.recv(_CHUNK):
                fault = self.from_client if is_client else self.from_server
                if is_client and not passed and data[4:8] == _CANCEL_REQUEST:
                    self._hold_cancel()
                while data:
                    piece = data[: self._allowed(fault, passed, len(data))]
                    if not piece and fault.cut_after >= 0 and passed >= fault.cut_after:
                        reset = fault.reset
                        return
                    if not piece:
                        time.sleep(0.01)
                        if self._closed:
                            return
                        fault = self.from_client if is_client else self.from_server
                        continue
                    if fault.delay:
                        time.sleep(fault.delay)
                    sink.sendall(piece)
                    data = data[len(piece) :]
                    passed += len(piece)
                    self._count(is_client, len(piece))
        except OSError:
            reset = True
        finally:
            # Whoever ends first hangs up both, alone: a second shutdown() between the first one's
            # and its close() would send the FIN that spoils a reset.
            with self._lock:
                mine = self._open & {source, sink}
                self._open -= mine
            for endpoint in mine:
                _hang_up(endpoint, reset=reset)

    def _hold_cancel(self) -> None:
        with self._lock:
            self.cancels += 1
        while self.hold_cancels and not self._closed:
            time.sleep(0.005)

    @staticmethod
    def _allowed(fault: Fault, passed: int, waiting: int) -> int:
        limits = [waiting]
        limits += [fault.piece] if fault.piece else []
        limits += [
            max(0, limit - passed) for limit in (fault.cut_after, fault.stall_after) if limit >= 0
        ]
        return min(limits)

    def _count(self, is_client: bool, size: int) -> None:
        with self._lock:
            if is_client:
                self.client_bytes += size
            else:
                self.server_bytes += size


def _hang_up(endpoint: socket.socket, *, reset: bool = False) -> None:
    """Also wakes a thread that waits in recv(); SHUT_RD does so without sending the FIN that would
    spoil a reset.
    """
    try:
        if reset:
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        endpoint.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
    except OSError:
        pass
    endpoint.close()


def through(server: Server, proxy: FaultProxy) -> Server:
    """``server`` as a gateway reaches it behind ``proxy``."""
    cluster = copy.copy(server.cluster)
    cluster.port = proxy.port
    return dataclasses.replace(server, cluster=cluster, host=proxy.listen)
