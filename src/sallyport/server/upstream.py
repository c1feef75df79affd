"""The gateway's connections to targets: TCP, TLS, login, then a stream of bytes each way."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import structlog

from sallyport.core.errors import ProtocolError, Refusal, RefusedError, SallyportError, refuse
from sallyport.core.secret import Secret
from sallyport.server.intents import WriteGate
from sallyport.server.peers import KeepAlive
from sallyport.server.tls import HandshakeError, TlsLayer
from sallyport.session.login.upstream import Backend, NoTlsError, UpstreamError, UpstreamLogin
from sallyport.targets.secret_source import Credential, CredentialError
from sallyport.targets.targets import Target
from sallyport.wire import frontend, scram

log = structlog.get_logger("sallyport.upstream")

WRITE_HIGH_WATER = 512 * 1024
#: SQLSTATEs a target may answer a login with that are the target's state, not the gateway's
#: configuration.
_TEMPORARY = frozenset({"53300", "57P03", "57P01", "57P02"})
#: invalid_password, invalid_authorization_specification: what a rotated or dropped credential gets.
_NOT_AUTHENTICATED: Final = frozenset({"28P01", "28000"})
#: invalid_parameter_value, which the values of startup parameters get that are none.
_INVALID_PARAMETER: Final = "22023"
_PARAMETER: Final = "parameter"
#: How a login at a target can fail: the gateway has no password for it; the target does not answer
#: in time, or cannot be connected to; TLS cannot be established (certificates included); it refuses
#: the login.
FAILURES: Final = ("credential", "timeout", "connection", "tls", "login")
_LOGIN_DIFFERS: Final = "The database asks for a way of logging in that the gateway does not use."


class UnreachableError(RefusedError):
    """SP1604. ``kind``: one of :data:`FAILURES`; or SP1301, where the client's startup parameters
    are why. ``reason``: for operators; it may quote the target, never a credential. ``sqlstate``:
    of the target's own refusal, or "".
    """

    def __init__(self, refusal: Refusal, kind: str, reason: str, sqlstate: str = "") -> None:
        super().__init__(refusal)
        self.kind, self.reason, self.sqlstate = kind, reason, sqlstate


class Login(NamedTuple):
    """With what to log in at a target, in place of its own user and password."""

    user: str
    password: Secret


#: A login, and the credential that it is made with, unless it has its own.
_Prepared = tuple[UpstreamLogin, Credential | None]


class UnansweredCancelError(SallyportError):
    """The target did not say in time that it took a CancelRequest: the signal may still come."""


class UpstreamLink(asyncio.Protocol):
    """One connection to a target. After login ``on_data`` gets plaintext, ``on_lost`` is told when
    it ends. ``backend``: of the server, once logged in; the password is not kept any longer.
    """

    __slots__ = (
        "_login",
        "_lost",
        "_ready",
        "backend",
        "context",
        "early",
        "gate",
        "host",
        "is_silent",
        "keep_alive",
        "on_data",
        "on_lost",
        "on_pause",
        "released",
        "role",
        "serves",
        "tls",
        "transport",
    )

    def __init__(
        self, login: UpstreamLogin, context: ssl.SSLContext | None, host: str, keep_alive: KeepAlive
    ) -> None:
        self._login: UpstreamLogin | None = login  # None: it succeeded
        self.backend = Backend(0, b"", {})
        self.context = context
        self.host = host
        self.keep_alive = keep_alive
        self.is_silent = False  # it ended because the server did not answer any more
        self.on_data: Callable[[bytes], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self.on_pause: Callable[[bool], None] | None = None
        self.released: Callable[[], None] | None = None  # told once it has ended, whoever listened
        self.role = ""  # that was made for it
        self.serves: Callable[[], bool] = lambda: True  # whether its credential lasts
        self.transport: Any = None
        self.gate: WriteGate | None = None
        self.early = bytearray()  # what came behind the login before anybody listened
        self.tls: TlsLayer | None = None
        self._lost = False
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self.keep_alive.apply(transport)
        if self._login is not None:
            self._login.start()
            self._flush(self._login)

    def data_received(self, data: bytes) -> None:
        try:
            if self.tls is not None:
                established = self.tls.established
                data = self.tls.receive(data)
                if more := self.tls.outgoing():
                    self.transport.write(more)
                if self._login is not None and not established and self.tls.established:
                    self._login.tls_started(self._channel_binding())
                    self._flush(self._login)
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
        """Listen from here on: gets what came since the login, and is told at once when the
        connection is gone already.
        """
        self.on_data, self.on_lost, self.on_pause = on_data, on_lost, on_pause
        early = bytes(self.early)
        self.early.clear()
        if early:
            on_data(early)
        if self._lost and self.on_lost is not None:
            self.on_lost()

    def _login_data(self, data: bytes) -> None:
        login = self._login
        if login is None:
            self.early += data
            return
        behind = login.receive(data)
        if login.wants_tls and self.tls is None:
            if self.context is None:
                raise ProtocolError("TLS without a context")
            self.tls = TlsLayer(self.context, server_side=False, server_hostname=self.host)
            self.tls.begin()
            self.transport.write(self.tls.outgoing())
            return
        self._flush(login)
        if login.ready:
            self.early += behind
            self.backend, self._login = login.backend, None
            if not self._ready.done():
                self._ready.set_result(None)

    def _channel_binding(self) -> bytes | None:
        certificate = self.tls.peer_certificate() if self.tls is not None else None
        return scram.tls_server_end_point(certificate) if certificate else None

    def _flush(self, login: UpstreamLogin) -> None:
        if data := login.take():
            self.write(data)

    def write(self, data: bytes | bytearray) -> None:
        if self.gate is None or not self.gate.keeps(data):
            self.send(data)

    def send(self, data: bytes | bytearray) -> None:
        """As :meth:`write`, past the gate."""
        if self._lost:
            return
        self.transport.write(self.tls.send(data) if self.tls is not None else data)

    def write_encrypted(self, data: bytes) -> None:
        """Past the gate, and as it is: what the lane has handled and not sent."""
        if not self._lost:
            self.transport.write(data)

    def _fail(self, error: Exception) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self.is_silent = self.is_silent or isinstance(error, TimeoutError)  # ETIMEDOUT: keepalive
        if not self._ready.done():
            self._ready.set_exception(ConnectionError("it closed the connection during login"))
        if self.on_lost is not None:
            self.on_lost()
        if self.released is not None:
            self.released()

    def pause(self) -> None:
        """Stop reading from the target."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        """Undo :meth:`pause`."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        if self.on_pause is not None:
            self.on_pause(True)

    def resume_writing(self) -> None:
        if self.on_pause is not None:
            self.on_pause(False)

    @property
    def descriptor(self) -> int:
        """Number of its socket; -1 when there is none."""
        socket = self.transport.get_extra_info("socket") if self.transport is not None else None
        return socket.fileno() if socket is not None else -1

    @property
    def lane_descriptor(self) -> int:
        """The same; -1 where it is closing."""
        if self._lost or self.transport.is_closing():
            return -1
        return self.descriptor

    @property
    def unsent(self) -> int:
        """Bytes that were written and not handed to the network yet."""
        waiting = self.gate.size if self.gate is not None else 0
        return waiting + int(self.transport.get_write_buffer_size())

    async def logged_in(self) -> None:
        """Wait for the login. Raises UpstreamError, ProtocolError or ConnectionError."""
        await self._ready

    def close(self) -> None:
        """Once everything is sent."""
        self.after_sending(self._close)

    def close_after_server(self, on_end: Callable[[], None]) -> None:
        """Once everything is sent, tell the server that nothing more comes. ``on_end``: it closed,
        which its process does when it ends; what it says until then is dropped.
        """
        self.on_data, self.on_lost = _drop, on_end
        self.after_sending(self._end_sending)

    def _end_sending(self) -> None:
        if not (self._lost or self.transport.is_closing()):
            self.resume()
            self.transport.write_eof()

    def after_sending(self, work: Callable[[], None]) -> None:
        """Do something once the gate has let go of everything that was written before."""
        if self.gate is not None:
            self.gate.after(work)
        else:
            work()

    def _close(self) -> None:
        if self.transport is not None and not self._lost:
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None and not self._lost:
            self.transport.abort()


