"""Locks as the recordings of actions tell them: who was locked, and which lock was released or
replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from sallyport.audit.actions import LOCK, RELEASE_LOCK, RecordedAction
from sallyport.identity.locks import KINDS, Lock, released


def lock_details(lock: Lock) -> dict[str, str]:
    """What is recorded of a lock that the gateway made."""
    until = lock.expires_at
    return {
        "kind": lock.kind,
        "name": lock.name,
        "issuer": lock.issuer,
        "reason": lock.reason,
        "expires_at": datetime.fromtimestamp(until, UTC).isoformat() if until else "",
    }


def recorded_locks(actions: Iterable[RecordedAction]) -> list[Lock]:
    """Every lock that was made, in order, with its end where it has one."""
    locks: dict[str, Lock] = {}
    active: dict[tuple[str, str, str], str] = {}
    for recorded in actions:
        action = recorded.action
        if action.name == LOCK and (lock := _lock_of(recorded)) is not None:
            before = locks.get(active.get(lock.key, ""))
            if before is not None and before.released_at is None:
                locks[before.id] = released(before, recorded.time, lock.by)
            locks[lock.id], active[lock.key] = lock, lock.id
        elif action.name == RELEASE_LOCK and action.object in locks:
            lock = locks[action.object]
            if lock.released_at is None:
                by = action.subject.email or action.subject.id
                locks[lock.id] = released(lock, recorded.time, by)
    return list(locks.values())


def _lock_of(recorded: RecordedAction) -> Lock | None:
    action, details = recorded.action, recorded.action.details
    if not action.object or details.get("kind") not in KINDS or not details.get("name"):
        return None
    until = details.get("expires_at", "")
    return Lock(
        id=action.object,
        kind=details["kind"],
        name=details["name"],
        issuer=details.get("issuer", ""),
        reason=details.get("reason", ""),
        created=recorded.time,
        expires_at=_time_of(until),
        by=action.subject.email or action.subject.id,
        by_issuer=action.subject.issuer,
        address=action.address,
    )


def _time_of(text: str) -> float | None:
    """None, which is for ever, also for what is no time."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None
