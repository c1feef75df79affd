"""What all connections share: targets, identity, recorder, policy, limits, registry of sessions.

Cancel keys are minted here: a client never sees the target's own. Policy is re-read when its file
changes; an invalid one is logged and the old one stays.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING

import structlog

from sallyport.approvals.service import Approvals
from sallyport.approvals.states import Preview
from sallyport.audit.recorder import Recorder
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.core.address import Networks
from sallyport.core.clock import SystemClock
from sallyport.core.counts import CountsFullError
from sallyport.core.errors import Refusal, RefusedError, refuse
from sallyport.core.interpreter import compute_beside
from sallyport.core.rate_limit import RateLimit
from sallyport.core.subject import Subject
from sallyport.core.worker import SESSIONS, Worker, cancel_digest, sessions_of
from sallyport.identity.authenticate import Authenticator
from sallyport.judge import Containments
from sallyport.policy.file.source import PolicyFile
from sallyport.policy.model import Policy, Reviewers
from sallyport.policy.versions import CHANGED
from sallyport.server.arrivals import Arrivals
from sallyport.server.collecting import Collecting
from sallyport.server.databases import Database
from sallyport.server.descriptors import Descriptors
from sallyport.server.device_logins import DeviceLogins
from sallyport.server.intents import IntentWriter
from sallyport.server.lag import RecorderLag
from sallyport.server.lane import COMPILED as HAS_LANE
from sallyport.server.lane import Lane
from sallyport.server.latency import LatencyHistograms
from sallyport.server.limits import GatewayLimits
from sallyport.server.loginrefusals import LoginRefusals
from sallyport.server.peers import KeepAlive
from sallyport.server.ports import Closable, HostedSession, PendingLogin
from sallyport.server.refusals import RECORDER_FAILED, STATE_LOST
from sallyport.server.sparing import SparingLog
from sallyport.server.storewatch import StoreWatch
from sallyport.server.tasks import Coalesced, Tasks
from sallyport.server.watching import INTERVAL, Watching
from sallyport.session.clearance import HANDOVER_LATE
from sallyport.session.counters import Counters
from sallyport.session.held import HeldStatement
from sallyport.session.login.client import OAuthOffer
from sallyport.sql.text.depth import deep_thread

if TYPE_CHECKING:
    import ssl

log = structlog.get_logger("sallyport.gateway")

_POLICY_SECONDS = 1.0
_PEER_SECONDS = 1.0
#: Before a policy that a target could not take is tried again.
_BIND_SECONDS = 10.0
#: Between two looks for sessions that became idle while the gateway drains (seconds).
_DRAIN_POLL = 0.02
#: Name of the tasks that deliver CancelRequests; a gateway that stops gives them this long
#: (seconds).
CANCEL = "cancel"
_CANCEL_SECONDS = 2.0

Query = Callable[[str], Awaitable[list[list[str | None]]]]
Measure = Callable[[Query, HeldStatement], Awaitable[Preview]]


class Gateway:
    """The shared parts, made by the composition root (:mod:`sallyport.app`)."""

    def __init__(
        self,
        databases: Mapping[str, Database],
        authenticator: Authenticator,
        recorder: Recorder,
        policy: PolicyFile,
        limits: GatewayLimits,
        tls: ssl.SSLContext | None,
        approvals: Approvals | None = None,
        console_url: str = "",
        worker: Worker | None = None,
    ) -> None:
        self.databases = databases
        self.worker = worker = worker if worker is not None else Worker()
        self.authenticator = authenticator
        self.recorder = recorder
        self.policy = policy
        self.limits = limits
        self.tls = tls
        self.approvals = approvals
        self.console_url = console_url
        self.watch_reviewers = Reviewers(frozenset())  # of statements held by a finding
        self.watching: Watching | None = None
        self.measure: Measure | None = None  # makes the preview of a held statement
        self.on_policy: Callable[[Policy, str], None] | None = None  # told of each policy taken
        self.state_problem = ""  # why the gateway's state is lost; nobody may log in
        self.log: TransparencyLog | None = None  # of recordings' heads
        self.check_state: Callable[[], str] = str  # asked while it runs
        self.late_streams: Callable[[], str] = str  # likewise
        self.on_session: Callable[[], object] = str  # one began or ended
        self.store_watch = StoreWatch(float, 0.0)  # one that is never lost
        self.judging = deep_thread("sallyport-judge")
        self.pending: Arrivals[PendingLogin] = Arrivals(
            limits.max_logins, limits.max_logins_per_address
        )
        self.descriptors = Descriptors.raised()
        self.proxies = Networks(())  # whose PROXY protocol headers are believed
        self.oauth: OAuthOffer | None = None
        self.device_logins: DeviceLogins | None = None  # at the issuer's page, during a login
        self.stopping = False
        self.lane: Lane | None = None
        self._sessions: dict[int, tuple[bytes, HostedSession]] = {}
        self._epochs: dict[str, str] = {}  # of each target, as approvals were last told
        self.totals = Counters()  # of the sessions that have ended
        self.sessions_total = 0
        self.refused_logins = LoginRefusals()
        self.intents: IntentWriter | None = None
        self.containments = Containments()
        for database in databases.values():
            database.containments = self.containments
            database.counts = worker.counts
        self.lag, self.latency = RecorderLag(), LatencyHistograms()
        self.keep_alive, self.collecting = KeepAlive(), Collecting()
        self.strangers = SparingLog()
        self._passed_cancels = RateLimit(SystemClock(), 100, 1.0)
        self.tasks = Tasks()
        self.spawn = self.tasks.spawn
        self._unbound: set[str] = set()  # targets whose judge could not take the policy in force
        self._reloading = Coalesced(self.tasks, self._reload_policy, "reload policy")
        self._bound_at = 0.0  # monotonic seconds of the last attempt

    def approval_address(self, request_id: str) -> str:
        """Where people decide about it; "" without a console."""
        return f"{self.console_url}/approvals/{request_id}" if self.console_url else ""

    # -- tasks -------------------------------------------------------------------------------------

    def environment_moved(self, database: Database) -> None:
        """Policy or catalog changed: what was asked, approved or granted under the old ones is
        void.
        """
        if self.approvals is not None and database.judge is not None:
            self.approvals.environment_moved(
                database.name,
                policy_version=database.judge.policy.version,
                epoch=database.judge.catalog.epoch,
            )

    def _open_lane(self) -> None:
        if HAS_LANE and os.environ.get("SALLYPORT_LANE") != "off":
            self.lane = Lane(self.latency, self.intents)
            asyncio.get_running_loop().add_reader(self.lane.descriptor, self.lane.poll)

    async def run(self) -> None:
        """Start what runs beside the sessions, and load the catalogs: a target that is down is
        tried again at its first login.
        """
        self._open_lane()
        for database in self.databases.values():
            self.spawn(self._first_load(database), f"load {database.name}")
            self._watch(database.watch, f"catalog of {database.name}")
            self._watch(partial(self._watch_logins, database), f"logins at {database.name}")
            if database.roles is not None:
                self._watch(database.watch_roles, f"roles at {database.name}")
        self._watch(self._look_around, "housekeeping")
        self._watch(self._watch_peers, "peers")
        if self.watching is not None:
            self._watch(self._watch_behaviour, "unusual behaviour")
        if self.limits.idle_seconds:
            self._watch(self._watch_idle, "idle sessions")

    def _watch(self, step: Callable[[], Awaitable[None]], name: str) -> None:
        self.spawn(self.tasks.repeat(step, name), f"watch {name}")

    async def _first_load(self, database: Database) -> None:
        try:
            await database.ready()
            self.collecting.loaded()
        except RefusedError as error:
            reason = error.refusal.detail or str(error)
            log.warning("target is not ready", target=database.name, reason=reason)

    async def _watch_logins(self, database: Database) -> None:
        """Keep trying: a target that was down comes back without anybody asking for it, as behind
        a balancer nobody does.
        """
        await database.logins.step()
        if database.judge is None and not database.logins.problem:
            await self._first_load(database)

    async def _look_around(self) -> None:
        """What is looked at every second. The store may not answer, say; that must stop nothing
        else.
        """
        await asyncio.sleep(_POLICY_SECONDS)
        attempt = self.tasks.attempt
        attempt(self._look_at_state, "state")
        attempt(lambda: self.store_watch.look(self.hosted()), "store")
        attempt(self._look_at_streams, "streams of the record")
        attempt(self._look_at_policy, "policy file")
        for database in self.databases.values():
            if database.judge is not None:
                attempt(database.judge.tick, "access windows")
        if self.approvals is not None:
            attempt(self.approvals.expire_due, "deadlines of approvals")
        attempt(self.look_at_catalogs, "catalogs that moved")

    def _look_at_state(self) -> None:
        recorder = self.recorder
        self.lag.note(monotonic(), recorder.accepted, recorder.accepted - recorder.backlog)
        if not self.state_problem and (problem := self.check_state()):
            self.state_problem = problem
            log.error("the gateway's state was lost; nobody can log in", reason=problem)

    def _look_at_streams(self) -> None:
        handover, late = self.recorder.handover, self.late_streams()
        if bool(late) == handover.is_late:
            return
        handover.is_late = bool(late)
        if not late:
            log.warning("statements run again: the record is handed over")
            return
        log.error("statements stop: a stream of the record is too late", streams=late)
        for session in self.hosted():
            session.leave_lane()  # it would run what it knows without asking

    def _look_at_policy(self) -> None:
        if self.policy.changed() or (
            self._unbound and monotonic() > self._bound_at + _BIND_SECONDS
        ):
            self.reload_policy()

    def look_at_catalogs(self) -> None:
        """Void what was asked under catalogs that are past."""
        for database in self.databases.values():
            epoch = database.judge.catalog.epoch if database.judge is not None else ""
            if epoch and self._epochs.get(database.name) != epoch:
                self.environment_moved(database)
                self._epochs[database.name] = epoch
                self.collecting.replaced()

    async def _watch_peers(self) -> None:
        await asyncio.sleep(_PEER_SECONDS)
        now = time()  # the wall clock: tokens expire by it, also where the machine slept
        for session in self.hosted():
            session.check_peers()
            session.check_expiry(now)

    async def _watch_behaviour(self) -> None:
        await asyncio.sleep(INTERVAL)
        if self.watching is not None:
            await self.watching.look()

    async def _watch_idle(self) -> None:
        seconds = self.limits.idle_seconds
        await asyncio.sleep(min(10.0, seconds / 2))
        now = monotonic()
        for session in self.hosted():
            session.check_idle(now, seconds)

    def reload_policy(self, source: str = CHANGED) -> None:
        """Take a changed policy file, or say why not. ``source``: who asked."""
        self._reloading.ask(source)

    async def _reload_policy(self, source: str) -> None:
        before = self.policy.problem
        changed, problem = await compute_beside(self.policy.reload)
        if problem is not None and problem != before:  # said once, not every second
            log.error("policy not reloaded; the old one stays in force", reason=problem)
        elif before and problem is None:
            log.info("the policy file can be used again", version=self.policy.current.version)
        await self._bind_policy(list(self.databases if changed else self._unbound))
        if changed:
            log.info("policy reloaded", version=self.policy.current.version)
        if changed and self.on_policy is not None:
            self.on_policy(self.policy.current, source)

    async def _bind_policy(self, targets: list[str]) -> None:
        """Let all targets take the policy at once; one that cannot is asked again later."""
        self._bound_at = monotonic()
        async with AsyncExitStack() as bound:
            takes: dict[str, Callable[[], None]] = {}
            for name in targets:
                try:
                    takes[name] = await bound.enter_async_context(self.databases[name].binding())
                except Exception as error:  # noqa: BLE001  logged and counted; it is tried again
                    self._policy_failed(name, error)
            self._unbound -= takes.keys()
            for name, take in takes.items():  # nothing is awaited until all have it
                self._try_policy(name, take)
        for name in takes.keys() - self._unbound:
            self._try_policy(name, partial(self.environment_moved, self.databases[name]))

    def _try_policy(self, target: str, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001  likewise
            self._policy_failed(target, error)

    def _policy_failed(self, target: str, error: Exception) -> None:
        self._unbound.add(target)
        self.policy.failures += 1
        self.tasks.note(f"policy of {target}, where the old one stays in force", error)

    # -- the registry ------------------------------------------------------------------------------

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    def hosted(self) -> list[HostedSession]:
        """Every session."""
        return [session for _, session in self._sessions.values()]

    @property
    def policy_problem(self) -> str:
        """Why the policy file as it is now was not taken; "" when it was."""
        if self._unbound and not self.policy.problem:
            return f"it could not be taken for {', '.join(sorted(self._unbound))}; see the log"
        return self.policy.problem

    def readiness(self, database: Database) -> str:
        """Why a target could not be used now; "" when it could. Anybody may read it;
        ``database.logins.problem`` says more.
        """
        if database.logins.problem:
            return "a new login at its database fails"
        if database.roles is not None and database.roles.problem:
            return "no database role can be made for a session"
        if database.judge is None:
            return "its catalog has not been read yet"
        return "" if database.readable else "it does not answer"

    def check_open(self) -> None:
        """Raises RefusedError (SP1803) once no session may start any more."""
        if self.stopping:
            raise RefusedError(
                refuse("SP1803", "the gateway is shutting down", hint="Connect again in a moment.")
            )

    def admit(self, subject: Subject, maximum: int | None = None, *, take: bool = False) -> None:
        """``maximum``: sessions that policy allows the subject at once. ``take``: one starts now,
        and is counted. Raises RefusedError (SP1605, SP1608, SP1801, SP1803, SP1806, SP1807) when
        none may.
        """
        limits = self.limits
        self.authenticator.refuse_retired(subject)
        self.authenticator.refuse_locked(subject, entrance="wire")
        self.check_open()
        if self.recorder.failed:
            raise RefusedError(RECORDER_FAILED)
        if self.recorder.handover.is_late:
            raise RefusedError(HANDOVER_LATE)
        if self.state_problem:
            raise RefusedError(STATE_LOST)
        self.store_watch.check(are_counts_stale=self.worker.counts.is_stale)
        bound = limits.max_sessions_per_subject
        bound = bound if maximum is None else min(maximum, bound)
        bounds = {SESSIONS: limits.max_sessions, sessions_of(subject): bound}
        try:
            full = self.worker.counts.take(bounds) if take else self.worker.counts.full(bounds)
        except CountsFullError as error:
            raise RefusedError(refuse("SP1605", str(error))) from None
        if full == SESSIONS or len(self._sessions) >= limits.max_sessions_here:
            text = f"the gateway already has {limits.max_sessions} sessions"
            hint = "Try again later. If that fails too, tell the gateway's operator."
            raise RefusedError(refuse("SP1605", text, hint=hint))
        if full is not None:
            text = f"you already have {bound} sessions"
            hint = "Close connections that are no longer used, or share one pool."
            raise RefusedError(refuse("SP1605", text, hint=hint))

    def register(self, session: HostedSession, subject: Subject, minor: int) -> tuple[int, bytes]:
        """Mint a cancel key: 4 bytes for protocol 3.0, 32 for 3.2. Its process id says which worker
        has the session.
        """
        pid = 0
        while not pid or pid in self._sessions:
            pid = self.worker.process_id(secrets.randbelow(2**31))
        key = secrets.token_bytes(32 if minor >= 2 else 4)
        self._sessions[pid] = (key, session)
        self.sessions_total += 1
        self.on_session()
        return pid, key

    def unregister(self, pid: int, subject: Subject) -> None:
        if self._sessions.pop(pid, None) is not None:
            self.worker.counts.give_back((SESSIONS, sessions_of(subject)))
            self.on_session()

    def ended(self, session: HostedSession) -> None:
        """Count what a session did that is about to end."""
        if self.watching is not None:
            self.tasks.attempt(partial(self.watching.session_ended, session), "unusual behaviour")
        self.totals.add(session.session.counters)

    def recording_lost(self, session_id: str) -> None:
        """End the session whose recording cannot be written any more."""
        for session in self.hosted():
            if session.id == session_id:
                session.shut(
                    refuse(
                        "SP1801",
                        "the session's recording was removed or damaged, so the session ends",
                        hint="Connect again. Tell the gateway's operator.",
                    ),
                    "the recording was lost",
                )

    def cancel(self, pid: int, key: bytes) -> None:
        """A CancelRequest. Nothing is answered, whether the key is right or not (protocol section
        54.2.9).
        """
        if self.cancel_own(pid, cancel_digest(pid, key)):
            return
        # strangers must not make the others read what they send
        if self._passed_cancels.exceeded("") or not self.worker.pass_cancel(pid, key):
            self.strangers.info("cancel request with an unknown key")
        else:
            self._passed_cancels.count("")

    def cancel_own(self, pid: int, digest: str) -> bool:
        """Cancel what a session of this process runs; ``digest``: of its key. Whether it is one."""
        entry = self._sessions.get(pid)
        if entry is None or not hmac.compare_digest(cancel_digest(pid, entry[0]), digest):
            return False
        entry[1].cancel_requested()
        return True

    def admit_arrival(self, connection: PendingLogin) -> Refusal | None:
        """Count a peer that has not logged in yet, or say why it must go. Also while sessions
        drain: what runs can still be cancelled, which takes a connection.
        """
        if not self.pending.admit(connection):
            return refuse(
                "SP1605", "too many connections are waiting to log in", hint="Connect again."
            )
        return None

    # -- the end -----------------------------------------------------------------------------------

    async def drain(
        self, seconds: float, on_each: Callable[[Closable], None], hurry: asyncio.Event
    ) -> None:
        """Let nobody in, end sessions as they become idle, and come back when none is left,
        ``seconds`` have passed or ``hurry`` is set. A session in a transaction is not idle, nor
        is one that waits for approval.
        """
        self.stopping = True
        deadline = monotonic() + seconds
        for connection in list(self.pending):
            on_each(connection)
        while True:
            for session in self.hosted():
                if session.is_idle:
                    on_each(session)
            # the first worker's console decides about what waits in others
            everywhere = self.worker.counts.total(SESSIONS).sessions
            left = everywhere if self.worker.is_first else len(self._sessions)
            if not left or monotonic() >= deadline or hurry.is_set():
                return
            await asyncio.sleep(_DRAIN_POLL)

    async def stop(self, on_each: Callable[[Closable], None]) -> None:
        """Tell every session, wait briefly for their last bytes, stop the tasks."""
        self.stopping = True
        for peer in [*self.pending, *self.hosted()]:
            on_each(peer)
        for _ in range(40):
            if not self._sessions and not self.pending:
                break
            await asyncio.sleep(0.05)
        cancels = [task for task in self.tasks if task.get_name() == CANCEL]
        if cancels:
            await asyncio.wait(cancels, timeout=_CANCEL_SECONDS)
        for database in self.databases.values():
            await database.close()
        for task in self.tasks:
            task.cancel()
        await self.authenticator.close()
        self.judging.shutdown(wait=False, cancel_futures=True)
