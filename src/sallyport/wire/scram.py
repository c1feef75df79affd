"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, both roles, without I/O (RFC 5802, RFC 7677;
tls-server-end-point of RFC 5929).

The gateway is a client of the target database (:class:`ScramClient`) and can be a server
(:class:`ScramServer`). Both are strict, as PostgreSQL's libpq is: attributes in their order,
nothing extra. Every failure raises :class:`ScramError`, whose text never holds a password or a key.
The user name inside SCRAM is empty by default: PostgreSQL takes it from the StartupMessage.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import stringprep
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from sallyport.core.errors import ProtocolError
from sallyport.core.secret import Secret
from sallyport.wire.fields import check_utf8

PLAIN: Final = "SCRAM-SHA-256"
PLUS: Final = "SCRAM-SHA-256-PLUS"
#: PostgreSQL's SCRAM_SHA_256_DEFAULT_ITERATIONS and default salt length (bytes).
DEFAULT_ITERATIONS: Final = 4096
SALT_LENGTH: Final = 16
_NONCE_BYTES: Final = 18
_BINDING: Final = b"p=tls-server-end-point,,"
_DIGEST: Final = 32


class ScramError(ProtocolError):
    """The exchange failed; the text says why and is fit for a user."""


class Keys(NamedTuple):
    """Derived once per password, salt and iteration count (RFC 5802 section 3)."""

    client_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return "<scram keys>"


