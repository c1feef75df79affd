"""SCRAM against RFC 7677's example, itself in both roles, and PostgreSQL with and without TLS."""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import socket
import ssl
import struct

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import ProtocolError
from sallyport.core.secret import Secret
from sallyport.wire import backend, frontend
from sallyport.wire.scram import (
    PLAIN,
    PLUS,
    KeyCache,
    ScramClient,
    ScramError,
    ScramServer,
    make_verifier,
    md5_password,
    prepare_password,
    tls_server_end_point,
)
from sallyport.wire.scrubbing import scrub_error
from sallyport.wire.startup import negotiate
from tests.support.postgres import Server

# RFC 7677 section 3.
RFC_NONCE = "rOprNGfwEbeRWgbNEkqO"
RFC_SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
RFC_SERVER_FIRST = f"r={RFC_NONCE}{RFC_SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode()
RFC_CLIENT_FINAL = (
    f"c=biws,r={RFC_NONCE}{RFC_SERVER_NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
).encode()
RFC_SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
PASSWORD = Secret("pencil")
SERVER_VERIFIER = make_verifier(PASSWORD, 4096, base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))


def rfc_client(**more: object) -> ScramClient:
    return ScramClient(PASSWORD, [PLAIN], username="user", nonce=RFC_NONCE, **more)


def test_the_rfc_example_as_client() -> None:
    client = rfc_client()
    assert client.mechanism == PLAIN
    assert client.first() == b"n,,n=user,r=" + RFC_NONCE.encode()
    assert client.respond(RFC_SERVER_FIRST) == RFC_CLIENT_FINAL
    client.verify(RFC_SERVER_FINAL)


