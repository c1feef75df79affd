"""What the approvals need from above them, as Protocols. :mod:`sallyport.store.approvals`
implements the store.

Every write is in the database when the call returns: what people decided, and that an approval was
used, must not be forgotten by a crash after it took effect. A write that fails raises RefusedError
(SP1801), and then nothing has changed.
"""

from __future__ import annotations

from typing import Protocol

from sallyport.approvals.states import Decision, Grant, Preview, Request, Status


class ApprovalStore(Protocol):
    """Where requests, decisions and grants are kept. Each call is on the disk when it returns."""

    def add(self, request: Request) -> None:
        """A new request, with its decisions. Survives the death of the process."""
        ...

    def change(
        self,
        request: Request,
        expected: Status,
        *,
        decision: Decision | None = None,
        grant: Grant | None = None,
    ) -> bool:
        """Write status and void reason, and in the same transaction a new decision and a new grant.
        On disk when it returns.

        False, with nothing changed, when the stored status is not ``expected``, or when what is
        used now came from a grant that was revoked.
        """
        ...

    def set_preview(self, request_id: str, preview: Preview) -> None: ...

    def get(self, request_id: str) -> Request | None: ...

    def open(self) -> list[Request]:
        """Pending and approved ones, oldest first."""
        ...

    def recent(self, limit: int) -> list[Request]:
        """Newest first, whatever their status."""
        ...

    def latest(self, digest: str) -> Request | None:
        """The newest request with this binding digest."""
        ...

    def asked(self, issuer: str, subject: str, since: float) -> list[float]:
        """When this subject asked people since then, oldest first. Unix seconds."""
        ...

    def use_grant(self, grant_id: str) -> bool:
        """Count one more use. On disk when it returns. False: it was revoked, by whomever."""
        ...

    def revoke_grant(self, grant: Grant) -> bool:
        """Write ``revoked_at`` and ``revoked_by``. On disk when it returns. False: it was revoked
        already, and stays as it is.
        """
        ...

    def grants(self, now: float | None = None) -> list[Grant]:
        """Newest first; with ``now`` only those in force at that moment."""
        ...


class Notifier(Protocol):
    """Tells people outside. Called on every change; must return at once and never raise."""

    def notify(self, event: str, request: Request) -> None:
        """``event``: asked, decided (quorum not complete yet), previewed, or the new status."""
        ...
