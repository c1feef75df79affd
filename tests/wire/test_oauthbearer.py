"""OAUTHBEARER byte for byte (RFC 7628 section 4, PostgreSQL 18's messages)."""

from __future__ import annotations

import json
import struct

import pytest

from sallyport.core.errors import ProtocolError, refuse
from sallyport.session.login.client import Authenticate, ClientLogin, Close, OAuthOffer, Phase
from sallyport.wire.oauthbearer import failure, parse_initial

OFFER = OAuthOffer("oauth", "https://idp.example.com/.well-known/openid-configuration", "openid db")
TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="


def startup(user: str) -> bytes:
    body = struct.pack("!HH", 3, 0) + b"user\0" + user.encode() + b"\0database\0shop\0\0"
    return struct.pack("!i", len(body) + 4) + body


def answer(data: bytes) -> bytes:
    return b"p" + struct.pack("!i", len(data) + 4) + data


def initial(data: bytes) -> bytes:
    return answer(b"OAUTHBEARER\0" + struct.pack("!i", len(data)) + data)


def begun(user: str = "oauth") -> ClientLogin:
    login = ClientLogin(tls=False, loopback=True, oauth=OFFER)
    login.receive(startup(user))
    return login


@pytest.mark.parametrize("step", [1, 1000])
def test_a_token_in_the_initial_response(step: int) -> None:
    login = begun()
    assert bytes(login.to_client) == b"R\0\0\0\x15\0\0\0\x0aOAUTHBEARER\0\0"
    data = initial(b"n,,\x01auth=Bearer " + TOKEN.encode() + b"\x01\x01")
    for start in range(0, len(data), step):
        login.receive(data[start : start + step])
    (request,) = login.requests
    assert isinstance(request, Authenticate)
    assert (request.token.reveal(), request.label, request.target) == (TOKEN, "oauth", "shop")


def test_discovery_then_the_error() -> None:
    login = begun()
    login.to_client.clear()
    login.receive(initial(b"n,,\x01auth=\x01\x01"))
    said = bytes(login.to_client)
    assert said[:1] == b"R" and said[5:9] == b"\0\0\0\x0b"
    assert json.loads(said[9:]) == {
        "status": "invalid_token",
        "openid-configuration": OFFER.discovery_url,
        "scope": "openid db",
    }
    assert not login.requests, "nobody is authenticated, and the connection stays until it was read"
    login.to_client.clear()
    login.receive(answer(b"\x01"))
    assert b"[SP1601]" in login.to_client and b"FATAL" in login.to_client
    assert [type(request) for request in login.requests] == [Close]


def test_a_token_that_is_refused() -> None:
    login = begun()
    login.receive(initial(b"n,,\x01auth=bearer abc\x01host=x\x01\x01"))
    login.to_client.clear()
    login.refuse(refuse("SP1601", "not valid"))
    assert login.phase is Phase.SASL_FAILED and bytes(login.to_client[9:]) == failure(
        OFFER.discovery_url, OFFER.scope
    )
    login.refuse(refuse("SP1606", "too slow"))  # the deadline of the login
    assert login.phase is Phase.CLOSED


def test_a_locked_subject_is_told_at_once() -> None:
    """Another token would not help: no flow is started."""
    login = begun()
    login.receive(initial(b"n,,\x01auth=Bearer abc\x01\x01"))
    login.refuse(refuse("SP1608", "locked"))
    assert login.phase is Phase.CLOSED and b"[SP1608]" in login.to_client


def test_other_users_send_passwords() -> None:
    login = begun("claude")
    assert bytes(login.to_client) == b"R\0\0\0\x08\0\0\0\x03"
    off = ClientLogin(tls=False, loopback=True)
    off.receive(startup("oauth"))
    assert bytes(off.to_client) == b"R\0\0\0\x08\0\0\0\x03"


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"n,,",
        b"n,,\x01",
        b"n,,\x01\x01",
        b"n,,\x01auth=Bearer s3cret\x01",
        b"n,a=dana,\x01auth=Bearer s3cret\x01\x01",
        b"p=tls-unique,,\x01auth=Bearer s3cret\x01\x01",
        b"n,,\x01auth=Bearer s3cret\x01auth=Bearer other\x01\x01",
        b"n,,\x01auth=Bearer s3cret and more\x01\x01",
        b"n,,\x01auth=Basic s3cret\x01\x01",
        b"n,,\x01auth=Bearer \x01\x01",
        b"n,,\x01auth=Bearer s3\xffcret\x01\x01",
        b"n,,\x01au th=x\x01auth=Bearer s3cret\x01\x01",
        b"n,,\x01\x01auth=Bearer s3cret\x01\x01",
        b"n,,\x01auth=Bearer s3cret\x01\x01trailing\x01\x01",
    ],
)
def test_what_is_malformed(data: bytes | None) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_initial(data)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("reply", [b"", b"\x01\x01", b"n,,\x01auth=Bearer abc\x01\x01"])
def test_only_one_separator_acknowledges(reply: bytes) -> None:
    login = begun()
    login.receive(initial(b"n,,\x01auth=\x01\x01"))
    login.receive(answer(reply))
    assert b"[SP1501]" in login.to_client and login.phase is Phase.CLOSED


def test_another_mechanism() -> None:
    login = begun()
    login.receive(answer(b"SCRAM-SHA-256\0" + struct.pack("!i", -1)))
    assert b"[SP1501]" in login.to_client
