"""When recordings cannot be written, everybody knows within one pass, nothing is lost silently, and
it heals by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sallyport.audit import events as ev
from sallyport.audit import recorder as recorder_module
from sallyport.audit import writing
from sallyport.audit.appender import Appender, Output
from sallyport.audit.recorder import Recorder
from sallyport.audit.verify import verify
from tests.audit.helpers import ListIndex, begin, events_of, judged
from tests.support.waiting import wait_for


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "RETRY", 0.02)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path, ListIndex(), interval=0.005)
    recorder.start()
    yield recorder
    recorder.close()


def test_what_cannot_be_written_fails_and_heals(tmp_path: Path, recorder: Recorder) -> None:
    obstacle = tmp_path / "recordings"
    obstacle.write_text("a file where the directory should be")
    with capture_logs() as logs:
        session, second = begin(recorder), begin(recorder)
        wait_for(lambda: session.failed and second.failed and recorder.failed)
        late = begin(recorder)
        assert late.failed, "who comes while nothing can be recorded is failed from the start"
        session.statement(judged(1, "select 1", outcome="allow"))
        wait_for(lambda: session.backlog > 200)
        assert session.failed
        obstacle.unlink()
        wait_for(lambda: not session.failed and not second.failed and not late.failed)
        wait_for(lambda: not recorder.failed)
    session.end("done")
    wait_for(lambda: session.backlog == 0)
    events = events_of(session.output.path)
    assert [type(event).__name__ for event in events] in (
        ["Login", "Gap", "Statement", "End"],
        ["Login", "Statement", "Gap", "End"],
    )
    gap = next(event for event in events if isinstance(event, ev.Gap))
    assert gap.events == 0
    assert gap.seconds > 0
    assert verify(session.output.path).ok
    assert [log["log_level"] for log in logs] == ["error", "warning"], (
        "said once when it breaks, once when it heals"
    )


def test_a_slow_disk_keeps_nobody_waiting_and_loses_nothing(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write takes a tenth of a second: what comes meanwhile waits in memory, and is counted
    there, so that who feeds the recorder can stop.
    """
    append = Appender.append

    def slowly(self: Appender, output: Output, parts: Sequence[bytes | memoryview]) -> None:
        time.sleep(0.1)
        append(self, output, parts)

    monkeypatch.setattr(Appender, "append", slowly)
    sessions, count = [begin(recorder) for _ in range(4)], 500
    began = time.thread_time()
    for number in range(1, count + 1):
        for session in sessions:
            session.statement(judged(number, f"SELECT {number}", outcome="allow"))
    assert time.thread_time() - began < 2.0, "nobody writes, or waits, on the caller's thread"
    assert recorder.backlog > 0 and all(session.backlog for session in sessions)
    for session in sessions:
        session.end("done")
    wait_for(lambda: recorder.backlog == 0)
    assert not recorder.failed and recorder.lost == 0
    for session in sessions:
        assert verify(session.output.path).ok
        events = events_of(session.output.path)
        numbers = [event.number for event in events if isinstance(event, ev.Statement)]
        assert numbers == list(range(1, count + 1))


def test_memory_is_bounded_while_it_fails_and_the_loss_is_recorded(
    tmp_path: Path, recorder: Recorder
) -> None:
    obstacle = tmp_path / "recordings"
    obstacle.write_text("")
    session = begin(recorder)
    wait_for(lambda: session.failed)
    for number in range(600):  # nobody heeds the backlog
        session.reply(1, b"x" * 100_000)
        if number % 50 == 0:
            wait_for(lambda: session.backlog < 2 * writing.DROP_AT)
    wait_for(lambda: session.backlog <= writing.DROP_AT)
    obstacle.unlink()
    wait_for(lambda: not session.failed)
    session.end("done")
    wait_for(lambda: session.backlog == 0)
    assert recorder.backlog == 0
    events = events_of(session.output.path)
    (gap,) = [event for event in events if isinstance(event, ev.Gap)]
    replies = sum(len(event.data) for event in events if isinstance(event, ev.Reply))
    assert gap.events > 0
    assert replies + gap.bytes == pytest.approx(60_000_000, rel=0.01)


def test_a_text_that_was_dropped_is_written_again(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "DROP_AT", 1000)
    obstacle = tmp_path / "recordings"
    obstacle.write_text("")
    session = begin(recorder)
    wait_for(lambda: session.failed)
    session.statement(judged(1, "select 1", outcome="allow", sent="select 'a'"))
    session.reply(1, b"x" * 2000)
    wait_for(lambda: session.backlog < 1000)  # the login is kept
    for number in (2, 3):
        session.statement(judged(number, f"select {number}", outcome="allow", sent="select 'a'"))
    obstacle.unlink()
    wait_for(lambda: not session.failed)
    session.end("done")
    wait_for(lambda: session.backlog == 0)
    events = events_of(session.output.path)
    assert sum(event.events for event in events if isinstance(event, ev.Gap)) == 2
    statements = [event for event in events if isinstance(event, ev.Statement)]
    assert [(event.number, event.sent) for event in statements] == [
        (2, "select 'a'"), (3, "select 'a'"),
    ]  # fmt: skip
    assert [bool(event.sent_digest) for event in statements] == [False, True]


def _unlink(path: Path) -> None:
    path.unlink()


def _truncate(path: Path) -> None:
    os.truncate(path, 60)