class Verifier(NamedTuple):
    """What a server stores instead of a password (PostgreSQL's pg_authid.rolpassword)."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return "<scram verifier>"


class KeyCache:
    """A bounded, thread-safe LRU of derived keys, so that many logins cost one PBKDF2 run.

    It holds keys, never passwords: an entry is found by an HMAC of password, salt and iterations
    under a key that lives only in this process.
    """

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._secret = os.urandom(32)
        self._keys: OrderedDict[bytes, Keys] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._keys)

    def derive(self, password: bytes, salt: bytes, iterations: int) -> Keys:
        """Keys for a prepared password. Runs PBKDF2 (about 1 ms for 4,096 iterations) when they are
        not cached.
        """
        label = b"%d:%d:%s:" % (iterations, len(salt), salt)
        name = hmac.digest(self._secret, label + password, "sha256")
        with self._lock:
            cached = self._keys.get(name)
            if cached is not None:
                self._keys.move_to_end(name)
                return cached
        keys = derive_keys(password, salt, iterations)
        with self._lock:
            self._keys[name] = keys
            while len(self._keys) > self._limit:
                self._keys.popitem(last=False)
        return keys


#: Shared by every client of this process that is not given its own.
SHARED_KEYS: Final = KeyCache()


def derive_keys(password: bytes, salt: bytes, iterations: int) -> Keys:
    """ClientKey and ServerKey from a prepared password (RFC 5802 section 3)."""
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    return Keys(
        hmac.digest(salted, b"Client Key", "sha256"), hmac.digest(salted, b"Server Key", "sha256")
    )


def prepare_password(password: str) -> bytes:
    """SASLprep (RFC 4013) as PostgreSQL applies it: what the profile prohibits is used as it is
    (pg_saslprep).
    """
    raw = password.encode("utf-8", "surrogatepass")
    if password.isascii():
        return raw
    # Spaces first, as pg_saslprep does: U+200B is in both tables.
    spaced = (" " if stringprep.in_table_c12(char) else char for char in password)
    mapped = "".join(char for char in spaced if not stringprep.in_table_b1(char))
    prepared = unicodedata.normalize("NFKC", mapped)
    if (
        not prepared
        or any(_is_prohibited(char) for char in prepared)
        or not _is_bidi_safe(prepared)
    ):
        return raw
    return prepared.encode("utf-8")


_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def _is_prohibited(char: str) -> bool:
    return any(table(char) for table in _PROHIBITED)


def _is_bidi_safe(text: str) -> bool:
    """RFC 3454 section 6: right-to-left text has no left-to-right characters and both ends
    right-to-left.
    """
    if not any(stringprep.in_table_d1(char) for char in text):
        return True
    if any(stringprep.in_table_d2(char) for char in text):
        return False
    return stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])


# --- client ------------------------------------------------------------


class ScramClient:
    """One login to a server. Call :meth:`first`, :meth:`respond` and :meth:`verify`, once each and
    in this order.

    ``channel_binding``: :func:`tls_server_end_point` of the server's certificate, None without TLS.
    With it the PLUS mechanism is used when offered; when not, the header says ``y``, so that a
    server which did offer it notices a man in the middle who took the offer away.
    ``require_binding`` refuses to go on without. ``max_iterations`` bounds what a server can make
    this process compute. ``min_iterations`` (RFC 7677 section 4 asks for 4,096): whoever reads the
    exchange can try passwords against the proof, at this cost each, so a caller without TLS asks
    for no less; a man in the middle would else choose 1. Raises ScramError when the server offers
    nothing usable.
    """

    def __init__(
        self,
        password: Secret,
        server_offers: Sequence[str],
        channel_binding: bytes | None = None,
        username: str = "",
        *,
        require_binding: bool = False,
        max_iterations: int = 100_000,
        min_iterations: int = 1,
        nonce: str | None = None,
        cache: KeyCache = SHARED_KEYS,
    ) -> None:
        self._password = password
        self._max_iterations, self._min_iterations = max_iterations, min_iterations
        self._cache = cache
        self._binding = channel_binding or b""
        if channel_binding and PLUS in server_offers:
            self.mechanism, self._header = PLUS, _BINDING
        elif require_binding:
            raise ScramError(
                "channel binding is required, but the server does not offer SCRAM-SHA-256-PLUS"
            )
        elif PLAIN in server_offers:
            self.mechanism, self._header = PLAIN, b"y,," if channel_binding else b"n,,"
        else:
            offered = ", ".join(_shown(name) for name in server_offers) or "nothing"
            raise ScramError(f"the server offers no usable SCRAM mechanism, only: {offered}")
        self._nonce = _make_nonce() if nonce is None else nonce.encode("ascii")
        self._first_bare = b"n=" + _escape(username) + b",r=" + self._nonce
        self._signature = b""
        self._step = 0

    def _advance(self, expected: int) -> None:
        if self._step != expected:
            raise ScramError("a SCRAM message arrived out of order")
        self._step += 1

    def first(self) -> bytes:
        """client-first-message, the initial response of SASLInitialResponse."""
        self._advance(0)
        return self._header + self._first_bare

    def respond(self, server_first: bytes) -> bytes:
        """client-final-message for the server's challenge (AuthenticationSASLContinue)."""
        self._advance(1)
        nonce, salt, iterations = self._read_challenge(server_first)
        binding = self._header + (self._binding if self.mechanism == PLUS else b"")
        without_proof = b"c=" + base64.b64encode(binding) + b",r=" + nonce
        signed = b",".join((self._first_bare, server_first, without_proof))
        keys = self._cache.derive(prepare_password(self._password.reveal()), salt, iterations)
        stored_key = hashlib.sha256(keys.client_key).digest()
        proof = _xor(keys.client_key, hmac.digest(stored_key, signed, "sha256"))
        self._signature = hmac.digest(keys.server_key, signed, "sha256")
        return without_proof + b",p=" + base64.b64encode(proof)

    def _read_challenge(self, server_first: bytes) -> tuple[bytes, bytes, int]:
        nonce, salt, count = _attributes(server_first, b"rsi", "server-first-message")
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise ScramError("the server's SCRAM nonce does not continue ours")
        raw_salt = _decode(salt, "salt")
        if not raw_salt:
            raise ScramError("the server's SCRAM salt is empty")
        return nonce, raw_salt, self._read_iterations(count)

    def _read_iterations(self, count: bytes) -> int:
        if not count.isdigit() or len(count) > 10 or int(count) < 1:
            raise ScramError("the server's SCRAM iteration count is not a positive number")
        if int(count) > self._max_iterations:
            raise ScramError(
                f"the server asks for {int(count)} SCRAM iterations, and at most"
                f" {self._max_iterations} are accepted; lower scram_iterations on the server and"
                " set the role's password again"
            )
        if int(count) < self._min_iterations:
            raise ScramError(
                f"the server asks for {int(count)} SCRAM iterations, and without TLS at least"
                f" {self._min_iterations} are required; set the role's password again with"
                " scram_iterations at its default, or use TLS"
            )
        return int(count)

    def verify(self, server_final: bytes) -> None:
        """Check server-final-message (AuthenticationSASLFinal): that the server knows the password
        too.
        """
        self._advance(2)
        if server_final.startswith(b"e="):
            reason = _shown(server_final[2:].decode("utf-8", "replace"))
            raise ScramError(f"the server refused the SCRAM login: {reason}")
        (value,) = _attributes(server_final, b"v", "server-final-message")
        if not hmac.compare_digest(_decode(value, "signature"), self._signature):
            raise ScramError("the server's SCRAM signature is wrong: it does not know the password")


