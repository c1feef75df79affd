"""One client connection: owns both transports, moves bytes, carries out what the sans-I/O machines ask for.

Back-pressure goes both ways: a client that does not read stops the reading of its target, a target that does not read stops the reading
of its client, and a recorder that falls behind stops both. Nothing here looks into a message.
"""

from __future__ import annotations

import asyncio
import ipaddress
from time import monotonic, perf_counter
from typing import Any

import structlog

from sallyport.audit.recording import SessionRecording
from sallyport.core.errors import ProtocolError, RefusedError, refuse
from sallyport.core.ids import new_id
from sallyport.core.subject import Subject
from sallyport.identity.authenticate import LoginRefused
from sallyport.server.added import EVERY
from sallyport.server.admission import Admitted, admit
from sallyport.server.databases import Database
from sallyport.server.gateway import CANCEL, Gateway
from sallyport.server.own_catalog import own_catalog
from sallyport.server.tls import ALPN, TlsLayer
from sallyport.server.upstream import UpstreamLink
from sallyport.server.waiting import Waiting
from sallyport.session import login as steps
from sallyport.session.commands import (
    AskApproval,
    CancelUpstream,
    CloseSession,
    Command,
    JudgeElsewhere,
    RefreshCatalog,
)
from sallyport.session.machine import CLIENT_ENDED, Limits, Session
from sallyport.session.meaning import Meaning
from sallyport.wire import backend, frontend

log = structlog.get_logger("sallyport.connection")

WRITE_HIGH_WATER = 512 * 1024
#: Unhandled client bytes of a paused session, beyond which its client is no longer read.
_CLIENT_BACKLOG = 1 << 20
_BACKLOG_POLL = 0.005
#: How long a peer may take to read the last bytes of its connection (seconds).
_LINGER = 10.0
#: Why a client is not read; each reason comes and goes by itself.
_SERVER_SLOW, _SESSION_WAITS, _RECORDER_SLOW = 1, 2, 4


