"""What the supervisor gives a worker that it starts."""

from __future__ import annotations

import socket
from typing import Final

import msgspec

from sallyport.config import Config

_MOST: Final = 16 << 20


class Start(msgspec.Struct, frozen=True):
    """``number``: from 0, of ``processes``. ``counts``, ``lock``: inherited descriptors, of the
    shared memory and of the data directory's lock. ``memory_id``: of that memory. ``port``: where
    all listen. ``config_file``: what a SIGHUP reads again.
    """

    number: int
    processes: int
    counts: int
    lock: int
    port: int
    config: Config
    config_file: str
    memory_id: str
    accept_lost_state: bool = False


def send_start(end: socket.socket, start: Start) -> None:
    """As the first bytes on the worker's socket. Raises OSError."""
    data = msgspec.json.encode(start)
    end.sendall(len(data).to_bytes(4, "little") + data)


def receive_start(end: socket.socket) -> Start:
    """Raises OSError, ValueError (msgspec's included)."""
    length = int.from_bytes(_exactly(end, 4), "little")
    if length > _MOST:
        raise ValueError(f"a configuration of {length} bytes")
    return msgspec.json.decode(_exactly(end, length), type=Start)


def _exactly(end: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = end.recv(size - len(data))
        if not piece:
            raise ValueError("the supervisor is gone")
        data += piece
    return bytes(data)
