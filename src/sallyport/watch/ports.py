"""What watching needs from above, and gives to it, as Protocols. :mod:`sallyport.store.watching`
implements the stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sallyport.watch.finding import AgentKey, Finding
from sallyport.watch.merging import LessonBatch


class FindingSink(Protocol):
    """Who is told of findings. Any detector may raise one; the call is cheap and never raises."""

    def raise_finding(self, finding: Finding) -> None: ...


class BaselineStore(Protocol):
    """Where baselines outlive the process."""

    def load(self, key: AgentKey) -> bytes | None:
        """With everything that was saved; None for an agent that is new."""
        ...

    def save(self, key: AgentKey, batch: LessonBatch, at: float) -> None:
        """Queue what was learned. Returns at once, never raises."""
        ...


class FindingStore(Protocol):
    """Where findings are kept."""

    def add(self, finding: Finding) -> None:
        """Queue it, in the place of one with the same id. Returns at once, never raises."""
        ...

    def get(self, finding_id: str) -> Finding | None: ...

    def recent(
        self,
        limit: int,
        *,
        severity: str = "",
        detector: str = "",
        agent: str = "",
        session: str = "",
        open_only: bool = False,
        since: float = 0.0,
        key: AgentKey | None = None,
    ) -> Sequence[Finding]:
        """Newest first. agent: part of the subject, actor or agent. key: of this very
        agent.
        """
        ...

    def acknowledge(self, finding: Finding) -> None:
        """Store it on the disk before it returns. Raises RefusedError (SP1801)."""
        ...
