"""What people do with recorded sessions: list, show, replay, verify. The CLI and the console call
these, nothing else.

Every operation first asks ``authorize(action, session id or "")``, which raises when the caller may
not; the CLI runs as whoever can read the data directory and needs no more. Results are values and
iterators; nothing is printed here.
"""

from __future__ import annotations

import difflib
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from sallyport.audit import events as ev
from sallyport.audit.actions import RecordedAction, actions_of, shreds
from sallyport.audit.archive import (
    RecordingError,
    find_recordings,
    is_session_id,
    recording_path,
)
from sallyport.audit.blocks import is_unwritten
from sallyport.audit.completion import verify_journal
from sallyport.audit.follow import RecordingTail
from sallyport.audit.keyfiles import KeyNotListedError, key_path, read_key_file
from sallyport.audit.keys import NO_KEYS, KeyRing
from sallyport.audit.places import RecordingPlaces
from sallyport.audit.ports import (
    ACTIONS,
    IndexUnreadableError,
    SessionQuery,
    SessionRow,
    StatementText,
)
from sallyport.audit.replay import Step, error_fields, mask_notice, steps
from sallyport.audit.summary import row_of_login
from sallyport.audit.tail import last_events
from sallyport.audit.tlog.notes import VerifyKey
from sallyport.audit.tlog.tiles import DIRECTORY as LOG_DIRECTORY
from sallyport.audit.tlog.verification import LOG, LogState, verify_log
from sallyport.audit.verify import (
    DELETION,
    UNREADABLE,
    Verification,
    VerificationProblem,
    missing,
    read_events,
    verify,
)
from sallyport.core.errors import SallyportError
from sallyport.operations.searching import SearchPage, Unindexed, search

#: (action, session id or "") -> None; raises SallyportError when it is not permitted.
Authorize = Callable[[str, str], None]
#: A recording's row and where it should be -> where it is. Raises RecordingError.
Fetch = Callable[[SessionRow, Path], Path]
#: Status of a session that only its recording knows of.
NOT_INDEXED = "not indexed"
#: What verification calls the index itself, and the journal.
INDEX, JOURNAL = "index", "journal"
#: Seconds before each look at an index that lacks what the log has.
_BEHIND = (0.0, 0.5, 1.0, 1.5)
#: Results of verification that are not a recording's.
BESIDE = frozenset({INDEX, JOURNAL, LOG})
#: The result of a statement that was recovered from the journal.
OUTCOME_UNKNOWN = "recovered, outcome not known"
#: Statements that wait for their end while a recording is read.
_OPEN = 1000
#: Sessions in a page of a search that goes on to the end.
_PAGE = 200


