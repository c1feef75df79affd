"""A small blocking client that keeps every byte it receives. It speaks to the gateway (clear-text
token on loopback) and, for comparison, to PostgreSQL itself (SCRAM-SHA-256).

``send`` and ``receive`` are apart, so that one statement can be on its way to several databases at
once. A session that the other side closed says so in ``closed``; its bytes stay.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from sallyport.core.secret import Secret
from sallyport.wire import backend, frontend, scram

#: A text of the size limit in five worlds at once takes ten seconds on two busy cores.
PATIENCE = 60.0


class Hang(Exception):
    """No answer within PATIENCE seconds."""


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each whole message; a rest that is none comes last with kind 0."""
    pos = 0
    while pos < len(data):
        end = (
            pos + 1 + int.from_bytes(data[pos + 1 : pos + 5], "big") if pos + 5 <= len(data) else -1
        )
        if end <= pos + 4 or end > len(data):
            yield 0, data[pos:]
            return
        yield data[pos], data[pos + 5 : end]
        pos = end


class Client:
    """One session. ``status``: of the last ReadyForQuery (I, T or E); ``greeting``: every byte of
    the login.
    """

    def __init__(
        self,
        port: int,
        database: str,
        password: str,
        *,
        user: str = "agent",
        login: bool = True,
        parameters: dict[str, str] | None = None,
    ) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input = bytearray()
        self.closed = False
        self.status = ""
        self.greeting = b""
        if login:
            start = {
                "user": user,
                "database": database,
                "application_name": "attacks",
                **(parameters or {}),
            }
            self.send(frontend.startup_message(start))
            self._authenticate(password)

    def _authenticate(self, password: str) -> None:
        exchange: scram.ScramClient | None = None
        kept = bytearray()
        while True:
            kind, body = self._message()
            kept += struct.pack("!BI", kind, len(body) + 4) + body
            code = int.from_bytes(body[:4], "big") if kind == backend.AUTHENTICATION else -1
            if kind == backend.ERROR_RESPONSE:
                raise ConnectionError(f"login refused: {backend.parse_error_fields(body)}")
            if code == backend.AUTH_CLEARTEXT:
                self.send(frontend.password(Secret(password)))
            elif code == backend.AUTH_SASL:
                offers = backend.parse_sasl_mechanisms(body[4:])
                exchange = scram.ScramClient(password=Secret(password), server_offers=offers)
                self.send(frontend.sasl_initial(exchange.mechanism, exchange.first()))
            elif code == backend.AUTH_SASL_CONTINUE and exchange is not None:
                self.send(frontend.sasl_response(exchange.respond(body[4:])))
            elif kind == backend.READY_FOR_QUERY:
                self.greeting, self.status = bytes(kept), body.decode()
                return

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            self.closed = True

    def receive(
        self, readies: int = 1, copy: bytes | None = None, *, extended: bool = False
    ) -> bytes:
        """Everything up to the ``readies``-th ReadyForQuery, or to the end of the session.
        CopyInResponse is answered with ``copy`` and CopyDone (None: CopyFail), and a Sync where
        ``extended``: the COPY has swallowed the one before. Raises Hang.
        """
        kept = bytearray()
        while readies:
            try:
                kind, body = self._message()
            except EOFError:
                self.closed = True
                kept += self._input
                self._input.clear()
                break
            kept += struct.pack("!BI", kind, len(body) + 4) + body
            if kind == backend.READY_FOR_QUERY:
                readies -= 1
                self.status = body.decode()
            elif kind == backend.COPY_IN_RESPONSE:
                done = (
                    frontend.copy_fail("no data")
                    if copy is None
                    else frontend.copy_data(copy) + frontend.copy_done()
                )
                self.send(done + (frontend.sync() if extended else b""))
        return bytes(kept)

    def drain(self, seconds: float = 1.0) -> bytes:
        """Whatever comes until the session ends or nothing came for ``seconds``."""
        kept = bytearray(self._input)
        self._input.clear()
        self._socket.settimeout(seconds)
        try:
            while data := self._socket.recv(65536):
                kept += data
            self.closed = True
        except TimeoutError:
            pass
        except OSError:
            self.closed = True
        self._socket.settimeout(PATIENCE)
        return bytes(kept)

    def half_close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.closed = True

    def _message(self) -> tuple[int, bytes]:
        while len(self._input) < 5:
            self._more()
        end = 1 + int.from_bytes(self._input[1:5], "big")
        while len(self._input) < end:
            self._more()
        kind, body = self._input[0], bytes(self._input[5:end])
        del self._input[:end]
        return kind, body

    def _more(self) -> None:
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            raise Hang from None
        except OSError:
            raise EOFError from None
        if not data:
            raise EOFError
        self._input += data

    def close(self) -> None:
        self.send(frontend.terminate())
        self._socket.close()
        self.closed = True
