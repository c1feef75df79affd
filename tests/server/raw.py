"""A client of raw sockets: sends bytes, reads messages. For what no driver would ever send."""

from __future__ import annotations

import socket
import ssl
from types import TracebackType
from typing import Self

from sallyport.wire import backend, frontend
from tests.session.decode import show
from tests.support.gateway import Gateway
from tests.support.waiting import PATIENCE


class Raw:
    """One TCP (or TLS) connection to a gateway."""

    def __init__(self, gateway: Gateway, seconds: float = PATIENCE) -> None:
        self.gateway = gateway
        self.socket: socket.socket = socket.create_connection(
            ("127.0.0.1", gateway.port), timeout=seconds
        )
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, *data: bytes) -> Self:
        self.socket.sendall(b"".join(data))
        return self

    def tls(self, *, alpn: str | None = None) -> Self:
        context = ssl.create_default_context(cafile=str(self.gateway.ca))
        if alpn is not None:
            context.set_alpn_protocols([alpn])
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        return self

    def read(self, size: int) -> bytes:
        """Exactly so many bytes; EOFError when the gateway closed."""
        while len(self._buffer) < size:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._buffer += data
        message, self._buffer = self._buffer[:size], self._buffer[size:]
        return message

    def message(self) -> bytes:
        head = self.read(5)
        return head + self.read(int.from_bytes(head[1:], "big") - 4)

    def until(self, kind: str) -> list[bytes]:
        """Messages up to one of this type."""
        messages = [self.message()]
        while messages[-1][:1] != kind.encode():
            messages.append(self.message())
        return messages

    def error(self) -> dict[str, str]:
        """The next message, which must be an error."""
        message = self.message()
        assert message[:1] == b"E", show(message, from_client=False)
        return backend.parse_error_fields(message[5:])

    def closed(self) -> bool:
        """Whether the gateway closed, having said nothing more."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def startup(self, *, minor: int = 0, **parameters: str) -> Self:
        return self.send(
            frontend.startup_message({"user": "claude", "database": "shop", **parameters}, minor)
        )

    def login(self, *, minor: int = 0, **parameters: str) -> tuple[int, bytes]:
        """Through to ReadyForQuery; gives the cancel key."""
        self.startup(minor=minor, **parameters)
        assert self.until("R")[-1] == backend.authentication_cleartext()
        self.send(frontend.password(self.gateway.token().encode()))
        messages = self.until("Z")
        key = next(m for m in messages if m[:1] == b"K")
        return tuple(backend.parse_backend_key_data(key[5:]))  # type: ignore[return-value]
