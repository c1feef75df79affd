"""Recordings of formats 2 and 3 stay readable, and are completed in their own format."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

from sallyport.audit import blocks, recordingfile
from sallyport.audit import events as ev
from sallyport.audit.archive import RecordingError
from sallyport.audit.blocks import is_unwritten
from sallyport.audit.keys import KeyRing, LocalKey
from sallyport.audit.ports import SessionRow
from sallyport.audit.reader import RecordingReader
from sallyport.audit.verify import verify
from tests.audit.helpers import begin, events_of
from tests.audit.test_journal import Gateway, change, recovered, stop_writer
from tests.docs.test_read_recording import read

DATA = Path(__file__).with_name("data")
KEYS = KeyRing(LocalKey(bytes(32)))
SENT = "SELECT pg_catalog.left(email, 1) || '***' FROM customers WHERE id = $1"


@pytest.fixture(params=[2, 3])
def version(request: pytest.FixtureRequest) -> int:
    """Of the format."""
    return int(request.param)


@pytest.fixture
def path(tmp_path: Path, version: int) -> Path:
    """A recording that the last gateway which wrote this format made."""
    for file in DATA.glob(f"format{version}.*"):
        shutil.copy(file, tmp_path / f"s_{file.name}")
    return tmp_path / f"s_format{version}.sprec"


@pytest.fixture
def row(version: int) -> SessionRow:
    """As the index had it."""
    row = SessionRow(**json.loads((DATA / f"format{version}.json").read_text()))
    row.groups, row.actors = tuple(row.groups), tuple(row.actors)
    return row


def test_it_is_sound_and_read(path: Path, row: SessionRow, version: int) -> None:
    with RecordingReader(path) as reader:
        assert reader.version == version
    result = verify(path, row, KEYS)
    assert (result.problems, result.notes) == ([], [])
    statements = [e for e in events_of(path, KEYS) if isinstance(e, ev.Statement)]
    assert [(s.number, s.sent, s.sent_digest) for s in statements] == [
        (number, SENT, b"") for number in (1, 2, 3)
    ]


def test_the_reader_of_the_docs_reads_it(path: Path, tmp_path: Path) -> None:
    key = tmp_path / "recording.key"
    key.write_text(base64.b64encode(bytes(32)).decode())
    statements = [event for event in read(path, key) if event[0] == "statement"]
    assert [(event[2], event[16]) for event in statements] == [(n, SENT) for n in (1, 2, 3)]


def test_a_header_that_was_cut_off_is_unwritten(path: Path, row: SessionRow) -> None:
    content = path.read_bytes()
    for size in (0, 5, 10, 20, 40):
        path.write_bytes(content[:size])
        assert is_unwritten(path, row.id)


def test_it_does_not_pass_as_another_version(path: Path, row: SessionRow, version: int) -> None:
    content = path.read_bytes()
    for number in {1, 2, 3, 4, 5, 6} - {version}:
        path.write_bytes(content[:8] + number.to_bytes(2, "little") + content[10:])
        try:
            assert not verify(path, row, KEYS).ok
        except RecordingError as error:
            assert number == 6, error


def test_a_gateway_that_died_is_completed(
    tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was killed, and the next start is that of the new version."""
    gateway = Gateway(tmp_path, LocalKey(b"k" * 32) if version == 3 else None)
    for module in (blocks, recordingfile):
        monkeypatch.setattr(module, "ENCRYPTED" if version == 3 else "VERSION", version)
    recording = begin(gateway.recorder)
    change(recording, 1, sent=SENT)
    gateway.recorder.start()
    stop_writer(gateway)
    change(recording, 2, sent=SENT)
    gateway.write()
    gateway.die()
    monkeypatch.undo()
    assert gateway.start() == 1
    path = recording.output.path
    with RecordingReader(path) as reader:
        assert reader.version == version
    assert verify(path, gateway.row(recording), gateway.keys).ok
    assert recovered(gateway, path) == [2]
    events = events_of(path, gateway.keys)
    assert [event.sent for event in events if isinstance(event, ev.Statement)] == [SENT, SENT]
    gateway.engine.dispose()