def _drop(data: bytes) -> None:
    """Nobody reads it."""


class Dialer:
    """Opens connections to one target. The password is resolved for each new connection, so
    rotation just works.

    ``last_login``: when a login succeeded last (monotonic seconds), 0 before the first.
    ``failures``: by kind.
    """

    def __init__(
        self,
        target: Target,
        context: ssl.SSLContext | None,
        connect_seconds: float,
        keep_alive: KeepAlive | None = None,
    ) -> None:
        self.target = target
        self.keep_alive = keep_alive or KeepAlive()
        self._context = context
        self._seconds = connect_seconds
        self._keys = scram.KeyCache()
        self.last_login = 0.0
        self.failures: Counter[str] = Counter()

    async def open(
        self, settings: Mapping[str, str], *, minor: int = 0, login: Login | None = None
    ) -> UpstreamLink:
        """Connect and log in, as ``login`` where there is one. Raises UnreachableError (SP1604),
        whose text never holds the credential.
        """
        try:
            link = await self._open(settings, minor, login)
        except UnreachableError as error:
            if error.kind == _PARAMETER:
                raise
            self.failures[error.kind] += 1
            report = log.warning if error.kind in ("timeout", "connection") else log.error
            report("no login", target=self.target.name, kind=error.kind, reason=error.reason)
            raise
        self.last_login = time.monotonic()
        return link

    async def _open(
        self,
        settings: Mapping[str, str],
        minor: int,
        own: Login | None,
    ) -> UpstreamLink:
        link: UpstreamLink | None = None
        try:
            async with asyncio.timeout(self._seconds):
                login = await self._login(settings, minor, own)
                link = await self._connect(login)
                try:
                    await link.logged_in()
                except UpstreamError as error:
                    if not self._may_be_rotated(error, login):
                        raise
                    link.abort()
                    link = await self._connect(await self._login(settings, minor, None))
                    await link.logged_in()
                return link
        except asyncio.CancelledError:
            if link is not None:
                link.abort()
            raise
        except TimeoutError:
            if link is not None:
                link.abort()
            raise self._unreachable("timeout", "it did not answer in time") from None
        except CredentialError as error:
            detail = "The gateway has no password for the database."
            raise self._no_login("credential", detail, error) from None
        except (NoTlsError, HandshakeError) as error:
            raise self._no_login("tls", "The gateway could not establish TLS.", error) from None
        except UpstreamError as error:
            raise self._refused(error) from None
        except ProtocolError as error:
            raise self._no_login("login", _LOGIN_DIFFERS, error) from None
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
            raise self._unreachable("connection", why) from None

    async def _login(self, settings: Mapping[str, str], minor: int, own: Login | None) -> _Prepared:
        """With what to log in, and what to call when that is over. Raises CredentialError."""
        target = self.target
        user, password = own or (target.user, Secret(""))
        credential: Credential | None = None
        if own is None and target.password is not None:
            credential = await target.password.read()
            user, password = credential.user or user, credential.secret
        login = UpstreamLogin(
            user=user,
            database=target.database,
            password=password,
            settings=settings,
            allowed=target.auth,
            tls=self._context is not None,
            binding=target.channel_binding,
            minor=minor,
            key_cache=self._keys,
        )
        return login, credential

    def _may_be_rotated(self, error: UpstreamError, prepared: _Prepared) -> bool:
        """Whether a secret that is read now could be another than the one that was refused."""
        source, (_, credential) = self.target.password, prepared
        if error.sqlstate not in _NOT_AUTHENTICATED or source is None or credential is None:
            return False
        return source.replaces(credential)

    async def _connect(self, prepared: _Prepared) -> UpstreamLink:
        loop, target = asyncio.get_running_loop(), self.target
        login, credential = prepared
        release = credential.release if credential is not None else None

        def link() -> UpstreamLink:
            made = UpstreamLink(login, self._context, target.host, self.keep_alive)
            made.released = release
            if credential is not None:
                made.serves = credential.serves
            return made

        try:
            if target.host.startswith("/"):
                place = f"{target.host}/.s.PGSQL.{target.port}"
                return (await loop.create_unix_connection(link, place))[1]
            return (await loop.create_connection(link, target.host, target.port))[1]
        except BaseException:
            if release is not None:
                release()
            raise

    def _unreachable(self, kind: str, why: str, sqlstate: str = "") -> UnreachableError:
        """``why``: clients may read it."""
        refusal = refuse(
            "SP1604",
            f'cannot connect to the database of target "{self.target.name}"',
            f"The connection failed: {why}.",
            "Try again later, or tell the gateway's operator: the log has the details.",
        )
        return UnreachableError(refusal, kind, why, sqlstate)

    def _no_login(self, kind: str, detail: str, error: SallyportError) -> UnreachableError:
        """What no client can mend: it reads of what kind it is, the operator reads ``error``."""
        refusal = refuse(
            "SP1604",
            f'could not log in to the database of target "{self.target.name}"',
            detail,
            "Tell the gateway's operator: the log has the reason.",
        )
        return UnreachableError(refusal, kind, str(error), getattr(error, "sqlstate", ""))

    def _refused(self, error: UpstreamError) -> UnreachableError:
        if error.sqlstate in _TEMPORARY:
            return self._unreachable("login", str(error), error.sqlstate)
        if error.sqlstate == _INVALID_PARAMETER:
            refusal = refuse(
                "SP1301",
                f'database of target "{self.target.name}" refused a startup parameter',
                "The setting cannot have this value.",
                "Check the settings in the connection string, in PGOPTIONS and of the driver.",
            )
            return UnreachableError(refusal, _PARAMETER, str(error))
        detail = "The database refused the gateway's login." if error.sqlstate else _LOGIN_DIFFERS
        return self._no_login("login", detail, error)

    async def cancel(self, pid: int, key: bytes) -> None:
        """Send a CancelRequest and wait until the server closes the connection, which it does once
        the signal is sent.

        Raises OSError when the request could not be sent, TimeoutError when the server did not take
        the connection in time, and UnansweredCancelError when it took the request and did not close
        in time.
        """
        sent = False
        try:
            async with asyncio.timeout(self._seconds):
                reader, writer = await self._open_stream()
                try:
                    if self._context is not None:
                        writer.write(frontend.ssl_request())
                        if await reader.readexactly(1) != b"S":
                            raise ConnectionError("the server does not speak TLS")
                        await writer.start_tls(self._context, server_hostname=self.target.host)
                    sent = True
                    writer.write(frontend.cancel_request(pid, key))
                    await writer.drain()
                    await reader.read(1)
                finally:
                    writer.close()
        except asyncio.IncompleteReadError:
            raise ConnectionError("the server closed the connection") from None
        except TimeoutError:
            if not sent:
                raise
            raise UnansweredCancelError("the request was sent, and not answered in time") from None
        except ConnectionError:
            if not sent:
                raise
            # A reset takes the place of the server's close, or of a server that has ended.

    async def _open_stream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        target = self.target
        if target.host.startswith("/"):
            return await asyncio.open_unix_connection(f"{target.host}/.s.PGSQL.{target.port}")
        return await asyncio.open_connection(target.host, target.port)
