# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""Frames of the journal, whose layout is in :mod:`sallyport.audit.journal`: one is written in every
turn of the event loop that changes something.

Runs compiled (types in ``journal_frames.pxd``), or as it stands.
"""

from __future__ import annotations

import os
import struct
from typing import Any, Final
from zlib import crc32

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

try:
    import cython
except ImportError:
    from sallyport.wire import interpreted as cython

if not cython.compiled:
    # A C function of journal_frames.pxd; only ever called by compiled code.
    links: Any = None

#: Whether the compiled module is running.
COMPILED = bool(cython.compiled)

FRAME_MAGIC: Final = b"SPJ1"
#: Layout of a frame's header.
FRAME: Final = struct.Struct("<4sII")
_NUMBER = struct.Struct("<Q")
#: Of the nonce, behind a frame's number.
_PADDING = bytes(4)

_pack = FRAME.pack
_pack_number = _NUMBER.pack
_encode = msgspec.msgpack.Encoder().encode
_Raw = msgspec.Raw


class SegmentCipher:
    """Encrypts and decrypts the bodies of one segment's frames. Never shows the key."""

    def __init__(self, key: bytes, header: bytes) -> None:
        """Raises ValueError for a key of another length."""
        aead = AESGCM(key)
        self._encrypt, self._decrypt = aead.encrypt, aead.decrypt
        self._header = header
        self.number = 0

    def encrypt(self, body: bytes) -> bytes:
        """The body of the next frame."""
        number: bytes = _pack_number(self.number)
        self.number += 1
        return number + self._encrypt(number + _PADDING, body, self._header)

    def decrypt(self, stored: bytes) -> tuple[int, bytes] | None:
        """A frame's number and body; None for what was changed, or is not this segment's."""
        number = stored[: _NUMBER.size]
        try:
            body = self._decrypt(number + _PADDING, stored[_NUMBER.size :], self._header)
        except (InvalidTag, ValueError):
            return None
        return _NUMBER.unpack(number)[0], body


def encode_frame(intents: Any, marks: Any, cipher: SegmentCipher | None) -> bytes:
    """The frame with these intents. ``marks``: of its segment, which get theirs."""
    ids = []
    events = []
    for recording, statement, mark in intents:
        identity = recording.id
        if recording not in marks:
            ids.append(identity)
            events.append(_Raw(recording.login))
        marks[recording] = mark
        ids.append(identity)
        events.append(_Raw(statement))
    body: bytes = _encode((ids, events))
    if cipher is not None:
        body = cipher.encrypt(body)
    return _pack(FRAME_MAGIC, len(body), crc32(body)) + body


def names_of(fd: int) -> int:
    """How many names an open file has: none once it was deleted. Raises OSError."""
    count = links(fd) if cython.compiled else -1
    return count if count >= 0 else os.fstat(fd).st_nlink
