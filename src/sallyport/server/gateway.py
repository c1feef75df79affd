"""What all connections share: targets, identity, recorder, policy, limits, and the registry of sessions.

Cancel keys are minted here: a client never sees the target's own. Policy is re-read when its file changes; an invalid
one is logged and the old one stays.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog

from sallyport.approvals.service import Approvals
from sallyport.approvals.states import Preview
from sallyport.audit.recorder import Recorder
from sallyport.core.errors import ConfigError, RefusedError, SallyportError, refuse
from sallyport.core.subject import Subject
from sallyport.identity.authenticate import Authenticator
from sallyport.policy.load import PolicyFile
from sallyport.policy.model import Policy
from sallyport.policy.versions import CHANGED
from sallyport.server.added import Added
from sallyport.server.collecting import Collecting
from sallyport.server.databases import Database
from sallyport.session.holding import HeldStatement
from sallyport.session.machine import Counters

if TYPE_CHECKING:
    import ssl

    from sallyport.server.connection import ClientConnection

log = structlog.get_logger("sallyport.gateway")

_POLICY_SECONDS = 1.0
_MAX_PENDING_LOGINS = 1_000
#: Name of the tasks that deliver CancelRequests; a gateway that stops gives them this long (seconds).
CANCEL = "cancel"
_CANCEL_SECONDS = 2.0


Query = Callable[[str], Awaitable[list[list[str | None]]]]
Measure = Callable[[Query, HeldStatement], Awaitable[Preview]]


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """Bounds of the gateway. Seconds, bytes and counts; see docs/configuration.md."""

    login_seconds: float = 30.0
    max_sessions: int = 500
    max_sessions_per_subject: int = 50
    max_message_bytes: int = 64 << 20
    max_row_bytes: int = 16 << 20
    session_seconds: float = 0.0
    idle_seconds: float = 0.0
    held_in_transaction_seconds: float = 60.0
    held_reminder_seconds: float = 60.0
    recorder_backlog_bytes: int = 64 << 20
    session_backlog_bytes: int = 8 << 20


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
    ) -> None:
        self.databases = databases
        self.authenticator = authenticator
        self.recorder = recorder
        self.policy = policy
        self.limits = limits
        self.tls = tls
        self.approvals = approvals
        self.console_url = console_url
        self.measure: Measure | None = None  # makes the preview of a held statement
        self.on_policy: Callable[[Policy, str], None] | None = None  # told of each policy taken, and why
        self.judging = ThreadPoolExecutor(1, thread_name_prefix="sallyport-judge")
        self.pending: set[ClientConnection] = set()
        self.stopping = False
        self._policy_problem: str | None = None
        self._sessions: dict[int, tuple[bytes, ClientConnection]] = {}
        self._epochs: dict[str, str] = {}  # of each target, as approvals were last told
        self.totals = Counters()  # of the sessions that have ended
        self.sessions_total = 0
        self.added = Added()
        self.collecting = Collecting()
        self._per_subject: dict[tuple[str, str], int] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def approval_address(self, request_id: str) -> str:
        """Where people decide about it; "" without a console."""
        return f"{self.console_url}/approvals/{request_id}" if self.console_url else ""

    # -- tasks ---------------------------------------------------------------------------------------------------

    def environment_moved(self, database: Database) -> None:
        """Policy or catalog changed: what was asked, approved or granted under the old ones is void."""
        if self.approvals is not None and database.judge is not None:
            self.approvals.environment_moved(
                database.name,
                policy_version=database.judge.policy.version,
                epoch=database.judge.catalog.epoch,
            )

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run something beside; it is kept, and what it raises is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error(
                "task failed", task=task.get_name(), error=repr(task.exception()), exc_info=task.exception()
            )

    async def run(self) -> None:
        """Start what runs beside the sessions, and load the catalogs: a target that is down is tried again at its first login."""
        for database in self.databases.values():
            self.spawn(self._first_load(database), f"load {database.name}")
            self.spawn(database.watch(), f"watch {database.name}")
        self.spawn(self._watch_policy(), "watch policy")
        if self.limits.idle_seconds:
            self.spawn(self._watch_idle(), "watch idle sessions")

    async def _first_load(self, database: Database) -> None:
        try:
            await database.ready()
            self.collecting.loaded()
        except RefusedError as error:
            log.warning(
                "target is not ready", target=database.name, reason=error.refusal.detail or str(error)
            )

    async def _watch_policy(self) -> None:
        while True:
            await asyncio.sleep(_POLICY_SECONDS)
            try:
                self._look_around()
            except SallyportError as error:
                # The store does not answer, say. What could not be done now is due again in a moment.
                log.error("housekeeping failed", reason=str(error))

    def _look_around(self) -> None:
        """Policy file, access windows, deadlines of approvals, catalogs that moved."""
        if self.policy.changed():
            self.reload_policy()
        for database in self.databases.values():
            if database.judge is not None:
                database.judge.tick()
        if self.approvals is not None:
            self.approvals.expire_due()
        for database in self.databases.values():
            epoch = database.judge.catalog.epoch if database.judge is not None else ""
            if epoch and self._epochs.get(database.name) != epoch:
                self.environment_moved(database)
                self._epochs[database.name] = epoch
                self.collecting.replaced()

    async def _watch_idle(self) -> None:
        seconds = self.limits.idle_seconds
        while True:
            await asyncio.sleep(min(10.0, seconds / 2))
            now = monotonic()
            for _, connection in list(self._sessions.values()):
                connection.check_idle(now, seconds)

    def reload_policy(self, source: str = CHANGED) -> None:
        """Take a changed policy file, or say why not. ``source``: who asked."""
        changed, problem = self.policy.reload()
        if problem is not None and problem != self._policy_problem:  # said once, not every second
            log.error("policy not reloaded; the old one stays in force", reason=problem)
        self._policy_problem = problem
        if not changed:
            return
        log.info("policy reloaded", version=self.policy.current.version)
        if self.on_policy is not None:
            self.on_policy(self.policy.current, source)
        for database in self.databases.values():
            try:
                database.policy_changed()
                self.environment_moved(database)
            except ConfigError as error:
                log.error(
                    "policy not bound; the old one stays in force", target=database.name, reason=str(error)
                )

    # -- the registry --------------------------------------------------------------------------------------------

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    def connections(self) -> list[ClientConnection]:
        """Every connection that has logged in."""
        return [connection for _, connection in self._sessions.values()]

    @property
    def policy_problem(self) -> str:
        """Why the policy file as it is now was not taken; "" when it was."""
        return self._policy_problem or ""

    def readiness(self, database: Database) -> str:
        """Why a target could not be used now; "" when it could."""
        if database.judge is None:
            return "its catalog has not been read yet"
        return "" if database.readable else "it does not answer"

    def admit(self, subject: Subject, most: int | None = None) -> None:
        """``most``: sessions that policy allows the subject at once. Raises RefusedError (SP1605, SP1801, SP1803) when no further session may start."""
        limits = self.limits
        if self.stopping:
            raise RefusedError(refuse("SP1803", "the gateway is shutting down"))
        if self.recorder.failed:
            raise RefusedError(refuse("SP1801", "sessions cannot be recorded, so none may start"))
        if len(self._sessions) >= limits.max_sessions:
            raise RefusedError(refuse("SP1605", f"the gateway already has {limits.max_sessions} sessions"))
        bound = (
            limits.max_sessions_per_subject if most is None else min(most, limits.max_sessions_per_subject)
        )
        if self._per_subject.get((subject.issuer, subject.id), 0) >= bound:
            raise RefusedError(
                refuse(
                    "SP1605",
                    f"you already have {bound} sessions",
                    hint="Close connections that are no longer used, or share one pool.",
                )
            )

    def register(self, connection: ClientConnection, subject: Subject, minor: int) -> tuple[int, bytes]:
        """Mint a cancel key: 4 bytes for protocol 3.0, 32 for 3.2."""
        while True:
            pid = secrets.randbelow(2**31 - 1) + 1
            if pid not in self._sessions:
                break
        key = secrets.token_bytes(32 if minor >= 2 else 4)
        self._sessions[pid] = (key, connection)
        self.sessions_total += 1
        who = (subject.issuer, subject.id)
        self._per_subject[who] = self._per_subject.get(who, 0) + 1
        return pid, key

    def unregister(self, pid: int, subject: Subject) -> None:
        self._sessions.pop(pid, None)
        who = (subject.issuer, subject.id)
        left = self._per_subject.get(who, 1) - 1
        if left > 0:
            self._per_subject[who] = left
        else:
            self._per_subject.pop(who, None)

    def cancel(self, pid: int, key: bytes) -> None:
        """A CancelRequest. Nothing is answered, whether the key is right or not (protocol section 54.2.9)."""
        known = self._sessions.get(pid)
        if known is not None and hmac.compare_digest(known[0], key):
            known[1].cancel_requested()
        else:
            log.info("cancel request with an unknown key")

    def may_connect(self) -> bool:
        """Room for one more peer that has not logged in yet?"""
        return len(self.pending) < _MAX_PENDING_LOGINS and not self.stopping

    # -- the end -------------------------------------------------------------------------------------------------

    async def stop(self, on_each: Callable[[ClientConnection], None]) -> None:
        """Tell every session, wait briefly for their last bytes, stop the tasks."""
        self.stopping = True
        for connection in [*self.pending, *(c for _, c in self._sessions.values())]:
            on_each(connection)
        for _ in range(40):
            if not self._sessions and not self.pending:
                break
            await asyncio.sleep(0.05)
        cancels = [task for task in self._tasks if task.get_name() == CANCEL]
        if cancels:
            await asyncio.wait(cancels, timeout=_CANCEL_SECONDS)
        for database in self.databases.values():
            await database.close()
        for task in list(self._tasks):
            task.cancel()
        await self.authenticator.close()
        self.judging.shutdown(wait=False, cancel_futures=True)
