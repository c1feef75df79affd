"""Small values under AES-256-GCM (NIST SP 800-38D): sealed, they can lie in files and databases.

A sealed value is two bytes (one that MessagePack never uses, and a version), a random nonce of 12
bytes, and the ciphertext with its tag. Nonces are random: one key may seal 2^32 values.
"""

from __future__ import annotations

import hmac
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
HEAD: Final = b"\xc1\x01"
_NONCE_BYTES: Final = 12


class SealedBox:
    """Seals and opens values under a key that is derived (HMAC-SHA-256) from ``key`` for one
    ``purpose``. Never shows the key.
    """

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes, purpose: str) -> None:
        """Raises ValueError for a key that has not 32 bytes."""
        if len(key) != KEY_BYTES:
            raise ValueError("a key has 32 bytes")
        self._cipher = AESGCM(hmac.digest(key, purpose.encode(), "sha256"))

    def __repr__(self) -> str:
        return "SealedBox()"

    def close(self, value: bytes, belongs_to: str) -> bytes:
        """Seal a value; ``belongs_to`` is authenticated with it, so that it cannot be moved."""
        nonce = os.urandom(_NONCE_BYTES)
        return HEAD + nonce + self._cipher.encrypt(nonce, value, belongs_to.encode())

    def open(self, sealed: bytes, belongs_to: str) -> bytes:
        """Raises ValueError for what was changed, moved, or sealed under another key."""
        start = len(HEAD) + _NONCE_BYTES
        if not sealed.startswith(HEAD) or len(sealed) < start:
            raise ValueError(f"what is kept for {belongs_to} is not a sealed value")
        nonce, ciphertext = sealed[len(HEAD) : start], sealed[start:]
        try:
            return self._cipher.decrypt(nonce, ciphertext, belongs_to.encode())
        except InvalidTag:
            raise ValueError(
                f"what is kept for {belongs_to} was changed, or sealed under another key"
            ) from None
