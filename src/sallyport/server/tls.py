"""TLS as a transformation of bytes: one layer for both legs, without I/O.

``receive`` takes ciphertext and gives plaintext, ``send`` takes plaintext and gives ciphertext;
``outgoing`` holds what the handshake (or a close) wants to send. Being apart from the transport, it
can start on bytes that were already read, which direct TLS needs.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from sallyport.core.errors import ConfigError, ProtocolError
from sallyport.core.tls import harden

#: Application protocol of PostgreSQL over direct TLS (registered ALPN identifier).
ALPN = "postgresql"
_CHUNK = 256 * 1024


class HandshakeError(ProtocolError):
    """TLS could not be established; the text says why."""


class TlsLayer:
    """One TLS connection over memory. Raises ProtocolError for whatever the peer does wrong; in the
    handshake HandshakeError.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "established")

    def __init__(
        self, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self.established = False

    def outgoing(self) -> bytes:
        return self._outgoing.read()

    def begin(self) -> None:
        """Client side: put the ClientHello into ``outgoing``."""
        self._handshake()

    def receive(self, data: bytes) -> bytes:
        """Ciphertext in, plaintext out (b"" while the handshake goes on)."""
        self._incoming.write(data)
        if not self.established and not self._handshake():
            return b""
        parts = []
        try:
            while True:
                part = self._object.read(_CHUNK)
                if not part:
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise ProtocolError(f"TLS: {error.reason or 'broken'}") from None
        return b"".join(parts) if len(parts) != 1 else parts[0]

    def send(self, data: bytes | bytearray) -> bytes:
        """Plaintext in, ciphertext out."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._object.write(view) :]
        except ssl.SSLError as error:
            raise ProtocolError(f"TLS: {error.reason or 'broken'}") from None
        return self._outgoing.read()

    def finish(self) -> bytes:
        """The ciphertext that says that nothing follows (close_notify, RFC 8446 section 6.1); b""
        where the handshake is not over or the connection is broken. libpq takes a close without it
        for an error of the cancel request that it waited for.
        """
        if not self.established:
            return b""
        try:
            self._object.unwrap()
        except ssl.SSLError:
            pass  # it wants the peer's close_notify, which nobody waits for
        return self._outgoing.read()

    def _handshake(self) -> bool:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLCertVerificationError as error:
            raise HandshakeError(
                f"the certificate cannot be trusted: {error.verify_message}"
            ) from None
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or "handshake failed"
            raise HandshakeError(f"TLS: {reason}") from None
        self.established = True
        return True

    @property
    def alpn(self) -> str | None:
        return self._object.selected_alpn_protocol()

    def peer_certificate(self) -> bytes | None:
        """The peer's certificate in DER."""
        return self._object.getpeercert(True)


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For the listener: TLS 1.2 or newer. Raises ConfigError when the files cannot be used."""
    context = harden(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols([ALPN])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"tls: the certificate {certificate} with the key {key} cannot be loaded:"
            f" {error.strerror or error}. Both must be PEM files, readable by the gateway, and"
            " belong together."
        ) from None
    return context


def client_context(mode: str, ca: Path | None) -> ssl.SSLContext | None:
    """For a target: verify-full checks chain and host name, require only encrypts (as libpq),
    disable is None.
    """
    if mode == "disable":
        return None
    context = harden(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    if mode == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        if ca is not None:
            context.load_verify_locations(ca)
        else:
            context.load_default_certs()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"targets: the CA file {ca} cannot be loaded: {error}. It must be a PEM file."
        ) from None
    return context
