"""What is handed to the recorder comes out of the file: all of it, in order, and nothing else."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sallyport.audit import events as ev
from sallyport.audit.reader import RecordingReader
from sallyport.audit.recorder import Recorder
from sallyport.audit.recording import PIECE
from sallyport.audit.verify import verify
from sallyport.audit.writing import HIGH_WATER
from sallyport.core.clock import ManualClock
from sallyport.session.ports import SessionRecorder
from tests.audit.helpers import AGENT, ListIndex, begin, events_of, judged
from tests.support.waiting import wait_for


@pytest.fixture
def index() -> ListIndex:
    return ListIndex()


@pytest.fixture
def recorder(tmp_path: Path, index: ListIndex) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path, index, interval=0.005)
    recorder.start()
    yield recorder
    recorder.close()


def test_every_call_becomes_an_event(recorder: Recorder) -> None:
    session = begin(recorder)
    port: SessionRecorder = session
    port.statement(judged(
        1, "select $1", outcome="allow", rule="reads", policy_version="p1", epoch="e1",
        protocol="extended",
        binds=[b"x", None], bind_formats=[1], relations=("public.t",), masked=("public.t.c",),
    ))  # fmt: skip
    port.reply(1, b"D....")
    port.copy_in(1, b"d....")
    port.complete(1, "SELECT 1", 1, "", 0.25)
    port.statement(judged(2, "drop table t", outcome="deny", code="SP1002"))
    port.complete(2, "", 0, "42501", 0.0)
    port.note("cancel", "asked by the client")
    port.end("terminated")
    wait_for(lambda: session.backlog == 0)

    login, *events = events_of(session.output.path)
    assert isinstance(login, ev.Login)
    assert (login.session, login.target, login.client, login.application) == (
        session.row.id, "shop", "127.0.0.1:50000", "psql",
    )  # fmt: skip
    ats = [event.at for event in events]
    assert ats == sorted(ats)
    assert [msg for event in events for msg in [type(event).__name__]] == [
        "Statement", "Reply", "CopyIn", "Complete", "Statement", "Complete", "Note", "End",
    ]  # fmt: skip
    first, reply, copy, complete = events[:4]
    assert first == ev.Statement(
        first.at, 1, "select $1", "allow", "reads", "", "p1", "e1", "extended", (b"x", None), (1,),
        ("public.t",), ("public.t.c",),
    )  # fmt: skip
    assert reply == ev.Reply(reply.at, 1, b"D....")
    assert copy == ev.CopyIn(copy.at, 1, b"d....")
    assert complete == ev.Complete(complete.at, 1, "SELECT 1", 1, "", 0.25)
    assert verify(session.output.path).ok


def test_claims_are_not_recorded(recorder: Recorder, tmp_path: Path) -> None:
    session = begin(recorder)
    session.end("done")
    wait_for(lambda: session.backlog == 0)
    login, _ = events_of(session.output.path)
    assert isinstance(login, ev.Login)
    assert login.subject == ev.SubjectFields(
        AGENT.id,
        AGENT.issuer,
        ("ci", "claude-postgres"),
        "claude-code",
        "bob",
        "bob@example.com",
        AGENT.expires_at,
    )
    with RecordingReader(session.output.path) as reader:
        assert all(b"CANARY" not in (block.raw or b"") for block in reader.blocks())


def test_the_index_learns_of_a_session(recorder: Recorder, index: ListIndex) -> None:
    session = begin(recorder)
    assert index.last(session.row.id).status == "live"
    for number in range(1, 6):
        session.statement(judged(number, "select 1", outcome="deny" if number == 3 else "allow"))
        session.complete(number, "SELECT 2", 2, "", 0.1)
    session.end("terminated")
    wait_for(lambda: index.last(session.row.id).status == "ended")
    row = index.last(session.row.id)
    assert (row.statements, row.refused, row.rows, row.reason) == (5, 1, 10, "terminated")
    assert row.last_hash == session.chain.hash.hex()
    assert verify(session.output.path, row).ok


def test_files_are_private(recorder: Recorder, tmp_path: Path) -> None:
    session = begin(recorder)
    wait_for(lambda: session.backlog == 0)
    path = session.output.path
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.relative_to(tmp_path / "recordings").parts[-1] == f"{session.row.id}.sprec"
    for parent in (path.parent, path.parent.parent, tmp_path / "recordings"):
        assert parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("bad", ["", "../etc", "a/b", "a" * 65, ".hidden", "ä"])
def test_unfit_ids_never_become_paths(recorder: Recorder, bad: str) -> None:
    with pytest.raises(ValueError, match="session id"):
        recorder.open_session(bad, AGENT, "shop", "127.0.0.1:1")


def test_a_large_result_is_recorded_whole_in_bounded_blocks(recorder: Recorder) -> None:
    session = begin(recorder)
    pattern = os.urandom(65536)
    total = 0
    for number in range(400):
        wait_for(lambda: session.backlog < HIGH_WATER)
        session.reply(1, pattern[number:])
        total += len(pattern) - number
    session.reply(1, b"z" * (5 << 20))  # one call much larger than a block
    session.end("done")
    wait_for(lambda: session.backlog == 0)
    replies = [event for event in events_of(session.output.path) if isinstance(event, ev.Reply)]
    assert sum(len(reply.data) for reply in replies) == total + (5 << 20)
    assert b"".join(reply.data for reply in replies[:3]) == pattern + pattern[1:] + pattern[2:]
    with RecordingReader(session.output.path) as reader:
        assert max(len(block.raw or b"") for block in reader.blocks()) < 2 * PIECE


def test_a_buffer_that_changes_later_is_recorded_as_it_was(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    session = begin(recorder)
    buffer = bytearray(b"before")
    session.reply(1, buffer)  # type: ignore[arg-type]
    buffer[:] = b"after!"
    recorder.start()
    recorder.close()
    assert [
        event.data for event in events_of(session.output.path) if isinstance(event, ev.Reply)
    ] == [b"before"]


def test_text_that_is_not_unicode_is_kept_escaped(recorder: Recorder) -> None:
    session = begin(recorder)
    session.statement(judged(1, "select '\udcff'", outcome="deny"))
    wait_for(lambda: session.backlog == 0)
    assert not session.failed
    statement = events_of(session.output.path)[1]
    assert isinstance(statement, ev.Statement)
    assert statement.sql == "select '\\udcff'"


def test_an_event_that_cannot_be_encoded_stops_its_session_only(recorder: Recorder) -> None:
    broken, intact = begin(recorder), begin(recorder)
    broken.complete(1, "SELECT", 1 << 80, "", 0.0)
    wait_for(lambda: broken.failed)
    intact.statement(judged(1, "select 1", outcome="allow"))
    wait_for(lambda: intact.backlog == 0)
    assert broken.backlog == 0
    assert not intact.failed
    assert not recorder.failed


def test_what_is_appended_while_the_writer_takes_is_never_lost(recorder: Recorder) -> None:
    sessions = [begin(recorder) for _ in range(20)]
    for number in range(1, 5001):
        session = sessions[number % 20]
        session.statement(judged(number, f"select {number}", outcome="allow"))
        session.reply(number, b"x" * (number % 50))
        session.complete(number, "SELECT 1", 1, "", 0.0)
    for session in sessions:
        session.end("done")
    recorder.close()
    for place, session in enumerate(sessions):
        numbers = [e.number for e in events_of(session.output.path) if isinstance(e, ev.Statement)]
        assert numbers == [n for n in range(1, 5001) if n % 20 == place]
        assert session.backlog == 0
    assert recorder.backlog == 0


def test_close_ends_open_sessions_and_the_thread(tmp_path: Path, index: ListIndex) -> None:
    recorder = Recorder(tmp_path, index)
    recorder.start()
    session = begin(recorder)
    recorder.close()
    assert isinstance(events_of(session.output.path)[-1], ev.End)
    assert index.last(session.row.id).status == "ended"
    assert not [thread for thread in threading.enumerate() if thread.name == "sallyport-recorder"]


def test_a_thousand_idle_sessions_hold_few_files_and_little_memory(recorder: Recorder) -> None:
    import tracemalloc

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    sessions = [begin(recorder) for _ in range(1000)]
    wait_for(lambda: recorder.backlog == 0)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    open_recordings = [
        name
        for name in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{name}")
        and os.readlink(f"/proc/self/fd/{name}").endswith(".sprec")
    ]
    assert len(open_recordings) <= 64
    # The test's own index keeps a copy of every report, which is in there too.
    assert used / len(sessions) < 10_000


def test_time_comes_from_the_clock(tmp_path: Path) -> None:
    clock = ManualClock()
    recorder = Recorder(tmp_path, clock=clock)
    session = begin(recorder)
    clock.advance(2.5)
    session.end("done")
    recorder.start()
    recorder.close()
    login, end = events_of(session.output.path)
    assert end.at - login.at == 2.5
    assert isinstance(login, ev.Login)
    assert login.started == 1_700_000_000.0
    assert "2023/11/14" in str(session.output.path)


def test_an_id_is_used_once(tmp_path: Path) -> None:
    first = Recorder(tmp_path)
    session = begin(first, "s_same")
    first.start()
    first.close()
    content = session.output.path.read_bytes()
    second = Recorder(tmp_path, interval=0.005)
    second.start()
    again = begin(second, "s_same")
    wait_for(lambda: again.failed)
    second.close()
    assert session.output.path.read_bytes() == content
