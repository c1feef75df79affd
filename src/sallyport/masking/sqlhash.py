"""The ``hash`` mask in SQL: HMAC-SHA256 made of ``sha256``, with a key that is in no statement.

HMAC(K, m) = H(outer || H(inner || m)), where inner and outer are the key, padded to a block of 64
bytes and XORed with 0x36 and 0x5c (RFC 2104). :func:`hash_settings` gives both as custom settings
for the start of a session; :func:`text_token` and :func:`uuid_token` read them.

The settings are read in sub-SELECTs without FROM, which PostgreSQL runs once per execution
(InitPlans). A setting that is missing, empty, not 128 lower-case hex digits, or the padding of an
empty key gives NULL, and so does the mask.
"""

from __future__ import annotations

import hashlib
from typing import Final

from sallyport.core.secret import Secret

_BLOCK: Final = 64  # bytes, of SHA-256
_INNER: Final = 0x36
_OUTER: Final = 0x5C
#: Arguments of set_bit() for version 8 and variant 10 (RFC 9562); bit 0 is the lowest of byte 0.
_UUID_BITS: Final = ((52, 0), (53, 0), (54, 0), (55, 1), (70, 0), (71, 1))


def hash_settings(name: str, key: Secret) -> dict[str, str]:
    """Setting name -> value in hex, for the key that policy calls ``name``; none for an empty key.

    The values are as secret as the key. The key is taken as UTF-8, as by the native mask.
    """
    secret = key.reveal().encode()
    if not secret:
        return {}
    if len(secret) > _BLOCK:
        secret = hashlib.sha256(secret).digest()
    padded = secret.ljust(_BLOCK, b"\0")
    return {
        _setting(name, suffix): bytes(byte ^ mask for byte in padded).hex()
        for suffix, mask in (("i", _INNER), ("o", _OUTER))
    }


def text_token(data: str, name: str) -> str:
    """``tok_`` and 24 hex digits, as text. ``data``: SQL of the bytes to hash (bytea)."""
    return (
        f"('tok_' OPERATOR(pg_catalog.||) "
        f"pg_catalog.encode(pg_catalog.substr({_hmac(data, name)}, 1, 12), 'hex'))"
    )


def uuid_token(data: str, name: str) -> str:
    """A UUID of version 8. ``data``: SQL of the bytes to hash (bytea)."""
    token = f"pg_catalog.substr({_hmac(data, name)}, 1, 16)"
    for number, bit in _UUID_BITS:
        token = f"pg_catalog.set_bit({token}, {number}, {bit})"
    return f"pg_catalog.encode({token}, 'hex')::pg_catalog.uuid"


def _hmac(data: str, name: str) -> str:
    inner, outer = _pad(name, "i", _INNER), _pad(name, "o", _OUTER)
    digest = f"pg_catalog.sha256({inner} OPERATOR(pg_catalog.||) {data})"
    return f"pg_catalog.sha256({outer} OPERATOR(pg_catalog.||) {digest})"


def _pad(name: str, suffix: str, mask: int) -> str:
    """The padded key as bytea, or NULL."""
    setting = f"pg_catalog.current_setting('{_setting(name, suffix)}', true)"
    return (
        f'(SELECT CASE WHEN ({setting} COLLATE pg_catalog."C") OPERATOR(pg_catalog.~)'
        f" '^(?!({mask:02x})+$)[0-9a-f]{{{2 * _BLOCK}}}$'"
        f" THEN pg_catalog.decode({setting}, 'hex') END)"
    )


def _setting(name: str, suffix: str) -> str:
    """Names of keys may hold anything; settings are named by a digest of them."""
    return f"sallyport.hash_{hashlib.sha256(name.encode()).hexdigest()[:16]}_{suffix}"
