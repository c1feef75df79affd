"""Both logins: the client's at the gateway and the gateway's at a target, one message at a time."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sallyport.core.errors import ProtocolError
from sallyport.core.secret import Secret
from sallyport.session.login.client import (
    Authenticate,
    CancelBackend,
    ClientLogin,
    Close,
    Phase,
    Refused,
    StartTls,
)
from sallyport.session.login.upstream import Step, UpstreamError, UpstreamLogin
from sallyport.wire import backend, frontend
from sallyport.wire.frontend import (
    cancel_request,
    gssenc_request,
    password,
    ssl_request,
    startup_message,
)
from tests.session.decode import messages
from tests.support.sampling import examples

PARAMETERS = {"user": "claude", "database": "shop"}
START = startup_message(PARAMETERS)
TOKEN = password(b"token")
ASKS = backend.authentication_cleartext()


def feed(login: ClientLogin, *data: bytes, bytewise: bool = False) -> bytes:
    for message in data:
        for piece in [message[i : i + 1] for i in range(len(message))] if bytewise else [message]:
            login.receive(piece)
    answer = bytes(login.to_client)
    login.to_client.clear()
    return answer


def plain(**options: bool) -> ClientLogin:
    return ClientLogin(**{"tls": False, "loopback": True, **options})


def error(answer: bytes) -> dict[str, str]:
    last = messages(answer)[-1]
    assert last[:1] == b"E", answer
    return backend.parse_error_fields(last[5:])


@pytest.mark.parametrize("bytewise", [False, True])
def test_a_login(bytewise: bool) -> None:
    login = plain()
    assert feed(login, START, bytewise=bytewise) == ASKS
    assert feed(login, TOKEN, b"rest", bytewise=bytewise) == b""
    (request,) = login.requests
    assert isinstance(request, Authenticate)
    assert (request.token.reveal(), request.label, request.target, request.minor) == (
        "token",
        "claude",
        "shop",
        0,
    )
    assert "'token'" not in repr(request)
    assert login.take_rest() == b"rest"


@pytest.mark.parametrize("order", [(gssenc_request, ssl_request), (ssl_request, gssenc_request)])
def test_encryption_requests_in_either_order_without_tls(order: tuple) -> None:
    login = plain()
    for request in order:
        assert feed(login, request()) == b"N"
    assert feed(login, START) == ASKS


@pytest.mark.parametrize("request_", [gssenc_request, ssl_request])
def test_encryption_requests_come_once(request_: object) -> None:
    login = plain()
    feed(login, request_())  # type: ignore[operator]
    assert error(feed(login, request_()))["C"] == "08P01"  # type: ignore[operator]
    assert login.phase is Phase.CLOSED


def test_tls_is_started_and_what_was_said_before_is_forgotten() -> None:
    login = ClientLogin(tls=True, loopback=False)
    assert feed(login, gssenc_request()) == b"N"
    assert feed(login, ssl_request()) == b"S"
    assert login.requests == [StartTls(False, b"")]
    login.requests.clear()
    login.tls_started()
    assert error(feed(login, ssl_request()))["C"] == "08P01"


def test_bytes_behind_ssl_request_end_it() -> None:
    for behind in (START, b"\0", ssl_request()):
        login = ClientLogin(tls=True, loopback=True)
        assert error(feed(login, ssl_request() + behind))["C"] == "08P01"
        assert not any(isinstance(r, StartTls) for r in login.requests)


def test_direct_tls() -> None:
    login = ClientLogin(tls=True, loopback=False)
    assert feed(login, b"\x16\x03\x01hello") == b""
    assert login.requests == [StartTls(True, b"\x16\x03\x01hello")]
    login = plain()
    assert error(feed(login, b"\x16\x03\x01"))["C"] == "08P01"


def test_a_token_needs_tls_unless_the_peer_is_on_this_machine() -> None:
    for tls in (True, False):
        login = ClientLogin(tls=tls, loopback=False)
        fields = error(feed(login, START))
        assert fields["C"] == "28000"
        assert "[SP1602]" in fields["M"]


def test_cancel() -> None:
    for tls in (False, True):
        login = ClientLogin(tls=tls, loopback=False)
        assert feed(login, cancel_request(7, b"1234")) == b""
        assert login.requests == [CancelBackend(7, b"1234"), Close("cancel request")]
        assert feed(login, START) == b""


@pytest.mark.parametrize(
    "after",
    [START, frontend.query("SELECT 1"), cancel_request(1, b"1234"), ssl_request()],
)
def test_only_a_password_comes_after_the_startup_message(after: bytes) -> None:
    login = plain()
    feed(login, START)
    assert error(feed(login, after))["C"] == "08P01"
    assert not any(isinstance(r, (Authenticate, CancelBackend)) for r in login.requests)


@pytest.mark.parametrize("before", [b"", START])
def test_terminate_in_place_of_a_login_is_not_answered(before: bytes) -> None:
    login = plain()
    feed(login, before)
    for byte in frontend.terminate():
        assert feed(login, bytes([byte])) == b""
    assert [type(request) for request in login.requests] == [Close]
    assert feed(login, START) == b""


def test_a_second_startup_message_pipelined() -> None:
    login = plain()
    assert error(feed(login, START + START))["C"] == "08P01"


@pytest.mark.parametrize(
    ("major", "minor", "options", "spoken", "unsupported"),
    [
        (3, 0, {}, 0, None),
        (3, 2, {}, 2, None),
        (3, 9999, {}, 2, []),
        (3, 2, {"_pq_.x": "1"}, 2, ["_pq_.x"]),
        (3, 0, {"_pq_.x": ""}, 0, ["_pq_.x"]),
    ],
)
def test_protocol_versions(
    major: int, minor: int, options: dict, spoken: int, unsupported: list | None
) -> None:
    login = plain()
    answer = feed(login, startup_message({**PARAMETERS, **options}, minor))
    expected = (
        b"" if unsupported is None else backend.negotiate_protocol_version(spoken, unsupported)
    )
    assert answer == expected + ASKS
    feed(login, TOKEN)
    assert login.requests[0].minor == spoken  # type: ignore[union-attr]


@pytest.mark.parametrize("version", [1 << 16, 2 << 16, 4 << 16, 0xFFFFFFFF, 0])
def test_other_protocols_are_refused(version: int) -> None:
    body = struct.pack("!I", version) + b"user\0a\0\0"
    login = plain()
    assert error(feed(login, struct.pack("!I", len(body) + 4) + body))["C"] in ("0A000", "08P01")


@pytest.mark.parametrize(
    "extra",
    [
        {"replication": "true"}, {"replication": "database"}, {"options": "-W"}, {"options": "-c"},
    ],
)  # fmt: skip
def test_startup_parameters_that_are_refused(extra: dict[str, str]) -> None:
    login = plain()
    assert error(feed(login, startup_message({**PARAMETERS, **extra})))["C"] in ("42501", "0A000")
    assert login.phase is Phase.CLOSED


def test_startup_parameters_that_are_accepted() -> None:
    extra = {
        "options": "-c statement_timeout=5s --TimeZone=UTC",
        "application_name": "x",
        "client_encoding": "utf-8",
        "replication": "false",
    }
    login = plain()
    assert feed(login, startup_message({**PARAMETERS, **extra})) == ASKS
    feed(login, TOKEN)
    request = login.requests[0]
    assert isinstance(request, Authenticate)
    assert request.settings["statement_timeout"] == "5s"
    assert request.settings["application_name"] == "x"
    assert not {"user", "database", "replication", "options"} & set(request.settings)


@pytest.mark.parametrize("length", [0, 3, 65_536, 2**31, 2**32 - 1])
def test_password_lengths(length: int) -> None:
    login = plain()
    feed(login, START)
    assert error(feed(login, b"p" + struct.pack("!I", length)))["C"] == "08P01"


@pytest.mark.parametrize("length", [0, 4, 7, 10_005, 2**31, 2**32 - 1])
def test_startup_lengths(length: int) -> None:
    assert error(feed(plain(), struct.pack("!I", length)))["C"] == "08P01"


def test_an_empty_token_and_one_that_is_not_text() -> None:
    for body, code in ((b"\0", "28P01"), (b"a\0b\0", "08P01"), (b"no end", "08P01")):
        login = plain()
        feed(login, START)
        assert error(feed(login, frontend.message(0x70, body)))["C"] == code


def test_no_flood_while_the_login_is_looked_at() -> None:
    login = plain()
    feed(login, START, TOKEN)
    assert feed(login, b"x" * 60_000) == b""
    assert error(feed(login, b"x" * 60_000))["C"] == "08P01"


@settings(max_examples=examples(200))
@given(st.binary(max_size=200), st.booleans(), st.booleans(), st.integers(0, 3))
def test_any_bytes_at_login(data: bytes, tls: bool, loopback: bool, good: int) -> None:
    """Whatever comes: no exception, and nobody is let on to authentication but by a token."""
    login = ClientLogin(tls=tls, loopback=loopback)
    feed(login, b"".join([b"", gssenc_request(), START, START + TOKEN][good : good + 1]), data)
    for request in login.requests:
        assert isinstance(request, (StartTls, CancelBackend, Close, Authenticate, Refused))
    refusals = [request for request in login.requests if isinstance(request, Refused)]
    assert len(refusals) <= 1, "a login is refused once"


# -- the gateway at a target -----------------------------------------------------------------------


def upstream(*allowed: str, tls: bool = False, **options: object) -> UpstreamLogin:
    login = UpstreamLogin(
        "agent", "shop", Secret("pw-secret"), {}, allowed or ("scram-sha-256",), tls, **options
    )  # type: ignore[arg-type]
    login.start()
    login.to_server.clear()
    return login


SASL = backend.authentication_sasl(["SCRAM-SHA-256"])
OK = backend.authentication_ok()


def weak(code: int, more: bytes = b"") -> bytes:
    return backend.message(0x52, struct.pack("!i", code) + more)


@pytest.mark.parametrize(
    "asks",
    [
        weak(3),
        weak(5, b"salt"),
        weak(2),
        weak(7),
        weak(9),
        weak(6),
        weak(8, b"x"),
        OK,
        weak(11, b"r=x"),
        weak(12, b"v=x"),
    ],
)
def test_weaker_authentication_than_configured_is_refused(asks: bytes) -> None:
    login = upstream()
    with pytest.raises((UpstreamError, ProtocolError)):
        login.receive(asks)
    assert b"pw-secret" not in login.to_server
    assert login.step is not Step.STARTED


def test_cleartext_and_md5_when_configured() -> None:
    login = upstream("password")
    login.receive(weak(3))
    assert bytes(login.to_server) == password(b"pw-secret")
    login.receive(OK)
    login = upstream("md5")
    login.receive(weak(5, b"salt"))
    assert bytes(login.to_server).startswith(b"p\0\0\0\x28md5")
    with pytest.raises(UpstreamError):
        upstream("md5").receive(weak(3))


def begin() -> tuple[UpstreamLogin, str]:
    login = upstream()
    login.receive(SASL)
    first = bytes(login.to_server)
    login.to_server.clear()
    nonce = first.rpartition(b"r=")[2].decode()
    return login, nonce


@pytest.mark.parametrize(
    "challenge",
    [
        "r={nonce},s=c2FsdA==,i=4096",
        "r=other,s=c2FsdA==,i=4096",
        "r={nonce}x,s=c2FsdA==,i=999999999",
        "r={nonce}x,s=c2FsdA==,i=0",
        "r={nonce}x,s=,i=4096",
        "",
        "m=x,r={nonce}x,s=c2FsdA==,i=4096",
    ],
)
def test_bad_sasl_challenges(challenge: str) -> None:
    login, nonce = begin()
    with pytest.raises((UpstreamError, ProtocolError)):
        login.receive(backend.authentication_sasl_continue(challenge.format(nonce=nonce).encode()))
        login.receive(OK)
    assert login.step not in (Step.STARTED, Step.READY)


def test_a_server_that_does_not_prove_itself() -> None:
    for proof in (b"v=" + b"A" * 43 + b"=", b"e=other-error", b""):
        login, nonce = begin()
        login.receive(
            backend.authentication_sasl_continue(f"r={nonce}x,s=c2FsdA==,i=4096".encode())
        )
        with pytest.raises((UpstreamError, ProtocolError)):
            login.receive(backend.authentication_sasl_final(proof))
    login, nonce = begin()
    login.receive(backend.authentication_sasl_continue(f"r={nonce}x,s=c2FsdA==,i=4096".encode()))
    with pytest.raises(UpstreamError):  # no proof at all
        login.receive(OK)


def test_sasl_replayed() -> None:
    login, nonce = begin()
    challenge = backend.authentication_sasl_continue(f"r={nonce}x,s=c2FsdA==,i=4096".encode())
    login.receive(challenge)
    with pytest.raises((UpstreamError, ProtocolError)):
        login.receive(challenge)
    login, _ = begin()
    with pytest.raises((UpstreamError, ProtocolError)):
        login.receive(SASL)


@pytest.mark.parametrize(
    "answer", [b"N", b"SR\0\0\0\x08\0\0\0\0", b"E\0\0\0\x08M", b"S" + OK, b"X"]
)
def test_the_answer_to_ssl_request(answer: bytes) -> None:
    login = upstream(tls=True)
    with pytest.raises(UpstreamError):
        login.receive(answer)
    assert not login.wants_tls


def test_tls_first() -> None:
    login = UpstreamLogin("agent", "shop", Secret("x"), {}, ("scram-sha-256",), True)
    login.start()
    assert bytes(login.to_server) == ssl_request()
    login.to_server.clear()
    login.receive(b"S")
    assert login.wants_tls
    assert not login.to_server
    login.tls_started(None)
    assert b"user\0agent\0database\0shop\0" in login.to_server


def test_binding_that_the_server_does_not_offer() -> None:
    with pytest.raises((UpstreamError, ProtocolError)):
        upstream(binding="require").receive(SASL)


def test_a_whole_login_gives_what_came_behind() -> None:
    login = upstream("trust")
    rest = login.receive(
        OK
        + backend.parameter_status("server_version", "18")
        + backend.backend_key_data(1, b"1234")
        + backend.ready_for_query(b"I")
        + b"N\0"
    )
    assert rest == b"N\0"
    assert login.ready
    assert (login.pid, login.key, login.parameters) == (1, b"1234", {"server_version": "18"})


def test_an_error_is_told() -> None:
    with pytest.raises(UpstreamError, match="no such database"):
        upstream().receive(backend.error_response("FATAL", "3D000", "no such database"))


@settings(max_examples=examples(200))
@given(st.binary(max_size=100), st.sampled_from([b"", SASL, b"S"]), st.booleans())
def test_any_bytes_from_a_target(data: bytes, good: bytes, tls: bool) -> None:
    login = upstream(tls=tls)
    try:
        login.receive(good)
        login.receive(data)
    except (UpstreamError, ProtocolError):
        pass
    assert not login.ready
    assert b"pw-secret" not in login.to_server
