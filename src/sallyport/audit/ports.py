"""What the audit room needs from above it: a place to list sessions. :mod:`sallyport.store` implements it.

The recording file is the truth; the index only makes sessions findable and remembers the last hash of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

LIVE = "live"
ENDED = "ended"
#: The gateway stopped before the session's end was written.
INTERRUPTED = "interrupted"


@dataclass(slots=True)
class SessionRow:
    """One session as the index knows it. Times are Unix seconds; ``ended`` is None while it runs.

    ``bytes``: recorded bytes before compression. ``file``: path relative to the recordings directory (""
    until the first write). ``last_hash``: hex SHA-256 of the newest block on disk ("" until then).
    ``status``: live | ended | interrupted.
    """

    id: str
    subject: str
    issuer: str
    groups: tuple[str, ...]
    agent: str
    label: str
    target: str
    client: str
    application: str
    started: float
    ended: float | None = None
    reason: str = ""
    statements: int = 0
    refused: int = 0
    rows: int = 0
    bytes: int = 0
    file: str = ""
    last_hash: str = ""
    status: str = LIVE


@dataclass(frozen=True, slots=True)
class SessionQuery:
    """Which sessions: "", None and False mean any. ``subject``: part of the subject, label or agent, without regard to case.

    ``since``, ``until``: Unix seconds of the session's start, the second excluded. ``refused``: with a refused statement.
    ``after``: (started, id) of the last row of the page before; rows come newest first.
    """

    subject: str = ""
    target: str = ""
    status: str = ""
    since: float | None = None
    until: float | None = None
    refused: bool = False
    after: tuple[float, str] | None = None
    limit: int = 50

    def matches(self, row: SessionRow) -> bool:
        """Whether the row is one of them (``limit`` aside)."""
        wanted = self.subject.lower()
        return (
            any(wanted in text.lower() for text in (row.subject, row.label, row.agent))
            and self.target in ("", row.target)
            and self.status in ("", row.status)
            and (self.since is None or row.started >= self.since)
            and (self.until is None or row.started < self.until)
            and (not self.refused or row.refused > 0)
            and (self.after is None or (row.started, row.id) < self.after)
        )


class SessionIndex(Protocol):
    """Where the recorder reports sessions."""

    def save(self, row: SessionRow) -> None:
        """Insert or replace the row with this id. Called from any thread; must return at once and never
        raise.
        """
        ...


class NoIndex:
    """An index that keeps nothing: recordings are then found by their file names."""

    def save(self, row: SessionRow) -> None:
        return None
