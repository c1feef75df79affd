"""The journal of intents: what is written, what is read back, what is deleted, and what a start
makes of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from sallyport.audit import events as ev
from sallyport.audit.completion import complete_recordings, verify_journal
from sallyport.audit.journal import Batch, Journal, JournalError
from sallyport.audit.journal_frames import FRAME, FRAME_MAGIC
from sallyport.audit.journal_reader import is_in_use, read_journal
from sallyport.audit.keyfiles import KeyNotListedError
from sallyport.audit.keys import KeyRing, LocalKey
from sallyport.audit.ports import INTERRUPTED, SessionRow, StatementText
from sallyport.audit.recorder import Recorder
from sallyport.audit.recording import SessionRecording
from sallyport.audit.recovery import recover_interrupted
from sallyport.audit.verify import verify
from sallyport.operations.sessions import OUTCOME_UNKNOWN, Sessions
from sallyport.store.database import open_database
from sallyport.store.sessions import SqlSessionIndex
from tests.audit.helpers import begin, events_of, judged
from tests.support.waiting import wait_for


class Gateway:
    """Recorder, journal and index of one run, without the sessions' side of a gateway."""

    def __init__(self, home: Path, kek: LocalKey | None = None) -> None:
        self.keys = KeyRing(kek)
        self.engine = open_database(home)
        self.index = SqlSessionIndex(self.engine)
        self.recordings = home / "recordings"
        self.journal = Journal(self.recordings, kek=kek)
        self.journal.open()
        self.recorder = Recorder(home, self, interval=0.001, kek=kek)
        self.recorder.journal = self.journal

    def save(self, row: SessionRow) -> None:
        self.save_all([row])

    def save_all(self, rows: Sequence[SessionRow]) -> None:
        self.index.restore([(row, ()) for row in rows])

    def statements(self, session_id: str, texts: object) -> bool:
        return True

    def write(self) -> None:
        """Everything queued goes into the journal."""
        batch = self.journal.take()
        if batch is not None:
            self.journal.write(batch)

    def die(self) -> None:
        """As kill -9: nothing is ended, nothing is tidied up. The kernel gives the lock back."""
        os.close(self.journal._lock)

    def start(self) -> int:
        """What the next start does with recordings and journal; gives the statements it added."""
        recover_interrupted(self.recordings, self.index, self.keys)
        return complete_recordings(self.recordings, self.index, self.keys)

    def row(self, recording: SessionRecording) -> SessionRow:
        row = self.index.get(recording.id)
        assert row is not None
        return row


