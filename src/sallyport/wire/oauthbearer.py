"""SASL OAUTHBEARER, the server's side, without I/O (RFC 7628; PostgreSQL's
src/backend/libpq/auth-oauth.c).

A client sends its bearer token in the initial response. What fails is answered with a JSON document
that says where tokens come from, which libpq 18 takes to start its device flow; the client
acknowledges it with one separator, and only then the error follows.
"""

from __future__ import annotations

import json
import re
from typing import Final

from sallyport.core.errors import ProtocolError
from sallyport.core.secret import Secret

MECHANISM: Final = "OAUTHBEARER"
#: Separates key-value pairs, and alone acknowledges a failure (RFC 7628 section 3.1).
SEPARATOR: Final = b"\x01"
#: b64token of RFC 6750 section 2.1, behind a scheme that is compared without case (RFC 9110 section
#: 11.1).
_BEARER: Final = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
_KEY: Final = re.compile(rb"[A-Za-z]+")


def parse_initial(data: bytes | None) -> Secret | None:
    """The token of a client's initial response; None where it asks for the document without one.
    Raises ProtocolError, whose text never holds the token.
    """
    if data is None:
        raise ProtocolError("OAUTHBEARER: the initial response is missing")
    header, separator, rest = data.partition(SEPARATOR)
    if header[:2] == b"p=":
        raise ProtocolError("OAUTHBEARER: channel binding is not supported")
    if header not in (b"n,,", b"y,,"):
        raise ProtocolError(
            "OAUTHBEARER: the GS2 header must be n,, without an authorization identity"
        )
    if not separator or not rest.endswith(SEPARATOR):
        raise ProtocolError("OAUTHBEARER: the message does not end with a separator")
    pairs = rest[:-1].split(SEPARATOR)
    if pairs.pop() != b"":
        raise ProtocolError("OAUTHBEARER: the message does not end with an empty pair")
    return _token(_value_of_auth(pairs))


def _value_of_auth(pairs: list[bytes]) -> bytes:
    value: bytes | None = None
    for pair in pairs:
        key, equals, text = pair.partition(b"=")
        if not equals or not _KEY.fullmatch(key) or not text.isascii():
            raise ProtocolError("OAUTHBEARER: a key-value pair cannot be read")
        if key == b"auth":
            if value is not None:
                raise ProtocolError("OAUTHBEARER: auth is there twice")
            value = text
    if value is None:
        raise ProtocolError("OAUTHBEARER: auth is missing")
    return value


def _token(value: bytes) -> Secret | None:
    if not value:
        return None
    match = _BEARER.fullmatch(value)
    if match is None:
        raise ProtocolError("OAUTHBEARER: auth is not a bearer token")
    return Secret(match[1].decode("ascii"))


def failure(discovery_url: str, scope: str) -> bytes:
    """The document of RFC 7628 section 3.2.2. ``discovery_url``: of the issuer's OpenID
    configuration. ``scope``: to ask it for.
    """
    document = {"status": "invalid_token", "openid-configuration": discovery_url, "scope": scope}
    return json.dumps(document).encode("ascii")