def test_the_rfc_example_as_server() -> None:
    verifier = make_verifier(PASSWORD, 4096, base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    server = ScramServer(verifier, nonce=RFC_SERVER_NONCE)
    assert server.first(PLAIN, b"n,,n=user,r=" + RFC_NONCE.encode()) == RFC_SERVER_FIRST
    assert server.final(RFC_CLIENT_FINAL) == RFC_SERVER_FINAL


def exchange(client: ScramClient, server: ScramServer) -> None:
    challenge = server.first(client.mechanism, client.first())
    client.verify(server.final(client.respond(challenge)))


@given(
    st.text(max_size=12),
    st.binary(min_size=1, max_size=24),
    st.none() | st.binary(min_size=1, max_size=64),
)
def test_both_roles_agree(password: str, salt: bytes, binding: bytes | None) -> None:
    server = ScramServer(make_verifier(Secret(password), 3, salt), binding)
    client = ScramClient(Secret(password), server.offers(), binding, username="a=b,c")
    assert client.mechanism == (PLUS if binding else PLAIN)
    exchange(client, server)


@given(st.text(max_size=8), st.text(max_size=8))
def test_another_password_fails(right: str, wrong: str) -> None:
    if prepare_password(right) == prepare_password(wrong):
        return
    server = ScramServer(make_verifier(Secret(right), 3))
    with pytest.raises(ScramError):
        exchange(ScramClient(Secret(wrong), server.offers()), server)


def test_header_tells_what_the_client_saw() -> None:
    assert (
        ScramClient(PASSWORD, [PLUS, PLAIN], b"hash")
        .first()
        .startswith(b"p=tls-server-end-point,,n=,r=")
    )
    assert ScramClient(PASSWORD, [PLAIN], b"hash").first().startswith(b"y,,n=,r=")
    assert ScramClient(PASSWORD, [PLUS, PLAIN]).first().startswith(b"n,,n=,r=")


def test_an_offer_taken_away_on_the_wire_is_noticed() -> None:
    server = ScramServer(make_verifier(PASSWORD, 3), b"hash")
    with pytest.raises(ScramError, match="stripped"):
        exchange(ScramClient(PASSWORD, [PLAIN], b"hash"), server)


def test_a_relay_with_another_certificate_is_noticed() -> None:
    server = ScramServer(make_verifier(PASSWORD, 3), b"hash of the server")
    with pytest.raises(ScramError, match="binding"):
        exchange(ScramClient(PASSWORD, server.offers(), b"hash of the relay"), server)


@pytest.mark.parametrize(
    ("offers", "binding", "required"),
    [
        ([], None, False),
        ([PLUS], None, False),
        (["SCRAM-SHA-1"], b"x", False),
        ([PLAIN], b"x", True),
        ([PLUS], None, True),
    ],
)
def test_nothing_usable_offered(offers: list[str], binding: bytes | None, required: bool) -> None:
    with pytest.raises(ScramError):
        ScramClient(PASSWORD, offers, binding, require_binding=required)


@pytest.mark.parametrize(
    "server_first",
    [
        b"",
        b"r=" + RFC_NONCE.encode() + b",s=QQ==,i=4096",  # adds nothing of its own
        b"r=other" + RFC_NONCE.encode() + b"x,s=QQ==,i=4096",
        RFC_SERVER_FIRST + b",x=y",
        b"m=ext," + RFC_SERVER_FIRST,
        RFC_SERVER_FIRST.replace(b"i=4096", b"i=0"),
        RFC_SERVER_FIRST.replace(b"i=4096", b"i=-1"),
        RFC_SERVER_FIRST.replace(b"i=4096", b"i="),
        RFC_SERVER_FIRST.replace(b"i=4096", b"i=" + b"9" * 5000),
        RFC_SERVER_FIRST.replace(b"W22Z", b"!!!!"),
        RFC_SERVER_FIRST.replace(b"W22ZaJ0SNY7soEsUEjb6gQ==", b""),
        RFC_SERVER_FIRST.replace(b"%", b"\0"),
        RFC_SERVER_FIRST.replace(b"%", b"\xff"),
    ],
)
def test_bad_challenges(server_first: bytes) -> None:
    client = rfc_client()
    client.first()
    with pytest.raises(ScramError):
        client.respond(server_first)


def test_a_server_that_asks_for_too_few_iterations() -> None:
    for count, accepted in ((1, False), (4095, False), (4096, True), (10_000, True)):
        server = ScramServer(make_verifier(PASSWORD, count))
        client = ScramClient(PASSWORD, server.offers(), min_iterations=4096)
        if accepted:
            exchange(client, server)
        else:
            with pytest.raises(ScramError, match="at least 4096"):
                exchange(client, server)


def test_iterations_are_bounded_before_they_cost_anything() -> None:
    client = rfc_client(max_iterations=5000)
    client.first()
    with pytest.raises(ScramError, match="2000000000 SCRAM iterations, and at most 5000"):
        client.respond(RFC_SERVER_FIRST.replace(b"i=4096", b"i=2000000000"))


@pytest.mark.parametrize(
    "server_final",
    [
        b"",
        b"v=",
        b"v=AAAA",
        RFC_SERVER_FINAL[:-5] + b"5G5=",
        RFC_SERVER_FINAL + b",x=1",
        b"e=invalid-proof",
    ],
)
def test_a_server_that_cannot_prove_itself(server_final: bytes) -> None:
    client = rfc_client()
    client.first()
    client.respond(RFC_SERVER_FIRST)
    with pytest.raises(ScramError):
        client.verify(server_final)


def test_steps_have_an_order() -> None:
    client = rfc_client()
    with pytest.raises(ScramError, match="order"):
        client.verify(b"v=")  # an empty signature is not compared with one not yet made
    with pytest.raises(ScramError, match="order"):
        client.respond(RFC_SERVER_FIRST)
    server = ScramServer(make_verifier(PASSWORD, 3))
    with pytest.raises(ScramError, match="order"):
        server.final(RFC_CLIENT_FINAL)


@given(st.binary(max_size=60) | st.text("nrsicpvye=,AB4+/\0", max_size=60).map(str.encode))
def test_any_bytes_give_an_answer_or_a_scram_error(data: bytes) -> None:
    client = rfc_client(cache=KeyCache(1))
    client.first()
    with contextlib.suppress(ScramError):
        client.respond(data)
    with contextlib.suppress(ScramError):
        client.verify(data)
    server = ScramServer(make_verifier(PASSWORD, 1, b"salt"))
    with contextlib.suppress(ProtocolError):
        server.first(PLAIN, b"n,," + data)
    with pytest.raises(ScramError):
        server.final(data)


@given(st.integers(0, len(RFC_CLIENT_FINAL) - 1), st.integers(1, 255))
def test_no_changed_byte_of_the_proof_passes(place: int, change: int) -> None:
    changed = bytearray(RFC_CLIENT_FINAL)
    changed[place] ^= change
    server = ScramServer(SERVER_VERIFIER, nonce=RFC_SERVER_NONCE)
    server.first(PLAIN, b"n,,n=user,r=" + RFC_NONCE.encode())
    with pytest.raises(ScramError):
        server.final(bytes(changed))


def test_a_nonce_not_agreed_on_fails_even_with_the_right_proof() -> None:
    class Wayward(ScramClient):
        def _read_challenge(self, server_first: bytes) -> tuple[bytes, bytes, int]:
            nonce, salt, iterations = super()._read_challenge(server_first)
            return nonce + b"x", salt, iterations

    server = ScramServer(make_verifier(PASSWORD, 3))
    with pytest.raises(ScramError, match="nonce"):
        exchange(Wayward(PASSWORD, server.offers()), server)


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("I\u00adX", b"IX"),  # RFC 4013 section 3
        ("\u2168", b"IX"),
        ("\u00aa", b"a"),
        ("a\u00a0b", b"a b"),
        ("a\u200bb", b"a b"),
        ("tab\t", b"tab\t"),  # ASCII is taken as it is
        ("\u0627\u0031", "\u0627\u0031".encode()),  # prohibited (bidi): as it is
        ("\u00ad", "\u00ad".encode()),  # nothing would be left: as it is
        ("\u2168\u0007", "\u2168\u0007".encode()),  # a control character: as it is, not IX
        ("", b""),
    ],
)
def test_saslprep(password: str, prepared: bytes) -> None:
    assert prepare_password(password) == prepared