class ClientConnection(asyncio.Protocol):
    """From accept to close. See the module docstring."""

    __slots__ = (
        "_active",
        "_added",
        "_authenticating",
        "_client_held",
        "_database",
        "_deadline",
        "_direct_tls",
        "_gateway",
        "_link",
        "_login",
        "_lost",
        "_peer",
        "_pid",
        "_polling",
        "_recorder",
        "_seen",
        "_session",
        "_subject",
        "_tls",
        "_transport",
        "_upstream_paused",
        "_waiting",
    )  # fmt: skip

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._transport: Any = None
        self._tls: TlsLayer | None = None
        self._login: steps.ClientLogin | None = None
        self._session: Session | None = None
        self._link: UpstreamLink | None = None
        self._database: Database | None = None
        self._recorder: SessionRecording | None = None
        self._subject: Subject | None = None
        self._authenticating: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._active = 0.0
        self._seen: tuple[int, ...] = ()
        self._waiting: Waiting | None = None
        self._pid = 0
        self._peer = ""
        self._lost = False
        self._direct_tls = False
        self._client_held = 0
        self._upstream_paused = self._polling = False
        self._added = gateway.added

    # -- what others may see -------------------------------------------------------------------------------------

    @property
    def session(self) -> Session | None:
        return self._session

    @property
    def subject(self) -> Subject | None:
        return self._subject

    @property
    def id(self) -> str:
        """The recording's id; "" before the login is done."""
        return self._recorder.row.id if self._recorder is not None else ""

    @property
    def target(self) -> str:
        return self._database.name if self._database is not None else ""

    @property
    def peer(self) -> str:
        return self._peer

    @property
    def started(self) -> float:
        """Unix seconds."""
        return self._recorder.row.started if self._recorder is not None else 0.0

    # -- the client's transport ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        peer = transport.get_extra_info("peername")
        self._peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "local"
        loopback = not isinstance(peer, tuple) or ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback
        self._login = steps.ClientLogin(tls=self._gateway.tls is not None, loopback=loopback)
        if not self._gateway.may_connect():
            self._refuse(refuse("SP1605", "too many connections are waiting to log in"))
            return
        self._gateway.pending.add(self)
        seconds = self._gateway.limits.login_seconds
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._too_slow)

    def data_received(self, data: bytes) -> None:
        tls = self._tls
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
        session = self._session
        if session is not None:
            added = self._added
            added.left -= 1
            if added.left:
                self._from_client(session, data)
                return
            added.left = EVERY
            began = perf_counter()
            self._from_client(session, data)
            added.there.add(perf_counter() - began)
        elif self._login is not None:
            self._login.receive(data)
            self._after_login_step()

    def _from_client(self, session: Session, data: bytes) -> None:
        short = session.ask(data)
        if short is not None and self._link is not None:
            self._link.write(short)
            return
        session.receive_from_client(data)
        self._after()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._end("the client closed the connection")

    def pause_writing(self) -> None:
        self._upstream_paused = True
        self._pace_upstream()

    def resume_writing(self) -> None:
        self._upstream_paused = False
        self._pace_upstream()

    def _write(self, data: bytes | bytearray) -> None:
        if not self._lost:
            self._transport.write(self._tls.send(data) if self._tls is not None else data)

    # -- login ---------------------------------------------------------------------------------------------------

    def _after_login_step(self) -> None:
        login = self._login
        if login is None:
            return
        if login.to_client:
            self._write(bytes(login.to_client))
            login.to_client.clear()
        requests, login.requests = login.requests, []
        for request in requests:
            if isinstance(request, steps.StartTls):
                self._start_tls(request)
            elif isinstance(request, steps.CancelBackend):
                self._gateway.cancel(request.pid, request.key)
            elif isinstance(request, steps.Authenticate):
                self._authenticating = self._gateway.spawn(self._log_in(request), "login")
            else:
                self._close_transport()

    def _start_tls(self, request: steps.StartTls) -> None:
        context = self._gateway.tls
        if context is None:
            self._close_transport()
            return
        self._tls = TlsLayer(context, server_side=True)
        self._direct_tls = request.direct
        if request.received:
            self.data_received(request.received)

    def _tls_ready(self, tls: TlsLayer) -> bool:
        # Direct TLS is only PostgreSQL when ALPN says so: another protocol's client must not be answered.
        if self._direct_tls and tls.alpn != ALPN:
            self._tls_failed("direct TLS without ALPN postgresql")
            return False
        if self._login is not None:
            self._login.tls_started()
        return True

    def _tls_failed(self, reason: str) -> None:
        log.info("TLS failed", peer=self._peer, reason=reason)
        self._transport.abort()

    def _too_slow(self) -> None:
        self._refuse(
            refuse("SP1606", f"the login took more than {self._gateway.limits.login_seconds:g} seconds")
        )

    def _refuse(self, refusal: Any) -> None:
        if self._tls is not None and not self._tls.established:
            self._transport.abort()  # nothing can be said in the middle of a handshake
        elif self._login is not None and self._session is None:
            self._login.refuse(refusal)
            self._after_login_step()

    async def _log_in(self, request: steps.Authenticate) -> None:
        admitted: Admitted | None = None
        try:
            admitted = await admit(self._gateway, request)
            if self._lost or self._login is None or self._login.phase is not steps.Phase.WORKING:
                admitted.link.abort()
                return
            self._gateway.admit(admitted.subject)  # others may have come in meanwhile
            self._begin(admitted, request)
        except RefusedError as error:
            if not isinstance(error, LoginRefused):  # that one is in the log already, with its reason
                log.info(
                    "login refused",
                    peer=self._peer,
                    code=error.refusal.code.id,
                    target=request.target,
                    reason=getattr(error, "reason", "") or error.refusal.message,
                )
            if admitted is not None:
                admitted.link.abort()
            self._refuse(error.refusal)
        except BaseException:
            if admitted is not None:
                admitted.link.abort()
            self._refuse(refuse("SP1804", "the gateway failed during this login"))
            raise

    def _begin(self, admitted: Admitted, request: steps.Authenticate) -> None:
        subject, database, judge = admitted.subject, admitted.database, admitted.judge
        link, path = admitted.link, admitted.search_path
        gateway, login = self._gateway, self._login
        if login is None:
            return
        application = request.settings.get("application_name", "")
        self._recorder = gateway.recorder.open_session(
            new_id("ses"), subject, database.name, self._peer, application
        )
        limits = Limits(gateway.limits.max_message_bytes, gateway.limits.max_row_bytes)
        self._subject, self._database, self._link = subject, database, link
        self._pid, key = gateway.register(self, subject, request.minor)
        greeting = bytearray(backend.authentication_ok())
        for name, value in link.login.parameters.items():
            greeting += backend.parameter_status(name, value)
        greeting += backend.backend_key_data(self._pid, key)
        greeting += backend.ready_for_query(b"I")
        session = Session(subject, judge, self._recorder, path, limits)
        session.meaning = Meaning(link.login.parameters, request.settings)
        rest = login.take_rest()
        self._session, self._login = session, None
        if gateway.approvals is not None:
            session.can_hold = True
            self._waiting = Waiting(
                gateway,
                gateway.approvals,
                session,
                subject,
                database,
                self._recorder.row.id,
                self._after,
                self._transport,
            )
        self._logged_in(judge.subject_policy(subject).limits.session)
        self._active = monotonic()
        log.info(
            "session started",
            session=self._recorder.row.id,
            subject=subject.id,
            target=database.name,
            peer=self._peer,
        )
        self._write(greeting)
        link.attach(self._from_server, self._server_lost, self._server_slow)
        if rest:
            session.receive_from_client(rest)
            self._after()

    def _logged_in(self, longest: float | None) -> None:
        self._gateway.pending.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        bounds = [s for s in (self._gateway.limits.session_seconds, longest) if s]
        seconds = min(bounds, default=0.0)
        if seconds:
            self._deadline = asyncio.get_running_loop().call_later(seconds, self._expired)

    def check_idle(self, now: float, seconds: float) -> None:
        """Close a session in which nothing has happened for so long (monotonic seconds)."""
        session = self._session
        if session is None:
            return
        seen = (session.number, session.counters.bytes, session.client_backlog, len(session.entries))
        if seen != self._seen or session.entries or session.blocked == AskApproval.__name__:
            self._seen, self._active = seen, now
        elif now - self._active > seconds:
            self.shut(
                refuse("SP1701", f"the session was idle for {seconds:g} seconds", hint="Connect again."),
                "idle",
            )

    def _expired(self) -> None:
        self.shut(refuse("SP1701", "the session has reached its longest lifetime"), "lifetime reached")

    # -- the session ---------------------------------------------------------------------------------------------

    def _from_server(self, data: bytes) -> None:
        session = self._session
        if session is None:
            return
        added = self._added
        added.left -= 1
        if added.left:
            self._answer(session, data)
            return
        added.left = EVERY
        began = perf_counter()
        self._answer(session, data)
        added.back.add(perf_counter() - began)

    def _answer(self, session: Session, data: bytes) -> None:
        short = session.answer(data)
        if short is not None:
            self._write(short)
            self._mind_recorder()
            return
        session.receive_from_server(data)
        self._after()

    def _after(self) -> None:
        """Flush both buffers, carry out commands, pace both sides."""
        session, link = self._session, self._link
        if session is None or link is None:
            return
        if session.to_server:
            out, session.to_server = session.to_server, bytearray()
            link.write(out)
        if session.to_client:
            out, session.to_client = session.to_client, bytearray()
            self._write(out)
        while session.commands:
            self._carry_out(session.commands.pop(0), session)
        self._mind_recorder()
        waits = bool(session.blocked) and session.client_backlog > _CLIENT_BACKLOG
        self._pace_client(_SESSION_WAITS, waits)

    def _carry_out(self, command: Command, session: Session) -> None:
        if isinstance(command, CloseSession):
            self._end(command.reason)
        elif isinstance(command, CancelUpstream):
            self._gateway.spawn(self._cancel_and_resume(session), CANCEL)
        elif isinstance(command, AskApproval):
            if self._waiting is not None:
                self._waiting.ask(command.held)
        elif isinstance(command, RefreshCatalog):
            self._gateway.spawn(self._refresh(command, session), "refresh catalog")
        elif isinstance(command, JudgeElsewhere):
            self._gateway.spawn(self._judge(command, session), "judge")

    async def _refresh(self, command: RefreshCatalog, session: Session) -> None:
        database, link = self._database, self._link
        refreshed = False
        if command.own and link is not None:
            catalog = await own_catalog(link, session)
            if catalog is not None:
                session.see(catalog)
                refreshed = True
                self._gateway.collecting.replaced()
        elif database is not None:
            await database.refresh(force=command.force)
            refreshed = database.readable
        session.resume(refreshed=refreshed)
        self._after()

    async def _judge(self, command: JudgeElsewhere, session: Session) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._gateway.judging, command.view.judge_elsewhere, command.sql)
        session.resume()
        self._after()

    async def _cancel_and_resume(self, session: Session) -> None:
        """Only when the server has taken the cancel may the next statement go there: it could be hit in place of this one."""
        link, database = self._link, self._database
        if link is not None and database is not None:
            await _cancel(database, link.login.pid, link.login.key)
        session.resume()
        self._after()

    def cancel_requested(self) -> None:
        """The client asked, over another connection, to cancel what runs."""
        if self._recorder is not None:
            self._recorder.note("cancel", "the client asked to cancel the running statement")
        if self._waiting is not None and self._waiting.cancel():
            return
        self._cancel_upstream()

    def _cancel_upstream(self) -> None:
        link, database = self._link, self._database
        if link is not None and database is not None:
            self._gateway.spawn(_cancel(database, link.login.pid, link.login.key), CANCEL)

    # -- pacing --------------------------------------------------------------------------------------------------

    def _server_slow(self, slow: bool) -> None:
        self._pace_client(_SERVER_SLOW, slow)

    def _pace_client(self, reason: int, pause: bool) -> None:
        """Stop reading the client while there is any reason to."""
        before = self._client_held
        self._client_held = before | reason if pause else before & ~reason
        if bool(before) == bool(self._client_held) or self._lost or self._transport.is_closing():
            return
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _pace_upstream(self) -> None:
        link = self._link
        if link is None or link.transport.is_closing():
            return
        if self._upstream_paused or self._polling:
            link.transport.pause_reading()
        else:
            link.transport.resume_reading()

    def _mind_recorder(self) -> None:
        """Read nothing more while the recorder is too far behind."""
        recorder = self._recorder
        if recorder is None or self._polling or not self._recorder_behind(recorder, 1):
            return
        self._polling = True
        self._pace_upstream()
        self._pace_client(_RECORDER_SLOW, True)
        asyncio.get_running_loop().call_later(_BACKLOG_POLL, self._poll_recorder)

    def _recorder_behind(self, recorder: SessionRecording, part: int) -> bool:
        """Is more waiting to be written than a ``part`` of what this session, or all of them, may have waiting?"""
        limits, everyone = self._gateway.limits, self._gateway.recorder.backlog
        return (
            recorder.backlog > limits.session_backlog_bytes // part
            or everyone > limits.recorder_backlog_bytes // part
        )

    def _poll_recorder(self) -> None:
        recorder = self._recorder
        if recorder is None:
            self._polling = False
            return
        if recorder.failed:  # what comes now could not be recorded, so it must not be seen
            self._polling = False
            self.shut(refuse("SP1801", "the session cannot be recorded any more"), "recording failed")
            return
        if self._recorder_behind(recorder, 2):
            asyncio.get_running_loop().call_later(_BACKLOG_POLL, self._poll_recorder)
            return
        self._polling = False
        self._pace_upstream()
        self._pace_client(_RECORDER_SLOW, False)

    # -- the end -------------------------------------------------------------------------------------------------

    def _server_lost(self) -> None:
        session = self._session
        if session is not None:
            session.close(
                refuse("SP1802", "the connection to the database was lost", hint="Connect again."),
                "the target closed the connection",
            )
            self._after()

    def shut(self, refusal: Any, reason: str) -> None:
        """End this connection from the gateway's side, telling the client why."""
        if self._session is not None:
            self._session.close(refusal, reason)
            self._after()
        else:
            self._refuse(refusal)

    def _close_transport(self) -> None:
        if not self._transport.is_closing():
            self._transport.close()
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = asyncio.get_running_loop().call_later(_LINGER, self._transport.abort)
        self._gateway.pending.discard(self)

    def _end(self, reason: str) -> None:
        """Let go of everything, once."""
        gateway = self._gateway
        gateway.pending.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._authenticating is not None and self._session is None:
            self._authenticating.cancel()
        if self._waiting is not None:
            self._waiting.gone(reason)
            self._waiting = None
        link, session = self._link, self._session
        if link is not None:
            if session is not None and session.entries and reason != CLIENT_ENDED:
                self._cancel_upstream()  # nobody is left to read the answer
            link.on_data = link.on_lost = link.on_pause = None
            link.write(frontend.terminate())
            link.close()
            self._link = None
        if self._recorder is not None:
            self._recorder.end(reason)
            log.info("session ended", session=self._recorder.row.id, reason=reason)
            self._recorder = None
        if session is not None:
            gateway.totals.add(session.counters)
        if self._pid and self._subject is not None:
            gateway.unregister(self._pid, self._subject)
            self._pid = 0
        if session is not None:
            session.close(None, reason)
            session.commands.clear()
            self._session = None
        if not self._lost:
            self._close_transport()


async def _cancel(database: Database, pid: int, key: bytes) -> None:
    try:
        await database.dialer.cancel(pid, key)
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        log.warning("cancel not delivered", target=database.name, reason=str(error))
