"""How requests for approval end without a decision (expired, voided, withdrawn), and how a change
of one is stored before it takes effect.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Final

from sallyport.approvals.openrequests import OpenRequests
from sallyport.approvals.ports import ApprovalStore
from sallyport.approvals.problems import ApprovalProblem, DecisionError
from sallyport.approvals.states import TRANSITIONS, Decision, Grant, Request, Status
from sallyport.core.clock import Clock

ENDED: Final = "the gateway that held it ended"


class RequestEndings:
    """What :class:`sallyport.approvals.service.Approvals` decides on: the requests that are open.

    ``shared``: those of this process and of others, where other processes have the same store.
    """

    def __init__(self, store: ApprovalStore, clock: Clock, shared: OpenRequests) -> None:
        self._store, self._clock, self._shared = store, clock, shared
        self._lock = threading.RLock()
        self._open, self._grants = shared.requests, shared.grants

    def void_left(self) -> None:
        """Void what waits in processes that are gone; store ends of grants that are not stored."""
        with self._lock:
            self._shared.store_disowned()
            waiting = [r for r in self._open.values() if r.mode == "wait"]
            for request in filter(self._shared.is_left, waiting):
                self._end_unless_ended(request, Status.VOIDED, ENDED)

    def withdraw(self, request_id: str, reason: str) -> Request:
        """Whoever asked is gone. What has ended already stays as it is."""
        return self._end_if_open(request_id, Status.WITHDRAWN, reason)

    def void(self, request_id: str, reason: str) -> Request:
        """Something moved. What has ended already stays as it is."""
        return self._end_if_open(request_id, Status.VOIDED, reason)

    def expire_due(self) -> list[Request]:
        """End what is past its deadline; the caller's timer calls it about every second. What has
        ended by it.
        """
        with self._lock:
            now = self._clock.now()
            due = [request for request in self._open.values() if request.expires_at <= now]
            for grant in [g for g in self._grants.values() if not g.live(now)]:
                del self._grants[grant.id]
            return [self._end_unless_ended(request, Status.EXPIRED, "") for request in due]

    def _take_up(self) -> None:
        """Before anything is decided: what others wrote, and what is due."""
        self._shared.reread()
        self.expire_due()

    def _end_if_open(self, id_: str, status: Status, reason: str) -> Request:
        with self._lock:
            request = self._find(id_)
            ended = request.status.final
            return request if ended else self._end_unless_ended(request, status, reason)

    def _end_unless_ended(self, request: Request, status: Status, reason: str) -> Request:
        """Another process may have been first; then as that wrote it. Raises RefusedError."""
        try:
            return self._end(request, status, reason)
        except DecisionError:
            stored = self._store.get(request.id)
            if stored is None or not stored.status.final:
                raise
            return stored

    def _end(self, request: Request, status: Status, reason: str) -> Request:
        ended = replace(request, status=status, void_reason=reason)
        self._write(ended, request.status)
        self._shared.changed(status.value, ended)
        return ended

    def _find(self, id_: str) -> Request:
        """The request as of this moment: expired when it is due. Raises DecisionError."""
        self._take_up()
        return self._taken_up(id_)

    def _taken_up(self, id_: str) -> Request:
        """As :meth:`_find`, just after :meth:`_take_up`."""
        request = self._open.get(id_) or self._store.get(id_)
        if request is None:
            raise DecisionError(
                ApprovalProblem.UNKNOWN, "there is no such approval", "Check the id."
            )
        return request

    def _write(
        self,
        request: Request,
        before: Status,
        *,
        decision: Decision | None = None,
        grant: Grant | None = None,
    ) -> None:
        if request.status is not before and request.status not in TRANSITIONS[before]:
            raise ValueError(f"{before.value} cannot become {request.status.value}")
        if not self._store.change(request, before, decision=decision, grant=grant):
            stored = self._store.get(request.id)
            if stored is not None:
                self._shared.take(stored)  # whoever waits here hears of it as well
            else:
                self._open.pop(request.id, None)
            raise DecisionError(
                ApprovalProblem.CLOSED,
                f"{request.id} was changed by somebody else at the same time",
            )
