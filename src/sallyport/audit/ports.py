"""What the audit room needs from above it: a place to list sessions. :mod:`sallyport.store`
implements it.

The recording file is the truth; the index only makes sessions findable and remembers the last hash
of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sallyport.core.errors import SallyportError

LIVE = "live"
ENDED = "ended"
#: The gateway stopped before the session's end was written.
INTERRUPTED = "interrupted"
STATUSES = (LIVE, ENDED, INTERRUPTED)
#: Kinds of recordings. What people do in the console and over REST has recordings of its own, whose
#: ids begin with ``ACTIONS_PREFIX``.
SESSION, ACTIONS = "session", "actions"
ACTIONS_PREFIX = "act"
#: Values of SessionRow.searchable: every statement of the session is in the index, or some may not
#: be.
WHOLE = "whole"
PART = "part"


class IndexUnreadableError(SallyportError):
    """The index is there and cannot be read; the text says why and what to do."""


@dataclass(slots=True)
class SessionRow:
    """One session as the index knows it. Times are Unix seconds; ``ended`` is None while it runs.

    ``bytes``: recorded bytes before compression. ``file``: path relative to the recordings
    directory ("" until the first write). ``last_hash``: hex hash of the newest block on disk (""
    until then). ``status``: live | ended | interrupted. ``searchable``: whole | part | ""
    (nothing): what of its statements the index knows; the recording has them all. ``owner``: the
    process that runs or ran it (:mod:`sallyport.core.owners`), "" in rows from before there were
    owners. ``gateway``: which has the recording, where gateways share a store; "" where they do
    not.
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
    searchable: str = ""
    actors: tuple[str, ...] = ()
    owner: str = ""
    gateway: str = ""

    @property
    def kind(self) -> str:
        return kind_of(self.id)


def kind_of(recording_id: str) -> str:
    """session | actions. The id is part of the hash chain, so a recording cannot change its
    kind.
    """
    return ACTIONS if recording_id.startswith(f"{ACTIONS_PREFIX}_") else SESSION


@dataclass(frozen=True, slots=True)
class StatementText:
    """What is kept of a statement to find its session by. ``sql``: in one line, see
    :func:`one_line`. ``number``: of the first like it.
    """

    number: int
    outcome: str
    sql: str
    relations: tuple[str, ...] = ()


def one_line(sql: str) -> str:
    """White space as single spaces: layout does not matter when people search."""
    return " ".join(sql.split())


def folded(text: str) -> str:
    """Without regard to ASCII case; as SQLite's ``lower``."""
    return text.encode("utf-8", "replace").lower().decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class SessionQuery:
    """Which sessions: "", None and False mean any. ``subject``: part of the subject, label or
    agent, without regard to case.

    ``since``, ``until``: Unix seconds of the session's start, the second excluded. ``refused``:
    with a refused statement. ``after``: (started, id) of the last row of the page before; rows come
    newest first. ``text``, ``relation``, ``verdict``: with one statement that has them all.
    ``text``: part of its SQL, whatever case and layout. ``relation``: ``schema.relation`` or the
    relation's name alone. ``verdict``: allow | deny | hold. ``kind``: session | actions.
    ``running_since``: Unix seconds; those that had not ended before. ``oldest_first``: in that
    order, ``after`` with it.
    """

    subject: str = ""
    target: str = ""
    status: str = ""
    since: float | None = None
    until: float | None = None
    refused: bool = False
    after: tuple[float, str] | None = None
    limit: int = 50
    text: str = ""
    relation: str = ""
    verdict: str = ""
    kind: str = ""
    running_since: float | None = None
    oldest_first: bool = False

    @property
    def by_statement(self) -> bool:
        """Whether statements have to be looked at."""
        return bool(self.text or self.relation or self.verdict)

    def has(self, statement: StatementText) -> bool:
        """Whether the statement is what is looked for."""
        name = folded(self.relation)
        return (
            self.verdict in ("", statement.outcome)
            and folded(one_line(self.text)) in folded(statement.sql)
            and (
                not name
                or any(
                    qualified == name or qualified.endswith(f".{name}")
                    for qualified in map(folded, statement.relations)
                )
            )
        )

    def matches(self, row: SessionRow) -> bool:
        """Whether the row is one of them (``limit`` and statements aside)."""
        needle = self.subject.lower()
        return (
            any(needle in text.lower() for text in (row.subject, row.label, row.agent))
            and self.target in ("", row.target)
            and self.status in ("", row.status)
            and self.kind in ("", row.kind)
            and (self.since is None or row.started >= self.since)
            and (self.until is None or row.started < self.until)
            and (not self.refused or row.refused > 0)
            and (self.running_since is None or row.ended is None or row.ended >= self.running_since)
            and (self.after is None or self._is_behind((row.started, row.id), self.after))
        )

    def _is_behind(self, place: tuple[float, str], after: tuple[float, str]) -> bool:
        return place > after if self.oldest_first else place < after


class SessionIndex(Protocol):
    """Where the recorder reports sessions."""

    def save(self, row: SessionRow) -> None:
        """Insert or replace the row with this id. Called from any thread; must return at once and
        never raise.
        """
        ...

    def save_all(self, rows: Sequence[SessionRow]) -> None:
        """As :meth:`save`, of many."""
        ...

    def statements(self, session_id: str, statements: Sequence[StatementText]) -> bool:
        """Keep these to find the session by. As :meth:`save`; False: they were not taken."""
        ...


class NoIndex:
    """An index that keeps nothing: recordings are then found by their file names."""

    def save(self, row: SessionRow) -> None:
        return None

    def save_all(self, rows: Sequence[SessionRow]) -> None:
        return None

    def statements(self, session_id: str, statements: Sequence[StatementText]) -> bool:
        return False
