"""The end of a recording is read without what is before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sallyport.audit import events as ev
from sallyport.audit import tail
from sallyport.audit.archive import RecordingError
from sallyport.audit.reader import RecordingReader
from sallyport.audit.recorder import Recorder
from sallyport.audit.tail import last_events
from sallyport.operations.sessions import Sessions
from tests.audit.helpers import AGENT, judged
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty blocks of ten statements, each with a reply."""
    recorder = Recorder(tmp_path_factory.mktemp("data"), interval=0.001)
    recorder.start()
    session = recorder.open_session("s_long", AGENT, "shop", "127.0.0.1:1")
    for number in range(1, 301):
        session.statement(judged(number, f"select {number}", outcome="allow"))
        session.answered(number, b"D" * 100, "SELECT 1", 1, 0.5)
        if number % 10 == 0:
            wait_for(lambda: session.backlog == 0)
    session.end("done")
    recorder.close()
    return session.output.path


def numbers(events: object) -> list[int]:
    return [event.number for event in events if isinstance(event, ev.Statement)]


def test_only_the_last_blocks_are_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = RecordingReader.blocks_from

    def counted(self: RecordingReader, offset: int) -> object:
        read.append(offset)
        return original(self, offset)

    monkeypatch.setattr(RecordingReader, "blocks_from", counted)
    began, events = last_events(path, "s_long", 15)
    positions = numbers(events)
    assert positions == list(range(positions[0], 301))
    assert 15 <= len(positions) <= 40
    assert len(read) <= 6
    assert began > 0


def test_all_of_it(path: Path) -> None:
    assert numbers(last_events(path, "s_long", 1000)[1]) == list(range(1, 301))


def test_bytes_are_bounded(path: Path) -> None:
    assert 0 < len(numbers(last_events(path, "s_long", 1000, maximum=2000)[1])) < 100
    assert tail.MOST <= 64 << 20


def test_as_operations_show_it(path: Path) -> None:
    sessions = Sessions(path.parents[3], None)
    lines = sessions.latest("s_long", 5)
    assert [line.number for line in lines] == [300, 299, 298, 297, 296]
    assert lines[0].seconds == 0.5
    statements = list(sessions.statements("s_long"))
    assert lines == statements[:-6:-1], "times as well"


def test_damage_at_the_end_is_told(path: Path, tmp_path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-60] ^= 1
    changed = tmp_path / path.name
    changed.write_bytes(content)
    with pytest.raises(RecordingError, match="damaged"):
        last_events(changed, "s_long", 5)
    with pytest.raises(RecordingError, match="does not belong"):
        last_events(path, "s_other", 5)


def test_a_torn_tail_is_left_out(path: Path, tmp_path: Path) -> None:
    """As it is while the gateway writes."""
    torn = tmp_path / path.name
    torn.write_bytes(path.read_bytes()[:-10])
    assert numbers(last_events(torn, "s_long", 5)[1])[-1] in range(290, 301)
