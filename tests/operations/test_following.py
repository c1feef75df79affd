"""Following the record: each event once, in order, whatever happens in between."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sallyport.audit.archive import RecordingError
from sallyport.audit.ports import SessionRow
from sallyport.audit.senttexts import SentTexts
from sallyport.operations.auditlog import ExportCursor, event_data
from sallyport.operations.sessions import Sessions
from sallyport.operations.statementsearch import StatementIndexer
from sallyport.store.statementsearch import StatementSearch
from tests.audit.helpers import begin, judged
from tests.operations.record import Record


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    made = Record(tmp_path)
    yield made
    made.recorder.close()
    made.writer.close()


def test_what_grows_is_given_out_once(record: Record) -> None:
    session = begin(record.recorder, "s_1")
    for number in (1, 2):
        session.statement(judged(number, "SELECT 1", outcome="allow"))
        session.complete(number, "SELECT 1", 1, "", 0.1)
    session.statement(judged(3, "SELECT pg_sleep(9)", outcome="allow"))
    record.settle()
    assert record.ids() == ["s_1:0", "s_1:1", "s_1:2"]  # the third has not ended
    assert record.ids() == []
    session.complete(3, "SELECT 1", 1, "", 9.0)
    session.end("disconnected")
    record.settle()
    assert record.ids() == ["s_1:3", "s_1:4"]
    assert record.ids() == record.ids(time.time() + 120) == []
    assert record.follower.cursor.read == {}  # it is over, and nothing can come before it


def test_another_goes_on_where_the_cursor_was_kept(record: Record) -> None:
    for name in ("s_1", "s_2", "s_3"):
        session = begin(record.recorder, name)
        for number in range(1, 4):
            session.statement(judged(number, f"SELECT {number}", outcome="allow"))
            session.complete(number, "SELECT 1", 1, "", 0.1)
        if name != "s_3":
            session.end("disconnected")
    record.settle()
    expected = record.ids()
    assert len(expected) == 5 + 5 + 4
    for taken in range(len(expected)):
        follower = record.follow(ExportCursor())
        events = follower.events(time.time())
        first = [next(events).id for _ in range(taken)]
        cursor = str(follower.cursor)
        rest = [event.id for event in record.follow(ExportCursor.parse(cursor)).events(time.time())]
        assert first + rest == expected


def test_a_damaged_recording_is_told_once(record: Record, tmp_path: Path) -> None:
    for name in ("s_1", "s_2"):
        session = begin(record.recorder, name)
        session.statement(judged(1, "SELECT 1", outcome="allow"))
        session.end("disconnected")
    record.settle()
    (path,) = tmp_path.glob("recordings/*/*/*/s_1.sprec")
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    assert record.ids() == ["s_2:0", "s_2:1", "s_2:2"]
    assert record.ids() == []
    assert len(record.problems) == 1 and "does not continue" in record.problems[0]


def test_an_archive_that_is_away_for_a_while_loses_nothing(record: Record) -> None:
    session = begin(record.recorder, "s_1")
    session.end("disconnected")
    record.settle()
    is_away = [True]

    def fetch(row: SessionRow, local: Path) -> Path:
        if is_away[0]:
            raise RecordingError("the archive did not give it")
        return local

    record.sessions = Sessions(record.recorder.directory, record.index, fetch=fetch)
    record.follower = record.follow(ExportCursor())
    assert record.ids() == record.ids(time.time() + 300) == []
    assert record.problems == ["the archive did not give it"]
    is_away[0] = False
    assert record.ids() == ["s_1:0", "s_1:1"]


def test_a_session_that_reaches_the_index_late_is_not_lost(record: Record) -> None:
    first = begin(record.recorder, "s_1")
    first.end("disconnected")
    record.settle()
    assert record.ids() == ["s_1:0", "s_1:1"]
    second = begin(record.recorder, "s_2")
    second.end("disconnected")
    record.settle()
    assert record.ids() == ["s_2:0", "s_2:1"]


def test_a_deleted_recording_is_forgotten(record: Record, tmp_path: Path) -> None:
    begin(record.recorder, "s_1")
    record.settle()
    assert record.ids() == ["s_1:0"]
    cursor = ExportCursor(record.follower.cursor.mark, {"s_gone": 3, **record.follower.cursor.read})
    follower = record.follow(cursor)
    assert list(follower.events(time.time())) == []
    assert "s_gone" not in follower.cursor.read and "s_1" in follower.cursor.read


def test_a_local_copy_that_goes_is_read_on_elsewhere(record: Record, tmp_path: Path) -> None:
    """The archiver deletes it while a receiver that is behind has it open."""
    session = begin(record.recorder, "s_1")
    session.statement(judged(1, "SELECT 1", outcome="allow"))
    session.complete(1, "SELECT 1", 1, "", 0.1)
    record.settle()
    assert record.ids() == ["s_1:0", "s_1:1"]
    session.statement(judged(2, "SELECT 2", outcome="allow"))
    session.complete(2, "SELECT 2", 1, "", 0.1)
    session.end("disconnected")
    record.settle()
    local = session.output.path
    elsewhere = local.rename(tmp_path / "elsewhere.sprec")
    record.sessions._fetch = lambda row, path: path if path.exists() else elsewhere
    ids = record.ids() + record.ids()
    assert ids == ["s_1:2", "s_1:3"]


def test_the_index_of_statements_keeps_no_texts_that_ran(record: Record, tmp_path: Path) -> None:
    def kept() -> int:
        return sum(isinstance(value, SentTexts) for value in gc.get_objects())

    session = begin(record.recorder, "s_1")
    for number in (1, 2):
        session.statement(judged(number, "SELECT 1", outcome="allow", sent="SELECT 'a'"))
        session.complete(number, "SELECT 1", 1, "", 0.1)
    record.settle()
    before = kept()
    search = StatementSearch(tmp_path, writable=True, maximum=100)
    indexer = StatementIndexer(record.sessions, search, alone=True)
    assert indexer.fill() == 2
    assert kept() == before
    events = list(record.follower.events(time.time()))
    assert kept() == before + 1
    assert [event_data(event)["sent"] for event in events[1:]] == ["SELECT 'a'"] * 2
