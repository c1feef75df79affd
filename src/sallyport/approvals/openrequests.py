"""The requests and grants that are open, as one process knows them; the store has them for all.

Processes that share a store tell each other which request changed, so that whoever waits for it and
whoever looks at it hears of it. Nothing is decided by such a message: before a decision, and before
an approval is used, the store is read again (:meth:`OpenRequests.reread`). People outside are told
by the process that asked, while it lives: it knows which message is whose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from sallyport.approvals.ports import ApprovalStore, Notifier
from sallyport.approvals.states import Grant, Request
from sallyport.approvals.watching import Watchers
from sallyport.core.announcements import Announcements, Topic
from sallyport.core.clock import Clock
from sallyport.core.worker import Alone

log = structlog.get_logger("sallyport.approvals")


@dataclass(frozen=True, slots=True)
class Sharing:
    """Of a store with other processes. ``owner``: this one. ``is_dead``: whether an owner serves no
    more.
    """

    announcements: Announcements
    owner: str
    is_dead: Callable[[str], bool]


@dataclass(slots=True)
class OpenRequests:
    """``sharing`` None: no other process has the store. Under the lock of who uses it, but for
    ``watchers``.
    """

    store: ApprovalStore
    clock: Clock
    notifiers: Sequence[Notifier]
    sharing: Sharing | None = None
    requests: dict[str, Request] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    #: By id, those revoked here whose end is not stored yet.
    disowned: dict[str, Grant] = field(default_factory=dict)
    watchers: Watchers = field(default_factory=Watchers)

    @property
    def owner(self) -> str:
        """Whose new requests are."""
        return self.sharing.owner if self.sharing is not None else ""

    def load(self) -> None:
        """Everything, as the store has it, but for disowned grants. Raises RefusedError,
        and then nothing has changed.
        """
        stored = {request.id: request for request in self.store.open()}
        grants = self.store.grants(self.clock.now())
        present = [stored.get(id_) or self.store.get(id_) for id_ in self.requests]
        told = [now for now in present if now is not None and now != self.requests[now.id]]
        self.requests.clear()
        self.requests.update(stored)
        self._take_grants(grants)
        for now in told:
            self.watchers.tell(now)

    def reread(self) -> None:
        """As :meth:`load`, where somebody else could have written."""
        if self.is_shared:
            self.load()

    @property
    def is_shared(self) -> bool:
        """Whether other processes have the store as well."""
        return self.sharing is not None and not isinstance(self.sharing.announcements, Alone)

    def disown(self, grants: Iterable[Grant]) -> None:
        """Grants that end, as they will be: not used any more from now on, whether that can be
        stored or not. Raises RefusedError when it cannot; :meth:`store_disowned` tries again.
        """
        for grant in grants:
            self.grants.pop(grant.id, None)
            self.disowned[grant.id] = grant
        self.store_disowned()

    def store_disowned(self) -> None:
        """Store the ends that are not stored yet. Raises RefusedError."""
        for grant in list(self.disowned.values()):
            self.store.revoke_grant(grant)
            del self.disowned[grant.id]

    def is_left(self, request: Request) -> bool:
        """Whether the process that holds the statement is gone. Without sharing, at the start, all
        that came before are.
        """
        return self.sharing is None or self.sharing.is_dead(request.owner)

    def is_own(self, request: Request) -> bool:
        """Whether this process takes care of it: it is its own, or its owner serves no more."""
        return request.owner in ("", self.owner) or self.is_left(request)

    def changed(self, event: str, request: Request) -> None:
        """It was written by this process: tell everybody."""
        self.take(request)
        if self.is_own(request):
            self._notify(event, request)
        if self.sharing is not None:
            self.sharing.announcements.publish(Topic.APPROVALS, f"{event} {request.id}")

    def heard(self, body: str) -> None:
        """Another process wrote it. Raises RefusedError."""
        event, _, id_ = body.partition(" ")
        request = self.store.get(id_)
        if request is None:
            return
        self._take_grants(self.store.grants(self.clock.now()))
        self.take(request)
        if self.sharing is not None and request.owner == self.sharing.owner:
            self._notify(event, request)

    def _take_grants(self, stored: Iterable[Grant]) -> None:
        self.grants.clear()
        self.grants.update((grant.id, grant) for grant in stored if grant.id not in self.disowned)

    def take(self, request: Request) -> None:
        """It is so in the store: keep it while it is open, and tell whoever watches it."""
        if request.status.final:
            self.requests.pop(request.id, None)
        else:
            self.requests[request.id] = request
        self.watchers.tell(request)

    def _notify(self, event: str, request: Request) -> None:
        for notifier in self.notifiers:
            notifier.notify(event, request)
