"""One TCP connection of a client: from accept over the PROXY header, TLS and login to its end.

After the login its bytes go to a :class:`~sallyport.server.host.SessionHost`, whose port it is
(:class:`~sallyport.server.tcp.TcpPort`). Nothing here looks into a message.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import structlog

from sallyport.core.address import Address, is_loopback, network_of
from sallyport.core.errors import ProtocolError, Refusal, RefusedError, refuse
from sallyport.core.subject import Subject
from sallyport.identity.authenticate import LoginRefused
from sallyport.server.admission import OUT_OF_DESCRIPTORS, Admitted, admit, identify
from sallyport.server.gateway import Gateway
from sallyport.server.host import CLIENT_CLOSED, CLIENT_SILENT, SessionHost
from sallyport.server.loginrefusals import WIRE, Why
from sallyport.server.refusals import LOGIN_FAILED
from sallyport.server.tcp import TcpPort
from sallyport.server.tls import ALPN, TlsLayer
from sallyport.session.login.client import (
    Authenticate,
    AwaitSignIn,
    CancelBackend,
    ClientLogin,
    Phase,
    Refused,
    StartTls,
)
from sallyport.wire.proxy_protocol import parse_proxy_header

log = structlog.get_logger("sallyport.connection")

EVICTED = refuse(
    "SP1605",
    "too many connections are waiting to log in",
    "This connection was the oldest without a token.",
    "Connect again.",
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Of a connection that is made in this process for a client of another entrance. ``entrance``:
    its name, for logs and the record. ``host``, ``port``: where that client is; how its token got
    here in secret is that entrance's to see to.
    """

    entrance: str
    host: str
    port: int


