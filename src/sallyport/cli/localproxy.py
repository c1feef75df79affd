"""A local door for programs that keep a password: each connection goes to the gateway with a token
that is fetched for it.

The local side asks for a password that was made once (a Unix socket asks for none: its directory is
its owner's), the gateway's side speaks TLS, and behind the login bytes pass as they are. A session
ends with its token, as everywhere; the next one gets a fresh one. Cancel requests pass: the keys
are the gateway's.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import secrets
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection
from socket import socket as Socket  # a parameter is called socket
from typing import Final

from sallyport.cli.kepttoken import state_directory
from sallyport.cli.relay import Relay, Renew, Side
from sallyport.core.address import is_loopback
from sallyport.core.errors import ConfigError, ProtocolError, Refusal, SallyportError, refuse
from sallyport.core.secret import Secret
from sallyport.identity.oidc.client import Grant
from sallyport.server.tls import client_context
from sallyport.wire import backend, frontend, startup
from sallyport.wire.fields import message

_LOGIN_SECONDS: Final = 60.0
_MAX_MESSAGE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Door:
    """The gateway. ``ca``: PEM file, "" for the system's. A loopback address without ``ca`` is
    reached without TLS.
    """

    host: str
    port: int
    target: str
    ca: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether it is reached without TLS."""
        return is_loopback(self.host) and not self.ca


class _RefusedHereError(SallyportError):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


