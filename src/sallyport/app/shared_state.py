"""Ties what a process holds in memory to the other processes of its store.

Each of them takes what the others announce, and reads the store again when it may have missed
something. Other workers report to the first one.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

from sallyport.approvals.service import Approvals
from sallyport.config import Config
from sallyport.core.announcements import MAXIMUM_BODY, Topic
from sallyport.core.counts import CountsFullError
from sallyport.core.errors import RefusedError, SallyportError
from sallyport.core.worker import Alone, Worker
from sallyport.identity.locks import Lock, Locks
from sallyport.identity.session_tokens import SessionToken, SessionTokens
from sallyport.identity.single_logout import EndedSession, EndedSessions
from sallyport.operations.live import RunningGateway
from sallyport.operations.siblings import Siblings
from sallyport.policy.containment import Containment
from sallyport.policy.file.published import PublishedPolicy, difference
from sallyport.policy.versions import CHANGED
from sallyport.server.gateway import Gateway
from sallyport.server.keeping import store_left
from sallyport.server.watching import Watching
from sallyport.store.owners import BEAT, SqlOwners
from sallyport.store.publishedpolicies import SqlPublishedPolicies
from sallyport.store.sharedcounts import EVERY, SqlSharedCounts
from sallyport.watch.finding import AgentKey, Finding
from sallyport.watch.intake import Batch
from sallyport.workers.frames import CREW
from sallyport.workers.link import LAST_REPORT, REPORT

log = structlog.get_logger("sallyport.workers")

_OBSERVED = "observed"
_IN_TIME = "streams in time"
_REPORT_SECONDS = 1.0
_SOON = 0.05


@dataclass(frozen=True, slots=True)
class SharedState:
    """What other processes change as well."""

    worker: Worker
    gateway: Gateway
    approvals: Approvals
    locks: Locks
    tokens: SessionTokens
    owners: SqlOwners
    ended: EndedSessions
    counts: SqlSharedCounts | None = None
    published: SqlPublishedPolicies | None = None
    _notes: list[str] = dataclasses.field(default_factory=lambda: [""])

    async def begin(self) -> Siblings | None:
        """Listen to the others, and tell them. The first worker's view of them; None elsewhere.
        Raises SQLAlchemyError.
        """
        if self.counts is not None:
            await asyncio.to_thread(self.counts.begin)
        if isinstance(self.worker.announcements, Alone):
            return None
        announcements = self.worker.announcements
        for topic, receive in (
            (Topic.APPROVALS, self.approvals.heard),
            (Topic.LOCKS, self._hear_lock),
            (Topic.SESSION_TOKENS, self._hear_revocation),
            (Topic.LOGOUTS, self._hear_logout),
            (Topic.CONTAINMENTS, self._hear_containment),
            (Topic.POLICY, self._hear_policy),
            (Topic.SESSION_END, self._hear_end),
            (Topic.CANCEL, self._hear_cancel),
            (Topic.CATALOG, self._hear_catalog),
        ):
            announcements.subscribe(topic, partial(_heed, topic, receive))
        announcements.on_resume(self.resume)
        self.tokens.is_shared = True
        self.locks.announce = partial(self._announce, Topic.LOCKS)
        self.gateway.containments.announce = partial(self._announce, Topic.CONTAINMENTS)
        self.tokens.announce = partial(announcements.publish, Topic.SESSION_TOKENS)
        self.tokens.on_missed = self._end_token
        self.ended.announce = self._announce_logout
        for name, database in self.gateway.databases.items():
            database.on_moved = partial(self._announce_catalog, name)
        return None if self.worker.is_alone else self._begin_reports()

    def start(self) -> None:
        """Look at the store now and then, until the gateway's tasks end."""
        spawn, repeat = self.gateway.spawn, self.gateway.tasks.repeat
        spawn(repeat(self.look, "owners"), "owners")
        if self.counts is not None:
            spawn(repeat(self.count, "shared counts"), "shared counts")

    async def end(self) -> None:
        """This process serves no more."""
        if self.counts is not None:
            await asyncio.to_thread(self.counts.end)

    def policy_taken(self, version: str) -> None:
        """This process took a policy: the others look at the file now."""
        self.worker.announcements.publish(Topic.POLICY, version)

    def policy_in_force(self) -> tuple[str, str]:
        """Its version, and what is to be said about it."""
        gateway = self.gateway
        return gateway.policy.current.version, gateway.policy_problem or self._notes[-1]

    def _look_at_published(self) -> None:
        """See whether another policy was published; the gateway takes it within a second."""
        source = self.gateway.policy
        if self.published is None:
            return
        try:
            if isinstance(source, PublishedPolicy):
                source.look()
            note = difference(source, self.published.newest_version())
        except SQLAlchemyError:  # the store's connection says what is wrong
            return
        if note and note != self._notes[-1]:
            log.warning("the policy in force is not what it may be thought to be", reason=note)
        self._notes[:] = [note]

    def resume(self) -> None:
        """Messages may have been lost: take whatever was missed, and look at the policy file."""
        self.owners.begin_again()
        if self.counts is not None:
            self.counts.begin_again()
        self._take_missed()
        self.gateway.reload_policy(CHANGED)

    async def look(self) -> None:
        """At the start, and then now and then: say that this process lives, take what was missed,
        store what could not be stored, and void what dead processes wait for. What fails is tried
        again with the next look.
        """
        await asyncio.to_thread(self.owners.beat)
        await self.ended.store_all()
        self._take_missed()
        with contextlib.suppress(RefusedError):  # the log says why; with the next look again
            await store_left(self.gateway.containments)
        self.gateway.tasks.attempt(self.approvals.void_left, "approvals of processes that are gone")
        await asyncio.to_thread(self._look_at_published)  # last: it reads files that people write
        await asyncio.sleep(BEAT)

    async def count(self) -> None:
        """Now and then: tell other gateways what is counted here, and hear what they count."""
        if self.counts is not None:
            await asyncio.to_thread(self.counts.step)
        await asyncio.sleep(EVERY)

    def _take_missed(self) -> None:
        """On the event loop, so that nothing changes between the reading and the taking."""
        attempt, is_alone = self.gateway.tasks.attempt, isinstance(self.worker.announcements, Alone)
        if not is_alone:
            attempt(self._reload_locks, "what others changed: locks")
        for lock in self.locks.unstored():
            attempt(partial(self._store_lock, lock), "locks that are not stored")
        for token in self.tokens.unstored():
            attempt(partial(self._store_revocation, token), "revocations that are not stored")
        if is_alone:
            return
        for what, read in (
            ("approvals", self.approvals.reread),
            ("session tokens", self.tokens.reload),
            ("logouts", self.ended.reload),
            ("containments", self.gateway.containments.reload),
        ):
            attempt(read, f"what others changed: {what}")

    def _store_lock(self, lock: Lock) -> None:
        """One that could not be stored before, or of another process that could not."""
        is_new = self.locks.store.add(lock)
        self.locks.stored(lock, is_new=is_new)
        if is_new:
            self._end_locked(lock)  # what it voids may not have been stored either
        else:
            self._reload_locks()  # perhaps somebody released it

    # -- messages ----------------------------------------------------------------------------------

    def _announce(self, topic: Topic, changed: Lock | Containment) -> None:
        body = json.dumps(dataclasses.asdict(changed))
        # Too long for a message: they read it where it is stored, a moment later.
        self.worker.announcements.publish(topic, body if len(body) <= MAXIMUM_BODY else "")

    def _hear_lock(self, body: str) -> None:
        if not body:
            self.gateway.spawn(self._reload_soon(self._reload_locks), "locks")
            return
        lock = msgspec.json.decode(body, type=Lock)
        if lock.released_at is None:
            self.locks.add(lock, is_stored=False)
            self._end_locked(lock)
        else:
            self.locks.remove(lock)

    def _reload_locks(self) -> None:
        for lock in self.locks.reload():
            self._end_locked(lock)

    def _end_locked(self, lock: Lock) -> None:
        RunningGateway(self.gateway).end_locked(lock, lock.by)

    def _hear_revocation(self, token_id: str) -> None:
        self.tokens.forget(token_id)
        self._end_token(token_id)

    def _end_token(self, token_id: str) -> None:
        RunningGateway(self.gateway).end_token(token_id, "its owner or an operator")

    def _store_revocation(self, token: SessionToken) -> None:
        self.tokens.store.revoke(token)
        self.tokens.stored(token)

    def _announce_logout(self, ended: EndedSession) -> None:
        body = msgspec.json.encode(ended).decode()
        self.worker.announcements.publish(Topic.LOGOUTS, body)

    def _hear_logout(self, body: str) -> None:
        self.ended.take(msgspec.json.decode(body, type=EndedSession))

    def _hear_containment(self, body: str) -> None:
        if body:
            self.gateway.containments.take(msgspec.json.decode(body, type=Containment))
        else:
            reload = self.gateway.containments.reload
            self.gateway.spawn(self._reload_soon(reload), "containments")

    async def _reload_soon(self, reload: Callable[[], object]) -> None:
        """Once it is stored, which takes until after it was announced."""
        for _ in range(5):
            await asyncio.sleep(1.0)
            self.gateway.tasks.attempt(reload, "what others changed")

    def _hear_policy(self, version: str) -> None:
        if version != self.gateway.policy.current.version:
            self.gateway.reload_policy(CHANGED)

    def _hear_end(self, body: str) -> None:
        asked = msgspec.json.decode(body, type=dict[str, str])
        RunningGateway(self.gateway).kill_own(asked["session"], asked["reason"])

    def _hear_cancel(self, body: str) -> None:
        pid, _, digest = body.partition(" ")
        self.gateway.cancel_own(int(pid), digest)

    def _announce_catalog(self, target: str, epoch: str) -> None:
        self.worker.announcements.publish(Topic.CATALOG, f"{epoch} {target}")

    def _hear_catalog(self, body: str) -> None:
        epoch, _, target = body.partition(" ")
        database = self.gateway.databases.get(target)
        judge = database.judge if database is not None else None
        if database is not None and judge is not None and judge.catalog.epoch != epoch:
            database.schema_changed()

    # -- reports -----------------------------------------------------------------------------------

    def _begin_reports(self) -> Siblings | None:
        first = self.worker.first
        if self.worker.is_first:
            siblings = Siblings()
            first.hear(REPORT, siblings.hear)
            first.hear(LAST_REPORT, siblings.hear_last)
            first.hear(CREW, siblings.hear_crew)
            first.on_gone(siblings.gone)
        reporter = _Reporter(self.gateway, self.worker)
        self.gateway.on_session = reporter.soon
        self.gateway.spawn(self.gateway.tasks.repeat(reporter.step, "reports"), "reports")
        return siblings if self.worker.is_first else None


