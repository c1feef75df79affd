"""From the configuration's ``watch`` to what watches the sessions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from sallyport.app.approval_channels import Channels
from sallyport.app.gateway_store import GatewayStore
from sallyport.audit.actions import LOCK, RAISE_FINDING, ActionLog
from sallyport.config import WatchSettings
from sallyport.core.errors import RefusedError
from sallyport.core.ids import new_id
from sallyport.core.subject import Subject
from sallyport.identity.locks import SUBJECT, Lock, Locks
from sallyport.operations.live import RunningGateway
from sallyport.policy.model import Reviewers
from sallyport.server.gateway import Gateway
from sallyport.server.watching import Watching
from sallyport.store.lockrecord import lock_details
from sallyport.store.watching import SqlBaselineStore, SqlFindingStore
from sallyport.store.writer import Writer
from sallyport.watch.baseline import Learning
from sallyport.watch.finding import AgentKey, Finding
from sallyport.watch.watcher import Watcher

log = structlog.get_logger("sallyport.watch")

#: What follows a finding unless the configuration says something else.
DEFAULT_ACTIONS: Final[Mapping[str, Sequence[str]]] = {"high": ("notify",), "medium": ("notify",)}


class _Recorded:
    """Findings in the record of actions, beside what people do."""

    def __init__(self, actions: ActionLog) -> None:
        self._actions = actions

    def raise_finding(self, finding: Finding) -> None:
        """See :class:`~sallyport.watch.ports.FindingSink`."""
        key = finding.key
        who = Subject(
            key.subject,
            key.issuer,
            frozenset(),
            key.agent,
            actors=tuple(filter(None, key.actor.split(","))),
        )
        details = {
            "detector": finding.detector,
            "severity": finding.severity.value,
            "evidence": finding.evidence,
            "session": finding.session,
            "statements": f"{finding.first} to {finding.last}",
            "target": key.target,
            "done": ", ".join(finding.done),
        }
        self._actions.record(
            RAISE_FINDING,
            who,
            "",
            "gateway",
            object_id=finding.id,
            details=details,
        )


def open_watching(
    settings: WatchSettings,
    gateway: Gateway,
    store: GatewayStore,
    writer: Writer,
    channels: Channels,
    locks: Locks,
    actions: ActionLog,
) -> Watching | None:
    """What watches the gateway's sessions from now on; None where that is switched off."""
    if not settings.enabled:
        return None
    baselines = SqlBaselineStore(store.prompt, writer)
    days, statements = settings.learning_days, settings.learning_statements
    learning = Learning(days, statements, settings.half_life_days)
    watcher = Watcher(
        learning,
        baselines.load,
        baselines.save,
        off=settings.off,
        quiet=settings.quiet_minutes * 60.0,
        episode=settings.episode_minutes * 60.0,
    )
    loop = asyncio.get_running_loop()

    def adopt(key: AgentKey, batch_id: str, data: bytes) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the gateway has ended
            loop.call_soon_threadsafe(watcher.adopt, key, batch_id, data, time.time())

    baselines.on_merged = adopt
    watching = Watching(
        watcher,
        SqlFindingStore(store.engine, writer),
        gateway.hosted,
        {**DEFAULT_ACTIONS, **{str(name): done for name, done in settings.actions.items()}},
        baselines.keys,
        gateway.tasks.attempt,
    )

    def notify(finding: Finding) -> None:
        body = _announcement(finding, gateway.console_url)
        for notifier in channels.notifiers:
            notifier.announce(body)

    def lock(finding: Finding) -> None:
        lock = _lock_of(finding, settings.lock_minutes)
        who = Subject("sallyport", "", frozenset())
        details = lock_details(lock)
        actions.record(LOCK, who, "", "gateway", object_id=lock.id, details=details)
        gateway.spawn(_lock(gateway, locks, finding, lock), "lock a subject")

    watching.notify, watching.lock = notify, lock
    watching.sinks.append(_Recorded(actions))
    gateway.watching = watching
    reviewers = settings.reviewers
    gateway.watch_reviewers = Reviewers(frozenset(reviewers.groups), reviewers.quorum)
    return watching


def _announcement(finding: Finding, console: str) -> dict[str, str]:
    return {
        "event": "finding",
        "id": finding.id,
        "text": f"[{finding.severity.value}] {finding.evidence}",
        "severity": finding.severity.value,
        "detector": finding.detector,
        "subject": finding.key.subject,
        "agent": finding.key.agent,
        "target": finding.key.target,
        "session": finding.session,
        "url": f"{console.rstrip('/')}/findings/{finding.id}" if console else "",
    }


def _lock_of(finding: Finding, minutes: int) -> Lock:
    now = time.time()
    return Lock(
        id=new_id("lck"),
        kind=SUBJECT,
        name=finding.key.subject,
        issuer=finding.key.issuer,
        reason=f"finding {finding.id}: {finding.evidence}"[:500],
        created=now,
        expires_at=now + minutes * 60.0 if minutes else None,
        by="sallyport",
        by_issuer="",
        address="",
    )


async def _lock(gateway: Gateway, locks: Locks, finding: Finding, lock: Lock) -> None:
    """In force at once, and its sessions over; then stored, as for a person's lock."""
    locks.add(lock, is_stored=False)
    locks.announce(lock)
    RunningGateway(gateway).end_locked(lock, "sallyport")
    log.warning("locked because of a finding", lock=lock.id, finding=finding.id, name=lock.name)
    try:
        await asyncio.to_thread(locks.store.add, lock)
        locks.stored(lock)
    except RefusedError as error:
        log.error("a lock is not stored; it is tried again", lock=lock.id, reason=str(error))
