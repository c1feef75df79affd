"""Searching recorded statements: what people write, what they get, and what keeps the index.

People write words and filters in one line, the same on the command line, over REST and in the
console: ``verdict:deny relation:public.orders "drop table"``. :func:`read_query` makes a query of
it or says what is wrong.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from sallyport.audit import events as ev
from sallyport.audit.ports import ACTIONS, kind_of
from sallyport.core.clock import rfc3339
from sallyport.core.errors import SallyportError
from sallyport.core.interpreter import computing_beside
from sallyport.operations.auditlog import (
    STATEMENT,
    AuditEvent,
    ExportCursor,
)
from sallyport.operations.following import RecordFollower
from sallyport.operations.sessions import Authorize, Sessions, counted_rows
from sallyport.sql.text.fingerprint import query_fingerprint
from sallyport.store.statementindex import (
    KINDS,
    IndexedStatement,
    IndexState,
    SearchError,
    StatementHit,
    StatementIndexPort,
    StatementQuery,
)

VERDICTS: Final = ("allow", "hold", "deny")
#: Characters of a search, and words and filters in it.
LONGEST: Final = 1000
_MOST_PARTS: Final = 30
#: Characters before the ``*`` of a word.
_SHORTEST_PREFIX: Final = 2
#: Statements of one transaction of the index.
_BATCH: Final = 1000
#: Seconds between passes over the record, and between reports of how far they got.
_PAUSE: Final = 1.0
_REPORT: Final = 5.0
#: Of a core, which the indexer takes at most: while nothing else of the gateway runs, and while the
#: rest takes ``_BUSY`` of one or more, since statements would wait for the indexer.
_IDLE_SHARE: Final = 0.3
_BUSY_SHARE: Final = 0.01
_BUSY: Final = 0.1
#: Statements between looks at the time that they took, and seconds of it after which others come
#: first.
_LOOK: Final = 32
_SLICE: Final = 0.002
#: Seconds until what a statement does is in the files and their index.
_SETTLED: Final = 5.0

_PART: Final = re.compile(
    r"(?:(?P<kind>[A-Za-z_]+):(?!:))?"
    r'(?:"(?P<quoted>[^"]*)"(?P<star>\*?)|(?P<bare>[^\s"]+))(?=\s|$)'
)

_log = structlog.get_logger("sallyport.audit")


def read_query(
    text: str,
    *,
    since: float | None = None,
    until: float | None = None,
    after: str = "",
    limit: int = 50,
) -> StatementQuery:
    """``text``: words and filters. ``since``, ``until``: Unix seconds. ``after``: ``next`` of the
    page before. Raises SearchError, whose text says what to write instead.
    """
    if len(text) > LONGEST:
        raise SearchError(f"the search has {len(text)} characters; {LONGEST} are accepted")
    terms: list[tuple[str, str]] = []
    phrases: list[str] = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        part = _PART.match(text, position)
        if part is None:
            raise SearchError(
                f"cannot read {text[position : position + 40]!r}: "
                "a quotation mark opens or closes a word. "
                'Write, for example: verdict:deny "drop table"'
            )
        position = part.end()
        if part["kind"]:
            value = part["quoted"] if part["quoted"] is not None else part["bare"]
            terms.append(_term(part["kind"].lower(), value))
        else:
            phrases.append(part["bare"] or f"{part['quoted']}{part['star']}")
    # As between words of SQL, signs alone mean nothing to the index.
    phrases = [p for p in phrases if any(map(str.isalnum, p))] or phrases[:1]
    if len(terms) + len(phrases) > _MOST_PARTS:
        raise SearchError(f"the search has more than {_MOST_PARTS} words and filters")
    words = tuple(map(_phrase, phrases))
    return StatementQuery(tuple(terms), words, since, until, _before(after), limit)


def _term(kind: str, value: str) -> tuple[str, str]:
    if kind not in KINDS:
        raise SearchError(
            f"there is no filter {kind!r}. There are: {', '.join(KINDS)}. "
            f'To search for the text itself, quote it: "{kind}:{value[:20]}"'
        )
    if not value:
        example = _EXAMPLES.get(kind, "value")
        raise SearchError(f"the filter {kind} needs a value, such as {kind}:{example}")
    if kind == "verdict" and value not in VERDICTS:
        raise SearchError(f"there is no verdict {value!r}. verdict: takes {', '.join(VERDICTS)}")
    return kind, value


_EXAMPLES: Final = {
    "subject": "dana@example.com", "verdict": "deny", "code": "SP1001", "relation": "public.orders",
    "column": "customers.email", "masked": "ssn", "sqlstate": "42501", "target": "shop",
}  # fmt: skip


def _phrase(text: str) -> str:
    if text.endswith(":") and text[:-1].lower() in KINDS:
        return _term(text[:-1].lower(), "")[1]
    if not any(character.isalnum() for character in text):
        raise SearchError(f"there is no word to search for in {text!r}: write letters or digits")
    if text.endswith("*") and len(re.split(r"\W", text[:-1])[-1]) < _SHORTEST_PREFIX:
        raise SearchError(
            f"{text!r} begins too many words: write at least {_SHORTEST_PREFIX} characters before *"
        )
    return text


def _before(after: str) -> int | None:
    if not after:
        return None
    if not after.isascii() or not after.isdecimal() or len(after) > 19:
        raise SearchError(f"{after[:40]!r} is not a place: give the 'next' of the page before")
    return int(after)


@dataclass(frozen=True, slots=True)
class SearchPage:
    """``next``: where the next page goes on, None at the end. ``state``: what was searched."""

    hits: tuple[StatementHit, ...]
    next: str | None
    state: IndexState


class StatementSearches:
    """Who may read statements may search them. ``open_index`` raises SearchError."""

    def __init__(self, open_index: Callable[[], StatementIndexPort], authorize: Authorize) -> None:
        self._open, self._authorize = open_index, authorize

    def search(self, query: StatementQuery) -> SearchPage:
        """Raises SearchError, and what ``authorize`` raises."""
        self._authorize("sessions.read", "")
        index = self._open()
        hits = index.search(query)
        more = len(hits) == query.limit and query.limit > 0
        return SearchPage(tuple(hits), str(hits[-1].key) if more else None, index.state())


_SHOWN: Final = (
    "session", "number", "sql", "subject", "email", "actors", "agent", "label", "target", "outcome",
    "code", "rule", "relations", "columns", "masked", "sqlstate", "fingerprint", "rows", "seconds",
)  # fmt: skip


def hit_data(hit: StatementHit) -> dict[str, Any]:
    """As JSON values. Keys are added in later versions, never changed."""
    statement = hit.statement
    data: dict[str, Any] = {"time": rfc3339(statement.at)}
    for name in _SHOWN:
        value = getattr(statement, name)
        key = "verdict" if name == "outcome" else name
        data[key] = list(value) if isinstance(value, tuple) else value
    data["shortened"] = hit.shortened
    return data


def state_text(state: IndexState, now: float) -> str:
    """What a search did not look at, "" when that is nothing. ``now``: Unix seconds."""
    parts = []
    if now - state.complete_until > 60.0:
        until = _minute(state.complete_until) if state.complete_until else "the beginning"
        parts.append(f"recordings after {until} are not all in the index yet")
    if state.dropped and state.oldest is not None:
        oldest = _minute(state.oldest)
        parts.append(f"statements before {oldest} have left the index, not the recordings")
    return "; ".join(parts)


def _minute(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def indexed(event: AuditEvent) -> IndexedStatement | None:
    """What the index keeps of an event; None for what is no agent's statement."""
    statement, login = event.event, event.login
    if (
        event.kind != STATEMENT
        or not isinstance(statement, ev.Statement)
        or kind_of(event.session) == ACTIONS
    ):
        return None
    who, end = login.subject, event.complete
    return IndexedStatement(
        at=event.time, session=event.session, number=statement.number, sql=statement.sql,
        subject=who.id, email=who.email, actors=who.actors, agent=who.agent, label=who.label,
        target=login.target, outcome=statement.outcome, code=statement.code, rule=statement.rule,
        relations=statement.relations, columns=statement.columns, masked=statement.masked,
        sqlstate="" if end is None else end.sqlstate,
        fingerprint=query_fingerprint(statement.sql),
        rows=None if end is None else counted_rows(end),
        seconds=None if end is None else end.seconds,
    )  # fmt: skip


