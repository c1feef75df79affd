"""Key-encryption keys: what wraps the key of each recording.

A recording has a random key of its own (:mod:`sallyport.audit.cipher`). What is stored beside it is
that key, wrapped by a key-encryption key which is not stored with recordings. So all of them change
hands by wrapping 32 bytes each again, and one of them is made unreadable by deleting its 32 bytes.

:class:`LocalKey` is a key of 32 bytes that this process holds. As text (in a file, in an
environment variable) it is base64.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from sallyport.core.errors import ConfigError, SallyportError
from sallyport.core.sealing import KEY_BYTES, SealedBox

#: What a wrapped key is authenticated with: nothing else that is sealed can stand in its place.
_BELONGS_TO: Final = "session key"


class KeyRefusedError(SallyportError):
    """A key-encryption key does not wrap or unwrap; the text says which and why."""


class KeyEncryptionKey(Protocol):
    """Wraps session keys. ``identifier``: stored with what it wrapped, no secret."""

    @property
    def identifier(self) -> str: ...

    def wrap(self, key: bytes) -> bytes:
        """Raises KeyRefusedError when that is not possible now."""
        ...

    def unwrap(self, wrapped: bytes) -> bytes:
        """Raises KeyRefusedError for what this key did not wrap; when it is not possible now."""
        ...


class LocalKey:
    """A key-encryption key of 32 bytes. Never shows it."""

    __slots__ = ("_box", "identifier")

    def __init__(self, key: bytes) -> None:
        """Raises ValueError for a key that has not 32 bytes."""
        self._box = SealedBox(key, "sallyport recordings: session keys")
        digest = hmac.digest(key, b"sallyport recordings: identifier", "sha256")
        self.identifier = f"local:{digest[:8].hex()}"

    def __repr__(self) -> str:
        return f"LocalKey({self.identifier})"

    def wrap(self, key: bytes) -> bytes:
        """See :class:`KeyEncryptionKey`."""
        return self._box.close(key, _BELONGS_TO)

    def unwrap(self, wrapped: bytes) -> bytes:
        """See :class:`KeyEncryptionKey`."""
        try:
            return self._box.open(wrapped, _BELONGS_TO)
        except ValueError:
            text = f"the key {self.identifier} did not wrap it, or it was changed"
            raise KeyRefusedError(text) from None


def new_key_text() -> str:
    """A new key as it stands in files: base64 and a line feed."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode() + "\n"


def local_key(text: str, where: str) -> LocalKey:
    """A key from its text. Raises ConfigError, which says ``where`` and never the text."""
    try:
        return LocalKey(base64.b64decode(text.strip(), validate=True))
    except (ValueError, binascii.Error):
        raise ConfigError(
            f"{where}: not a key, which is {KEY_BYTES} bytes in base64. Restore it from a backup; "
            "a new one comes of 'openssl rand -base64 32'"
        ) from None


class KeyRing:
    """``current`` wraps the keys of new recordings; None: they are not encrypted. It and
    ``previous`` unwrap. ``absent``: why keys are not here that should be.
    """

    def __init__(
        self,
        current: KeyEncryptionKey | None,
        previous: Iterable[KeyEncryptionKey] = (),
        absent: Sequence[str] = (),
    ) -> None:
        self.current = current
        self.absent = tuple(absent)
        keys = [*previous, *([current] if current is not None else [])]
        self._by_identifier = {key.identifier: key for key in keys}

    @property
    def all(self) -> tuple[KeyEncryptionKey, ...]:
        """The current key and the previous ones."""
        return tuple(self._by_identifier.values())

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._by_identifier

    def unwrap(self, identifier: str, wrapped: bytes) -> bytes:
        """Raises KeyError for a key that is not here, KeyRefusedError."""
        return self._by_identifier[identifier].unwrap(wrapped)


#: For readers of what is not encrypted.
NO_KEYS: Final = KeyRing(None)
