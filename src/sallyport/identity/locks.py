"""Locks: a subject, agent, token or issuer that may not be here, from now until a moment or until
somebody releases it.

A token is its ``jti``, or the id of a session token that Sallyport issued; a lock on the token that
it was exchanged for holds for it too. An issuer is its URL. A subject is a token's ``sub`` (of one
issuer, or of any). An agent is the token's ``azp`` or ``client_id``, or what the issuer's
``claims.agent`` names, or an actor of its chain; never the label that a connection gives itself.
:class:`Locks` is asked with every login and every token, after the token was verified: only whose
it is reads that it is locked, and why.

Who is locked is locked by every name that the configuration ties together (``links``: another id,
an address, an alias), as for approvals. Names that only a token tells, such as an address, are
learned from live sessions and from attempts to come in, and forgotten with the process.

What is in force is held in memory, so that asking costs a dictionary look-up; the store
(:class:`LockStore`) keeps it for the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Protocol

from sallyport.core.clock import Clock
from sallyport.core.errors import Refusal, refuse
from sallyport.core.subject import Subject, agent_names

SUBJECT: Final = "subject"
AGENT: Final = "agent"
TOKEN: Final = "token"  # noqa: S105 - the name of a kind
ISSUER: Final = "issuer"
KINDS: Final = (SUBJECT, AGENT, TOKEN, ISSUER)
#: Of one person: no more are learned then.
_MOST_NAMES: Final = 100


@dataclass(frozen=True, slots=True)
class Lock:
    """kind: subject | agent | token | issuer. name: of that. issuer: of its tokens, "" means any.
    Times are Unix seconds; expires_at None: until it is released. by, by_issuer, address: who
    locked it, and from where. released_by "": it is in force, or it expired.
    """

    id: str
    kind: str
    name: str
    issuer: str
    reason: str
    created: float
    expires_at: float | None
    by: str
    by_issuer: str
    address: str
    released_at: float | None = None
    released_by: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """One lock is in force for each."""
        return self.kind, self.name, self.issuer

    def in_force(self, now: float) -> bool:
        return self.released_at is None and (self.expires_at is None or now < self.expires_at)

    def refusal(self) -> Refusal:
        """What whoever is locked reads."""
        until = ""
        if self.expires_at is not None:
            until = f" until {datetime.fromtimestamp(self.expires_at, UTC):%Y-%m-%d %H:%M} UTC"
        return refuse(
            "SP1608",
            f'the {self.kind} "{self.name}" is locked{until}',
            f"Reason: {self.reason}",
            "An operator of this gateway can release the lock. "
            + (
                "A fresh token may help."
                if self.kind == TOKEN
                else "Another token of the same identity does not help."
            ),
        )


class LockStore(Protocol):
    """Where locks outlive the process. Each call is on the disk when it returns; raises
    RefusedError (SP1801) when it cannot be.
    """

    def add(self, lock: Lock) -> bool:
        """A new lock, and the end of those before it with the same key. False: it is stored
        already, and stays as it is there.
        """
        ...

    def release(self, lock: Lock) -> None:
        """``released_at`` and ``released_by`` of a lock that is stored."""
        ...

    def unreleased(self) -> list[Lock]:
        """Every lock that nobody released, expired ones included."""
        ...

    def stored(self, ids: Collection[str]) -> set[str]:
        """Those of ``ids`` that are stored, released or not."""
        ...

    def recent(self, limit: int) -> list[Lock]:
        """All of them, newest first."""
        ...


class Locks:
    """Those in force. For one event loop; the store is called from other threads. ``links``: every
    name of the person behind a subject. ``issuers``: whose tokens are accepted.
    """

    def __init__(
        self,
        store: LockStore,
        clock: Clock,
        *,
        links: Callable[[Subject], Iterable[str]] = lambda subject: (),
        issuers: Collection[str] = (),
    ) -> None:
        self.store = store
        self._clock = clock
        self._links = links
        self._issuers = tuple(issuers)
        self._locks: dict[tuple[str, str, str], Lock] = {}
        self._names: dict[str, set[str]] = {}  # of the person, by lock
        self._unstored: dict[str, Lock] = {}  # by id, those that were not seen in the store yet
        #: Tells other processes of a lock as it is now.
        self.announce: Callable[[Lock], None] = lambda lock: None
        for lock in store.unreleased():
            self.add(lock)

    def reload(self) -> list[Lock]:
        """Take those that are in force from the store, as they are there; those that are new here.
        What is not stored yet stays, and so does what the store lacks: a standby that took over may
        not have it (:meth:`unstored`). Reads the store, and raises what that raises.
        """
        now = self._clock.now()
        stored = {lock.key: lock for lock in self.store.unreleased() if lock.in_force(now)}
        before = dict(self._locks)
        self._drop_absent([lock for key, lock in before.items() if key not in stored])
        fresh = []
        for key, lock in stored.items():
            present = before.get(key)
            if present is None or present.id == lock.id or present.id not in self._unstored:
                self._unstored.pop(lock.id, None)
                if present != lock:
                    self.add(lock)
                if present is None or present.id != lock.id:
                    fresh.append(lock)
        return fresh

    def _drop_absent(self, absent: Sequence[Lock]) -> None:
        """Of those that the store has not in force, keep what it was never told, or has lost."""
        seen = [lock for lock in absent if lock.id not in self._unstored]
        ended = self.store.stored([lock.id for lock in seen]) if seen else set()
        for lock in seen:
            if lock.id in ended or not lock.in_force(self._clock.now()):
                self.remove(lock)
            else:
                self._unstored[lock.id] = lock

    def add(self, lock: Lock, *, is_stored: bool = True) -> None:
        """In force from now on, in the place of one with the same key. ``is_stored`` False: not
        seen in the store yet, so that :meth:`reload` leaves it.
        """
        names = self._names_of(lock)
        before = self._locks.get(lock.key)
        if before is not None:
            learned = self._names.pop(before.id, set())
            if before.id == lock.id:
                names |= learned
            if before.id == lock.id and before.id not in self._unstored:
                is_stored = True  # seen there before; it is told again once it is
            self._unstored.pop(before.id, None)
        self._locks[lock.key] = lock
        self._names[lock.id] = names
        if not is_stored:
            self._unstored[lock.id] = lock

    def unstored(self) -> list[Lock]:
        """Those in force that were not seen in the store yet."""
        now = self._clock.now()
        return [lock for lock in self._unstored.values() if lock.in_force(now)]

    def stored(self, lock: Lock, *, is_new: bool = True) -> None:
        """It is in the store. ``is_new``: since now, by this process, which tells the others, who
        may have read the store a moment too early. False: :meth:`reload` says what it is there.
        """
        self._unstored.pop(lock.id, None)
        if not is_new:
            return
        present = self._locks.get(lock.key)
        if present is not None and present.id == lock.id:
            self.announce(lock)

    def remove(self, lock: Lock) -> None:
        """No longer in force, unless another one took its place."""
        self._unstored.pop(lock.id, None)
        present = self._locks.get(lock.key)
        if present is not None and present.id == lock.id:
            del self._locks[lock.key]
            self._names.pop(lock.id, None)

    def active(self) -> Sequence[Lock]:
        """Newest first."""
        now = self._clock.now()
        for lock in [lock for lock in self._locks.values() if not lock.in_force(now)]:
            self.remove(lock)
        return sorted(self._locks.values(), key=lambda lock: lock.created, reverse=True)

    def of(self, subject: Subject, *, agents: bool = True) -> Lock | None:
        """The lock that keeps ``subject`` out, or None. ``agents`` False: somebody at the console,
        whose token names the console's client.
        """
        keys = [
            (kind, name)
            for kind in KINDS
            if agents or kind != AGENT
            for name in _names(subject, kind)
        ]
        now = self._clock.now()
        for kind, name in keys:
            for issuer in ("", subject.issuer):
                lock = self._locks.get((kind, name, issuer))
                if lock is not None and lock.in_force(now):
                    self.learn(lock, subject)
                    return lock
        if not self._locks:
            return None
        names = frozenset(self._links(subject))
        return next(
            (
                lock
                for lock in self._locks.values()
                if lock.in_force(now) and self.ties(lock, names)
            ),
            None,
        )

    def covers(self, lock: Lock, subject: Subject) -> bool:
        """Whether ``lock``, in force or about to be, is about this subject or another identity of
        the same person.
        """
        return is_locked_by(subject, lock) or self.ties(lock, self._links(subject))

    def ties(self, lock: Lock, names: Iterable[str]) -> bool:
        """Whether one of these names of a person is of whom ``lock`` is about."""
        own = self._names.get(lock.id)
        return not (self._names_of(lock) if own is None else own).isdisjoint(names)

    def learn(self, lock: Lock, subject: Subject) -> None:
        """More names of whom ``lock`` is about, from one of their tokens."""
        names = self._names.get(lock.id)
        if (
            names is not None
            and lock.kind == SUBJECT
            and is_locked_by(subject, lock)
            and len(names) < _MOST_NAMES
        ):
            names.update(self._links(subject))

    def _names_of(self, lock: Lock) -> set[str]:
        if lock.kind != SUBJECT:
            return set()
        issuers = (lock.issuer,) if lock.issuer else self._issuers
        return {
            name
            for issuer in issuers
            for name in self._links(Subject(lock.name, issuer, frozenset()))
        }


def token_names(subject: Subject) -> list[str]:
    """Every id of the token that the subject came with: a session token's own, and the ``jti`` (RFC
    7519 section 4.1.7) of the one that it was exchanged for.
    """
    names = [subject.token_id, subject.claims.get("jti")]
    return [name for name in dict.fromkeys(names) if isinstance(name, str) and name]


def _names(subject: Subject, kind: str) -> list[str]:
    """What a lock of that kind would name to keep ``subject`` out."""
    if kind == SUBJECT:
        return [subject.id]
    if kind == ISSUER:
        return [subject.issuer]
    return agent_names(subject) if kind == AGENT else token_names(subject)


def is_locked_by(subject: Subject, lock: Lock) -> bool:
    """Whether ``lock`` is about this subject, at whatever time."""
    return lock.name in _names(subject, lock.kind) and lock.issuer in ("", subject.issuer)


def released(lock: Lock, at: float, by: str) -> Lock:
    """The lock as it is after its release."""
    return replace(lock, released_at=at, released_by=by)
