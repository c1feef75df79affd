"""What counts once: an assertion is good for one sign-in (SAML profiles, section 4.1.4.5), a
request to sign out for one of that, and what the console gave a browser to bring back for one
answer.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Protocol

from sallyport.core.clock import Clock


@dataclass(frozen=True, slots=True)
class MessageUse:
    """A message that was used. issuer: "" for the gateways' own. ``until``: Unix seconds from which
    it is refused anyway.
    """

    issuer: str
    id: str
    until: float

    @property
    def digest(self) -> str:
        """Names it in a store. No issuer has a NUL in its name: XML has none."""
        return hashlib.sha256(f"{self.issuer}\0{self.id}".encode()).hexdigest()


class UsedMessageStore(Protocol):
    """Where uses outlast a process, for all gateways."""

    def use(self, id_: str, until: float, now: float) -> bool:
        """Whether nobody has used it; it is used then. Raises RefusedError."""


class UsedMessages:
    """Ids, until their messages run out; in memory. Full means no: an id that is let go early could
    be used again. ``store``: has those of all gateways; None: there are no others.

    An assertion that was issued before this process started may have been used with the one before
    it: ``started`` tells.
    """

    def __init__(
        self, clock: Clock, maximum: int = 100_000, store: UsedMessageStore | None = None
    ) -> None:
        self._clock, self._maximum, self._store = clock, maximum, store
        self._ends: dict[tuple[str, str], float] = {}
        self.started = clock.now()

    def use(self, issuer: str, id_: str, ends: float) -> bool:
        """Whether the message may be used, which uses it in this process. ends: Unix seconds from
        which it is refused anyway.
        """
        if (issuer, id_) in self._ends and self._ends[issuer, id_] > self._clock.now():
            return False
        if len(self._ends) >= self._maximum:
            now = self._clock.now()
            self._ends = {key: end for key, end in self._ends.items() if end > now}
            if len(self._ends) >= self._maximum:
                return False
        self._ends[issuer, id_] = ends
        return True

    async def use_everywhere(self, use: MessageUse) -> bool:
        """Whether no other gateway has used what this process has. Raises RefusedError."""
        if self._store is None:
            return True
        return await asyncio.to_thread(self._store.use, use.digest, use.until, self._clock.now())