# --- server ------------------------------------------------------------


def make_verifier(
    password: Secret, iterations: int = DEFAULT_ITERATIONS, salt: bytes | None = None
) -> Verifier:
    """What a server keeps for a password; a fresh random salt unless given."""
    salt = os.urandom(SALT_LENGTH) if salt is None else salt
    keys = derive_keys(prepare_password(password.reveal()), salt, iterations)
    return Verifier(iterations, salt, hashlib.sha256(keys.client_key).digest(), keys.server_key)


class ScramServer:
    """One login of a client. ``channel_binding``: tls_server_end_point of our own certificate, None
    without TLS.

    Send :meth:`offers`, then call :meth:`first` and :meth:`final`. The proof is right when
    :meth:`final` returns.
    """

    def __init__(
        self, verifier: Verifier, channel_binding: bytes | None = None, *, nonce: str | None = None
    ) -> None:
        self._verifier = verifier
        self._binding = channel_binding
        self._own_nonce = _make_nonce() if nonce is None else nonce.encode("ascii")
        self._step = 0
        self._header = self._first_bare = self._server_first = self._nonce = b""

    def offers(self) -> list[str]:
        """The mechanisms, best first."""
        return [PLUS, PLAIN] if self._binding else [PLAIN]

    def first(self, mechanism: str, client_first: bytes) -> bytes:
        """server-first-message. Raises ScramError, also when the client says that we did not offer
        PLUS and we did.
        """
        if self._step != 0:
            raise ScramError("a SCRAM message arrived out of order")
        self._step = 1
        if mechanism not in self.offers():
            raise ScramError("the client chose a SCRAM mechanism that was not offered")
        self._header = self._read_header(mechanism, client_first)
        self._first_bare = client_first[len(self._header) :]
        _, client_nonce = _attributes(self._first_bare, b"nr", "client-first-message")
        if not client_nonce:
            raise ScramError("client-first-message: the nonce is empty")
        self._nonce = client_nonce + self._own_nonce
        salt = base64.b64encode(self._verifier.salt)
        self._server_first = b"r=%s,s=%s,i=%d" % (self._nonce, salt, self._verifier.iterations)
        return self._server_first

    def _read_header(self, mechanism: str, client_first: bytes) -> bytes:
        if mechanism == PLUS:
            if not client_first.startswith(_BINDING):
                raise ScramError("the client chose SCRAM-SHA-256-PLUS without tls-server-end-point")
            return _BINDING
        if client_first.startswith(b"y,,") and self._binding:
            raise ScramError(
                "the client did not see our offer of channel binding: something stripped it"
            )
        if client_first.startswith((b"n,,", b"y,,")):
            return client_first[:3]
        raise ScramError("client-first-message does not begin with a known header")

    def final(self, client_final: bytes) -> bytes:
        """server-final-message. Raises ScramError when binding, nonce or proof are wrong."""
        if self._step != 1:
            raise ScramError("a SCRAM message arrived out of order")
        self._step = 2
        binding, nonce, proof = _attributes(client_final, b"crp", "client-final-message")
        expected = self._header
        if self._header == _BINDING:
            expected += self._binding or b""
        if not hmac.compare_digest(_decode(binding, "channel binding"), expected):
            raise ScramError("the SCRAM channel binding does not match this connection")
        if not hmac.compare_digest(nonce, self._nonce):
            raise ScramError("the client's SCRAM nonce is not the one agreed on")
        without_proof = client_final[: client_final.rindex(b",p=")]
        signed = b",".join((self._first_bare, self._server_first, without_proof))
        raw_proof = _decode(proof, "proof")
        if len(raw_proof) != _DIGEST:
            raise ScramError("the SCRAM proof has the wrong length")
        client_key = _xor(raw_proof, hmac.digest(self._verifier.stored_key, signed, "sha256"))
        if not hmac.compare_digest(hashlib.sha256(client_key).digest(), self._verifier.stored_key):
            raise ScramError("the SCRAM proof is wrong")
        return b"v=" + base64.b64encode(hmac.digest(self._verifier.server_key, signed, "sha256"))


