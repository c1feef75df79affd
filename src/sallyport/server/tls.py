# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""TLS as a transformation of bytes: one layer for both legs, without I/O.

``receive`` takes ciphertext and gives plaintext, ``send`` takes plaintext and gives ciphertext;
``outgoing`` holds what the handshake (or a close) wants to send. Being apart from the transport, it
can start on bytes that were already read, which direct TLS needs.

The lane (:mod:`sallyport.server.lane`) uses the same layer, from compiled code and on raw memory
(types in ``tls.pxd``), so that a session can enter and leave it between any two records.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from sallyport.core.errors import ConfigError, ProtocolError
from sallyport.core.tls import harden

try:
    import cython
except ImportError:
    from sallyport.wire import interpreted as cython

if not cython.compiled:
    # C functions that tls.pxd imports; only ever called by compiled code.
    PyBUF_READ: Any = None
    PyBytes_FromStringAndSize: Any = None
    PyMemoryView_FromMemory: Any = None

#: Application protocol of PostgreSQL over direct TLS (registered ALPN identifier).
ALPN = "postgresql"
#: Bytes that one record holds at most (RFC 8446 section 5.1).
RECORD = 16384
#: Larger pieces are given to OpenSSL's layer as views of memory: they cost more than small copies.
_COPIED = 2048


class HandshakeError(ProtocolError):
    """TLS could not be established; the text says why."""


class TlsLayer:
    """One TLS connection over memory. Raises ProtocolError for whatever the peer does wrong; in the
    handshake HandshakeError.
    """

    def __init__(
        self, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        # For native callers: C functions, without the Python frames of SSLObject around them.
        connection = getattr(self._object, "_sslobj", self._object)
        self._read: Any = connection.read
        self._write: Any = connection.write
        self._put, self._get = self._incoming.write, self._outgoing.read
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
                part = self._object.read(RECORD)
                if not part:
                    break
                parts.append(part)
                if self.is_drained():
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise _broken(error) from None
        return b"".join(parts) if len(parts) != 1 else parts[0]

    def send(self, data: bytes | bytearray | memoryview) -> bytes:
        """Plaintext in, ciphertext out."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._object.write(view) :]
        except ssl.SSLError as error:
            raise _broken(error) from None
        return self._outgoing.read()

    def is_drained(self) -> bool:
        """Nothing of what came is left to decrypt: asking OpenSSL would cost an exception."""
        return self._incoming.pending == 0 and self._object.pending() == 0

    # -- for native callers ------------------------------------------------------------------------

    def decrypt(self, src: Any, size: int, to: Any, room: int) -> int:
        """As :meth:`receive`, after the handshake: ``size`` bytes at ``src``; gives how many were
        written to ``to``, a view of ``room`` bytes: enough for all of them and for a record that
        was begun before.
        """
        self._put(_piece(src, size))
        n = 0
        try:
            while n < room:
                count: int = self._read(room - n, to[n:] if n else to)
                if count == 0:
                    break
                n += count
                # A read gives the whole of a record, where there is room for it.
                if self._incoming.pending == 0 and (
                    room - n + count >= RECORD or self._object.pending() == 0
                ):
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise _broken(error) from None
        if n == room:
            raise ProtocolError("TLS: more than was sent")
        return n

    def encrypt(self, src: Any, size: int) -> bytes:
        """As :meth:`send`: ``size`` bytes at ``src``."""
        try:
            if self._write(_piece(src, size)) == size:
                return self._get()
        except ssl.SSLError as error:
            raise _broken(error) from None
        raise ProtocolError("TLS: not all could be encrypted")

    def has_outgoing(self) -> bool:
        """Whether the layer itself wants something sent: an answer to a change of keys."""
        return self._outgoing.pending != 0

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


def _piece(src: Any, size: int) -> Any:
    """``size`` bytes at ``src``, for functions that take a buffer."""
    if size <= _COPIED:
        return PyBytes_FromStringAndSize(cython.cast("const char *", src), size)
    return PyMemoryView_FromMemory(cython.cast("char *", src), size, PyBUF_READ)


def _broken(error: ssl.SSLError) -> ProtocolError:
    return ProtocolError(f"TLS: {error.reason or 'broken'}")


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
