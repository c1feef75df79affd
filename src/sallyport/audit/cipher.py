"""Encryption of a recording's blocks: AES-256-GCM (NIST SP 800-38D), one random key a recording.

**Nonces cannot repeat.** A nonce is the eight random bytes of a *writer* and a count of four bytes.
The count goes up with each call of :meth:`BlockCipher.encrypt`, so that a block which could not be
written and is tried again, with the same number and perhaps other events, gets another nonce.
Whoever opens a recording to append to it (the gateway; its next start, when it died) is another
writer: what a writer that died had encrypted and not written is not known. Its few writers have
different bytes unless 64 random bits are the same.

**What is authenticated** with the content: the session's id, and the whole head of the block, in
which are the format's version, its number, its counts and the hash of the block before.

GCM does not commit to its key, so the file's header does: :func:`commitment`.
"""

from __future__ import annotations

import os
import struct
from typing import Final

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES: Final = 12
#: Bytes by which a block's stored content is longer than what was encrypted: nonce and tag.
OVERHEAD: Final = NONCE_BYTES + 16
_WRITER_BYTES: Final = 8
_COUNT = struct.Struct("<I")
_LABEL: Final = b"sallyport recording 3\0"


def commitment(key: bytes) -> bytes:
    """32 bytes that belong to no other key and do not tell this one."""
    return blake3(b"sallyport recording 3 key\0" + key).digest()


class BlockCipher:
    """Encrypts and decrypts the blocks of one recording; one object is one writer. Never shows the
    key. ``commitment``: of its key.
    """

    __slots__ = ("_aead", "_count", "_label", "_writer", "commitment")

    def __init__(self, key: bytes, session_id: str) -> None:
        """Raises ValueError for a key that has not 32 bytes."""
        if len(key) != 32:
            raise ValueError("a key has 32 bytes")
        self._aead = AESGCM(key)
        self._label = _LABEL + session_id.encode() + b"\0"
        self._writer = os.urandom(_WRITER_BYTES)
        self._count = 0
        self.commitment = commitment(key)

    def __repr__(self) -> str:
        return "BlockCipher()"

    def encrypt(self, head: bytes, content: bytes | memoryview) -> bytes:
        """Nonce, ciphertext and tag of a block with this head. Raises OverflowError when the
        writer's nonces are used up, after 2^32 blocks.
        """
        if self._count >> 32:
            raise OverflowError("a recording has no more than 2^32 blocks")
        nonce = self._writer + _COUNT.pack(self._count)
        self._count += 1
        return nonce + self._aead.encrypt(nonce, content, self._label + head)

    def decrypt(self, head: bytes, stored: bytes) -> bytes | None:
        """The content of a block; None for what was changed, moved, or is under another key."""
        nonce, ciphertext = stored[:NONCE_BYTES], stored[NONCE_BYTES:]
        try:
            return self._aead.decrypt(nonce, ciphertext, self._label + head)
        except (InvalidTag, ValueError):
            return None