class LocalProxy:
    """``fetch``: a token that is good now. ``password``: of local clients; None: nobody is
    asked. ``renew``: a token for a session that is open, without asking anybody; None: ``fetch``.
    """

    def __init__(
        self,
        door: Door,
        fetch: Callable[[], Awaitable[Grant]],
        password: Secret | None,
        renew: Renew | None = None,
    ) -> None:
        self._door, self._fetch, self._password = door, fetch, password
        self._renew = renew or fetch
        self._tell: Callable[[str], None] = lambda text: None

    async def run(
        self, address: tuple[str, int], socket: Path | None, tell: Callable[[str], None]
    ) -> None:
        """Serve until cancelled. ``tell`` gets the connection string. Raises SallyportError when it
        cannot listen, or the gateway's CA cannot be used.
        """
        if not self._door.is_plain:
            _tls_to(self._door)
        (host, port), self._tell = address, tell
        try:
            if socket is None:
                server = await asyncio.start_server(self._serve, host, port)
                port = server.sockets[0].getsockname()[1]
                word = self._password.reveal() if self._password is not None else ""
                place = f"{host}:{port}/{self._door.target}"
                tell(f"postgresql://sallyport:{word}@{place}?sslmode=disable")
            else:
                _make_private(socket)
                server = await asyncio.start_unix_server(
                    self._serve, str(socket / f".s.PGSQL.{port}")
                )
                tell(f"postgresql://sallyport@/{self._door.target}?host={socket}&port={port}")
        except OSError as error:
            where = f"{host}:{port}" if socket is None else str(socket)
            why = os.strerror(error.errno) if error.errno else str(error)
            raise SallyportError(
                f"cannot listen on {where}: {why}. Choose another place with --listen or --socket"
            ) from None
        async with server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gateway: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(_LOGIN_SECONDS):
                opened = await self._log_in(reader, writer)
            if opened is not None:
                upstream, grant = opened
                gateway = upstream.writer
                relay = Relay(Side(reader, writer), upstream, self._renew, self._tell)
                await relay.run(grant)
        except _RefusedHereError as error:
            writer.write(backend.refusal_error(error.refusal, "FATAL"))
        except (ProtocolError, OSError, EOFError, TimeoutError):
            pass  # either side went away, or was never a client: there is nobody to tell
        finally:
            for side in (writer, gateway):
                if side is not None:
                    with contextlib.suppress(OSError):
                        side.close()

    async def _log_in(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[Side, Grant] | None:
        """A connection to the gateway that has accepted the token. None: it was a cancel
        request.
        """
        while True:
            head = await reader.readexactly(4)
            length = int.from_bytes(head, "big")
            if not 8 <= length <= 10_000:
                raise ProtocolError("not a startup packet")
            body = head + await reader.readexactly(length - 4)
            packet, _ = startup.parse_first(body)
            if isinstance(packet, startup.SSLRequest | startup.GSSENCRequest):
                writer.write(b"N")
                continue
            break
        if isinstance(packet, startup.CancelRequest):
            _, gateway = await dial(self._door)
            gateway.write(body)
            await gateway.drain()
            gateway.close()
            return None
        if not isinstance(packet, startup.StartupMessage):
            raise ProtocolError("a StartupMessage was expected")
        await self._check_password(reader, writer)
        try:
            grant = await self._fetch()
        except SallyportError as error:
            raise _RefusedHereError(refuse("SP1601", f"no token: {error}")) from None
        try:
            back, gateway = await dial(self._door)
        except OSError as error:
            why = f"the gateway {self._door.host}:{self._door.port} cannot be reached"
            raise _RefusedHereError(refuse("SP1604", why, error.strerror or str(error))) from None
        parameters = {**packet.parameters, "database": self._door.target}
        gateway.write(frontend.startup_message(parameters, packet.minor, major=packet.major))
        await _authenticate(back, gateway, writer, grant.token)
        return Side(back, gateway), grant

    async def _check_password(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._password is None:
            return
        writer.write(backend.authentication_cleartext())
        kind, body = await _message(reader)
        if kind != frontend.PASSWORD:
            raise ProtocolError("a PasswordMessage was expected")
        sent = frontend.parse_password(body).password.reveal()
        if not hmac.compare_digest(sent.encode(), self._password.reveal().encode()):
            hint = "It is in the connection string that sallyport proxy printed."
            raise _RefusedHereError(
                refuse("SP1601", "the local proxy's password is another", hint=hint)
            )


async def dial(door: Door) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the gateway, over TLS unless it is on this machine. Raises OSError,
    SallyportError.
    """
    if door.is_plain:
        return await asyncio.open_connection(door.host, door.port)
    context = _tls_to(door)
    connection = await _asked_for_tls(door)
    try:
        return await asyncio.open_connection(
            sock=connection, ssl=context, server_hostname=door.host
        )
    except BaseException:
        connection.close()
        raise


def _tls_to(door: Door) -> ssl.SSLContext:
    """Raises SallyportError for an unusable CA file."""
    try:
        context = client_context("verify-full", Path(door.ca) if door.ca else None)
    except ConfigError:
        raise SallyportError(f"--ca {door.ca} cannot be used: name a readable PEM file") from None
    if context is None:
        raise SallyportError("TLS to the gateway could not be set up")
    return context


async def _asked_for_tls(door: Door) -> Socket:
    """A connection whose next byte is the gateway's TLS. It is read without a buffer: what
    somebody on the way puts behind the answer is read as TLS, and fails (CVE-2021-23222).
    """
    loop = asyncio.get_running_loop()
    connection = await asyncio.to_thread(create_connection, (door.host, door.port), _LOGIN_SECONDS)
    try:
        connection.setblocking(False)
        await loop.sock_sendall(connection, frontend.ssl_request())
        if await loop.sock_recv(connection, 1) != b"S":
            why = "the gateway does not speak TLS: no token goes there"
            raise _RefusedHereError(refuse("SP1602", why))
    except BaseException:
        connection.close()
        raise
    return connection


async def _authenticate(
    back: asyncio.StreamReader,
    gateway: asyncio.StreamWriter,
    client: asyncio.StreamWriter,
    token: Secret,
) -> None:
    while True:
        kind, body = await _message(back)
        request = int.from_bytes(body[:4], "big")
        if kind == ord("R") and request == 3:
            gateway.write(frontend.password(token))
            continue
        client.write(message(kind, body))
        if kind == ord("R") and request == 0:
            return
        if kind == ord("E"):
            await client.drain()
            raise EOFError


async def _message(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readexactly(5)
    length = int.from_bytes(head[1:], "big")
    if not 4 <= length <= _MAX_MESSAGE:
        raise ProtocolError("a message of a login is too long")
    return head[0], await reader.readexactly(length - 4)


def _make_private(directory: Path) -> None:
    """For a socket that asks for no password. Raises SallyportError, OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.stat()
    if status.st_uid != os.geteuid():
        raise SallyportError(f"{directory} belongs to somebody else: name a directory of your own")
    if status.st_mode & 0o077:
        raise SallyportError(
            f"{directory} is open to others: chmod 700 it, or name another directory"
        )


def kept_password(target: str) -> Secret:
    """The password of the target's local port, made on first use. Raises SallyportError."""
    name = "".join(char if char.isalnum() or char in "-_" else "_" for char in target)
    path = state_directory() / f"proxy-{name}.password"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            text = path.read_text(encoding="ascii").strip()
        else:
            text = secrets.token_urlsafe(18)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SallyportError(
            f"the password cannot be kept in {path}: {type(error).__name__}"
        ) from None
    if len(text) < 16:
        raise SallyportError(f"{path} has no password in it: remove the file")
    return Secret(text)
