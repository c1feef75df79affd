"""Encrypted recordings: what stands on the disk, who can read it, and what is said to whoever
cannot.
"""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path

import pytest
import zstandard

from sallyport.audit import events as ev
from sallyport.audit import verify as v
from sallyport.audit.archive import RecordingError
from sallyport.audit.blocks import ENCRYPTED, is_unwritten, seal
from sallyport.audit.chain import Chain
from sallyport.audit.cipher import NONCE_BYTES, BlockCipher
from sallyport.audit.keyfiles import (
    KeyNotListedError,
    ShreddedError,
    Shredding,
    key_path,
    read_key_file,
    rewrap,
    shred_key,
)
from sallyport.audit.keys import KeyRefusedError, KeyRing, LocalKey, local_key, new_key_text
from sallyport.audit.ports import INTERRUPTED, LIVE, SessionRow
from sallyport.audit.reader import RecordingReader
from sallyport.audit.recorder import Recorder
from sallyport.audit.recovery import rebuild, recover
from sallyport.audit.summary import Summary
from sallyport.audit.tail import last_events
from sallyport.core.errors import ConfigError
from tests.audit.helpers import ListIndex, begin, chunk_of, judged
from tests.support.waiting import wait_for

CANARY = "CANARY-4713"
KEK = LocalKey(b"k" * 32)
RING = KeyRing(KEK)


def record(directory: Path, session_id: str = "s_1") -> tuple[Path, SessionRow]:
    """A session of five statements in five blocks or more."""
    index = ListIndex()
    recorder = Recorder(directory, index, interval=0.001, kek=KEK)
    recorder.start()
    session = begin(recorder, session_id)
    for number in range(1, 6):
        sql = f"select '{CANARY}', {number}"
        session.statement(judged(number, sql, outcome="allow", relations=("a.b",)))
        session.answered(number, f"{CANARY}-{number}".encode() * 40, "SELECT 1", 1, 0.1)
        wait_for(lambda: session.backlog == 0)
    session.end("done")
    recorder.close()
    return session.output.path, index.last(session_id)


def statements(path: Path, keys: KeyRing = RING) -> list[int]:
    problems: list[object] = []
    events = list(v.read_events(path, on_problem=problems.append, keys=keys))
    assert not problems, problems
    return [event.number for event in events if isinstance(event, ev.Statement)]


def test_nothing_recorded_stands_in_clear(tmp_path: Path) -> None:
    path, _ = record(tmp_path)
    stored = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"SALLYREC" in stored
    for text in (CANARY, "agent-7", "bob@example.com", "127.0.0.1", "select"):
        assert text.encode() not in stored
    for block in RecordingReader(path).blocks():
        assert zstandard.FRAME_HEADER not in block.stored[1]
    assert key_path(path).stat().st_mode & 0o777 == 0o600


def test_it_is_read_with_the_key(tmp_path: Path) -> None:
    path, row = record(tmp_path)
    assert statements(path) == [1, 2, 3, 4, 5]
    began, events = last_events(path, row.id, 1, keys=RING)
    assert began > 0
    assert [event.number for event in events if isinstance(event, ev.Statement)][-1] == 5
    result = v.verify(path, row, RING)
    assert (result.problems, result.notes, result.shredded) == ([], [], False)
    assert result.blocks >= 5


def test_without_the_key_the_chain_is_checked_and_nothing_is_read(tmp_path: Path) -> None:
    path, row = record(tmp_path)
    for keys in (KeyRing(None), KeyRing(LocalKey(b"x" * 32))):
        result = v.verify(path, row, keys)
        assert result.ok
        assert "its content was not checked" in result.notes[0]
        assert KEK.identifier in result.notes[0]
        for read in (statements, lambda path, keys: last_events(path, row.id, 1, keys=keys)):
            with pytest.raises(KeyNotListedError, match=r"recording\.encryption"):
                read(path, keys)
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate(len(content) - 1)
    assert not v.verify(path, row).ok


def test_nonces_are_never_used_twice(tmp_path: Path) -> None:
    """Not in a recording, not after a write that failed, and not by the next writer of the same
    block.
    """
    path, _ = record(tmp_path)
    with RecordingReader(path, RING) as reader:
        stored = [block.stored[1][:NONCE_BYTES] for block in reader.blocks()]
    assert len(set(stored)) == len(stored)
    chain = Chain(bytes(32))
    ciphers = [BlockCipher(b"s" * 32, "s_1") for _ in range(2)]
    compressor = zstandard.ZstdCompressor()
    chunk = chunk_of([(ev.NOTE, 1.0, "test", "x")])
    nonces = [
        bytes(seal(chain, chunk, compressor, cipher).parts[1][:NONCE_BYTES])
        for cipher in ciphers
        for _ in range(20)
    ]
    assert len(set(nonces)) == len(nonces)
    ciphers[0]._count = 1 << 32
    with pytest.raises(OverflowError):
        ciphers[0].encrypt(b"", b"x")


