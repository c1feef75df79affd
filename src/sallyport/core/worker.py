"""One process of a gateway: which it is, and what ties it to the others (docs/adr/0013-workers.md).

A gateway of one process is its own first worker, publishes to nobody and counts alone.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from sallyport.core.announcements import Announcements, Topic
from sallyport.core.counts import Counts
from sallyport.core.subject import Subject

#: The most workers: their number has 6 bits in a cancel key's process id.
MOST: Final = 64
#: What sessions altogether are counted by.
SESSIONS: Final = "sessions"


@dataclass(frozen=True, slots=True)
class Crew:
    """What the supervisor knows of all workers. ``serving``: how many of ``workers`` take clients.
    ``restarts``: since the start, by why: ``died``, ``hung``.
    """

    workers: int
    serving: int
    restarts: Mapping[str, int]


class FirstWorker(Protocol):
    """The way to the worker that does what only one may do."""

    def tell_first(self, name: str, payload: bytes) -> None:
        """Send it something, at most once. Returns at once."""

    def hear(self, name: str, receive: Callable[[int, bytes], None]) -> None:
        """In it: call ``receive`` in the event loop with the sender's number and what it sent."""

    def on_gone(self, gone: Callable[[int], None]) -> None:
        """In it: call ``gone`` in the event loop with the number of a worker that has died."""


class Alone:
    """The ends of a process that shares its store with no other."""

    def tell_first(self, name: str, payload: bytes) -> None:
        """See :class:`FirstWorker`; this is the first."""

    def hear(self, name: str, receive: Callable[[int, bytes], None]) -> None:
        """As :meth:`tell_first`."""

    def on_gone(self, gone: Callable[[int], None]) -> None:
        """As :meth:`tell_first`."""

    def publish(self, topic: Topic, body: str) -> None:
        """See :class:`~sallyport.core.announcements.Announcements`."""

    def subscribe(self, topic: Topic, receive: Callable[[str], None]) -> None:
        """As :meth:`publish`."""

    def on_resume(self, reload: Callable[[], None]) -> None:
        """As :meth:`publish`."""


@dataclass(frozen=True, slots=True)
class Worker:
    """``number``: from 0, of ``processes``. ``run``: 6 hex digits of this incarnation.
    ``shares_store``: with other gateways.
    """

    number: int = 0
    processes: int = 1
    announcements: Announcements = field(default_factory=Alone)
    first: FirstWorker = field(default_factory=Alone)
    counts: Counts = field(default_factory=Counts)
    run: str = field(default_factory=lambda: secrets.token_hex(3))
    shares_store: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this one does what only one may do."""
        return self.number == 0

    @property
    def is_alone(self) -> bool:
        return self.processes == 1

    def process_id(self, drawn: int) -> int:
        """For a cancel key: ``drawn`` (31 bits) with this worker's number in its lowest bits."""
        return drawn if self.is_alone else drawn & -MOST | self.number

    def pass_cancel(self, pid: int, key: bytes) -> bool:
        """Let the worker or gateway that has the session deliver a CancelRequest; False: no other
        can have it.
        """
        is_of_other_worker = pid % MOST != self.number and pid % MOST < self.processes
        if not self.shares_store and not is_of_other_worker:
            return False
        self.announcements.publish(Topic.CANCEL, f"{pid} {cancel_digest(pid, key)}")
        return True


def sessions_of(subject: Subject) -> str:
    """What the sessions of one subject are counted by."""
    return f"subject\0{subject.issuer}\0{subject.id}"


def cancel_digest(pid: int, key: bytes) -> str:
    """What a cancel key is compared by, and all of it that a message says."""
    return hashlib.sha256(pid.to_bytes(8, "big", signed=True) + key).hexdigest()


def usable_processors() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