def test_the_cache_saves_work_is_bounded_and_shows_nothing() -> None:
    cache = KeyCache(limit=2)
    first = cache.derive(b"secret", b"salt", 2)
    assert cache.derive(b"secret", b"salt", 2) is first
    assert cache.derive(b"secret", b"salt", 3) != first
    assert cache.derive(b"secret", b"sal", 2) != first
    assert len(cache) == 2
    assert cache.derive(b"secret", b"salt", 2) is not first
    assert "key" in repr(first)
    assert repr(first.client_key) not in repr(first)
    assert b"secret" not in b"".join(cache._keys)


def test_md5_password() -> None:
    """The formula of protocol section 54.2.1, spelled with the standard library."""
    inner = hashlib.md5(b"pencilagent").hexdigest()
    expected = b"md5" + hashlib.md5(inner.encode() + b"\1\2\3\4").hexdigest().encode()
    assert md5_password("agent", PASSWORD, b"\1\2\3\4") == expected
    with pytest.raises(ProtocolError):
        md5_password("agent", PASSWORD, b"\1\2\3")


def certificate(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, digest: hashes.HashAlgorithm | None
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "db")])
    now = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.public_key(key.public_key()).not_valid_before(now)
    signed = builder.not_valid_after(now + datetime.timedelta(days=1)).sign(key, digest)
    return signed.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("digest", "name"), [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384")]
)
def test_end_point_uses_the_hash_of_the_signature(digest: hashes.HashAlgorithm, name: str) -> None:
    der = certificate(ec.generate_private_key(ec.SECP256R1()), digest)
    assert tls_server_end_point(der) == hashlib.new(name, der).digest()


def test_end_point_where_the_rfc_has_none() -> None:
    assert tls_server_end_point(certificate(ed25519.Ed25519PrivateKey.generate(), None)) is None
    with pytest.raises(ScramError):
        tls_server_end_point(b"not a certificate")


# --- PostgreSQL ------------------------------------------------------


class Wire:
    """Just enough of a client to log in."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def read(self) -> tuple[int, bytes]:
        kind, length = struct.unpack("!BI", self._exactly(5))
        return kind, self._exactly(length - 4)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            assert more, "the server closed the connection"
            data += more
        return data

    def login(
        self, server: Server, password: str, binding: bytes | None, **parameters: str
    ) -> ScramClient:
        """Raises ScramError, or AssertionError with the server's error."""
        minor = 2 if server.major >= 18 else 0
        options = {"user": server.user, "database": server.database, **parameters}
        self.sock.sendall(frontend.startup_message(options, minor))
        code, data = self._authentication()
        assert code == backend.AUTH_SASL
        client = ScramClient(Secret(password), backend.parse_sasl_mechanisms(data), binding)
        self.sock.sendall(frontend.sasl_initial(client.mechanism, client.first()))
        code, data = self._authentication()
        assert code == backend.AUTH_SASL_CONTINUE
        self.sock.sendall(frontend.sasl_response(client.respond(data)))
        code, data = self._authentication()
        assert code == backend.AUTH_SASL_FINAL
        client.verify(data)
        assert self._authentication() == (backend.AUTH_OK, b"")
        return client

    def _authentication(self) -> backend.Authentication:
        kind, body = self.read()
        assert kind == backend.AUTHENTICATION, backend.parse_error_fields(body)
        return backend.parse_authentication(body)

    def until_ready(self) -> list[tuple[int, bytes]]:
        messages = [self.read()]
        while messages[-1][0] != backend.READY_FOR_QUERY:
            messages.append(self.read())
        return messages