class SessionReader(Protocol):
    """The part of the store that these operations read."""

    def recent(
        self,
        *,
        limit: int | None = 50,
        status: str = "",
        subject: str = "",
        target: str = "",
        kind: str = "",
    ) -> list[SessionRow]: ...

    def search(self, query: SessionQuery) -> list[SessionRow]: ...

    def matching(self, ids: Sequence[str], query: SessionQuery) -> dict[str, StatementText]: ...

    def get(self, session_id: str) -> SessionRow | None: ...

    def ids_beginning(self, prefix: str, limit: int = 10) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the log is compared with. ``key`` None: the one beside it. ``checkpoints``: names and
    texts of those that were kept elsewhere. ``expected``: a log that is not there is a finding.
    """

    key: VerifyKey | None = None
    checkpoints: tuple[tuple[str, str], ...] = ()
    expected: bool = False


class UnknownSessionError(SallyportError):
    """No session, or more than one, has this id or begins with it."""


@dataclass(frozen=True, slots=True)
class StatementLine:
    """A statement and what came of it. ``at``: seconds since login; ``seconds`` is None when its
    end is not recorded. ``rows``: that came back, or else those of the command tag. ``masked``:
    columns masked in its rows. ``sent``: what ran in its place. ``notice``: which masks its
    expressions saw, and ``message``, ``detail``, ``hint``: why it failed, as the client was told.
    """

    number: int
    at: float
    sql: str
    outcome: str
    rule: str
    code: str
    command: str = ""
    rows: int = 0
    sqlstate: str = ""
    seconds: float | None = None
    relations: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    sent: str = ""
    notice: str = ""
    message: str = ""
    detail: str = ""
    hint: str = ""


def permit(action: str, session_id: str) -> None:
    """The authorization of a caller who could read the files anyway."""


class Sessions:
    """``directory``: of the recordings. ``index`` None: there is no store; what the recordings
    themselves say is used instead. ``index_problem``: why there is none, when there should be one.
    ``keys``: decrypt recordings. ``fetch``: brings recordings back that are not here any
    more.
    """

    def __init__(
        self,
        directory: Path,
        index: SessionReader | None,
        authorize: Authorize = permit,
        index_problem: str = "",
        keys: KeyRing = NO_KEYS,
        fetch: Fetch | None = None,
    ) -> None:
        self._fetch = fetch
        self._index_problem = index_problem
        self._keys = keys
        self._directory = directory
        self._index = index
        self._authorize = authorize

    def recent(
        self,
        *,
        limit: int | None = 50,
        status: str = "",
        subject: str = "",
        target: str = "",
        kind: str = "",
    ) -> list[SessionRow]:
        """Newest first. "" means any, limit None means all. kind: session | actions."""
        self._authorize("sessions.list", "")
        if self._index is not None:
            return self._index.recent(
                limit=limit, status=status, subject=subject, target=target, kind=kind
            )
        rows = [
            row
            for row in self._all()
            if status in ("", row.status)
            and subject in ("", row.subject)
            and target in ("", row.target)
            and kind in ("", row.kind)
        ]
        return rows[:limit]

    def search(self, query: SessionQuery, seconds: float | None = None) -> SearchPage:
        """One page of sessions, newest first; ``wanted.after`` asks for the page behind a row.

        ``seconds``: after so long it stops where it is. Who looks for what statements say must be
        allowed to read them.
        """
        self._authorize("sessions.list", "")
        if query.text or query.relation:
            self._authorize("sessions.read", "")

        def events(
            row: SessionRow, on_problem: Callable[[VerificationProblem], None]
        ) -> Iterator[ev.Event]:
            return read_events(self._path(row), row.id, on_problem, self._keys)

        if self._index is None:
            rows = self._all()
            return search(
                Unindexed(rows[::-1] if query.oldest_first else rows), events, query, seconds
            )
        if query.verdict == "deny":  # the index counts refusals
            bare = not query.text and not query.relation
            query = replace(query, refused=True, verdict="" if bare else "deny")
        return search(self._index, events, query, seconds)

    def with_statement(
        self,
        *,
        text: str = "",
        relation: str = "",
        verdict: str = "",
        limit: int | None = 50,
        status: str = "",
        subject: str = "",
        target: str = "",
        kind: str = "",
    ) -> SearchPage:
        """As :meth:`recent`, those with one statement like that; however long it takes."""
        result = SearchPage()
        query = SessionQuery(
            text=text,
            relation=relation,
            verdict=verdict,
            status=status,
            subject=subject,
            target=target,
            kind=kind,
            limit=_PAGE,
        )
        while True:
            page = self.search(query)
            # Part of the subject finds too many: recent() means the whole of it.
            result.matches += [
                match for match in page.matches if subject in ("", match.row.subject)
            ]
            result.recordings += page.recordings
            result.unread += page.unread
            if page.after is None or (limit is not None and len(result.matches) >= limit):
                result.matches = result.matches[:limit]
                return result
            query = replace(query, after=page.after)

    def _all(self) -> list[SessionRow]:
        rows = (row for id_ in self._recordings() if (row := self._from_recording(id_)) is not None)
        return sorted(rows, key=lambda row: (row.started, row.id), reverse=True)

    def as_caller(self, authorize: Authorize) -> Sessions:
        """The same recordings for somebody else."""
        return Sessions(
            self._directory, self._index, authorize, self._index_problem, self._keys, self._fetch
        )

    def find(self, prefix: str) -> SessionRow:
        """The session with this id, or the only one whose id begins so. Raises
        UnknownSessionError.
        """
        row = self._get(prefix)
        if row is None:
            row = self._get(self._complete(prefix))
        if row is None:
            raise UnknownSessionError(f"the recording of session {prefix} cannot be read")
        self._authorize("audit.actions" if row.kind == ACTIONS else "sessions.read", row.id)
        return row

    def statements(
        self, session_id: str, on_problem: Callable[[VerificationProblem], None] | None = None
    ) -> Iterator[StatementLine]:
        """Every statement of a session in order, with verdict, rows and time. Raises
        RecordingError.
        """
        row = self.find(session_id)
        return _lines(read_events(self._path(row), row.id, on_problem, self._keys))

    def latest(self, session_id: str, count: int) -> list[StatementLine]:
        """The last ``count`` statements of a session, newest first; what is before them is not
        read. Raises RecordingError.
        """
        row = self.find(session_id)
        began, events = last_events(self._path(row), row.id, count, keys=self._keys)
        return list(deque(_lines(events, began), maxlen=count))[::-1]

    def actions(
        self, session_id: str, on_problem: Callable[[VerificationProblem], None] | None = None
    ) -> Iterator[RecordedAction]:
        """What people did, of one recording of actions, in order. Raises RecordingError."""
        row = self.find(session_id)
        return actions_of(row.id, read_events(self._path(row), row.id, on_problem, self._keys))

    def replay(
        self, session_id: str, on_problem: Callable[[VerificationProblem], None] | None = None
    ) -> Iterator[Step]:
        """What the agent saw. Raises RecordingError."""
        row = self.find(session_id)
        return steps(read_events(self._path(row), row.id, on_problem, self._keys))

    def events(
        self, session_id: str, on_problem: Callable[[VerificationProblem], None] | None = None
    ) -> Iterator[ev.Event]:
        """What a recording holds, of a session or of actions. Raises RecordingError."""
        row = self.find(session_id)
        return read_events(self._path(row), row.id, on_problem, self._keys)

    def tail(self, row: SessionRow, *, texts: bool = True) -> RecordingTail:
        """A recording to be read while it grows; see RecordingTail. Raises RecordingError."""
        self._authorize("audit.actions" if row.kind == ACTIONS else "sessions.read", row.id)
        return RecordingTail(self._path(row), row.id, self._keys, texts=texts)

    def verify(
        self, session_id: str = "", *, anchor: Anchor | None = None
    ) -> Iterator[Verification]:
        """Check one session's recording, or with "" every one: those the index knows, those only on
        disk and those that only the log knows. ``anchor``: what the log is compared with. Of one
        session, the log itself is told of only when it is not sound.
        """
        if session_id:
            yield from self._verify_one(session_id, anchor or Anchor())
            return
        self._authorize("audit.verify", "")
        log = self._log(anchor or Anchor())
        rows, problem = self._rows_with(log)
        if problem:
            yield Verification(
                INDEX, self._directory, problems=[VerificationProblem(UNREADABLE, problem)]
            )
        if log is not None:
            yield log.result
        places = RecordingPlaces(self._directory)  # after the log: what it has was there before
        ids = {*rows, *places.files}
        for id_ in sorted(ids):
            yield self._verify(id_, rows.get(id_), places, log, no_index=bool(problem))
        if log is not None:
            yield from log.missing(ids, self._directory)
        if (journal := verify_journal(self._directory, self._keys)) is not None:
            yield journal

    def _rows_with(self, log: LogState | None) -> tuple[dict[str, SessionRow], str]:
        """The index, and why it cannot be read, "" where it can. It is read again while it lacks
        sessions that ``log`` has: that of a running gateway is a second behind.
        """
        rows: dict[str, SessionRow] = {}
        if self._index is None:
            return rows, self._index_problem
        for pause in _BEHIND:
            time.sleep(pause)
            try:
                rows = {row.id: row for row in self._index.recent(limit=None)}
            except IndexUnreadableError as error:
                return {}, str(error)
            if log is None or log.is_known(rows):
                break
        return rows, self._index_problem

    def _verify_one(self, session_id: str, anchor: Anchor) -> Iterator[Verification]:
        try:
            row = self.find(session_id)
        except UnknownSessionError:
            if session_id not in self._recordings():
                raise
            self._authorize("sessions.read", session_id)
            row = None
        log = self._log(anchor)
        if log is not None and not log.result.ok:
            yield log.result
        id_ = session_id if row is None else row.id
        yield self._verify(id_, row, RecordingPlaces(self._directory), log)

    def _log(self, anchor: Anchor) -> LogState | None:
        """None: there is no log here, and none is expected."""
        directory = self._directory / LOG_DIRECTORY
        if not anchor.expected and not directory.exists():
            return None
        return verify_log(directory, anchor.key, anchor.checkpoints)

    def _verify(
        self,
        session_id: str,
        row: SessionRow | None,
        places: RecordingPlaces,
        log: LogState | None,
        *,
        no_index: bool = False,
    ) -> Verification:
        """``no_index``: the index is there and cannot be read."""
        result = self._verify_recording(session_id, row, places)
        indexed_row = row if row is not None and row.status != NOT_INDEXED else None
        places.check(result, indexed_row)
        if log is not None and not os.path.lexists(result.path):
            log.check_missing(result)
        elif log is not None:
            log.check(result, indexed_row, indexed=self._index is not None and not no_index)
        return result

    def _verify_recording(
        self, session_id: str, row: SessionRow | None, places: RecordingPlaces
    ) -> Verification:
        indexed = row is not None and row.status != NOT_INDEXED
        path = places.file(session_id) or self._directory
        if not is_session_id(session_id):
            problem = VerificationProblem(UNREADABLE, "its name is not a session id")
            return Verification(session_id, path, problems=[problem])
        try:
            if row is not None:
                path = self._path(row)
            if row is not None and not os.path.lexists(path):
                return missing(row, path)
            result = verify(path, row if indexed else None, self._keys)
        except RecordingError as error:
            if not (row and row.last_hash) and is_unwritten(path, session_id):
                return Verification(session_id, path, notes=["nothing was recorded"])
            return Verification(
                session_id, path, problems=[VerificationProblem(UNREADABLE, str(error))]
            )
        if result.shredded:
            self._check_shredding(result, places)
        if self._index is not None and not indexed:
            result.notes.append("the index does not know this session")
        return result

    def _check_shredding(self, result: Verification, places: RecordingPlaces) -> None:
        """Whoever can write a file can write that something was shredded; the record of what people
        did has to say so as well.
        """
        try:
            shredding = read_key_file(key_path(result.path)).shredded
            name = shredding.recording if shredding is not None else ""
            path = places.file(name)
            if path is None:
                text = "the recording of that action is missing" if name else "no action is named"
                result.problems.append(
                    VerificationProblem(DELETION, f"its key was deleted, and {text}")
                )
                return
            actions = actions_of(name, read_events(path, name, keys=self._keys))
            if not any(shreds(recorded.action, result.session) for recorded in actions):
                text = f"its key was deleted, and {name} has no such action"
                result.problems.append(VerificationProblem(DELETION, text))
        except KeyNotListedError:
            result.notes.append("whether that action is recorded was not checked: no key")
        except (RecordingError, OSError, ValueError) as error:
            text = f"its key was deleted; the record of that: {error}"
            result.problems.append(VerificationProblem(DELETION, text))

    def _get(self, session_id: str) -> SessionRow | None:
        row = self._index.get(session_id) if self._index is not None else None
        return row if row is not None else self._from_recording(session_id)

    def _path(self, row: SessionRow) -> Path:
        path = recording_path(self._directory, row.id, row.file)
        return path if self._fetch is None else self._fetch(row, path)

    def _recordings(self) -> dict[str, Path]:
        return find_recordings(self._directory)

    def _complete(self, prefix: str) -> str:
        """The one id that begins with ``prefix``."""
        ids = list(self._recordings())
        matches = {id_ for id_ in ids if id_.startswith(prefix)}
        if self._index is not None:
            matches.update(self._index.ids_beginning(prefix))
            ids += [row.id for row in self._index.recent(limit=1000)]
        if prefix and len(matches) == 1:
            return matches.pop()
        if prefix and matches:
            some = ", ".join(sorted(matches)[:5])
            raise UnknownSessionError(
                f"{len(matches)} sessions begin with {prefix!r}: {some}; give more of the id"
            )
        close = difflib.get_close_matches(prefix, set(ids), n=3, cutoff=0.5)
        hint = (
            f"; did you mean {' or '.join(close)}?"
            if close
            else "; 'sallyport sessions list' shows those there are"
        )
        raise UnknownSessionError(f"no session {prefix!r}{hint}")

    def _from_recording(self, session_id: str) -> SessionRow | None:
        """A row from the login event, for a session that the index does not know."""
        path = self._recordings().get(session_id)
        if path is None:
            return None
        try:
            login = next(read_events(path, keys=self._keys), None)
        except RecordingError:
            login = None
        if not isinstance(login, ev.Login):
            return None
        row = row_of_login(login, str(path.relative_to(self._directory)))
        row.id, row.status = session_id, NOT_INDEXED
        return row


def _lines(events: Iterator[ev.Event], began: float | None = None) -> Iterator[StatementLine]:
    """Statements leave in the order they came in, each once its end is known (or too many wait).

    ``began``: None when the first event is the login.
    """
    waiting: OrderedDict[int, StatementLine] = OrderedDict()
    replies: dict[int, bytes] = {}  # the last piece of each: an error ends a reply
    for event in events:
        began = event.at if began is None else began
        if isinstance(event, ev.Statement):
            waiting[event.number] = StatementLine(
                event.number, event.at - began, event.sql, event.outcome, event.rule, event.code,
                relations=event.relations, masked=event.masked, sent=event.sent,
            )  # fmt: skip
        elif isinstance(event, ev.Reply):
            line = waiting.get(event.number)
            if line is not None:
                replies[event.number] = event.data
                if notice := mask_notice(event.data):
                    waiting[event.number] = replace(line, notice=notice)
        elif isinstance(event, ev.Complete) and (line := waiting.get(event.number)) is not None:
            waiting[event.number] = _completed(line, event, replies.get(event.number, b""))
        elif isinstance(event, ev.Recovered) and (line := waiting.get(event.number)) is not None:
            waiting[event.number] = replace(line, command=OUTCOME_UNKNOWN)
        while waiting and (
            len(waiting) > _OPEN or next(iter(waiting.values())).seconds is not None
        ):
            number, line = waiting.popitem(last=False)
            replies.pop(number, None)
            yield line
    yield from waiting.values()


#: Tags that end in how many rows were changed or copied.
_COUNTED = ("INSERT ", "UPDATE ", "DELETE ", "MERGE ", "COPY ")


def _completed(line: StatementLine, event: ev.Complete, reply: bytes) -> StatementLine:
    """``reply``: the last that was recorded of what the client got."""
    rows = counted_rows(event)
    line = replace(
        line, command=event.command, rows=rows, sqlstate=event.sqlstate, seconds=event.seconds
    )
    if not event.sqlstate or (error := error_fields(reply)) is None:
        return line
    return replace(line, message=error.message, detail=error.detail, hint=error.hint)


def counted_rows(event: ev.Complete) -> int:
    """Rows that came back, or else those of the command tag."""
    if event.rows or not event.command.startswith(_COUNTED):
        return event.rows
    number = event.command.rpartition(" ")[2]
    return int(number) if number.isdecimal() else 0