def test_a_key_that_cannot_be_stored_stops_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No block may be written that nothing can decrypt; once the key can be stored, recording goes
    on.
    """

    class Broken(LocalKey):
        works = False

        def wrap(self, key: bytes) -> bytes:
            if not self.works:
                raise KeyRefusedError("the key service does not answer")
            return super().wrap(key)

    kek = Broken(b"k" * 32)
    recorder = Recorder(tmp_path, ListIndex(), interval=0.001, kek=kek)
    recorder.start()
    session = begin(recorder, "s_1")
    wait_for(lambda: session.failed)
    assert not session.output.path.exists()
    assert not key_path(session.output.path).exists()
    kek.works = True
    wait_for(lambda: not session.failed)
    session.end("done")
    recorder.close()
    events = list(v.read_events(session.output.path, keys=RING))
    assert any(isinstance(event, ev.Gap) and "does not answer" in event.reason for event in events)


@pytest.fixture
def often_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sallyport.audit.recorder.CHECK", 0.01)


@pytest.mark.usefixtures("often_checked")
def test_a_key_that_is_deleted_ends_its_session(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, ListIndex(), interval=0.001, kek=KEK)
    recorder.start()
    sessions = [begin(recorder), begin(recorder)]
    wait_for(lambda: all(session.backlog == 0 for session in sessions))
    key_path(sessions[0].output.path).unlink()
    for number in range(200):
        sessions[1].note("keep", str(number))
        if recorder.lost:
            break
        wait_for(lambda: sessions[1].backlog == 0)
    wait_for(lambda: sessions[0].failed)
    assert (recorder.lost, sessions[1].failed) == (1, False)
    recorder.close()


def test_another_recordings_key_is_never_overwritten(tmp_path: Path) -> None:
    path, _ = record(tmp_path)
    kept = key_path(path).read_bytes()
    path.unlink()
    recorder = Recorder(tmp_path, ListIndex(), interval=0.001, kek=KEK)
    recorder.start()
    session = begin(recorder, "s_1")
    wait_for(lambda: session.failed)
    recorder.close()
    assert recorder.lost == 1
    assert key_path(path).read_bytes() == kept


def test_the_index_is_made_anew_from_it(tmp_path: Path) -> None:
    path, row = record(tmp_path)
    recovered = rebuild(path, path.parents[3], RING)
    assert recovered is not None
    assert recovered.row == row
    assert len(recovered.statements) == 5
    with pytest.raises(KeyNotListedError):
        rebuild(path, path.parents[3])


def test_one_that_was_left_behind_is_recovered(tmp_path: Path) -> None:
    path, row = record(tmp_path)
    with RecordingReader(path, RING) as reader:
        extents = list(reader.extents())
        blocks = list(reader.blocks())
    path.write_bytes(path.read_bytes()[: extents[-1][0] + 20])
    row.status, row.last_hash = LIVE, blocks[1].hash.hex()
    summary = Summary()
    for block in blocks[:2]:
        summary.add_block(block)
    row.statements, row.refused, row.rows = summary.counts.as_tuple()
    row.bytes = sum(len(block.raw or b"") for block in blocks[:2])
    with pytest.raises(KeyNotListedError):  # it is not damaged: nobody may say so
        recover(path.parents[3], copy.copy(row))
    recovered = recover(path.parents[3], row, RING)
    assert (recovered.problem, row.status, row.statements) == ("", INTERRUPTED, 5)
    assert path.with_suffix(".torn").stat().st_size == 20
    assert v.verify(path, row, RING).ok


def test_a_header_that_was_cut_off_is_unwritten(tmp_path: Path) -> None:
    path, _ = record(tmp_path)
    with RecordingReader(path) as reader:
        first = reader.first
    content = path.read_bytes()
    for size in range(first + 1):
        path.write_bytes(content[:size])
        assert is_unwritten(path, "s_1") == (size < first), size
        assert not is_unwritten(path, "s_2") or size <= 14, size


def test_rewrapping_changes_the_key_file_alone(tmp_path: Path) -> None:
    path, _ = record(tmp_path)
    before, new = path.read_bytes(), LocalKey(b"n" * 32)
    assert rewrap(key_path(path), KeyRing(new, [KEK])) is True
    assert rewrap(key_path(path), KeyRing(new, [KEK])) is False
    assert path.read_bytes() == before
    assert read_key_file(key_path(path)).kek == new.identifier
    assert key_path(path).stat().st_mode & 0o777 == 0o600
    assert statements(path, KeyRing(new)) == [1, 2, 3, 4, 5]
    with pytest.raises(KeyNotListedError):
        statements(path)
    with pytest.raises(KeyError):
        rewrap(key_path(path), RING)


def test_a_shredded_recording_is_shredded_and_not_damaged(tmp_path: Path) -> None:
    path, row = record(tmp_path)
    wrapped = read_key_file(key_path(path)).key
    shred_key(path, row.id, Shredding(1_800_000_000.0, "dana", "Art. 17 request 42", "act_1"))
    assert wrapped not in key_path(path).read_bytes()
    result = v.verify(path, row, RING)
    assert result.ok
    assert result.shredded
    assert result.notes == ["shredded at 2027-01-15 08:00:00 UTC by dana: Art. 17 request 42"]
    for read in (statements, lambda path: rebuild(path, path.parents[3], RING)):
        with pytest.raises(ShreddedError, match="shredded at 2027-01-15"):
            read(path)
    with path.open("r+b") as file:  # what was done to it later is found all the same
        file.seek(-40, os.SEEK_END)
        file.write(b"x")
    assert [problem.kind for problem in v.verify(path, row, RING).problems] == [v.EDIT]


def test_who_is_reading_does_not_go_on_after_shredding(tmp_path: Path) -> None:
    """The console keeps readers open between pages."""
    path, row = record(tmp_path)
    shredded, rewrapped = (v.read_events(path, keys=RING) for _ in range(2))
    assert isinstance(next(shredded), ev.Login) and isinstance(next(rewrapped), ev.Login)
    rewrap(key_path(path), KeyRing(LocalKey(b"n" * 32), [KEK]))
    assert isinstance(list(rewrapped)[-1], ev.End)
    shred_key(path, row.id, Shredding(1.0, "dana", "x"))
    with pytest.raises(ShreddedError):
        list(shredded)


def test_a_key_file_that_is_gone_is_a_finding(tmp_path: Path) -> None:
    path, row = record(tmp_path)
    key_path(path).unlink()
    (problem,) = v.verify(path, row, RING).problems
    assert (problem.kind, "nothing says that it was shredded" in problem.text) == (v.DELETION, True)
    with pytest.raises(RecordingError, match="is missing"):
        statements(path)


def test_keys_of_two_sessions_do_not_change_places(tmp_path: Path) -> None:
    first, row = record(tmp_path, "s_1")
    second, _ = record(tmp_path, "s_2")
    kept = key_path(first).read_bytes()
    shutil.copy(key_path(second), key_path(first))
    assert [problem.kind for problem in v.verify(first, row, RING).problems] == [v.WRONG_KEY]
    # Nor when the file says that it belongs there: the header names its key.
    key_path(first).write_bytes(key_path(second).read_bytes().replace(b"s_2", b"s_1"))
    (problem,) = v.verify(first, row, RING).problems
    assert "not the one that the recording names" in problem.text
    key_path(first).write_bytes(kept)
    assert v.verify(first, row, RING).ok


def test_keys_as_text() -> None:
    text = new_key_text()
    assert local_key(text, "here").identifier == local_key(f"  {text}\n", "there").identifier
    for wrong in ("", "x", "A" * 43, "not base64!", text + text):
        with pytest.raises(ConfigError, match=r"^here: not a key") as error:
            local_key(wrong, "here")
        assert not wrong or wrong == "x" or wrong not in str(error.value)
    with pytest.raises(KeyRefusedError):
        LocalKey(b"a" * 32).unwrap(LocalKey(b"b" * 32).wrap(b"s" * 32))
    assert "k" * 8 not in repr(KEK)


def test_the_version_says_which(tmp_path: Path) -> None:
    path, row = record(tmp_path)
    with RecordingReader(path) as reader:
        assert reader.version == ENCRYPTED
    content = path.read_bytes()
    for version in (0, 1, 2, 4):
        path.write_bytes(content[:8] + version.to_bytes(2, "little") + content[10:])
        try:
            assert not v.verify(path, row, RING).ok
        except RecordingError as error:
            assert version in (0, 4), error
