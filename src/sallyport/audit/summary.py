"""What the index keeps of a session, counted from the events themselves."""

from __future__ import annotations

from sallyport.audit import events as ev
from sallyport.audit.blocks import Block
from sallyport.audit.chunks import Chunk
from sallyport.audit.ports import ENDED, SessionRow


class Counts:
    """Statements (or actions), refused ones among them, and rows that were sent."""

    __slots__ = ("refused", "rows", "statements")

    def __init__(self, statements: int = 0, refused: int = 0, rows: int = 0) -> None:
        self.statements, self.refused, self.rows = statements, refused, rows

    def add_chunk(self, chunk: Chunk) -> None:
        """Events as they were counted when they were appended."""
        self.statements += chunk.statements
        self.refused += chunk.refused
        self.rows += chunk.rows

    def add(self, event: ev.Event) -> None:
        """An event as it was read."""
        if isinstance(event, ev.Answered | ev.Complete):
            self.rows += event.rows
        elif isinstance(event, ev.Statement):
            self.statements += 1
            self.refused += event.outcome == "deny"
        elif isinstance(event, ev.Action):
            self.statements += 1
            self.refused += event.outcome == ev.REFUSED

    def as_tuple(self) -> tuple[int, int, int]:
        return self.statements, self.refused, self.rows


class Summary:
    """Of the blocks that were added, in order.

    ``bytes``: before compression. ``lost_events``: how many the recording says it lacks.
    ``recovered``: statements that were added from the journal. ``last_at``: of the last event, on
    the events' clock. ``keep_statements``: for :meth:`take_statements`.
    """

    def __init__(self, *, keep_statements: bool = False) -> None:
        self._keep = keep_statements
        self.login: ev.Login | None = None
        self.end: ev.End | None = None
        self.last_at = 0.0
        self.bytes = 0
        self.lost_events = 0
        self.recovered = 0
        self.counts = Counts()
        self._statements: list[ev.Statement] = []

    def add_block(self, block: Block) -> None:
        """Raises msgspec.DecodeError for events that this version does not know."""
        for raw in block.split():
            self.add(ev.decode_event(raw))
        self.bytes += len(block.raw or b"")

    def add(self, event: ev.Event) -> None:
        self.counts.add(event)
        self.last_at = event.at
        self.end = event if isinstance(event, ev.End) else None
        if isinstance(event, ev.Statement) and self._keep:
            self._statements.append(event)
        elif isinstance(event, ev.Login) and self.login is None:
            self.login = event
        elif isinstance(event, ev.Gap):
            self.lost_events += event.events
        elif isinstance(event, ev.Recovered):
            self.recovered += 1

    def take_statements(self) -> list[ev.Statement]:
        """The statements since the last call, for :class:`sallyport.audit.texts.StatementTexts`."""
        taken, self._statements = self._statements, []
        return taken

    def wall_time(self, at: float, login: ev.Login) -> float:
        """Unix seconds of a moment on the events' clock."""
        return login.started + (at - login.at)


def complete_row(row: SessionRow, summary: Summary, login: ev.Login) -> None:
    """Put what was counted into the row, and how the session ended when it did. ``last_hash`` is
    the caller's.
    """
    row.statements, row.refused, row.rows = summary.counts.as_tuple()
    row.bytes = summary.bytes
    row.ended = summary.wall_time(summary.last_at, login)
    if summary.end is not None:
        row.status, row.reason = ENDED, summary.end.reason


def row_of_login(login: ev.Login, file: str) -> SessionRow:
    """The row of a session as its login event describes it."""
    who = login.subject
    return SessionRow(
        id=login.session,
        subject=who.id,
        issuer=who.issuer,
        groups=who.groups,
        agent=who.agent,
        actors=who.actors,
        label=who.label,
        target=login.target,
        client=login.client,
        application=login.application,
        started=login.started,
        file=file,
        owner=login.gateway,
    )