# --- parts ------------------------------------------------------------


def tls_server_end_point(der_cert: bytes) -> bytes | None:
    """The channel binding of a server certificate in DER: its hash under its signature's algorithm,
    SHA-256 for MD5 and SHA-1 (RFC 5929 section 4.1). None where the RFC defines none (Ed25519,
    Ed448). Raises ScramError when it is no certificate.
    """
    try:
        algorithm = x509.load_der_x509_certificate(der_cert).signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    except ValueError:
        raise ScramError("the server's certificate cannot be read") from None
    if algorithm is None:
        return None
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name.replace("-", "_")
    if name not in hashlib.algorithms_available:
        return None
    return hashlib.new(name, der_cert).digest()


def md5_password(user: str, password: Secret, salt: bytes) -> bytes:
    """The answer to AuthenticationMD5Password (protocol section 54.2.1): ``md5`` and 32 hexadecimal
    digits.
    """
    if len(salt) != 4:
        raise ProtocolError(f"an MD5 password salt has 4 bytes, not {len(salt)}")
    secret = password.reveal().encode("utf-8", "surrogatepass") + user.encode(
        "utf-8", "surrogatepass"
    )
    inner = hashlib.md5(secret, usedforsecurity=False).hexdigest().encode("ascii")
    return b"md5" + hashlib.md5(inner + salt, usedforsecurity=False).hexdigest().encode("ascii")


def _make_nonce() -> bytes:
    return base64.b64encode(os.urandom(_NONCE_BYTES))


def _escape(username: str) -> bytes:
    return username.replace("=", "=3D").replace(",", "=2C").encode("utf-8")


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(_DIGEST, "big")


def _attributes(data: bytes, names: bytes, what: str) -> list[bytes]:
    """The values of exactly the attributes ``names``, in order, of printable ASCII (user names:
    UTF-8).
    """
    parts = data.split(b",")
    if len(parts) != len(names) or b"\0" in data:
        raise ScramError(f"{what} does not have the expected attributes")
    values = []
    for part, name in zip(parts, names, strict=True):
        if part[:2] != bytes((name, 0x3D)):
            raise ScramError(f"{what}: attribute {chr(name)} is missing or out of place")
        if name == 0x6E:
            check_utf8(part, what)
        elif not all(0x21 <= byte <= 0x7E for byte in part):
            raise ScramError(f"{what}: attribute {chr(name)} is not printable ASCII")
        values.append(part[2:])
    return values


def _decode(value: bytes, what: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise ScramError(f"the SCRAM {what} is not base64") from None


def _shown(text: str) -> str:
    """Text from a peer, safe to show: printable, and at most 100 characters."""
    return "".join(char if char.isprintable() else "?" for char in text[:100])
