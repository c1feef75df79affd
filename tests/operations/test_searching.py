"""Searching sessions by their statements: in the index, in recordings, within a time, and never
past what the caller may read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sallyport.audit.ports import SessionQuery, SessionRow
from sallyport.audit.recorder import Recorder
from sallyport.operations.access import REVIEWER, VIEWER, ForbiddenError, Principal
from sallyport.operations.searching import SearchPage
from sallyport.operations.sessions import Sessions
from sallyport.store.database import open_database
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.writer import Writer
from tests.audit.helpers import AGENT, judged
from tests.support.waiting import wait_for

COUNT = 250


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Path, SqlSessionIndex, Sessions]]:
    """Sessions s_000 to s_249, each with two statements; every fiftieth with an UPDATE of orders
    that was refused.
    """
    directory = tmp_path_factory.mktemp("data")
    engine = open_database(directory)
    writer = Writer(engine, interval=0.01)
    index = SqlSessionIndex(engine, writer)
    recorder = Recorder(directory, index, interval=0.005)
    recorder.start()
    for number in range(COUNT):
        session = recorder.open_session(f"s_{number:03}", AGENT, "shop", "127.0.0.1:1", "psql")
        session.statement(
            judged(
                1,
                f"select {number}\nfrom customers",
                outcome="allow",
                relations=("public.customers",),
            )
        )
        if number % 50 == 0:
            session.statement(
                judged(
                    2,
                    f"UPDATE orders SET total = {number}",
                    outcome="deny",
                    relations=("public.orders",),
                )
            )
        session.end("done")
    wait_for(lambda: recorder.backlog == 0)
    recorder.close()
    writer.start()
    assert writer.flush()
    yield directory, index, Sessions(recorder.directory, index)
    writer.close()
    engine.dispose()


Place = tuple[Path, SqlSessionIndex, Sessions]


def pages(
    sessions: Sessions, query: SessionQuery, seconds: float | None = None
) -> tuple[list[str], list[SearchPage]]:
    """Ids found on all pages."""
    ids: list[str] = []
    seen: list[SearchPage] = []
    while True:
        page = sessions.search(query, seconds)
        seen.append(page)
        ids += [match.row.id for match in page.matches]
        assert len(seen) < 1000
        if page.after is None:
            return ids, seen
        query = replace(query, after=page.after)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (SessionQuery(text="update ORDERS"), ["s_200", "s_150", "s_100", "s_050", "s_000"]),
        (SessionQuery(text="select 17 from"), ["s_017"]),
        (SessionQuery(relation="orders", limit=2), ["s_200", "s_150", "s_100", "s_050", "s_000"]),
        (SessionQuery(relation="public.customers", text="total"), []),
        (SessionQuery(verdict="deny", limit=1), ["s_200", "s_150", "s_100", "s_050", "s_000"]),
        (SessionQuery(verdict="deny", text="total = 15"), ["s_150"]),
        (SessionQuery(verdict="hold"), []),
        (SessionQuery(text="orders", subject="nobody"), []),
        (SessionQuery(text="orders", limit=0), []),
    ],
    ids=str,
)
@pytest.mark.parametrize("way", ["index", "recordings", "neither"])
def test_what_is_found(place: Place, query: SessionQuery, expected: list[str], way: str) -> None:
    """``recordings``: the index knows the sessions and nothing of their statements; ``neither``:
    there is no index.
    """
    _, index, sessions = place
    if way == "recordings":
        sessions = Sessions(sessions._directory, Unsearchable(index))
    elif way == "neither":
        sessions = Sessions(sessions._directory, None)
    ids, seen = pages(sessions, query)
    assert ids == expected
    assert not any(page.unread for page in seen)
    read = sum(page.recordings for page in seen)
    if way == "index":
        assert read == 0
    elif query.by_statement and query.limit and not query.subject and query.verdict != "deny":
        assert read == COUNT, "each once"


class Unsearchable:
    """The index as it is for sessions from before there was a search."""

    def __init__(self, index: SqlSessionIndex) -> None:
        self._index = index

    def __getattr__(self, name: str) -> object:
        return getattr(self._index, name)

    def search(self, query: SessionQuery) -> list[SessionRow]:
        return [replace(row, searchable="") for row in self._index.search(query)]

    def matching(self, ids: object, query: object) -> dict[str, object]:
        return {}


def test_the_statement_is_named(place: Place) -> None:
    _, _, sessions = place
    (match,) = sessions.search(SessionQuery(text="total = 150")).matches
    assert match.statement is not None
    assert (match.statement.number, match.statement.outcome) == (2, "deny")
    assert match.statement.sql == "UPDATE orders SET total = 150"


def test_no_time_at_all_still_gets_to_the_end(place: Place) -> None:
    """A recording that takes longer than a page's whole time is said not to have been read; the
    search goes on behind it.
    """
    _, index, sessions = place
    sessions = Sessions(sessions._directory, Unsearchable(index))  # type: ignore[arg-type]
    ids, seen = pages(sessions, SessionQuery(text="update orders"), 0.0)
    assert len(seen) > COUNT / 2
    assert ids == ["s_200", "s_150", "s_100", "s_050", "s_000"], (
        "so short that the clock is not looked at"
    )
    assert all(page.recordings <= 1 for page in seen)


def test_a_page_stops_in_time(place: Place) -> None:
    _, index, sessions = place
    sessions = Sessions(sessions._directory, Unsearchable(index))  # type: ignore[arg-type]
    page = sessions.search(SessionQuery(text="not there"), 0.005)
    assert page.after is not None
    assert 0 < page.recordings < COUNT
    assert page.matches == []


def test_a_long_recording_is_not_read_for_ever(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, interval=0.005)
    recorder.start()
    long = recorder.open_session("s_long", AGENT, "shop", "127.0.0.1:1")
    for number in range(200):
        long.statement(judged(number + 1, f"select {number}", outcome="allow"))
    long.end("done")
    wait_for(lambda: recorder.backlog == 0)
    recorder.close()
    page = Sessions(recorder.directory, None).search(SessionQuery(text="select 199"), 0.0)
    assert (page.unread, page.after, page.matches) == (["s_long"], None, [])
    assert (
        len(Sessions(recorder.directory, None).search(SessionQuery(text="select 199")).matches) == 1
    )


def test_a_damaged_recording_is_said_to_be_unread(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, interval=0.005)
    recorder.start()
    session = recorder.open_session("s_damaged", AGENT, "shop", "127.0.0.1:1")
    session.statement(judged(1, "select 1", outcome="allow"))
    wait_for(lambda: session.backlog == 0)
    session.statement(judged(2, "select 2", outcome="allow"))
    session.end("done")
    wait_for(lambda: recorder.backlog == 0)
    recorder.close()
    path = session.output.path
    path.write_bytes(path.read_bytes()[:-5])
    page = Sessions(recorder.directory, None).search(SessionQuery(text="select 2"))
    assert page.unread == ["s_damaged"]


def test_who_may_not_read_statements_may_not_look_for_them(place: Place) -> None:
    _, _, sessions = place
    for query in (SessionQuery(text="x"), SessionQuery(relation="x")):
        with pytest.raises(ForbiddenError, match=r"sessions\.read"):
            sessions.as_caller(Principal(AGENT, frozenset({VIEWER})).authorize).search(query)
        sessions.as_caller(Principal(AGENT, frozenset({REVIEWER})).authorize).search(query)
    assert (
        sessions.as_caller(Principal(AGENT, frozenset({VIEWER})).authorize).search(
            SessionQuery(verdict="hold")
        )
        == SearchPage()
    )
