"""What people do with containments: list and release. Console and REST call these, nothing else.

Nobody releases themselves, whatever their role: an agent that acts for an operator has the
operator's token. Errors: ForbiddenError, ContainmentError, RefusedError (SP1801: it stays).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from sallyport.core.errors import RefusedError, SallyportError
from sallyport.judge import Containments
from sallyport.operations.access import Principal
from sallyport.policy.containment import Containment

log = structlog.get_logger("sallyport.containments")


class ContainmentError(SallyportError):
    """It is not released; the text says why. ``missing``: none of this id is in force."""

    def __init__(self, text: str, *, missing: bool = False) -> None:
        super().__init__(text)
        self.missing = missing


@dataclass(frozen=True, slots=True)
class ContainmentOperations:
    """Over those of one gateway."""

    containments: Containments

    def list(self, who: Principal) -> Sequence[Containment]:
        """In force now, newest first."""
        who.require("containments.read")
        return self.containments.active()

    def recent(self, who: Principal, limit: int) -> Sequence[Containment]:
        """Also those that are over, newest first. Reads the store."""
        who.require("containments.read")
        store = self.containments.store
        return self.containments.active()[:limit] if store is None else store.recent(limit)

    async def release(self, who: Principal, id_: str) -> Containment:
        """The subject and its agent are judged as everybody from the next statement on."""
        who.require("containments.release")
        subject, active = who.subject, self.containments.active()
        containment = next((candidate for candidate in active if candidate.id == id_), None)
        if containment is None:
            raise ContainmentError(f"No containment {id_} is in force.", missing=True)
        if (subject.issuer, subject.id) == (containment.issuer, containment.subject):
            raise ContainmentError("That is you: nobody releases themselves. Ask another operator.")
        released = self.containments.release(id_, subject.email or subject.id)
        if released is None:
            raise ContainmentError(f"No containment {id_} is in force.", missing=True)
        store = self.containments.store
        if store is not None:
            try:
                await asyncio.to_thread(store.keep, released)
            except RefusedError:
                self.containments.restore(released)
                raise
        self.containments.announce(released)
        log.warning("containment released", containment=id_, who=released.subject, by=subject.id)
        return released


def containment_data(containment: Containment) -> dict[str, Any]:
    """A containment as JSON values, whether it is in force, and why in words."""
    data = {**asdict(containment), "agents": list(containment.agents)}
    return {**data, "in_force": containment.in_force(time.time()), "why": containment.reason()}


def release_details(containment: Containment) -> dict[str, str]:
    """What is recorded of a release: who was let go, and what they had read."""
    return {
        "subject": containment.subject,
        "agents": ", ".join(containment.agents),
        "column": containment.column,
        "session": containment.session,
    }
