"""How the recorder's thread goes about it: what a pass writes, when the next one is, what the index
hears.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sallyport.audit import events as ev
from sallyport.audit import recorder as recorder_module
from sallyport.audit.recorder import Recorder
from sallyport.audit.recording import SessionRecording
from sallyport.audit.verify import verify
from tests.audit.helpers import ListIndex, begin, events_of, judged


@pytest.fixture
def index() -> ListIndex:
    return ListIndex()


@pytest.fixture
def make(tmp_path: Path, index: ListIndex) -> Iterator[Callable[..., Recorder]]:
    """Recorders that are not started: the test makes the passes."""
    made: list[Recorder] = []

    def recorder(**options: Any) -> Recorder:
        made.append(Recorder(tmp_path, index, **options))
        return made[-1]

    yield recorder
    for unstarted in made:
        unstarted._writer.appender.close_all()


@pytest.fixture
def recorder(make: Callable[..., Recorder]) -> Recorder:
    return make()


def ask(session: SessionRecording, number: int) -> None:
    session.statement(judged(number, f"select {number}", outcome="allow"))
    session.answered(number, b"D" * 50, "SELECT 1", 1, 0.001)


def test_a_pass_writes_one_block_for_each_session(recorder: Recorder) -> None:
    sessions = [begin(recorder) for _ in range(3)]
    recorder._pass(complete=True)
    for number in range(1, 20):
        for session in sessions[:2]:
            ask(session, number)
    recorder._pass(complete=True)
    recorder._pass(complete=True)
    assert [session.chain.sequence for session in sessions] == [2, 2, 1]
    assert [session.chain.events for session in sessions] == [39, 39, 1]
    assert recorder.backlog == 0


def test_a_pass_before_its_time_writes_only_sessions_with_much(
    make: Callable[..., Recorder],
) -> None:
    recorder = make(wake_bytes=4000)
    small, large = begin(recorder), begin(recorder)
    recorder._pass(complete=True)
    ask(small, 1)
    large.reply(1, bytes(2000))
    recorder._pass(complete=False)
    assert (small.chain.sequence, large.chain.sequence) == (1, 2)
    ask(small, 2)
    recorder._pass(complete=False)
    assert small.chain.sequence == 1
    recorder._pass(complete=True)
    assert (small.chain.sequence, small.chain.events) == (2, 5)


def test_the_pause_grows_with_what_a_pass_takes(recorder: Recorder) -> None:
    assert recorder._pause(0.0001, 0.0001) == recorder._interval
    assert recorder._pause(0.002, 0.002) == pytest.approx(0.2)
    assert recorder._pause(0.1, 0.0) == pytest.approx(0.3)
    assert recorder._pause(5.0, 5.0) == recorder._max_interval


def test_rows_of_live_sessions_are_saved_now_and_then_and_of_ended_ones_at_once(
    recorder: Recorder, index: ListIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "SAVE", 1000.0)
    live, ended = begin(recorder), begin(recorder)
    recorder._tend(1000.0)
    index.reports.clear()
    for number in range(1, 5):
        ask(live, number)
        ask(ended, number)
        recorder._pass(complete=True)
        recorder._tend(1000.0 + number)
    assert index.reports == []
    ended.end("done")
    recorder._pass(complete=True)
    recorder._tend(1010.0)
    assert [(row.id, row.status, row.statements) for row in index.reports] == [
        (ended.row.id, "ended", 4)
    ]
    recorder._tend(2000.0)
    assert [row.statements for row in index.reports if row.id == live.row.id] == [4]
    assert verify(live.output.path, index.last(live.row.id)).ok
    recorder._tend(3000.0)
    assert len(index.reports) == 2, "nothing changed"


def test_what_comes_after_the_end_is_not_recorded(recorder: Recorder) -> None:
    session = begin(recorder)
    session.end("done")
    recorder._pass(complete=True)
    session.note("late", "nobody hears it")
    recorder._pass(complete=True)
    assert isinstance(events_of(session.output.path)[-1], ev.End)
    assert recorder.backlog == 0


@pytest.mark.parametrize("max_open", [2, 100])
def test_recordings_stay_open_up_to_a_bound(make: Callable[..., Recorder], max_open: int) -> None:
    recorder = make(max_open=max_open)
    sessions = [begin(recorder) for _ in range(10)]
    for number in range(1, 4):
        recorder._pass(complete=True)
        open_files = [session for session in sessions if session.output.descriptor >= 0]
        assert len(open_files) == min(max_open, 10)
        for session in sessions:
            ask(session, number)
    recorder.start()
    recorder.close()
    assert all(session.output.descriptor < 0 for session in sessions)
    for session in sessions:
        assert len(events_of(session.output.path)) == 11
        assert verify(session.output.path).ok


def test_a_file_is_compared_with_what_was_written_when_it_is_opened(
    make: Callable[..., Recorder],
) -> None:
    recorder = make(max_open=1)
    first, second = begin(recorder), begin(recorder)
    recorder._pass(complete=True)
    os.truncate(first.output.path, 50)
    ask(first, 1)
    ask(second, 1)
    recorder._pass(complete=True)
    assert (first.failed, second.failed, recorder.lost) == (True, False, 1)
