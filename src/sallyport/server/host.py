"""Hosts one session: moves bytes between a client's port and the session's connection to the
target, and carries out what the sans-I/O session asks for. Nothing here looks into a message.

The two hot paths are :meth:`SessionHost.receive` and :meth:`SessionHost.receive_from_server`: of a
plain statement they do no more than ask the session and write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from time import perf_counter
from typing import Any

import structlog

from sallyport.core.errors import Refusal, refuse
from sallyport.core.subject import Subject
from sallyport.judge import fault
from sallyport.server.admission import Admitted, open_recording
from sallyport.server.cancelling import StatementCancel
from sallyport.server.gateway import CANCEL, Gateway
from sallyport.server.keeping import keep_containments
from sallyport.server.lane_access import LaneAccess
from sallyport.server.latency import SAMPLE_EVERY
from sallyport.server.leaving import leave_target
from sallyport.server.liveness import Liveness
from sallyport.server.pacing import Pacing, PauseReason
from sallyport.server.peers import PeerState
from sallyport.server.ports import ClientPort
from sallyport.server.refreshing import REFRESH, CatalogReading
from sallyport.server.refusals import (
    EXPIRED,
    EXPIRED_IN_TRANSACTION,
    EXPIRED_REASON,
    FAILED_WAITING,
    LOST_TARGET,
    NOT_JOURNALED,
    SILENT_TARGET,
    UNRECORDABLE,
)
from sallyport.server.renewing import Renewal
from sallyport.server.waiting import HeldStatementWait
from sallyport.server.watch_access import watch_access
from sallyport.session.client.input import Blocked
from sallyport.session.commands import (
    AskApproval,
    CancelUpstream,
    CloseSession,
    Command,
    JudgeElsewhere,
    RefreshCatalog,
    RenewToken,
)
from sallyport.session.holding import cancel_waiting
from sallyport.session.login.client import Authenticate
from sallyport.session.machine import CLIENT_ENDED, Session, SessionLimits
from sallyport.session.tracked_settings import TrackedSettings
from sallyport.wire import backend

log = structlog.get_logger("sallyport.session")

#: Unhandled client bytes of a paused session, beyond which its client is no longer read.
_CLIENT_BACKLOG = 1 << 20

CLIENT_CLOSED = "the client closed the connection"
CLIENT_SILENT = "the client does not answer any more"


class SessionHost:
    """From the end of the login to the end of the session. See the module docstring.

    ``peer``: the client's address, for people. ``entrance``: wire, or mcp. Implements
    :class:`~sallyport.server.ports.HostedSession`.
    """

    __slots__ = (
        "_cancel",
        "_database",
        "_gateway",
        "_is_ended",
        "_is_expired",
        "_lane",
        "_latency",
        "_lifetime",
        "_link",
        "_liveness",
        "_pacing",
        "_pid",
        "_port",
        "_recorder",
        "_refreshing",
        "_session",
        "_waiting",
        "entrance",
        "peer",
        "subject",
        "watched",
    )

    def __init__(
        self,
        gateway: Gateway,
        admitted: Admitted,
        request: Authenticate,
        port: ClientPort,
        peer: str,
        entrance: str,
    ) -> None:
        self.peer, self.entrance, self.subject = peer, entrance, admitted.subject
        self._gateway, self._port = gateway, port
        self._database, self._link = admitted.database, admitted.link
        self._latency = gateway.latency
        self._is_ended = self._is_expired = False
        self._pid = 0
        self._lifetime: asyncio.TimerHandle | None = None
        self._recorder = open_recording(gateway, admitted, request, peer, entrance)
        limits, link, row = gateway.limits, self._link, self._recorder.row
        if gateway.intents is not None:
            link.gate = gateway.intents.gate(self._recorder, link, self.not_journaled)
        self._session = session = Session(
            self.subject,
            admitted.judge,
            self._recorder,
            admitted.search_path,
            SessionLimits(limits.max_message_bytes, limits.max_row_bytes),
            admitted.pins,
        )
        session.id, session.backends = row.id, self._database.backends
        # An approval is for a subject, in whichever session it runs: the session's id is no part of
        # what it binds.
        told = {n: v for n, v in admitted.identity.items() if n != "sallyport.session"}
        session.settings = TrackedSettings(link.backend.parameters, {**request.settings, **told})
        self._pacing = Pacing(
            port, link, self._recorder, gateway.recorder, limits, self._unrecordable
        )
        self._liveness = Liveness(session, link, gateway.keep_alive.user_timeout)
        self._refreshing = CatalogReading(gateway, self._database, session, link, self.flush)
        self._cancel = StatementCancel(
            session,
            self._database,
            (link.backend.pid, link.backend.key),
            partial(self._pacing.pause_server, PauseReason.CANCELLING),
            self.flush,
            self.shut,
        )
        self._waiting: HeldStatementWait | None = None
        if gateway.approvals is not None:
            session.can_hold = True
            self._waiting = HeldStatementWait(
                gateway,
                gateway.approvals,
                session,
                self.subject,
                self._database,
                self.id,
                self.flush,
                port,
            )
        self._lane: LaneAccess | None = None
        if gateway.lane is not None and min(port.lane_descriptor, link.lane_descriptor) >= 0:
            self._lane = LaneAccess(gateway.lane, self, port, link, self._pacing)
            self._pacing.lane = self._lane
        self.watched = watch_access(gateway, session, self._lane, self._waiting, self.flush, row)

    def begin(self, minor: int, early: bytes, greeting: bytearray) -> None:
        """Greet the client and listen to the target. ``minor``: of the client's protocol version.
        ``early``: what the client sent behind its login. ``greeting``: what it is told first.
        """
        gateway, link = self._gateway, self._link
        self._pid, key = gateway.register(self, self.subject, minor)
        self._database.backends[link.backend.pid] = self._pid
        for name, value in self._session.settings.told.items():
            greeting += backend.parameter_status(name, value)
        greeting += backend.backend_key_data(self._pid, key)
        greeting += backend.ready_for_query(b"I")
        longest = self._session.names.judge.subject_policy(self.subject).limits.session
        seconds = min((s for s in (gateway.limits.session_seconds, longest) if s), default=0.0)
        if seconds:
            self._lifetime = asyncio.get_running_loop().call_later(seconds, self._lifetime_reached)
        log.info(
            "session started",
            session=self.id,
            subject=self.subject.id,
            target=self.target,
            peer=self.peer,
        )
        self._port.write(greeting)
        link.attach(
            self.receive_from_server,
            self._server_lost,
            partial(self._pacing.pause_client, PauseReason.SERVER_SLOW),
        )
        if early:
            self._session.receive_from_client(early)
            self.flush()

    # -- what others may see -----------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The recording's."""
        return self._recorder.row.id

    @property
    def target(self) -> str:
        """Name of the target."""
        return self._database.name

    @property
    def started(self) -> float:
        """Unix seconds."""
        return self._recorder.row.started

    @property
    def session(self) -> Session:
        """For looking at it."""
        if self._lane is not None:
            self._lane.sync()
        return self._session

    @property
    def is_plain(self) -> bool:
        """Whether its traffic may pass the lane."""
        return not (self._is_ended or self._is_expired) and self._session.is_plain

    @property
    def is_active(self) -> bool:
        """Whether an answer of the target is outstanding."""
        return bool(self._session.pipeline.entries) or (
            self._lane is not None and not self._lane.is_idle
        )

    @property
    def is_idle(self) -> bool:
        """Between statements, in no transaction, and everything was handed to the network."""
        session = self.session
        pipeline = session.pipeline
        return (
            (self._lane is None or (self._lane.is_idle and not self._lane.backlog))
            and not (pipeline.entries or pipeline.unsynced or session.client_backlog)
            and session.blocked is Blocked.NO
            and session.transaction_status == b"I"
            and not self._port.unsent
        )

    # -- bytes -------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Bytes from the client, in order."""
        if self._is_expired and self._session.is_between_transactions:
            self.shut(EXPIRED, EXPIRED_REASON)
            return
        latency = self._latency
        latency.left -= 1
        started = 0.0
        if not latency.left:
            latency.left, started = SAMPLE_EVERY, perf_counter()
        session = self._session
        request = session.try_fast_request(data)
        if request is not None:
            self._link.write(request)
        else:
            session.receive_from_client(data)
            self.flush()
        if started:
            latency.to_server.add(perf_counter() - started)

    def receive_from_server(self, data: bytes) -> None:
        latency = self._latency
        latency.left -= 1
        started = 0.0
        if not latency.left:
            latency.left, started = SAMPLE_EVERY, perf_counter()
        session = self._session
        response = session.try_fast_response(data)
        if response is not None:
            self._port.write(response)
            self._pacing.check_recorder()
        else:
            session.receive_from_server(data)
            self.flush()
        if started:
            latency.to_client.add(perf_counter() - started)
        if self._lane is not None and not session.pipeline.entries:
            self._lane.consider()

    def flush(self) -> None:
        """Write what the session has for its peers, carry out commands, pace both sides."""
        if self._is_ended:
            return
        session = self._session
        if session.unkept:
            keep_containments(self._gateway, session, self._link, self.not_journaled)
        if session.to_server.pending:
            self._link.write(session.to_server.take())
        if session.to_client and not session.holds_answer:
            out, session.to_client = session.to_client, bytearray()
            self._port.write(out)
        while session.commands:
            self._carry_out(session.commands.pop(0))
        if self._is_ended:
            return
        self._pacing.check_recorder()
        waits = session.client_backlog > _CLIENT_BACKLOG and session.blocked is not Blocked.NO
        self._pacing.pause_client(PauseReason.SESSION_WAITS, waits)

    def leave_lane(self) -> None:
        """Have what comes next judged the general way."""
        if self._lane is not None:
            self._lane.leave()

    def client_slow(self, slow: bool) -> None:
        """The client does not read, or reads again."""
        self._pacing.pause_server(PauseReason.CLIENT_SLOW, slow)

    # -- commands ----------------------------------------------------------------------------------

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, CloseSession):
            self.end(command.reason)
        elif isinstance(command, CancelUpstream):
            self._gateway.spawn(self._answered(self._cancel_own()), CANCEL)
        elif isinstance(command, AskApproval):
            if self._waiting is not None:
                self._waiting.ask(command.held)
        elif isinstance(command, RefreshCatalog):
            self._gateway.spawn(self._answered(self._refreshing.carry_out(command)), REFRESH)
        elif isinstance(command, JudgeElsewhere):
            self._gateway.spawn(self._answered(self._judge(command)), "judge")
        elif isinstance(command, RenewToken):
            self._gateway.spawn(self._answered(self._renew(command)), "renew token")

    async def _answered(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry out what the session waits for; where that fails, its client is told and does not
        wait for ever.
        """
        try:
            await work
        except Exception:
            self.shut(FAILED_WAITING, "the gateway failed")
            raise

    async def _judge(self, command: JudgeElsewhere) -> None:
        loop, session = asyncio.get_running_loop(), self._session
        try:
            await loop.run_in_executor(
                self._gateway.judging, command.subject_judge.judge_elsewhere, command.sql
            )
        except Exception as error:  # noqa: BLE001  the client gets a refusal and does not wait
            session.judgement.failure = fault(command.sql, error)
        session.resume()
        self.flush()

    async def _renew(self, command: RenewToken) -> None:
        session, address = self._session, self.peer.rpartition(":")[0]
        renewal = Renewal(
            self._gateway, self._database, session.names.judge, self.subject, self.id, address,
            self.shut, lambda: self._is_ended,
        )  # fmt: skip
        outcome = await renewal.check(command.token, self._link.role)
        if outcome is None:
            return
        if isinstance(outcome, Subject):
            self.subject, self._is_expired = outcome, False
            if self._waiting is not None:
                self._waiting.renewed(outcome)
            log.info("token renewed", session=self.id, subject=outcome.id, token=outcome.token_id)
        session.renewed = outcome
        session.resume()
        self.flush()

    async def _cancel_own(self) -> None:
        """Only when the server has taken the cancel may the next statement go there: it could be
        hit in place of this one.
        """
        await self._cancel.deliver_own()
        self._session.release_input()
        self.flush()

    def cancel_requested(self) -> None:
        """The client asked, over another connection, to cancel what runs."""
        self.leave_lane()
        if self._is_ended:
            return
        waits = self._waiting is not None and self._waiting.waits
        if not (waits or cancel_waiting(self._session) or self._cancel.is_due()):
            return
        self._recorder.note("cancel", "the client asked to cancel the running statement")
        if self._waiting is not None and self._waiting.cancel():
            return
        self._cancel.asked()
        # a request must not overtake what it is to cancel
        self._link.after_sending(self._deliver_cancel)

    def _deliver_cancel(self) -> None:
        if not self._is_ended and self._cancel.is_due():
            self._gateway.spawn(self._cancel.deliver(), CANCEL)

    # -- limits ------------------------------------------------------------------------------------

    def check_idle(self, now: float, seconds: float) -> None:
        """End the session when nothing has happened in it for so long; ``now``: of the monotonic
        clock.
        """
        if self._lane is not None:
            self._lane.sync()
            if not self._lane.is_idle:
                return
        if self._liveness.idle_seconds(now) > seconds:
            self.shut(
                refuse(
                    "SP1701", f"the session was idle for {seconds:g} seconds", hint="Connect again."
                ),
                "idle",
            )

    def check_peers(self) -> None:
        """End the session when either side has vanished."""
        if self._port.peer_state() is PeerState.VANISHED:
            self.end(CLIENT_SILENT, at_once=True)
        elif self._liveness.is_target_silent():
            self.leave_lane()  # which watches the socket's number, that may soon be another's
            self._link.is_silent = True
            self._link.abort()

    def check_expiry(self, now: float) -> None:
        """See :class:`~sallyport.server.ports.HostedSession`. A transaction that is open, and what
        runs, have ``identity.expiry.grace`` to end. A statement that waits for approval does not
        run yet, so it has none.
        """
        ends = self.subject.expires_at
        if self._is_ended or not ends or now < ends:
            return
        is_news, self._is_expired = not self._is_expired, True
        self.leave_lane()
        session = self._session
        if session.is_between_transactions and session.blocked is not Blocked.APPROVAL:
            # Drivers read an error as the answer to what they send next; of one that comes unasked
            # they only say that the connection was lost. Who sends nothing until the next look is
            # idle.
            if not is_news:
                self.shut(EXPIRED, EXPIRED_REASON)
        elif (
            session.blocked is Blocked.APPROVAL
            or now >= ends + self._gateway.limits.expiry_grace_seconds
        ):
            self.shut(EXPIRED_IN_TRANSACTION, EXPIRED_REASON)

    def _lifetime_reached(self) -> None:
        self.shut(
            refuse("SP1701", "the session has reached its longest lifetime", hint="Connect again."),
            "lifetime reached",
        )

    def _unrecordable(self) -> None:
        self.shut(UNRECORDABLE, "recording failed")

    def not_journaled(self) -> None:
        """What was to be sent last could not be journaled, so it was not sent."""
        if not self._is_ended:
            self._recorder.note(
                "journal", "the last statements were not sent: they could not be journaled"
            )
        self.shut(NOT_JOURNALED, "recording failed")

    # -- the end -----------------------------------------------------------------------------------

    def _server_lost(self) -> None:
        if self._link.is_silent:
            self.shut(SILENT_TARGET, "the target does not answer any more")
        else:
            self.shut(LOST_TARGET, "the target closed the connection")

    def fault(self, message: str, detail: str) -> None:
        """The gateway and the server disagree: nothing more may pass."""
        self._session.fault(message, detail)
        self.flush()

    def client_lost(self, is_silent: bool) -> None:
        """The client's connection is gone. ``is_silent``: it does not acknowledge any more."""
        self.end(CLIENT_SILENT if is_silent else CLIENT_CLOSED, at_once=True)

    def shut(self, refusal: Refusal, reason: str) -> None:
        """End the session from the gateway's side, telling the client why."""
        self.leave_lane()
        self._session.close(refusal, reason)
        self.flush()

    def end(self, reason: str, *, at_once: bool = False) -> None:
        """Let go of everything, once. ``at_once``: nobody is there to read what was written."""
        if self._is_ended:
            return
        self.leave_lane()
        if self._is_ended:  # what it gave back was the end
            return
        self._is_ended = True
        gateway, session, link = self._gateway, self._session, self._link
        self._pacing.stop()
        if self._lifetime is not None:
            self._lifetime.cancel()
        if self._waiting is not None:
            self._waiting.on_disconnect(reason)
        runs, changes = bool(session.pipeline.entries), session.names.leaves_changes
        is_unwanted = reason != CLIENT_ENDED or self._cancel.was_asked
        # a request that is on its way already is enough
        cancels = runs and is_unwanted and not self._pacing.is_cancelling
        leave_target(gateway, self._database, link, cancels=cancels, changes=runs and changes)
        gateway.ended(self)
        self._recorder.end(reason)
        log.info("session ended", session=self.id, reason=reason)
        if self._pid:
            gateway.unregister(self._pid, self.subject)
            self._database.forget(link.backend.pid, self._pid, changes)
        session.close(None, reason)
        session.commands.clear()
        self._port.close(at_once=at_once)
