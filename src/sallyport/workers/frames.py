"""What passes between a worker and the supervisor, over a pair of Unix sockets.

::

    frame = length of body u32, little-endian | body
    body  = msgpack [kind, worker number, name, payload]

A worker sends ``say`` (name: a topic; for every other worker), ``tell`` (for the first worker),
``ready`` (payload: the address that it listens on, JSON) and, every :data:`BEAT_SECONDS` from its
event loop, ``beat``. It gets ``say``, ``tell``, ``gone`` (a worker has died), ``resume`` (it may
have missed something) and, if it is the first one, ``crew`` (payload:
:class:`~sallyport.core.worker.Crew`, JSON). Number: whose it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import msgspec

SAY: Final = "say"
TELL: Final = "tell"
READY: Final = "ready"
GONE: Final = "gone"
RESUME: Final = "resume"
BEAT: Final = "beat"
CREW: Final = "crew"
#: Seconds between two signs of life of a worker's event loop.
BEAT_SECONDS: Final = 1.0
#: The most bytes of one body.
MAXIMUM: Final = 64 << 20

_LENGTH: Final = struct.Struct("<I")


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """See the module docstring."""

    kind: str
    number: int
    name: str = ""
    payload: bytes = b""

    def encode(self) -> bytes:
        """As it goes over the wire."""
        body = msgspec.msgpack.encode(self)
        return _LENGTH.pack(len(body)) + body


class Frames:
    """Takes what arrives apart."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._decoder = msgspec.msgpack.Decoder(Frame)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now. Raises ValueError (msgspec's included) for what is
        none.
        """
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAXIMUM:
                raise ValueError(f"a frame of {length} bytes")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            frame = self._decoder.decode(bytes(self._buffer[_LENGTH.size : end]))
            del self._buffer[:end]
            yield frame
