"""Who is contained now, over all sessions and targets of a gateway: see
:mod:`sallyport.policy.containment`.

In memory, so that asking costs a look-up; :class:`ContainmentStore` keeps it for the next start.
For one event loop. Whoever is told of changes (:meth:`Containments.add_listener`) moves on before
:meth:`Containments.note_read` returns: the next statement of every session is judged by it.
"""

from __future__ import annotations

import itertools
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from sallyport.core.ids import new_id
from sallyport.core.subject import Subject, agent_names
from sallyport.policy.containment import Containment

#: A read within so many seconds of the last one that counted does not prolong a containment again.
#: The time is added to its end, so that nobody is let go too early.
STEP: Final = 60.0
#: Of so many containments, the newest, it is looked up whether they were released elsewhere.
_RECENT: Final = 1000


class ContainmentStore(Protocol):
    """Where containments outlive the process. Each call is on the disk when it returns; raises
    RefusedError (SP1801) when it cannot be.
    """

    def keep(self, containment: Containment) -> None:
        """As it is now, new or not."""
        ...

    def unreleased(self) -> list[Containment]:
        """Every one that nobody released, expired ones included."""
        ...

    def recent(self, limit: int) -> list[Containment]:
        """All of them, newest first."""
        ...


@dataclass(frozen=True, slots=True)
class UntrustedRead:
    """A statement that is about to read untrusted text: what, where, and for how long that contains
    (seconds). cause: as in :class:`~sallyport.policy.containment.Containment`.
    """

    column: str
    target: str
    session: str
    statement: int
    seconds: float
    cause: str


class Containments:
    """Those in force. ``now``: Unix seconds. ``store``: where they are kept; None: nowhere."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.store: ContainmentStore | None = None
        self._now = now
        self._stored: dict[str, float] = {}  # the end that the store is known to have, by id
        self._by_subject: dict[tuple[str, str], list[Containment]] = {}
        #: Tells other processes of one as it is now.
        self.announce: Callable[[Containment], None] = lambda containment: None
        #: Writes one down, new or prolonged, beside the store, for when that is lost.
        self.record: Callable[[Containment], None] = lambda containment: None
        self._listeners: list[weakref.WeakMethod[Callable[[], None]]] = []

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call a method whenever somebody becomes contained or is let go, for as long as its
        object lives.
        """
        alive = [reference for reference in self._listeners if reference() is not None]
        self._listeners = [*alive, weakref.WeakMethod(listener)]

    def keep_in(self, store: ContainmentStore) -> None:
        """Take what an earlier run kept there, and have it keep what comes. Reads the store."""
        self.store = store
        for containment in store.unreleased():
            self.stored(containment)
            if containment.in_force(self._now()):
                self._add(containment)
        self._tell()

    def stored(self, containment: Containment) -> None:
        """The store has it, as it is here."""
        before = self._stored.get(containment.id, 0.0)
        self._stored[containment.id] = max(before, containment.until)

    def unstored(self) -> list[Containment]:
        """Those in force that the store is not known to have, or not with their end."""
        active = self.active()
        self._stored = {kept.id: self._stored.get(kept.id, 0.0) for kept in active}
        return [kept for kept in active if self._stored[kept.id] < kept.until]

    def take(self, containment: Containment) -> None:
        """One of another process, as it is now: new, prolonged or released."""
        self._remove(containment)
        if containment.in_force(self._now()):
            self._add(containment)
            self._tell()

    def reload(self) -> None:
        """Take what the store has and what is not here: new ones, later ends, and releases, but for
        those of long ago. What is not stored yet stays. Reads the store.
        """
        if self.store is None:
            return
        present = {containment.id: containment for containment in self.active()}
        unreleased = {containment.id: containment for containment in self.store.unreleased()}
        self._stored = {id_: containment.until for id_, containment in unreleased.items()}
        for containment in unreleased.values():
            before = present.get(containment.id)
            if containment.in_force(self._now()) and (
                before is None or containment.until > before.until
            ):
                self.take(containment)
        if present.keys() <= unreleased.keys():
            return
        for containment in self.store.recent(_RECENT):
            if containment.id in present and containment.released_at is not None:
                self._remove(containment)

    def of(self, subject: Subject) -> Containment | None:
        """Why the subject and its agent are contained, the oldest reason; None: they are not."""
        if not self._by_subject:
            return None
        now = self._now()
        for containment in self._by_subject.get((subject.issuer, subject.id), ()):
            if containment.in_force(now) and containment.covers(subject):
                return containment
        return None

    def active(self) -> list[Containment]:
        """Those in force, newest first."""
        now = self._now()
        for key, containments in list(self._by_subject.items()):
            left = [containment for containment in containments if containment.in_force(now)]
            if left:
                self._by_subject[key] = left
            else:
                del self._by_subject[key]
        everybody = list(itertools.chain.from_iterable(self._by_subject.values()))
        return sorted(everybody, key=lambda containment: containment.read_at, reverse=True)

    def note_read(self, subject: Subject, read: UntrustedRead) -> Containment | None:
        """From now on the subject and every agent of its token are contained. What is to be stored
        before anything is sent; None: that is stored, and was prolonged a moment ago.
        """
        now, names = self._now(), tuple(agent_names(subject))
        until = now + read.seconds + STEP
        for containment in self._by_subject.get((subject.issuer, subject.id), ()):
            if containment.in_force(now) and _includes(containment, names):
                if containment.until >= until - STEP:
                    return None if self._has_stored(containment, until - STEP) else containment
                prolonged = replace(containment, until=until)
                self._put(prolonged)
                self.record(prolonged)
                self.announce(prolonged)
                return prolonged
        made = Containment(
            id=new_id("con"),
            issuer=subject.issuer,
            subject=subject.id,
            agents=names,
            cause=read.cause,
            column=read.column,
            target=read.target,
            session=read.session,
            statement=read.statement,
            read_at=now,
            until=until,
        )
        self._add(made)
        self._tell()
        self.record(made)
        self.announce(made)
        return made

    def release(self, id_: str, by: str) -> Containment | None:
        """Let go of one, for a person: what is to be kept of it; None: it is not in force."""
        for containment in self.active():
            if containment.id == id_:
                self._remove(containment)
                return replace(containment, released_at=self._now(), released_by=by)
        return None

    def restore(self, released: Containment) -> None:
        """The release could not be kept: it stays."""
        self._add(replace(released, released_at=None, released_by=""))
        self._tell()

    def _has_stored(self, containment: Containment, until: float) -> bool:
        """Whether the store has it, until then at least. Another session, or another process, may
        still be storing it, or have failed to.
        """
        return self.store is None or self._stored.get(containment.id, 0.0) >= until

    def _remove(self, containment: Containment) -> None:
        key = (containment.issuer, containment.subject)
        left = [kept for kept in self._by_subject.get(key, ()) if kept.id != containment.id]
        if left:
            self._by_subject[key] = left
        else:
            self._by_subject.pop(key, None)
        self._tell()

    def _add(self, containment: Containment) -> None:
        key = (containment.issuer, containment.subject)
        self._by_subject.setdefault(key, []).append(containment)

    def _put(self, changed: Containment) -> None:
        containments = self._by_subject[changed.issuer, changed.subject]
        containments[:] = [changed if kept.id == changed.id else kept for kept in containments]

    def _tell(self) -> None:
        for reference in self._listeners:
            listener = reference()
            if listener is not None:
                listener()


def _includes(containment: Containment, names: tuple[str, ...]) -> bool:
    """Whether whoever could use a token with these programs is contained by it already."""
    if not containment.agents:
        return True
    return bool(names) and set(names) <= set(containment.agents)
