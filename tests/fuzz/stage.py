"""What is fuzzed: ``sallyport serve`` before a real PostgreSQL, reached directly and through a
proxy that damages what the server says.

An input is made from ``seed`` and its number alone, so that it can be made again. After every so
many inputs an honest client must find the gateway as it was: quick, and with a log in which nothing
failed.
"""

from __future__ import annotations

import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg

from sallyport.demo.issuer import DevIssuer
from sallyport.wire import backend, frontend
from tests.fuzz.damage import damaged, pieces
from tests.support.gateway import SHOP_POLICY, Gateway
from tests.support.postgres import Server, start_server

#: The database name behind which the server is mad.
MAD = "mad"
#: Sessions that the proxy damages call themselves so; the gateway's own connections do not.
MARK = "fuzzed"
READY = backend.ready_for_query(b"I")
#: Seconds without a byte after which an answer counts as over.
_QUIET = 0.06
_TOKEN_SECONDS = 1200.0
_QUERIES = (
    "SELECT id, email FROM customers ORDER BY id LIMIT 20",
    "SELECT upper(ssn), notes FROM customers",
    "SELECT * FROM orders LIMIT 3",
    "SELECT 1; SELECT 2",
    "COPY customers (id, email) TO STDOUT",
    "DECLARE c CURSOR WITH HOLD FOR SELECT email FROM customers",
    "FETCH 2 FROM c",
    "PREPARE s AS SELECT email FROM customers WHERE id = $1",
    "EXECUTE s(1)",
    "BEGIN", "ROLLBACK", "SELEC", "", "SET client_encoding TO latin1",
)  # fmt: skip
_TEXTS = (*_QUERIES[:4], "SELECT email FROM customers WHERE id = $1")


class FuzzError(AssertionError):
    """Something happened that must not."""


def words(source: random.Random) -> list[bytes]:
    """Well-formed messages of a client."""
    name, portal = source.choice(["", "s"]), source.choice(["", "c"])
    return source.choice(
        [
            [frontend.query(source.choice(_QUERIES))],
            [frontend.query(source.choice(_QUERIES))],
            [frontend.parse(name, source.choice(_TEXTS)), frontend.sync()],
            [
                frontend.bind(portal, name),
                frontend.execute(portal, source.choice([0, 1])),
                frontend.sync(),
            ],
            [
                frontend.parse(name, source.choice(_TEXTS)),
                frontend.bind(portal, name),
                frontend.describe(b"P", portal),
                frontend.execute(portal),
                frontend.sync(),
            ],
            [frontend.close(b"S", name), frontend.flush()],
            [frontend.copy_data(source.randbytes(9)), frontend.copy_done()],
        ]
    )


def read_on(
    stream: socket.socket, quiet: float, stop: bytes = b"", longest: float = 5.0
) -> tuple[bytes, bool]:
    """What comes until nothing has come for ``quiet`` seconds, or ``stop``, or the end; whether it
    was the end.
    """
    data, deadline = bytearray(), time.monotonic() + longest
    stream.settimeout(quiet)
    while time.monotonic() < deadline and not (stop and data.endswith(stop)):
        try:
            piece = stream.recv(1 << 16)
        except TimeoutError:
            break
        except OSError:  # reset: what is cut off is not the gateway's doing alone
            return b"", True
        if not piece:
            return bytes(data), True
        data += piece
    return bytes(data), False


@dataclass
class MadServer:
    """Passes bytes on to PostgreSQL and back. What comes back to a session that calls itself
    ``fuzzed N`` is damaged, as N says.
    """

    server: Server
    seed: int

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                upstream = socket.create_connection((self.server.host, self.server.port))
            except OSError:
                return
            marks: list[random.Random] = []
            for work in (self._forth, self._back):
                threading.Thread(target=work, args=(client, upstream, marks), daemon=True).start()

    def _forth(
        self, client: socket.socket, upstream: socket.socket, marks: list[random.Random]
    ) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                mark = re.search(rf"{MARK} (\d+)".encode(), data)
                if mark is not None and not marks:
                    marks.append(random.Random(f"{self.seed} server {int(mark[1])}"))
                upstream.sendall(data)
        _hang_up(upstream)

    def _back(
        self, client: socket.socket, upstream: socket.socket, marks: list[random.Random]
    ) -> None:
        with suppress(OSError):
            while data := upstream.recv(1 << 16):
                if not marks:
                    client.sendall(data)
                    continue
                source = marks[0]
                if source.random() < 0.3:
                    data = damaged(source, data)
                for piece in pieces(source, data):
                    client.sendall(piece)
        for stream in (client, upstream):
            _hang_up(stream)
            stream.close()


def _hang_up(stream: socket.socket) -> None:
    with suppress(OSError):
        stream.shutdown(socket.SHUT_RDWR)