@pytest.fixture(params=[None, LocalKey(b"k" * 32)], ids=["clear", "encrypted"])
def gateway(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    made = Gateway(tmp_path, request.param)
    yield made
    made.recorder.close()
    made.engine.dispose()


def change(recording: SessionRecording, number: int, **more: Any) -> None:
    recording.statement(judged(number, f"UPDATE t SET n = {number}", outcome="allow", **more))


def stop_writer(gateway: Gateway) -> None:
    """The recorder writes nothing any more, as when the gateway dies."""
    gateway.recorder._stopping = True
    gateway.recorder._wake.set()
    assert gateway.recorder._thread is not None
    gateway.recorder._thread.join()


def numbers(gateway: Gateway) -> list[int]:
    return [
        n
        for session in read_journal(gateway.recordings, gateway.keys).sessions.values()
        for n in sorted(session.statements)
    ]


def recovered(gateway: Gateway, path: Path) -> list[int]:
    events = events_of(path, gateway.keys)
    return [event.number for event in events if isinstance(event, ev.Recovered)]


# -- what is in it ---------------------------------------------------------------------------------


def test_only_allowed_changes_are_journaled(gateway: Gateway) -> None:
    recording = begin(gateway.recorder)
    change(recording, 1)
    recording.statement(judged(2, "SELECT 1", outcome="allow", changes=False))
    recording.statement(judged(3, "DROP TABLE t", outcome="deny", code="SP1002"))
    recording.statement(judged(4, "DELETE FROM t", outcome="hold"))
    change(recording, 5, binds=[b"\x00\xff", None], bind_formats=(1, 0), bind_types=(23, 25))
    assert recording.intent == gateway.journal.appended == 2
    assert numbers(gateway) == []
    gateway.write()
    (intents,) = read_journal(gateway.recordings, gateway.keys).sessions.values()
    assert sorted(intents.statements) == [1, 5]
    assert intents.statements[5].binds == (b"\x00\xff", None)
    assert intents.login is not None and intents.login.session == recording.id


def test_nobody_else_can_read_it(gateway: Gateway) -> None:
    (segment,) = gateway.journal.directory.iterdir()
    assert segment.stat().st_mode & 0o777 == 0o600
    assert gateway.journal.directory.stat().st_mode & 0o777 == 0o700


def test_a_directory_has_one_journal(gateway: Gateway) -> None:
    assert is_in_use(gateway.recordings)
    with pytest.raises(JournalError, match="another gateway"):
        Journal(gateway.recordings).open()
    gateway.die()
    assert not is_in_use(gateway.recordings)


def test_text_that_is_not_utf8_is_journaled(gateway: Gateway) -> None:
    recording = begin(gateway.recorder)
    recording.statement(judged(1, "SELECT '\udcff'", outcome="allow"))
    gateway.write()
    assert numbers(gateway) == [1]


# -- segments --------------------------------------------------------------------------------------


def test_a_segment_goes_when_the_recordings_have_its_intents(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.journal._segment_bytes = 1000
    first, second = begin(gateway.recorder), begin(gateway.recorder)
    for number in range(1, 30):
        change(first, number)
        change(second, number)
        gateway.write()
    before = sorted(gateway.journal.directory.iterdir())
    assert len(before) > 5
    gateway.journal.tend()
    assert sorted(gateway.journal.directory.iterdir()) == before
    gateway.recorder.start()
    wait_for(lambda: not gateway.recorder.backlog)
    gateway.journal.tend()
    assert sorted(gateway.journal.directory.iterdir()) == before[-1:]
    gateway.recorder.close()
    gateway.journal.close()
    assert list(gateway.journal.directory.iterdir()) == []
    gateway.engine.dispose()


def test_what_a_recording_lacks_that_was_given_up_stays(gateway: Gateway) -> None:
    """The next start looks whether it can be added."""
    gateway.journal._segment_bytes = 1
    recording = begin(gateway.recorder)
    for number in (1, 2):
        change(recording, number)
        gateway.write()
    recording.broken = True
    recording.file.written = recording.accepted
    gateway.journal.tend()
    gateway.journal.close()
    assert numbers(gateway) == [1, 2]


def test_a_journal_that_the_recordings_do_not_catch_up_with_is_full(gateway: Gateway) -> None:
    gateway.journal._segment_bytes, gateway.journal._max_bytes = 1000, 3000
    recording = begin(gateway.recorder)
    with pytest.raises(OSError, match="the journal is full"):
        for number in range(100):
            change(recording, number)
            gateway.write()


def test_a_write_that_fails_counts_for_nothing(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of it reached the file; what comes later is read all the same."""
    recording = begin(gateway.recorder)
    change(recording, 1)
    gateway.write()
    change(recording, 2)

    def torn(fd: int, data: memoryview) -> int:
        real(fd, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    real = os.write
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(os, "write", torn)
        gateway.write()
    gateway.journal.reopen()
    change(recording, 3)
    gateway.write()
    contents = read_journal(gateway.recordings, gateway.keys)
    assert (numbers(gateway), contents.problems) == ([1, 3], [])


def test_a_journal_that_is_deleted_is_noticed_and_made_anew(gateway: Gateway) -> None:
    recording = begin(gateway.recorder)
    shutil.rmtree(gateway.journal.directory)
    change(recording, 1)
    with pytest.raises(OSError, match="deleted"):
        gateway.write()
    gateway.journal.reopen()
    change(recording, 2)
    gateway.write()
    assert numbers(gateway) == [2]
    assert is_in_use(gateway.recordings)


# -- damage ----------------------------------------------------------------------------------------


def test_a_torn_end_is_no_problem(gateway: Gateway) -> None:
    recording = begin(gateway.recorder)
    for number in (1, 2):
        change(recording, number)
        gateway.write()
    (segment,) = gateway.journal.directory.iterdir()
    content = segment.read_bytes()
    last = content.rindex(FRAME_MAGIC)
    for size in range(len(content)):
        segment.write_bytes(content[:size])
        contents = read_journal(gateway.recordings, gateway.keys)
        assert contents.problems == [], size
        assert len(contents.sessions) <= 1
        assert numbers(gateway) in ([], [1]) and (size < last or numbers(gateway) == [1])
    segment.write_bytes(
        content[:-7] + bytes(5000)
    )  # as a file system may leave it after a power cut
    assert (numbers(gateway), read_journal(gateway.recordings, gateway.keys).problems) == ([1], [])


def test_damage_before_the_end_is_a_problem_and_the_rest_is_read(gateway: Gateway) -> None:
    recording = begin(gateway.recorder)
    for number in (1, 2, 3):
        change(recording, number)
        gateway.write()
    (segment,) = gateway.journal.directory.iterdir()
    content = bytearray(segment.read_bytes())
    second = content.index(FRAME_MAGIC, content.index(FRAME_MAGIC) + 1)
    content[second + 40] ^= 1
    segment.write_bytes(content)
    contents = read_journal(gateway.recordings, gateway.keys)
    assert numbers(gateway) == [1, 3]
    assert "is damaged between bytes" in contents.problems[0]


# -- what a start makes of it ----------------------------------------------------------------------


def test_a_recording_is_completed(gateway: Gateway) -> None:
    recording = begin(gateway.recorder)
    change(recording, 1)
    gateway.write()
    gateway.recorder.start()
    wait_for(lambda: not gateway.recorder.backlog)
    stop_writer(gateway)
    change(recording, 2, binds=[b"x"])
    recording.statement(judged(3, "SELECT 1", outcome="allow", changes=False))
    change(recording, 4)
    gateway.write()
    gateway.die()

    result = verify_journal(gateway.recordings, gateway.keys)
    assert result is not None
    assert f"the recording of {recording.id} lacks statements 2, 4" in result.problems[0].text
    assert gateway.start() == 2
    path = recording.output.path
    assert recovered(gateway, path) == [2, 4]
    row = gateway.row(recording)
    assert (row.status, row.statements) == (INTERRUPTED, 3)
    assert "statements recovered from the journal, outcome not known: 2" in row.reason
    assert verify(path, row, gateway.keys).problems == []
    lines = list(
        Sessions(gateway.recordings, gateway.index, keys=gateway.keys).statements(recording.id)
    )
    assert [(line.number, line.command) for line in lines] == [
        (1, ""), (2, OUTCOME_UNKNOWN), (4, OUTCOME_UNKNOWN),
    ]  # fmt: skip
    assert list(gateway.journal.directory.iterdir()) == []
    assert verify_journal(gateway.recordings, gateway.keys) is None


def test_a_session_without_a_recording_gets_one(gateway: Gateway) -> None:
    """It died before its recording's first block."""
    recording = begin(gateway.recorder)
    change(recording, 1)
    gateway.write()
    gateway.die()
    assert gateway.start() == 1
    events = events_of(recording.output.path, gateway.keys)
    assert [type(event) for event in events] == [ev.Login, ev.Statement, ev.Recovered]
    row = gateway.row(recording)
    assert (row.subject, row.statements, row.status) == ("agent-7", 1, INTERRUPTED)
    assert verify(recording.output.path, row, gateway.keys).problems == []


@pytest.mark.parametrize("size", [10, 80, 300])
def test_a_recording_that_died_in_its_first_block_begins_anew(gateway: Gateway, size: int) -> None:
    recording = begin(gateway.recorder, "ses_torn")
    change(recording, 1)
    gateway.write()
    gateway.recorder.start()
    wait_for(lambda: not gateway.recorder.backlog)
    stop_writer(gateway)
    # as it was before that
    gateway.index.restore([(replace(gateway.row(recording), last_hash=""), ())])
    os.truncate(recording.output.path, size)
    gateway.die()
    assert gateway.start() == 1
    events = events_of(recording.output.path, gateway.keys)
    assert [type(event) for event in events] == [ev.Login, ev.Statement, ev.Recovered]
    assert verify(recording.output.path, gateway.row(recording), gateway.keys).problems == []


def test_a_session_that_the_index_never_heard_of_is_restored(gateway: Gateway) -> None:
    recording = begin(gateway.recorder)
    change(recording, 1)
    gateway.write()
    with gateway.engine.begin() as db:
        db.exec_driver_sql("DELETE FROM sessions")
    gateway.die()
    assert gateway.start() == 1
    assert gateway.row(recording).statements == 1


@pytest.mark.parametrize("survives", [0, 1])
def test_a_start_that_is_interrupted_adds_nothing_twice(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    """``survives``: how many of the index's writes come before the end."""
    recording = begin(gateway.recorder)
    change(recording, 1)
    gateway.write()
    gateway.die()
    recover_interrupted(gateway.recordings, gateway.index, gateway.keys)
    restored: list[object] = []

    def restore(rows: Sequence[tuple[SessionRow, Sequence[StatementText]]]) -> None:
        if len(restored) == survives:
            raise KeyboardInterrupt
        restored.append(rows)
        SqlSessionIndex.restore(gateway.index, rows)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(gateway.index, "restore", restore)
        complete_recordings(gateway.recordings, gateway.index, gateway.keys)
    assert recording.output.path.exists() == bool(survives)
    gateway.start()
    assert gateway.start() == 0
    assert recovered(gateway, recording.output.path) == [1]
    assert verify(recording.output.path, gateway.row(recording), gateway.keys).problems == []
    assert verify_journal(gateway.recordings, gateway.keys) is None


@pytest.mark.parametrize("damage", ["edited", "deleted"])
def test_a_recording_that_is_not_sound_is_left_alone(gateway: Gateway, damage: str) -> None:
    recording = begin(gateway.recorder)
    change(recording, 1)
    gateway.write()
    gateway.recorder.start()
    wait_for(lambda: not gateway.recorder.backlog)
    stop_writer(gateway)
    change(recording, 2)
    gateway.write()
    gateway.die()
    path = recording.output.path
    if damage == "deleted":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[-40] ^= 1
        path.write_bytes(content)
    left = path.read_bytes() if path.exists() else None
    assert gateway.start() == 0
    assert (path.read_bytes() if path.exists() else None) == left
    (kept,) = gateway.journal.directory.iterdir()
    assert kept.suffix == ".kept"
    result = verify_journal(gateway.recordings, gateway.keys)
    assert (
        result is not None and "could not be put into their recordings" in result.problems[0].text
    )


def test_a_forged_session_name_writes_nowhere(gateway: Gateway) -> None:
    recording = begin(gateway.recorder, "ses_here")
    recording.row.id = "../../outside"
    recording.login = recording.login.replace(b"\xa8ses_here", b"\xad../../outside")
    assert b"outside" in recording.login
    change(recording, 1)
    gateway.write()
    gateway.die()
    assert gateway.start() == 0
    assert list(gateway.recordings.rglob("*.sprec")) == []
    assert not list(gateway.recordings.parent.parent.glob("outside*"))


def test_an_ordinal_counts_intents(gateway: Gateway) -> None:
    recording = begin(gateway.recorder)
    assert gateway.journal.take() is None
    change(recording, 1)
    change(recording, 2)
    batch = gateway.journal.take()
    assert isinstance(batch, Batch) and (batch.last, len(batch.intents)) == (2, 2)


# -- encrypted ------------------------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path, LocalKey(b"k" * 32))
    yield made
    made.recorder.close()
    made.engine.dispose()


def test_what_it_holds_is_encrypted(sealed: Gateway) -> None:
    change(begin(sealed.recorder), 4713, binds=[b"CANARY"])
    sealed.write()
    (path,) = sealed.journal.directory.glob("*.intents")
    content = path.read_bytes()
    for text in (b"UPDATE", b"CANARY", b"agent-7"):
        assert text not in content
    assert numbers(sealed) == [4713]


def test_without_its_key_nothing_is_deleted(sealed: Gateway) -> None:
    """The gateway must not start: what the journal has would never come into the recordings."""
    change(begin(sealed.recorder), 1)
    sealed.write()
    sealed.die()
    for keys in (KeyRing(None), KeyRing(LocalKey(b"o" * 32))):
        with pytest.raises(KeyNotListedError, match=r"recording\.encryption"):
            complete_recordings(sealed.recordings, sealed.index, keys)
        assert list(sealed.journal.directory.glob("*.intents"))
        result = verify_journal(sealed.recordings, keys)
        assert result is not None and result.ok and "was not checked" in result.notes[0]
    assert sealed.start() == 1


@pytest.mark.parametrize("way", ["exchange", "remove", "repeat", "flip", "header"])
def test_changed_frames_are_found(sealed: Gateway, way: str) -> None:
    """Whoever can write checksums could do this to a journal that is not encrypted."""
    recording = begin(sealed.recorder)
    for number in range(1, 5):
        change(recording, number)
        sealed.write()
    (path,) = sealed.journal.directory.glob("*.intents")
    content = path.read_bytes()
    start = content.index(b"SPJ1")
    frames = []
    while start < len(content):
        _, length, _ = FRAME.unpack_from(content, start)
        frames.append(content[start : start + FRAME.size + length])
        start += len(frames[-1])
    header = content[: content.index(b"SPJ1")]
    if way == "exchange":
        frames[1], frames[2] = frames[2], frames[1]
    elif way == "remove":
        del frames[1]
    elif way == "repeat":
        frames.insert(1, frames[1])
    elif way == "flip":
        body = bytearray(frames[1][FRAME.size :])
        body[-1] ^= 1
        frames[1] = FRAME.pack(b"SPJ1", len(body), crc32(body)) + body
    else:
        header = header.replace(b'"key":"', b'"key":"A')
    path.write_bytes(header + b"".join(frames))
    assert read_journal(sealed.recordings, sealed.keys).problems