def test_login_to_postgresql_and_talk(any_postgres: Server) -> None:
    """Also holds the builders and parsers of both directions against a real server."""
    with socket.create_connection((any_postgres.host, any_postgres.port), 10) as sock:
        wire = Wire(sock)
        client = wire.login(
            any_postgres, any_postgres.password, None, options=r"-c application_name=a\ b"
        )
        assert client.mechanism == PLAIN
        start = wire.until_ready()
        settings = dict(
            backend.parse_parameter_status(body) for kind, body in start if kind == 0x53
        )
        assert settings["application_name"] == "a b"
        key = next(backend.parse_backend_key_data(body) for kind, body in start if kind == 0x4B)
        assert len(key.key) == (32 if any_postgres.major >= 18 else 4)  # protocol 3.2 or 3.0

        sock.sendall(
            frontend.parse(b"s", "select $1::int4 as one, $2::text", [23, 25])
            + frontend.bind(b"p", b"s", [b"\0\0\0\7", None], [1, 0], [0])
            + frontend.describe(b"S", b"s")
            + frontend.describe(b"P", b"p")
            + frontend.execute(b"p", 0)
            + frontend.close(b"P", b"p")
            + frontend.sync()
        )
        replies = dict(wire.until_ready())
        assert backend.parse_parameter_description(replies[backend.PARAMETER_DESCRIPTION]) == (
            23,
            25,
        )
        fields, _ = backend.parse_row_description(replies[backend.ROW_DESCRIPTION])
        assert (fields.name, fields.type_oid) == ("one", 23)
        assert replies[backend.DATA_ROW] == b"\0\2\0\0\0\0017\xff\xff\xff\xff"
        assert backend.parse_command_complete(replies[backend.COMMAND_COMPLETE]) == ("SELECT 1", 1)
        for kind, body in replies.items():
            assert backend.MESSAGES[kind].minimum <= len(body) <= backend.MESSAGES[kind].maximum

        sock.sendall(frontend.query("select 'canary-4929'::int"))
        error = dict(wire.until_ready())[backend.ERROR_RESPONSE]
        assert "canary-4929" in backend.parse_error_fields(error)["M"]
        assert b"canary" not in scrub_error(error)
        sock.sendall(frontend.terminate())


def test_postgresql_negotiates_as_we_do(postgres: Server) -> None:
    for minor in (1, 9999):
        with socket.create_connection((postgres.host, postgres.port), 10) as sock:
            options = {"user": postgres.user, "_pq_.unknown": "1"}
            sock.sendall(frontend.startup_message(options, minor))
            kind, body = Wire(sock).read()
            assert kind == backend.NEGOTIATE_PROTOCOL_VERSION
            ours = negotiate(3, minor, options).reply
            assert ours is not None
            assert ours[5:] == body


def test_wrong_password_at_postgresql(postgres: Server) -> None:
    with (
        socket.create_connection((postgres.host, postgres.port), 10) as sock,
        pytest.raises(AssertionError, match="28P01"),
    ):
        Wire(sock).login(postgres, "wrong", None)


def test_channel_binding_with_postgresql(postgres_tls: Server) -> None:
    assert postgres_tls.ca is not None
    context = ssl.create_default_context(cafile=str(postgres_tls.ca))
    with socket.create_connection((postgres_tls.host, postgres_tls.port), 10) as plain:
        plain.sendall(frontend.ssl_request())
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain, server_hostname=postgres_tls.host) as sock:
            der = sock.getpeercert(binary_form=True)
            assert der is not None
            client = Wire(sock).login(
                postgres_tls, postgres_tls.password, tls_server_end_point(der)
            )
            assert client.mechanism == PLUS