class _Turns:
    """Leaves the interpreter to what else runs in this process. ``stop``: cuts every wait short.
    ``all_mine``: nothing is left to others.
    """

    def __init__(self, stop: threading.Event, all_mine: bool) -> None:
        self._stop, self._all_mine = stop, all_mine
        self._wall, self._own, self._all = time.monotonic(), time.thread_time(), time.process_time()

    def give(self) -> None:
        """After a slice of one's own, by what the others took since the last one."""
        wall, own, all_ = time.monotonic(), time.thread_time(), time.process_time()
        used = own - self._own
        if used < _SLICE or self._all_mine:
            return
        beside = max(all_ - self._all - used, 0.0) / max(wall - self._wall, used)
        self._wall, self._own, self._all = wall, own, all_
        self._stop.wait(used * (1 / share_beside(beside) - 1))


def share_beside(rest: float) -> float:
    """Of a core, for the indexer, while the rest of the process takes ``rest`` of one."""
    return max(_BUSY_SHARE, _IDLE_SHARE * (1 - rest / _BUSY))


class StatementIndexer:
    """Puts what is recorded into the index, behind the recorder. ``alone``: nothing else runs in
    this process.
    """

    def __init__(
        self, sessions: Sessions, index: StatementIndexPort, *, alone: bool = False
    ) -> None:
        self._sessions, self._index, self._alone = sessions, index, alone
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._follower: RecordFollower | None = None
        self._reported = 0.0
        #: it could not be written the last time
        self.failed = False

    def start(self) -> None:
        """Begin a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="sallyport-search", daemon=True)
        self._thread.start()

    def close(self, seconds: float = 5.0) -> None:
        """Take in what is recorded, for at most so long, and stop."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        try:
            self.fill(time.monotonic() + seconds)
        except SallyportError as error:
            _log.warning("the index of statements is behind", error=str(error))

    def fill(self, deadline: float | None = None) -> int:
        """One pass over the record; how many statements came. ``deadline``: stop then (monotonic).
        Raises SallyportError.
        """
        if self._follower is None:
            cursor = self._index.state().cursor
            self._follower = RecordFollower(
                self._sessions,
                ExportCursor.parse(cursor) if cursor else ExportCursor(),
                self._on_problem,
                texts=False,  # the index has none of them
            )
        follower, self._follower = (
            self._follower,
            None,
        )  # what breaks off begins at the kept cursor again
        began, count, batch = time.time(), 0, []
        complete_until = self._index.state().complete_until
        turns = _Turns(self._stop, self._alone or deadline is not None)
        for event in follower.events(began):
            statement = indexed(event)
            if statement is not None:
                batch.append(statement)
                if not len(batch) % _LOOK:
                    turns.give()
            if len(batch) >= _BATCH:
                self._index.add(batch, str(follower.cursor), complete_until)
                count += len(batch)
                batch = []
                if deadline is not None and time.monotonic() > deadline:
                    return count
                if self._stop.is_set() and deadline is None:
                    return count
        if batch or began - self._reported >= _REPORT:
            self._index.add(batch, str(follower.cursor), began - _SETTLED)
            self._reported = began
        self._follower = follower
        return count + len(batch)

    def _run(self) -> None:
        added = 0
        while not self._stop.is_set():
            try:
                with computing_beside():
                    added += self.fill()
                if added >= _BATCH:
                    self._index.trim()
                    added = 0
                if self.failed:
                    self.failed = False
                    _log.warning("the index of statements can be written again")
            except SallyportError as error:
                if not self.failed:
                    self.failed = True
                    _log.error(
                        "the index of statements cannot be written; it is tried again",
                        error=str(error),
                    )
            self._stop.wait(_PAUSE)

    def _on_problem(self, session: str, problem: str) -> None:
        _log.warning("a recording is not searched whole", session=session, reason=problem)