def streams_in_time(config: Config, worker: Worker, late: Callable[[], str]) -> Callable[[], str]:
    """Names of required streams that are too late, for every worker. ``late``: asked in the first
    one, which follows them. Where it says nothing for as long as one may be late, they are.
    """
    required = [stream for stream in config.audit.stream if stream.required]
    if not required or worker.is_alone:
        return late
    seconds = min(stream.max_lag_seconds for stream in required)

    def tell() -> str:
        names = late()
        with contextlib.suppress(CountsFullError):
            worker.counts.put(_IN_TIME, 0 if names else 1, 0, int(time.time()))
        return names

    def ask() -> str:
        is_told = worker.counts.total(_IN_TIME, int(time.time() - seconds)).first
        return "" if is_told else ", ".join(stream.name for stream in required)

    if not worker.is_first:
        return ask
    tell()
    return tell


def _heed(topic: Topic, receive: Callable[[str], None], body: str) -> None:
    try:
        receive(body)
    except SallyportError as error:
        log.error("what another process changed cannot be read", topic=topic, reason=str(error))


def share_watching(worker: Worker, watching: Watching | None) -> None:
    """The first worker watches the sessions of all: an agent's behaviour is that of all of them."""
    if watching is None or isinstance(worker.announcements, Alone):
        return
    announcements = worker.announcements
    if not worker.is_first:

        def send(key: AgentKey, batch: Batch, now: float) -> Sequence[Finding]:
            worker.first.tell_first(_OBSERVED, msgspec.msgpack.encode((key, batch)))
            return ()

        watching.observe = send

    def observed(number: int, payload: bytes) -> None:
        key, batch = msgspec.msgpack.decode(payload, type=tuple[AgentKey, Batch])
        watching.take(key, batch)

    def hear(body: str) -> None:
        told = msgspec.json.decode(body, type=_Told)
        if told.finding is not None:
            watching.carry_out(told.finding, told.actions)
        if told.acknowledged:
            watching.release(told.acknowledged)
        if told.expected is not None:
            sizes = watching.watcher.hear_expected(told.expected, told.sizes, time.time())
            if sizes and not told.sizes:  # who said it does not know them
                publish(_Told(expected=told.expected, sizes=sizes))
        if told.reset is not None:
            watching.watcher.hear_reset(told.reset, told.moment)

    def publish(told: _Told) -> None:
        announcements.publish(Topic.FINDINGS, msgspec.json.encode(told).decode())

    def tell(finding: Finding, actions: Sequence[str]) -> None:
        publish(_Told(finding=finding, actions=tuple(actions)))

    def acknowledged(finding: Finding, sizes: Mapping[str, float]) -> None:
        expected = msgspec.structs.replace(finding, reason="", by="") if finding.expected else None
        publish(_Told(acknowledged=finding.id, expected=expected, sizes=dict(sizes)))

    def reset(key: AgentKey, moment: float) -> None:
        publish(_Told(reset=key, moment=moment))

    worker.first.hear(_OBSERVED, observed)
    announcements.subscribe(Topic.FINDINGS, hear)
    watching.on_elsewhere, watching.on_acknowledged, watching.on_reset = tell, acknowledged, reset


class _Told(msgspec.Struct, frozen=True):
    """A finding and what follows, for whoever has its session; or the id of one that was
    acknowledged, and itself where it is expected from now on (without the person's words, which may
    be long) with what it measured, by the peak's name; or an agent that is learned anew since a
    moment. All have defaults: gateways of the version before and after read it, too.
    """

    finding: Finding | None = None
    actions: tuple[str, ...] = ()
    acknowledged: str = ""
    expected: Finding | None = None
    sizes: dict[str, float] = {}
    reset: AgentKey | None = None
    moment: float = 0.0


class _Reporter:
    """Reports to the first worker; the first one for a supervisor that outlives it."""

    def __init__(self, gateway: Gateway, worker: Worker) -> None:
        self._running, self._worker = RunningGateway(gateway), worker
        self._is_due = asyncio.Event()

    def soon(self) -> None:
        """A session began or ended."""
        self._is_due.set()

    async def step(self) -> None:
        self._worker.first.tell_first(REPORT, self._running.report().encode())
        await asyncio.sleep(_SOON)
        try:
            await asyncio.wait_for(self._is_due.wait(), _REPORT_SECONDS)
        except TimeoutError:
            return
        self._is_due.clear()
