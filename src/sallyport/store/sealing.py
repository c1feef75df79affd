"""What is kept in the database for people who must see it, and for nobody who reads the file.

AES-256-GCM (NIST SP 800-38D) with a key from a file beside the database, made with mode 0600 on the
first start. A sealed value is a byte that MessagePack never uses, a version, a nonce of 12 bytes,
and the ciphertext with its tag; what it belongs to is authenticated with it, so that it cannot be
moved to another row.
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path
from typing import Final

from sallyport.core.errors import ConfigError
from sallyport.core.files import create_private, refuse_exposed
from sallyport.core.sealing import HEAD, KEY_BYTES, SealedBox

FILE: Final = "approvals.key"


class Seal:
    """Seals and opens values under one key. Never shows the key."""

    __slots__ = ("_box", "_mac_key", "console")

    def __init__(self, key: bytes) -> None:
        """Raises ValueError for a key that has not 32 bytes."""
        self._box = SealedBox(key, "sallyport approvals: values")
        #: Of what the consoles of a store give to browsers, and keep of them.
        self.console = SealedBox(key, "sallyport console")
        self._mac_key = hmac.digest(key, b"sallyport approvals: digests", "sha256")

    def __repr__(self) -> str:
        return "Seal()"

    def close(self, value: bytes, belongs_to: str) -> bytes:
        return self._box.close(value, belongs_to)

    @staticmethod
    def is_sealed(value: bytes) -> bool:
        """Whether it looks as what :meth:`close` makes."""
        return value.startswith(HEAD)

    def open(self, sealed: bytes, belongs_to: str) -> bytes:
        """A value that was kept without a seal, by an earlier version, comes back as it is. Raises
        ValueError for one that was changed, moved, or sealed under another key.
        """
        return self._box.open(sealed, belongs_to) if sealed.startswith(HEAD) else sealed

    def digest(self, text: str) -> str:
        """Hex digits that tell only whoever has the key that two texts are the same."""
        return hmac.digest(self._mac_key, text.encode(), "sha256").hex()


def open_seal(directory: Path) -> Seal:
    """With the key in this directory, which is made where there is none. Raises ConfigError."""
    path = directory / FILE
    try:
        create_private(path, os.urandom(KEY_BYTES))
        refuse_exposed(path, "approvals")
        return Seal(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{path}: the key of approvals cannot be used: {error.strerror}"
        ) from None
    except ValueError:
        raise ConfigError(
            f"{path}: not a key, which has {KEY_BYTES} bytes. Restore the file; without it open"
            " approvals are lost, and removing it lets the gateway make another one"
        ) from None
