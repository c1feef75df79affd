"""What is kept in the database for people who must see it, and for nobody who reads the file.

AES-256-GCM (NIST SP 800-38D) with a key from a file beside the database, made with mode 0600 on the first start. A sealed value is a
byte that MessagePack never uses, a version, a nonce of 12 bytes, and the ciphertext with its tag; what it belongs to is authenticated
with it, so that it cannot be moved to another row.
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sallyport.core.errors import ConfigError
from sallyport.core.files import refuse_exposed

FILE: Final = "approvals.key"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_HEAD: Final = b"\xc1\x01"


class Seal:
    """Seals and opens values under one key. Never shows the key."""

    __slots__ = ("_cipher", "_mac_key")

    def __init__(self, key: bytes) -> None:
        """Raises ValueError for a key that has not 32 bytes."""
        if len(key) != _KEY_BYTES:
            raise ValueError("a key has 32 bytes")
        self._cipher = AESGCM(hmac.digest(key, b"sallyport approvals: values", "sha256"))
        self._mac_key = hmac.digest(key, b"sallyport approvals: digests", "sha256")

    def __repr__(self) -> str:
        return "Seal()"

    def close(self, value: bytes, belongs_to: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return _HEAD + nonce + self._cipher.encrypt(nonce, value, belongs_to.encode())

    def open(self, sealed: bytes, belongs_to: str) -> bytes:
        """A value that was kept without a seal, by an earlier version, comes back as it is. Raises ValueError for one that was changed,
        moved, or sealed under another key.
        """
        if not sealed.startswith(_HEAD):
            return sealed
        start = len(_HEAD) + _NONCE_BYTES
        try:
            return self._cipher.decrypt(sealed[len(_HEAD) : start], sealed[start:], belongs_to.encode())
        except InvalidTag:
            raise ValueError(
                f"what is kept for {belongs_to} was changed, or sealed under another key"
            ) from None

    def digest(self, text: str) -> str:
        """Hex digits that tell only whoever has the key that two texts are the same."""
        return hmac.digest(self._mac_key, text.encode(), "sha256").hex()


def open_seal(directory: Path) -> Seal:
    """With the key in this directory, which is made where there is none. Raises ConfigError."""
    path = directory / FILE
    try:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            refuse_exposed(path, "approvals")
            key = path.read_bytes()
        else:
            key = os.urandom(_KEY_BYTES)
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
        return Seal(key)
    except OSError as error:
        raise ConfigError(f"{path}: the key of approvals cannot be used: {error.strerror}") from None
    except ValueError:
        raise ConfigError(
            f"{path}: not a key, which has {_KEY_BYTES} bytes. Restore the file; without it open approvals are lost, "
            "and removing it lets the gateway make another one"
        ) from None