class ClientConnection(asyncio.Protocol):
    """From accept to close. See the module docstring. ``origin`` None: the client is at the other
    end.
    """

    __slots__ = (
        "_address",
        "_authenticating",
        "_deadline",
        "_direct_tls",
        "_gateway",
        "_header",
        "_host",
        "_login",
        "_lost",
        "_network",
        "_origin",
        "_peer",
        "_port",
        "_transport",
        "_why",
    )

    def __init__(self, gateway: Gateway, origin: Origin | None = None) -> None:
        self._gateway, self._origin = gateway, origin
        self._transport: Any = None
        self._port: TcpPort
        self._direct_tls = False
        self._header: bytearray | None = None  # of a PROXY protocol header that is still to come
        self._login: ClientLogin | None = None
        self._authenticating: asyncio.Task[None] | None = None
        self._host: SessionHost | None = None  # once it has logged in
        self._deadline: asyncio.TimerHandle | None = None  # of the login
        self._lost = False
        self._why: Why | None = None  # the login is being refused
        self._peer = self._address = self._network = ""

    # -- what the gateway's count of logins sees (Arrival) -----------------------------------------

    @property
    def network(self) -> str:
        return self._network

    @property
    def is_silent(self) -> bool:
        """Nothing of its login is being worked on."""
        return self._login is not None and self._login.phase is not Phase.WORKING

    @property
    def _entrance(self) -> str:
        return self._origin.entrance if self._origin is not None else WIRE

    def evict(self) -> None:
        self._refuse(EVICTED)

    # -- the transport -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._port = TcpPort(transport, self._gateway.keep_alive)
        peer = transport.get_extra_info("peername")
        self._set_peer(*(peer[:2] if isinstance(peer, tuple) else ("", 0)))
        origin = self._origin
        if origin is not None:
            self._address, self._network = origin.host, network_of(origin.host)
            self._peer = f"{Address(origin.host, origin.port)} ({origin.entrance})"
        elif self._address in self._gateway.proxies:
            self._header = bytearray()
        socket = transport.get_extra_info("socket")
        if socket is not None and self._gateway.descriptors.are_scarce(socket.fileno()):
            self._refuse(OUT_OF_DESCRIPTORS)
        elif self._is_counted():
            self._await_login(self._gateway.limits.login_seconds)

    def _await_login(self, seconds: float) -> None:
        """End the connection unless it has logged in by then."""
        self._cancel_deadline()
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(seconds, self._too_slow, seconds)

    def _set_peer(self, host: str, port: int, proxy: str = "") -> None:
        """``host`` "": a Unix socket. ``proxy``: the address of the proxy that names it. What that
        calls loopback is its own machine: a token in clear needs both on this one.
        """
        self._address, self._network = host, network_of(host)
        self._peer = f"{host}:{port}" if host else "local"
        loopback = all(
            not address or is_loopback(address.partition("%")[0]) for address in (host, proxy)
        )
        self._login = ClientLogin(
            tls=self._gateway.tls is not None,
            loopback=loopback,
            oauth=self._gateway.oauth,
            sign_in_user=self._gateway.device_logins.user if self._gateway.device_logins else "",
        )

    def _is_counted(self) -> bool:
        """Count among those that have not logged in; False when there is no room, and the peer was
        told.
        """
        refusal = self._gateway.admit_arrival(self)
        if refusal is not None:
            self._refuse(refusal)
        return refusal is None

    def _receive_header(self, header: bytearray, data: bytes) -> None:
        """What a trusted proxy says of its client; from then on this is that client's
        connection.
        """
        header += data
        try:
            parsed = parse_proxy_header(header)
        except ProtocolError as error:
            log.warning("bad PROXY protocol header", peer=self._peer, reason=str(error))
            self._refuse(refuse("SP1501", f"protocol violation: {error}"))
            return
        if parsed is None:
            return
        self._header = None
        if parsed.address:
            self._gateway.pending.discard(self)
            self._set_peer(parsed.address, parsed.port, proxy=self._address)
            if not self._is_counted():
                return
        rest = bytes(header[parsed.size :])
        if rest:
            self.data_received(rest)

    def data_received(self, data: bytes) -> None:
        tls = self._port.tls
        if tls is not None:
            try:
                established = tls.established
                data = tls.receive(data)
            except ProtocolError as error:
                self._tls_failed(str(error))
                return
            more = tls.outgoing()
            if more:
                self._transport.write(more)
            if not established and tls.established and not self._tls_ready(tls):
                return
            if not data:
                return
        if self._host is not None:
            self._host.receive(data)
        elif self._header is not None:
            self._receive_header(self._header, data)
        elif self._login is not None:
            self._login.receive(data)
            self._after_login_step()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._port.lost()
        self._cancel_deadline()
        self._gateway.pending.discard(self)
        if self._host is not None:
            silent = isinstance(error, TimeoutError)  # ETIMEDOUT: keepalive
            self._host.end(CLIENT_SILENT if silent else CLIENT_CLOSED)
        elif self._authenticating is not None:
            self._authenticating.cancel()

    def pause_writing(self) -> None:
        if self._host is not None:
            self._host.client_slow(True)

    def resume_writing(self) -> None:
        if self._host is not None:
            self._host.client_slow(False)

    # -- login -------------------------------------------------------------------------------------

    def _after_login_step(self) -> None:
        login = self._login
        if login is None:
            return
        if login.to_client:
            self._port.write(bytes(login.to_client))
            login.to_client.clear()
        requests, login.requests = login.requests, []
        for request in requests:
            if isinstance(request, StartTls):
                self._start_tls(request)
            elif isinstance(request, CancelBackend):
                self._gateway.cancel(request.pid, request.key)
            elif isinstance(request, Authenticate):
                self._authenticating = self._gateway.spawn(self._log_in(request), "login")
            elif isinstance(request, AwaitSignIn):
                self._authenticating = self._gateway.spawn(self._sign_in(request), "sign-in")
            elif isinstance(request, Refused):
                self._gateway.refused_logins.add(
                    request.refusal, self._why, login, self._address, self._entrance
                )
            else:
                self._close()

    def _start_tls(self, request: StartTls) -> None:
        context = self._gateway.tls
        if context is None:
            self._close()
            return
        self._port.tls = TlsLayer(context, server_side=True)
        self._direct_tls = request.direct
        if request.received:
            self.data_received(request.received)

    def _tls_ready(self, tls: TlsLayer) -> bool:
        # Direct TLS is only PostgreSQL when ALPN says so: another protocol's client must not be
        # answered.
        if self._direct_tls and tls.alpn != ALPN:
            self._tls_failed("direct TLS without ALPN postgresql")
            return False
        if self._login is not None:
            self._login.tls_started()
        return True

    def _tls_failed(self, reason: str) -> None:
        self._gateway.strangers.info("TLS failed", peer=self._peer, reason=reason)
        self._transport.abort()

    def _too_slow(self, seconds: float) -> None:
        text = f"the login took more than {seconds:g} seconds"
        self._refuse(refuse("SP1606", text, hint="Connect again."))

    async def _sign_in(self, request: AwaitSignIn) -> None:
        """Wait for a person at the issuer's page, then log in with the token that comes of it."""
        device_logins = self._gateway.device_logins
        if device_logins is None:
            self._close()
            return
        self._await_login(device_logins.seconds)
        try:
            token = await device_logins.sign_in(self._address, self._tell_sign_in)
        except RefusedError as error:
            self._refuse(error.refusal)
            return
        if self._lost:
            return
        self._await_login(self._gateway.limits.login_seconds)
        await self._log_in(
            Authenticate(token, request.label, request.target, request.settings, request.minor)
        )

    def _tell_sign_in(self, text: str, detail: str, hint: str) -> None:
        if self._login is not None:
            self._login.notify(text, detail, hint)
            self._after_login_step()

    async def _log_in(self, request: Authenticate) -> None:
        admitted: Admitted | None = None
        subject: Subject | None = None
        try:
            subject = await identify(self._gateway, request, self._address, self._entrance)
            admitted = await admit(self._gateway, request, subject)
            if self._lost or self._login is None or self._login.phase is not Phase.WORKING:
                admitted.link.abort()
                return
            # others may have come in meanwhile
            self._gateway.admit(admitted.subject, admitted.maximum, take=True)
            self._host_session(admitted, request, self._login)
        except RefusedError as error:
            self._why = Why.of(error, subject)
            # that one is in the log already, with its reason
            if not isinstance(error, LoginRefused):
                log.info(
                    "login refused",
                    peer=self._peer,
                    code=error.refusal.code.id,
                    target=request.target,
                    reason=self._why.reason,
                )
            if admitted is not None:
                admitted.link.abort()
            self._refuse(error.refusal)
        except BaseException:
            if admitted is not None:
                admitted.link.abort()
            self.shut(LOGIN_FAILED, "the gateway failed")
            raise

    def _host_session(self, admitted: Admitted, request: Authenticate, login: ClientLogin) -> None:
        self._gateway.refused_logins.accepted(self._entrance)
        where = self._peer, self._entrance
        host = SessionHost(self._gateway, admitted, request, self._port, *where)
        self._host, self._login, self._authenticating = host, None, None
        self._port.is_hosted = True
        self._cancel_deadline()
        self._gateway.pending.discard(self)
        host.begin(request.minor, login.take_rest(), login.to_client)

    # -- the end -----------------------------------------------------------------------------------

    def _refuse(self, refusal: Refusal) -> None:
        tls = self._port.tls
        if tls is not None and not tls.established:
            self._transport.abort()  # nothing can be said in the middle of a handshake
        elif self._login is not None:
            self._login.refuse(refusal)
            self._after_login_step()

    def shut(self, refusal: Refusal, reason: str) -> None:
        """End this connection from the gateway's side, telling the client why."""
        if self._host is not None:
            self._host.shut(refusal, reason)
        else:
            self._refuse(refusal)

    def _close(self) -> None:
        self._port.close()
        self._cancel_deadline()
        self._gateway.pending.discard(self)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
