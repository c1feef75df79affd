"""The misbehaving proxy does what it says, over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.postgres import Server
from tests.support.proxy import Fault, FaultProxy


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends everything back; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(peer: socket.socket) -> None:
        with peer:
            try:
                while data := peer.recv(4096):
                    peer.sendall(data)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def _connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=60)


def _read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def test_it_passes_bytes_unchanged(echo: int) -> None:
    with FaultProxy("127.0.0.1", echo) as proxy, _connect(proxy) as sock:
        sock.sendall(b"x" * 200_000)
        assert _read(sock, 200_000) == b"x" * 200_000
        assert proxy.client_bytes == 200_000


def test_it_cuts_after_so_many_bytes(echo: int) -> None:
    with (
        FaultProxy("127.0.0.1", echo, from_server=Fault(cut_after=3)) as proxy,
        _connect(proxy) as sock,
    ):
        sock.sendall(b"abcdef")
        assert _read(sock, 6) == b"abc"
        assert sock.recv(1) == b""


def test_a_reset_is_a_reset(echo: int) -> None:
    fault = Fault(cut_after=0, reset=True)
    with FaultProxy("127.0.0.1", echo, from_server=fault) as proxy:
        for _ in range(50):  # its two directions end at the same time: neither may spoil it
            with _connect(proxy) as sock:
                sock.sendall(b"abc")
                with pytest.raises(ConnectionResetError):
                    sock.recv(1)


def test_it_stalls_and_goes_on(echo: int) -> None:
    with (
        FaultProxy("127.0.0.1", echo, from_server=Fault(stall_after=2)) as proxy,
        _connect(proxy) as sock,
    ):
        sock.sendall(b"abcd")
        assert _read(sock, 2) == b"ab"
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.settimeout(5)
        proxy.from_server = Fault()
        assert _read(sock, 2) == b"cd"


def test_it_cuts_what_is_open_and_serves_what_comes(echo: int) -> None:
    with FaultProxy("127.0.0.1", echo) as proxy:
        with _connect(proxy) as sock:
            sock.sendall(b"a")
            assert sock.recv(1) == b"a"
            proxy.cut()
            assert sock.recv(1) == b""
        with _connect(proxy) as sock:
            sock.sendall(b"b")
            assert sock.recv(1) == b"b"


def test_postgresql_survives_single_bytes_and_delays(postgres: Server) -> None:
    single, slow = Fault(piece=1), Fault(delay=0.01)
    with FaultProxy(postgres.host, postgres.port, from_client=single, from_server=slow) as proxy:
        started = time.monotonic()
        with psycopg.connect(postgres.agent_dsn.replace(str(postgres.port), str(proxy.port))) as db:
            assert db.execute("SELECT count(*) FROM products").fetchone() == (120,)
        assert time.monotonic() - started > 0.03
