"""Locks as the recordings of actions tell them: who was locked, and which lock was released or
replaced.

Of each recording what is sound counts, up to the first block that is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from sallyport.audit import events as ev
from sallyport.audit.actions import RecordedAction, actions_of
from sallyport.audit.archive import RecordingError, find_recordings
from sallyport.audit.keys import NO_KEYS, KeyRing
from sallyport.audit.ports import ACTIONS_PREFIX
from sallyport.audit.verify import read_events
from sallyport.identity.locks import KINDS, Lock, released

_LOCK, _RELEASE = "locks.lock", "locks.release"


def recorded_locks(recordings: Path, doubtful: list[str], keys: KeyRing = NO_KEYS) -> list[Lock]:
    """Every lock that was made, in order, with its end where it has one. ``doubtful`` gets the
    recordings that cannot be read to their end.
    """
    locks: dict[str, Lock] = {}
    active: dict[tuple[str, str, str], str] = {}
    for recorded in _actions(recordings, doubtful, keys):
        action = recorded.action
        if action.name == _LOCK and (lock := _lock_of(recorded)) is not None:
            before = locks.get(active.get(lock.key, ""))
            if before is not None and before.released_at is None:
                locks[before.id] = released(before, recorded.time, lock.by)
            locks[lock.id], active[lock.key] = lock, lock.id
        elif action.name == _RELEASE and action.object in locks:
            lock = locks[action.object]
            if lock.released_at is None:
                by = action.subject.email or action.subject.id
                locks[lock.id] = released(lock, recorded.time, by)
    return list(locks.values())


def _actions(recordings: Path, doubtful: list[str], keys: KeyRing) -> Iterator[RecordedAction]:
    """Those that were done, oldest first: ids sort by time."""
    for id_, path in sorted(find_recordings(recordings).items()):
        if not id_.startswith(ACTIONS_PREFIX):
            continue
        problems: list[object] = []
        try:
            for recorded in actions_of(id_, read_events(path, id_, problems.append, keys)):
                if recorded.action.outcome == ev.DONE:
                    yield recorded
        except (RecordingError, OSError) as error:
            problems.append(error)
        if problems:
            doubtful.append(id_)


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