def _replace(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.rename(path)


@pytest.mark.parametrize("idle", [False, True])
@pytest.mark.parametrize("damage", [_unlink, _truncate, _replace])
def test_a_damaged_file_fails_its_own_session_only(
    recorder: Recorder, damage: Callable[[Path], None], idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "CHECK", 0.02)
    lost: list[str] = []
    recorder.on_lost = lost.append
    session, second = begin(recorder), begin(recorder)
    wait_for(lambda: recorder.backlog == 0)
    with capture_logs() as logs:
        damage(session.output.path)
        if not idle:
            session.note("test", "into nothing?")
        wait_for(lambda: session.failed and lost)
    assert (lost, recorder.lost, recorder.failed) == ([session.row.id], 1, False)
    assert [(log["log_level"], log["session"]) for log in logs] == [("error", session.row.id)]
    session.note("test", "dropped")
    session.end("terminated")
    later = begin(recorder)
    for sound in (second, later):
        sound.note("test", "here")
    wait_for(lambda: recorder.backlog == 0)
    assert not (second.failed or later.failed or recorder.failed)
    index = recorder._index
    assert isinstance(index, ListIndex)
    wait_for(lambda: index.last(session.row.id).status == "interrupted")
    assert "while it was written" in index.last(session.row.id).reason
    assert lost == [session.row.id]


def test_a_file_that_cannot_be_opened_again_fails_its_own_session_only(recorder: Recorder) -> None:
    """Any error of one file, while others can be written."""
    session, second = begin(recorder), begin(recorder)
    wait_for(lambda: recorder.backlog == 0)
    path = session.output.path
    # as when more sessions than descriptors are live
    recorder._writer.appender.close(session.output)
    other_directory = path.with_name("a directory")
    path.unlink()
    other_directory.mkdir()
    other_directory.rename(path)
    session.output.identity, session.output.size = None, 1
    session.note("test", "into a directory?")
    second.note("test", "here")
    wait_for(lambda: recorder.lost == 1 and not second.backlog)
    assert session.failed
    assert not (second.failed or recorder.failed or begin(recorder).failed)


def test_at_shutdown_what_could_not_be_written_is_interrupted(tmp_path: Path) -> None:
    index = ListIndex()
    (tmp_path / "recordings").write_text("")
    recorder = Recorder(tmp_path, index, interval=0.005)
    recorder.start()
    session = begin(recorder)
    wait_for(lambda: session.failed)
    with capture_logs() as logs:
        recorder.close()
    assert index.last(session.row.id).status == "interrupted"
    assert [log["event"] for log in logs] == ["recording incomplete at shutdown"]


def test_a_bug_in_the_writer_fails_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threading.excepthook", lambda args: None)
    recorder = Recorder(tmp_path, interval=0.005)
    recorder.start()
    session = begin(recorder)
    wait_for(lambda: session.backlog == 0)
    monkeypatch.setattr(recorder, "_pass", lambda complete: 1 // 0)
    session.note("test", "x")
    wait_for(lambda: session.failed and recorder.failed)
    assert begin(recorder).failed


_FULL = """
import os, signal, sys, time
from pathlib import Path
from sallyport.audit import recorder as module, writing
from tests.audit.helpers import begin
from tests.support.waiting import wait_for
from sallyport.audit.verify import verify
writing.RETRY = 0.02
recorder = module.Recorder(Path(sys.argv[1]), interval=0.005)
recorder.start()
session = begin(recorder)
wait_for(lambda: not session.backlog)
sent = 0
def fill():
    global sent
    while not session.failed:
        session.reply(1, os.urandom(20_000))
        sent += 1
        wait_for(lambda: session.failed or not session.backlog)
{fill_and_free}
wait_for(lambda: not session.failed and not recorder.failed)
session.end("done")
recorder.close()
result = verify(session.output.path)
assert result.ok, result.problems
from sallyport.audit import events as ev
from tests.audit.helpers import events_of
events = events_of(session.output.path)
assert sum(isinstance(e, ev.Reply) for e in events) == sent, "nothing is lost"
assert sum(isinstance(e, ev.Gap) for e in events) == 1
print("healed")
"""


def _run(code: str, *args: str, **options: object) -> str:
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        check=True, capture_output=True, text=True, timeout=60, cwd=root, **options,
    ).stdout  # fmt: skip


def test_a_full_disk_as_a_file_size_limit(tmp_path: Path) -> None:
    """The kernel takes a part of the write and then says no, as a full disk does."""
    code = """
    import resource
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    fill()
    assert recorder.failed
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    """
    assert "healed" in _run(_FULL.format(fill_and_free=textwrap.dedent(code)), str(tmp_path))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root and mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    code = """
    ballast = Path(sys.argv[1], "ballast")
    ballast.write_bytes(bytes(120_000))
    fill()
    assert recorder.failed
    ballast.unlink()
    """
    assert "healed" in _run(_FULL.format(fill_and_free=textwrap.dedent(code)), str(small_disk))


def test_a_directory_that_may_not_be_written(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from sallyport.audit import recorder as module, writing
from tests.audit.helpers import begin
from tests.support.waiting import wait_for
writing.RETRY = 0.02
data = Path(sys.argv[1])
recorder = module.Recorder(data, interval=0.005)
os.chmod(data, 0o500)
recorder.start()
session = begin(recorder)
wait_for(lambda: session.failed and recorder.failed)
os.chmod(data, 0o700)
wait_for(lambda: not session.failed)
recorder.close()
print("healed")
"""
    data = tmp_path / "data"
    data.mkdir()
    if os.geteuid() != 0:
        assert "healed" in _run(code, str(data))
        return
    try:
        subprocess.run(
            [sys.executable, "-c", "import sallyport"], user=65534, check=True, capture_output=True
        )
    except (subprocess.CalledProcessError, PermissionError):
        pytest.skip("the tests run as root, and another user cannot read this checkout")
    os.chown(data, 65534, 65534)
    for parent in data.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o755)
    assert "healed" in _run(code, str(data), user=65534)
