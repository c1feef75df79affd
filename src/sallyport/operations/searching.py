"""Finding sessions, by what the index knows of each and by their statements.

:func:`search` goes through sessions from the newest on. Statements are looked up in the index;
where the index does not hold all of a session's (recorded before there was one, more than its
bounds, a gateway that died), its recording is read, event by event. A search with a time limit
stops when the time is over and says how far it got; ``after`` goes on from there. Memory does not
grow with recordings or with how many there are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final, Protocol

from sallyport.audit import events as ev
from sallyport.audit.archive import RecordingError
from sallyport.audit.ports import WHOLE, SessionQuery, SessionRow, StatementText, one_line
from sallyport.audit.verify import VerificationProblem

#: Sessions that are looked at together.
_CHUNK: Final = 100

#: The events of a session's recording. The second argument is told what is wrong with it. Raises
#: RecordingError.
Events = Callable[[SessionRow, Callable[[VerificationProblem], None]], Iterable[ev.Event]]


class Searchable(Protocol):
    """The part of the store that is searched."""

    def search(self, query: SessionQuery) -> list[SessionRow]: ...

    def matching(self, ids: Sequence[str], query: SessionQuery) -> dict[str, StatementText]: ...


@dataclass(frozen=True, slots=True)
class Match:
    """A session that was looked for, and the first statement that makes it one (None: no statement
    was looked for).
    """

    row: SessionRow
    statement: StatementText | None = None


@dataclass(slots=True)
class SearchPage:
    """``after``: where the search goes on (for :attr:`SessionQuery.after`), None at the end. There
    may be more behind it although this page is short, or empty. ``recordings``: how many recordings
    were read for it. ``unread``: sessions that could not be searched: a damaged recording, or one
    that takes longer than the time limit.
    """

    matches: list[Match] = field(default_factory=list)
    after: tuple[float, str] | None = None
    recordings: int = 0
    unread: list[str] = field(default_factory=list)


class _OutOfTimeError(Exception):
    pass


def search(
    index: Searchable,
    events: Events,
    query: SessionQuery,
    seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> SearchPage:
    """One page. ``seconds`` None: however long it takes."""
    page = SearchPage()
    if not query.by_statement:
        rows = index.search(query)
        page.matches = [Match(row) for row in rows]
        page.after = _place(rows[-1]) if len(rows) == query.limit else None
        return page
    if query.limit < 1:
        return page
    reader = _Reader(events, query, seconds, clock)
    plain = replace(query, text="", relation="", verdict="", limit=_CHUNK)
    while True:
        rows = index.search(plain)
        matching = index.matching([row.id for row in rows], query) if rows else {}
        for row in rows:
            try:
                hit = matching.get(row.id) or (
                    reader.first(row, page) if row.searchable != WHOLE else None
                )
            except _OutOfTimeError:
                return page  # ``after`` is the session before this one
            page.after = _place(row)
            if hit is not None:
                page.matches.append(Match(row, hit))
                if len(page.matches) == query.limit:
                    return page
        if len(rows) < _CHUNK:
            page.after = None
            return page
        if reader.late():
            return page
        plain = replace(plain, after=page.after)


def _place(row: SessionRow) -> tuple[float, str]:
    return row.started, row.id


class _Reader:
    """Reads recordings until the time is over."""

    def __init__(
        self, events: Events, query: SessionQuery, seconds: float | None, clock: Callable[[], float]
    ) -> None:
        self._events, self._wanted, self._clock = events, query, clock
        self._seconds = seconds if seconds is not None else math.inf
        self._deadline = clock() + self._seconds

    def late(self) -> bool:
        return self._clock() >= self._deadline

    def first(self, row: SessionRow, page: SearchPage) -> StatementText | None:
        """Raises _OutOfTimeError when the time is over: another page begins here.

        The first recording of a page cannot be put off. It has the whole time; when that is not
        enough, it counts as unread.
        """
        first = not page.recordings
        if first:
            self._deadline = max(self._deadline, self._clock() + self._seconds)
        elif self.late():
            raise _OutOfTimeError
        problems: list[VerificationProblem] = []
        page.recordings += 1
        try:
            for event in self._timed(self._events(row, problems.append)):
                if isinstance(event, ev.Statement):
                    statement = StatementText(
                        event.number, event.outcome, one_line(event.sql), event.relations
                    )
                    if self._wanted.has(statement):
                        return statement
        except RecordingError:
            page.unread.append(row.id)
        except _OutOfTimeError:
            if not first:
                page.recordings -= 1
                raise
            page.unread.append(row.id)
        else:
            if problems:
                page.unread.append(row.id)
        return None

    def _timed(self, events: Iterable[ev.Event]) -> Iterator[ev.Event]:
        for number, event in enumerate(events):
            if number % 64 == 63 and self.late():
                raise _OutOfTimeError
            yield event


class Unindexed:
    """Sessions of which there are only the recordings: nothing is known of their statements."""

    def __init__(self, rows: Sequence[SessionRow]) -> None:
        self._rows = rows

    def search(self, query: SessionQuery) -> list[SessionRow]:
        return list(islice(filter(query.matches, self._rows), query.limit))

    def matching(self, ids: Sequence[str], query: SessionQuery) -> dict[str, StatementText]:
        return {}