@dataclass
class FuzzStage:
    """``secrets``: values that no client may see. ``latencies``: seconds that honest clients
    needed.
    """

    gateway: Gateway
    mad: MadServer
    secrets: list[bytes]
    seed: int
    latencies: list[float] = field(default_factory=list)
    read_log: int = 0
    _token: tuple[float, str] = (0.0, "")

    @property
    def token(self) -> str:
        """One that is good for long enough: runs may take longer than a token lasts."""
        if not self._token[1] or time.monotonic() - self._token[0] > _TOKEN_SECONDS:
            self._token = time.monotonic(), self.gateway.token()
        return self._token[1]

    def source(self, side: str, number: int) -> random.Random:
        return random.Random(f"{self.seed} {side} {number}")

    def client_input(self, number: int) -> None:
        """A client that says anything: before its login, in it, after it. Raises FuzzError."""
        source = self.source("client", number)
        said = b"".join(part for _ in range(source.randint(1, 8)) for part in words(source))
        login = frontend.startup_message({"user": "claude", "database": "shop"})
        password = frontend.password(self.token.encode())
        with self._connected() as stream:
            if source.random() < 0.25:  # never logs in
                data = source.choice(
                    [source.randbytes(source.randint(1, 80)), damaged(source, login + password)]
                )
                self._converse(stream, source, data, seen=b"", logged_in=False)
                return
            stream.sendall(login + password)
            greeting = self._greeting(stream)
            if source.random() < 0.7:
                said = damaged(source, said)
            self._converse(stream, source, said, seen=greeting, logged_in=True)

    def server_input(self, number: int) -> None:
        """A server that says anything, to an honest client. Raises FuzzError."""
        source = self.source("said to the server", number)
        said = b"".join(part for _ in range(source.randint(1, 4)) for part in words(source))
        login = frontend.startup_message(
            {"user": "claude", "database": MAD, "application_name": f"{MARK} {number}"}
        )
        with self._connected() as stream:
            stream.sendall(login + frontend.password(self.token.encode()))
            seen, ended = read_on(stream, 0.5, READY)
            if not ended and seen.endswith(READY):
                with suppress(OSError):
                    stream.sendall(said)
                more, ended = read_on(stream, _QUIET)
                seen += more
            if ended:
                self._whole(seen)

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.gateway.port), timeout=60)

    def _greeting(self, stream: socket.socket) -> bytes:
        """Through to ReadyForQuery: the login of an honest client works, whatever others do. Raises
        FuzzError.
        """
        data, deadline = b"", time.monotonic() + 20
        while not data.endswith(READY):
            more, ended = read_on(stream, 1.0, READY)
            data += more
            if ended or time.monotonic() > deadline:
                raise FuzzError(f"an honest login got {data[-300:]!r}")
        return data

    def _converse(
        self,
        stream: socket.socket,
        source: random.Random,
        data: bytes,
        *,
        seen: bytes,
        logged_in: bool,
    ) -> None:
        ended = False
        try:
            for piece in pieces(source, data):
                stream.sendall(piece)
        except OSError:
            pass  # the gateway has closed: what it said is there to read
        more, ended = read_on(stream, _QUIET)
        seen += more
        for secret in self.secrets:
            if secret in seen:
                raise FuzzError(f"{secret!r} reached a client")
        if ended and logged_in:
            self._whole(seen)

    @staticmethod
    def _whole(seen: bytes) -> None:
        """What a client has read at the end are whole messages. Raises FuzzError."""
        place = 0
        while place + 5 <= len(seen):
            place += 1 + int.from_bytes(seen[place + 1 : place + 5], "big")
        if place != len(seen):
            raise FuzzError(f"the last message is cut off: {seen[-200:]!r}")

    def check(self) -> None:
        """An honest client is served, and nothing failed. Raises FuzzError."""
        began = time.monotonic()
        try:
            with psycopg.connect(self.gateway.dsn(self.token), connect_timeout=60) as db:
                row = db.execute("SELECT count(*) FROM customers").fetchone()
        except psycopg.Error as error:
            raise FuzzError(f"an honest client got {error}") from None
        self.latencies.append(time.monotonic() - began)
        if row is None or not row[0]:
            raise FuzzError(f"an honest client got {row!r}")
        with self.gateway.log.open("rb") as log:  # what is new in it: runs are long
            log.seek(self.read_log)
            output = log.read()
            self.read_log = log.tell()
        for sign in (b"Traceback", b"task failed", b"SP1804"):
            if sign in output:
                at = output.index(sign)
                text = output[max(0, at - 300) : at + 1500].decode(errors="replace")
                raise FuzzError(f"the gateway's log: {text}")


@contextmanager
def fuzz_stage(seed: int, policy: str = SHOP_POLICY) -> Iterator[FuzzStage]:
    """Everything real, torn down in order."""
    server = start_server()
    try:
        mad = MadServer(server, seed)
        targets: dict[str, Any] = {"shop": server, MAD: _Behind(server, mad.port)}
        with DevIssuer() as issuer:
            gateway = Gateway(
                issuer,
                targets,
                policy=policy.replace("targets: [shop]", f"targets: [shop, {MAD}]"),
                extra={"log": {"level": "warning"}},
            )
            gateway.start()
            try:
                yield FuzzStage(gateway, mad, _secrets(server), seed)
            finally:
                gateway.stop()
                mad.close()
    finally:
        server.stop()


class _Behind:
    """A server as the gateway reaches it through the proxy."""

    def __init__(self, server: Server, port: int) -> None:
        self._server, self.port = server, port
        self.host, self.database, self.user = server.host, server.database, server.user
        self.password, self.ca = server.password, None


def _secrets(server: Server) -> list[bytes]:
    with psycopg.connect(server.superuser_dsn) as db:
        rows = db.execute("SELECT email, ssn FROM customers LIMIT 50").fetchall()
    return [value.encode() for row in rows for value in row if value]
