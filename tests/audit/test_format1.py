"""Recordings of format 1 stay readable: every reader, on a file that the last version which wrote
them made.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from sallyport.audit import events as ev
from sallyport.audit import verify as v
from sallyport.audit.archive import RecordingError
from sallyport.audit.blocks import is_unwritten
from sallyport.audit.ports import ENDED, INTERRUPTED, SessionRow
from sallyport.audit.reader import RecordingReader
from sallyport.audit.recovery import rebuild, recover
from sallyport.audit.replay import ResultRow, steps
from sallyport.audit.tail import last_events
from sallyport.operations.sessions import Sessions

DATA = Path(__file__).with_name("data")


@pytest.fixture
def row() -> SessionRow:
    """As the index had it."""
    row = SessionRow(**json.loads((DATA / "format1.json").read_text()))
    row.groups = tuple(row.groups)
    return row


@pytest.fixture
def path(tmp_path: Path, row: SessionRow) -> Path:
    path = tmp_path / row.file
    path.parent.mkdir(parents=True)
    shutil.copy(DATA / "format1.sprec", path)
    return path


def test_it_is_format_1(path: Path) -> None:
    with RecordingReader(path) as reader:
        assert reader.version == 1
        assert len(list(reader.blocks())) == 5


def test_it_verifies(path: Path, row: SessionRow) -> None:
    result = v.verify(path, row)
    assert (result.problems, result.notes, result.blocks, result.events) == ([], [], 5, 413)


def test_its_events_are_read(path: Path, row: SessionRow) -> None:
    events = list(v.read_events(path))
    statements = [event for event in events if isinstance(event, ev.Statement)]
    assert [(s.number, s.outcome, s.code) for s in statements] == [
        (1, "allow", ""), (2, "deny", "SP1002"), (3, "allow", ""),
    ]  # fmt: skip
    assert statements[1].binds == (b"\0\0\0\x07", None)
    assert statements[0].masked == ("public.customers.email",)
    assert isinstance(events[-1], ev.End)
    rows = [step.values for step in steps(iter(events)) if isinstance(step, ResultRow)]
    assert rows[0] == ("7", "j***@example.com")
    assert rows[-1] == ("400",)
    assert len(rows) == row.rows


def test_its_end_is_read_alone(path: Path, row: SessionRow) -> None:
    began, events = last_events(path, row.id, 1)
    assert began > 0
    assert [event.number for event in events if isinstance(event, ev.Statement)] == [3]
    lines = Sessions(path.parents[3], None).latest(row.id, 3)
    assert [line.number for line in lines] == [3, 2, 1]


def test_the_index_is_made_anew_from_it(path: Path, row: SessionRow) -> None:
    recovered = rebuild(path, path.parents[3])
    assert recovered is not None
    assert recovered.row == dataclasses.replace(row, owner="gateway-1")
    assert [text.number for text in recovered.statements] == [1, 2, 3]


def test_one_that_was_left_behind_is_recovered(path: Path, row: SessionRow) -> None:
    """The gateway was killed, and the next start is that of the new version."""
    content = path.read_bytes()
    with RecordingReader(path) as reader:
        extents = list(reader.extents())
        blocks = list(reader.blocks())
    path.write_bytes(content[: extents[4][0] + 20])
    row.status, row.last_hash = "live", blocks[1].hash.hex()
    row.statements, row.refused, row.rows, row.bytes = (
        1,
        0,
        1,
        sum(len(b.raw or b"") for b in blocks[:2]),
    )
    recovered = recover(path.parents[3], row)
    assert recovered.problem == ""
    assert (row.status, row.statements, row.refused, row.rows) == (INTERRUPTED, 3, 1, 401)
    assert [text.number for text in recovered.statements] == [2, 3]
    assert path.stat().st_size == extents[4][0]
    assert path.with_suffix(".torn").stat().st_size == 20
    assert v.verify(path, row).ok


def test_a_header_that_was_cut_off_is_unwritten(path: Path, row: SessionRow) -> None:
    path.write_bytes(path.read_bytes()[:30])
    assert is_unwritten(path, row.id)


def test_changes_are_found(path: Path, row: SessionRow) -> None:
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1 :])
        try:
            result = v.verify(path, row)
        except RecordingError:
            continue
        assert not result.ok, f"byte {place}"


def test_it_does_not_pass_as_another_version(path: Path, row: SessionRow) -> None:
    content = path.read_bytes()
    assert row.status == ENDED
    for version in (0, 2, 3):
        path.write_bytes(content[:8] + version.to_bytes(2, "little") + content[10:])
        try:
            assert not v.verify(path, row).ok
        except RecordingError as error:
            assert version != 2, error
