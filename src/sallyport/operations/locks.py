"""What people do with locks: list, lock, release. Console and REST call these, nothing else.

A lock is in force, and the sessions that it ends are over, before it is stored: an emergency does
not wait for a disk. One that cannot be stored is tried again for as long as the process lives. A
release is stored first. Who may end sessions may lock; nobody locks
themselves out. Errors: ForbiddenError, LockError, RefusedError (SP1801: not stored).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import structlog

from sallyport.core.clock import with_times
from sallyport.core.errors import SallyportError
from sallyport.core.ids import new_id
from sallyport.identity.locks import ISSUER, KINDS, Lock, Locks, released
from sallyport.identity.problems import printable
from sallyport.operations.access import Principal
from sallyport.operations.ports import LiveGateway

log = structlog.get_logger("sallyport.locks")

MAX_NAME: Final = 1024
MAX_REASON: Final = 500
#: Ten years.
MAX_MINUTES: Final = 5_256_000


class LockError(SallyportError):
    """The lock is not made, or not released; the text says why. ``missing``: there is no
    such lock.
    """

    def __init__(self, text: str, *, missing: bool = False) -> None:
        super().__init__(text)
        self.missing = missing


@dataclass(frozen=True, slots=True)
class LockRequest:
    """kind: subject | agent | token | issuer. issuer "": of any. minutes 0: until it is
    released.
    """

    kind: str
    name: str
    reason: str
    issuer: str = ""
    minutes: int = 0


@dataclass(frozen=True, slots=True)
class LockOperations:
    """Locks of subjects, agents, tokens and issuers, for whoever may see or change them."""

    locks: Locks
    live: LiveGateway

    def list(self, who: Principal) -> Sequence[Lock]:
        """In force now, newest first."""
        who.require("locks.read")
        return self.locks.active()

    def recent(self, who: Principal, limit: int) -> Sequence[Lock]:
        """All of them, newest first. Reads the store."""
        who.require("locks.read")
        return self.locks.store.recent(limit)

    async def lock(self, who: Principal, request: LockRequest) -> tuple[Lock, int]:
        """The lock, and how many live sessions it ended. RefusedError: it is in force, but ends
        with the gateway's process unless it can be stored before.
        """
        who.require("locks.lock")
        lock = _checked(who, request, self.live.issuers(), self.locks)
        by = who.subject.email or who.subject.id
        self.locks.add(lock, is_stored=False)
        self.locks.announce(lock)
        ended = self.live.end_locked(lock, by)
        log.warning(
            "locked",
            lock=lock.id,
            kind=lock.kind,
            name=lock.name,
            issuer=lock.issuer,
            by=who.subject.id,
            address=who.address,
            sessions=ended,
        )
        await asyncio.to_thread(self.locks.store.add, lock)
        self.locks.stored(lock)
        return lock, ended

    async def release(self, who: Principal, lock_id: str) -> Lock:
        """Logins are let in again. LockError when it is not in force."""
        who.require("locks.release")
        lock = next((lock for lock in self.locks.active() if lock.id == lock_id), None)
        if lock is None:
            raise LockError(f"No lock {lock_id} is in force.", missing=True)
        if lock in self.locks.unstored():
            await asyncio.to_thread(self.locks.store.add, lock)
        lock = released(lock, time.time(), who.subject.email or who.subject.id)
        await asyncio.to_thread(self.locks.store.release, lock)
        self.locks.remove(lock)
        self.locks.announce(lock)
        log.warning(
            "lock released", lock=lock.id, kind=lock.kind, name=lock.name, by=who.subject.id
        )
        return lock


def _checked(who: Principal, request: LockRequest, issuers: Collection[str], locks: Locks) -> Lock:
    """``issuers``: whose tokens are accepted; a lock on those of another would keep nobody out.
    Raises LockError.
    """
    name, reason = request.name.strip(), printable(request.reason.strip(), MAX_REASON)
    if request.kind not in KINDS:
        raise LockError(f"Say what it is: one of {', '.join(KINDS)}.")
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise LockError(
            f"Name the {request.kind}: as sessions show it, at most {MAX_NAME} characters, none"
            " invisible."
        )
    if not reason:
        raise LockError("Give a reason: the locked person or agent reads it.")
    if not 0 <= request.minutes <= MAX_MINUTES:
        raise LockError(
            f"Minutes: from 1 to {MAX_MINUTES}, or 0 for a lock that stays until it is released."
        )
    issuer = request.issuer.strip()
    named = name if request.kind == ISSUER else issuer
    if named and named not in issuers:
        raise LockError(
            f"No tokens of the issuer {printable(named, 200)!r} are accepted here. It is one of"
            f" {', '.join(sorted(issuers))}, as they are written; without one, the name is locked"
            " whoever issued the token."
        )
    now, subject = time.time(), who.subject
    lock = Lock(
        id=new_id("lck"),
        kind=request.kind,
        name=name,
        issuer=issuer,
        reason=reason,
        created=now,
        expires_at=now + request.minutes * 60.0 if request.minutes else None,
        by=subject.email or subject.id,
        by_issuer=subject.issuer,
        address=who.address,
    )
    if locks.covers(lock, subject):
        raise LockError("You cannot lock yourself. Ask another operator.")
    return lock


def lock_data(lock: Lock) -> dict[str, Any]:
    """A lock as JSON values, and whether it is in force."""
    data = with_times(asdict(lock), "created", "expires_at", "released_at")
    return {**data, "in_force": lock.in_force(time.time())}
