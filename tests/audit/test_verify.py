"""Whatever is done to a recording, verification finds it and says where."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from sallyport.audit import verify as v
from sallyport.audit.archive import RecordingError
from sallyport.audit.blocks import VERSION
from sallyport.audit.chain import event_hashes, genesis
from sallyport.audit.ports import SessionRow
from sallyport.audit.recorder import Recorder
from tests.audit.helpers import Forger, ListIndex, begin

BLOCKS = 4


@pytest.fixture
def recording(tmp_path: Path) -> tuple[Path, SessionRow]:
    """Four blocks: a login, two of ten events each, and an end."""
    index = ListIndex()
    recorder = Recorder(tmp_path, index)
    session = begin(recorder)
    recorder._pass(complete=True)  # by hand, so that it is known what comes into which block
    for block in range(2):
        for number in range(11):
            session.note("test", f"{block}.{number} " + "x" * 60)
        recorder._pass(complete=True)
    session.end("done")
    recorder.start()
    recorder.close()
    result = v.verify(session.output.path)
    assert (result.ok, result.blocks, result.events) == (True, BLOCKS, 24)
    return session.output.path, index.last(session.row.id)


def problems(path: Path, row: SessionRow | None = None) -> list[tuple[str, int | None]]:
    return [(problem.kind, problem.block) for problem in v.verify(path, row).problems]


def test_a_sound_recording_has_no_problems(recording: tuple[Path, SessionRow]) -> None:
    path, row = recording
    assert v.verify(path, row).ok
    assert v.verify(path, row).notes == []


Events = list[bytes]


def _edit(events: Events) -> Events:
    return [*events[:3], events[3].replace(b"0.3", b"9.9"), *events[4:]]


def _delete(events: Events) -> Events:
    return events[:5] + events[7:]


def _swap(events: Events) -> Events:
    return [*events[:2], events[6], *events[3:6], events[2], *events[7:]]


def _add(events: Events) -> Events:
    return [*events[:4], events[0], *events[4:]]


@pytest.mark.parametrize("change", [_edit, _delete, _swap, _add])
def test_changed_events(
    recording: tuple[Path, SessionRow], change: Callable[[Events], Events]
) -> None:
    forger = Forger(recording[0])
    events = forger.events(1)
    changed = change(events)
    assert changed != events
    forger.replace_events(1, changed)
    forger.write()
    assert problems(recording[0]) == [(v.EDIT, 1)]
    told: list[v.VerificationProblem] = []
    assert len(list(v.read_events(recording[0], on_problem=told.append))) == 1, (
        "nothing of it is shown"
    )
    assert [problem.kind for problem in told] == [v.EDIT]


def test_a_changed_event_with_the_hash_covered_up(recording: tuple[Path, SessionRow]) -> None:
    forger = Forger(recording[0])
    forger.replace_events(1, _edit(forger.events(1)), new_hash=True)
    forger.write()
    assert problems(recording[0]) == [(v.EDIT, 2)]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_deleted_block(recording: tuple[Path, SessionRow], number: int) -> None:
    forger = Forger(recording[0])
    del forger.chunks[number]
    forger.write()
    assert problems(recording[0]) == [(v.DELETION, number)]


def test_swapped_blocks(recording: tuple[Path, SessionRow]) -> None:
    forger = Forger(recording[0])
    forger.chunks[1], forger.chunks[2] = forger.chunks[2], forger.chunks[1]
    forger.write()
    assert (v.REORDERING, 1) in problems(recording[0])


def test_a_repeated_block(recording: tuple[Path, SessionRow]) -> None:
    forger = Forger(recording[0])
    forger.chunks.insert(2, forger.chunks[1])
    forger.write()
    assert (v.INSERTION, 1) in problems(recording[0])


def test_a_torn_tail_leaves_the_rest_readable(recording: tuple[Path, SessionRow]) -> None:
    path, row = recording
    data = path.read_bytes()
    last = Forger(path).blocks[-1].offset
    for cut in (last + 1, last + 40, len(data) - 33, len(data) - 1):
        path.write_bytes(data[:cut])
        assert problems(path) == [(v.TRUNCATED, 3)]
        assert (v.TRUNCATED, 3) in problems(path, row)
        told: list[v.VerificationProblem] = []
        assert len(list(v.read_events(path, on_problem=told.append))) == 23
        assert [problem.kind for problem in told] == [v.TRUNCATED]


def test_zeros_after_a_power_cut_are_a_torn_tail(recording: tuple[Path, SessionRow]) -> None:
    path, _ = recording
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert problems(path) == [(v.TRUNCATED, 4)]


def test_a_tail_cut_at_a_blocks_edge_is_found_through_the_index(
    recording: tuple[Path, SessionRow],
) -> None:
    path, row = recording
    forger = Forger(path)
    del forger.chunks[-1]
    forger.write()
    assert {problem[0] for problem in problems(path, row)} == {v.TRUNCATED}
    assert v.verify(path).notes  # without the index it can only say that there is no end


def test_a_file_rewritten_from_the_start_is_found_through_the_index(tmp_path: Path) -> None:
    rows = []
    for place, text in (("one", "what was said"), ("two", "what was not")):
        index = ListIndex()
        recorder = Recorder(tmp_path / place, index)
        session = begin(recorder, "s_1")
        session.note("test", text)
        recorder.start()
        recorder.close()
        rows.append((session.output.path, index.last("s_1")))
    assert v.verify(rows[1][0]).ok
    assert [problem[0] for problem in problems(rows[1][0], rows[0][1])] == [v.REPLACED]


def test_another_sessions_recording_does_not_pass(recording: tuple[Path, SessionRow]) -> None:
    path = recording[0].with_name("s_other.sprec")
    recording[0].rename(path)
    assert problems(path)[0][0] == v.REPLACED
    with pytest.raises(RecordingError, match="belongs to session"):
        list(v.read_events(path))


def test_every_changed_byte_is_noticed(recording: tuple[Path, SessionRow]) -> None:
    path, row = recording
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])
        try:
            result = v.verify(path, row)
        except RecordingError:
            continue
        assert not result.ok, f"byte {place}"


def test_garbage_is_not_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "x.sprec"
    for content in (
        b"",
        b"SALLYREC",
        b"hello" * 100,
        b"SALLYREC" + struct.pack("<HH", 9, 3) + bytes(99),
    ):
        path.write_bytes(content)
        with pytest.raises(RecordingError):
            v.verify(path)


def test_a_block_that_claims_to_be_huge_is_not_allocated(
    recording: tuple[Path, SessionRow],
) -> None:
    forger = Forger(recording[0])
    chunk = bytearray(forger.chunks[1])
    struct.pack_into("<I", chunk, 24, 0xFFFFFFFF)  # raw length
    forger.chunks[1] = bytes(chunk)
    forger.write()
    assert problems(recording[0])[0][0] == v.EDIT


def test_each_event_is_bound_to_the_hash_of_the_one_before(
    recording: tuple[Path, SessionRow],
) -> None:
    path, row = recording
    forger = Forger(path)
    previous = genesis(row.id, VERSION)
    for number, block in enumerate(forger.blocks):
        events = forger.events(number)
        hashes = list(event_hashes(previous, block.sequence, block.first_event, events))
        assert len(set(hashes)) == len(events)
        assert hashes[-1] == block.hash
        previous = block.hash
    assert previous.hex() == row.last_hash
