"""The gateway's connections to targets: TCP, TLS, login, then a stream of bytes each way."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from sallyport.core.errors import ProtocolError, RefusedError, refuse
from sallyport.core.secret import Secret
from sallyport.server.tls import TlsLayer
from sallyport.session.upstream_login import UpstreamError, UpstreamLogin
from sallyport.targets.credentials import CredentialError, resolve
from sallyport.targets.targets import Target
from sallyport.wire import frontend, scram

log = structlog.get_logger("sallyport.upstream")

WRITE_HIGH_WATER = 512 * 1024
#: SQLSTATEs a target may answer a login with that are the target's state, not the gateway's configuration.
_TEMPORARY = frozenset({"53300", "57P03", "57P01", "57P02"})


class UpstreamLink(asyncio.Protocol):
    """One connection to a target. After login ``on_data`` gets plaintext, ``on_lost`` is told when it ends."""

    __slots__ = (
        "_lost",
        "_ready",
        "_tls",
        "context",
        "early",
        "host",
        "login",
        "on_data",
        "on_lost",
        "on_pause",
        "transport",
    )

    def __init__(self, login: UpstreamLogin, context: ssl.SSLContext | None, host: str) -> None:
        self.login = login
        self.context = context
        self.host = host
        self.on_data: Callable[[bytes], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self.on_pause: Callable[[bool], None] | None = None
        self.transport: Any = None
        self.early = bytearray()  # what came behind the login before anybody listened
        self._tls: TlsLayer | None = None
        self._lost = False
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self.login.start()
        self._flush_login()

    def data_received(self, data: bytes) -> None:
        try:
            if self._tls is not None:
                established = self._tls.established
                data = self._tls.receive(data)
                more = self._tls.outgoing()
                if more:
                    self.transport.write(more)
                if not established and self._tls.established:
                    self.login.tls_started(self._channel_binding())
                    self._flush_login()
                if not data:
                    return
            if self.on_data is not None:
                self.on_data(data)
            else:
                self._login_data(data)
        except (ProtocolError, UpstreamError) as error:
            self._fail(error)

    def attach(
        self,
        on_data: Callable[[bytes], None],
        on_lost: Callable[[], None],
        on_pause: Callable[[bool], None] | None = None,
    ) -> None:
        """Listen from here on: gets what came since the login, and is told at once when the connection is gone already."""
        self.on_data, self.on_lost, self.on_pause = on_data, on_lost, on_pause
        early = bytes(self.early)
        self.early.clear()
        if early:
            on_data(early)
        if self._lost and self.on_lost is not None:
            self.on_lost()

    def _login_data(self, data: bytes) -> None:
        if self.login.ready:
            self.early += data
            return
        behind = self.login.receive(data)
        if self.login.wants_tls and self._tls is None:
            if self.context is None:
                raise ProtocolError("TLS without a context")
            self._tls = TlsLayer(self.context, server_side=False, server_hostname=self.host)
            self._tls.begin()
            self.transport.write(self._tls.outgoing())
            return
        self._flush_login()
        if self.login.ready and not self._ready.done():
            self.early += behind
            self._ready.set_result(None)

    def _channel_binding(self) -> bytes | None:
        certificate = self._tls.peer_certificate() if self._tls is not None else None
        return scram.tls_server_end_point(certificate) if certificate else None

    def _flush_login(self) -> None:
        if self.login.to_server:
            data = bytes(self.login.to_server)
            self.login.to_server.clear()
            self.write(data)

    def write(self, data: bytes | bytearray) -> None:
        if self._lost:
            return
        self.transport.write(self._tls.send(data) if self._tls is not None else data)

    def _fail(self, error: Exception) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        if not self._ready.done():
            self._ready.set_exception(UpstreamError("the server closed the connection during login"))
        if self.on_lost is not None:
            self.on_lost()

    def pause_writing(self) -> None:
        if self.on_pause is not None:
            self.on_pause(True)

    def resume_writing(self) -> None:
        if self.on_pause is not None:
            self.on_pause(False)

    async def logged_in(self) -> None:
        """Wait for the login. Raises UpstreamError or ProtocolError."""
        await self._ready

    def close(self) -> None:
        if self.transport is not None and not self._lost:
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None and not self._lost:
            self.transport.abort()


class Dialer:
    """Opens connections to one target. The password is resolved for each new connection, so rotation just works."""

    def __init__(self, target: Target, context: ssl.SSLContext | None, connect_seconds: float) -> None:
        self.target = target
        self._context = context
        self._seconds = connect_seconds
        self._keys = scram.KeyCache()

    async def open(self, settings: Mapping[str, str], *, minor: int = 0) -> UpstreamLink:
        """Connect and log in. Raises RefusedError (SP1604), whose text never holds the credential."""
        target = self.target
        link: UpstreamLink | None = None
        try:
            async with asyncio.timeout(self._seconds):
                password = Secret("") if target.password is None else await resolve(target.password)
                login = UpstreamLogin(
                    user=target.user,
                    database=target.database,
                    password=password,
                    settings=settings,
                    allowed=target.auth,
                    tls=self._context is not None,
                    binding=target.channel_binding,
                    minor=minor,
                    key_cache=self._keys,
                )
                link = await self._connect(login)
                await link.logged_in()
                return link
        except asyncio.CancelledError:
            if link is not None:
                link.abort()
            raise
        except TimeoutError:
            if link is not None:
                link.abort()
            raise self._unreachable("it did not answer in time") from None
        except CredentialError as error:
            log.error("credential", target=target.name, reason=str(error))
            raise self._unreachable("the gateway's credential for it is not available") from None
        except UpstreamError as error:
            log.warning(
                "upstream login failed", target=target.name, reason=str(error), sqlstate=error.sqlstate
            )
            raise self._refused(error) from None
        except (OSError, ProtocolError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            log.warning("upstream unreachable", target=target.name, reason=str(error))
            raise self._unreachable(reason or type(error).__name__) from None

    async def _connect(self, login: UpstreamLogin) -> UpstreamLink:
        loop = asyncio.get_running_loop()
        target = self.target

        def link() -> UpstreamLink:
            return UpstreamLink(login, self._context, target.host)

        if target.host.startswith("/"):
            return (await loop.create_unix_connection(link, f"{target.host}/.s.PGSQL.{target.port}"))[1]
        return (await loop.create_connection(link, target.host, target.port))[1]

    def _unreachable(self, why: str) -> RefusedError:
        return RefusedError(
            refuse(
                "SP1604",
                f'the database behind "{self.target.name}" cannot be reached',
                f"The gateway could not connect: {why}.",
                "Try again later; the gateway's operator finds the details in its log.",
            )
        )

    def _refused(self, error: UpstreamError) -> RefusedError:
        if error.sqlstate in _TEMPORARY:
            return self._unreachable(str(error))
        return self._unreachable(
            "the database refused the gateway's own login" if error.sqlstate else str(error)
        )

    async def cancel(self, pid: int, key: bytes) -> None:
        """Send a CancelRequest and wait until the server closes the connection. Errors are the caller's to log."""
        async with asyncio.timeout(self._seconds):
            target = self.target
            if target.host.startswith("/"):
                reader, writer = await asyncio.open_unix_connection(f"{target.host}/.s.PGSQL.{target.port}")
            else:
                reader, writer = await asyncio.open_connection(target.host, target.port)
            try:
                if self._context is not None:
                    writer.write(frontend.ssl_request())
                    if await reader.readexactly(1) != b"S":
                        return
                    await writer.start_tls(self._context, server_hostname=self.target.host)
                writer.write(frontend.cancel_request(pid, key))
                await writer.drain()
                await reader.read(1)
            finally:
                writer.close()
