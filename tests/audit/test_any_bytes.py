"""Whatever bytes a recording, its name or the index hold: every recording gets a verdict."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest
import zstandard

from sallyport.audit import events as ev
from sallyport.audit.appender import Appender, Output
from sallyport.audit.blocks import VERSION, file_header, seal
from sallyport.audit.chain import Chain, block_hash, genesis
from sallyport.audit.ports import SessionRow
from sallyport.audit.recorder import Recorder
from sallyport.audit.verify import read_events
from sallyport.operations.sessions import Sessions
from tests.audit.helpers import ListIndex, begin, chunk_of, judged
from tests.support.waiting import wait_for


@pytest.fixture
def recording(tmp_path: Path) -> tuple[Path, SessionRow]:
    index = ListIndex()
    recorder = Recorder(tmp_path, index, interval=0.001)
    recorder.start()
    session = begin(recorder, "s_sound")
    for number in range(5):
        session.statement(judged(number, f"select {number}", outcome="allow"))
        session.answered(number, b"x" * 100, "SELECT 1", 1, 0.1)
        wait_for(lambda: session.backlog == 0)
    session.end("done")
    recorder.close()
    return session.output.path, index.last("s_sound")


class Rows:
    """An index of given rows."""

    def __init__(self, *rows: SessionRow) -> None:
        self.rows = rows

    def recent(self, **_: object) -> list[SessionRow]:
        return list(self.rows)

    def __getattr__(self, name: str) -> object:
        raise NotImplementedError(name)


def verdicts(path: Path, *rows: SessionRow) -> dict[str, bool]:
    directory = path.parents[3]
    results = list(Sessions(directory, Rows(*rows)).verify())  # type: ignore[arg-type]
    for result in results:
        assert [str(problem) for problem in result.problems] == list(map(str, result.problems))
    return {result.session: result.ok for result in results}


def test_changed_bytes(recording: tuple[Path, SessionRow]) -> None:
    path, row = recording
    content = path.read_bytes()
    events = list(read_events(path))
    assert verdicts(path, row) == {"s_sound": True}
    choose = random.Random(9)
    for _ in range(1500):
        changed = bytearray(content)
        for _ in range(choose.choice((1, 1, 1, 8, 60))):
            changed[choose.randrange(len(changed))] = choose.randrange(256)
        if choose.random() < 0.3:
            del changed[choose.randrange(len(changed)) :]
        if changed == content:
            continue
        path.write_bytes(changed)
        # A few bits of a zstd frame mean nothing; the hash covers what was recorded.
        assert verdicts(path, row) == {"s_sound": False} or list(read_events(path)) == events
        assert verdicts(path).keys() == {"s_sound"}


def _block(event: bytes) -> bytes:
    """A recording whose one block is sound, whatever its event is."""
    start = genesis("s_sound", VERSION)
    hash_ = block_hash(start, 0, 1, 0, event)
    head = struct.pack("<4sIIIQII32s", b"SPB4", 0, 0, 1, 0, len(event), len(event), start)
    return file_header("s_sound") + head + event + hash_


@pytest.mark.parametrize(
    "event",
    [
        b"\xc0", b"\x91\x07", b"\x92\x01\xa1\xff", b"\x93\x07\xcb\x7f\xf0\0\0\0\0\0\0\xa1x",
        b"\x93\x07\xcb\x7f\xf8\0\0\0\0\0\0\xa2\xc3\x28", b"\x91" * 5000 + b"\x90", b"\x92\x63\x01",
        b"\xdd\xff\xff\xff\xff", b"\x93\x07\x01\xdb\xff\xff\xff\xff",
    ],
)  # fmt: skip
def test_events_that_are_none(recording: tuple[Path, SessionRow], event: bytes) -> None:
    path, row = recording
    path.write_bytes(_block(event))
    assert verdicts(path, row) == {"s_sound": False}
    assert verdicts(path).keys() == {"s_sound"}


def test_sizes_that_nobody_can_hold(recording: tuple[Path, SessionRow]) -> None:
    path, row = recording
    head = struct.Struct("<4sIIIQII32s")
    for events, raw, stored in ((2**32 - 1, 2**30, 10), (1, 2**32 - 1, 2**32 - 1), (2**31, 4, 4)):
        block = head.pack(b"SPB4", 0, 0, events, 0, raw, stored, bytes(32)) + bytes(100)
        path.write_bytes(file_header("s_sound") + block)
        assert verdicts(path, row) == {"s_sound": False}


def test_files_that_are_none(recording: tuple[Path, SessionRow], tmp_path: Path) -> None:
    path, row = recording
    day = path.parent
    (day / "s_directory.sprec").mkdir()
    os.mkfifo(day / "s_pipe.sprec")
    (day / "s_link.sprec").symlink_to("/dev/zero")
    (day / "s_empty.sprec").write_bytes(b"")
    (day / "no session id.sprec").write_bytes(path.read_bytes())
    Path(os.fsdecode(bytes(day) + b"/s_\xff.sprec")).write_bytes(path.read_bytes())
    results = verdicts(path, row)
    assert len(results) == 7
    # the index does not know the empty one: a gateway was killed before its first write
    assert [session for session, ok in results.items() if ok] == ["s_empty", "s_sound"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("subject", "mallory"), ("issuer", "https://elsewhere.example.com"),
        ("groups", ("admins",)),
        ("agent", "other"), ("label", ""), ("target", "other"), ("client", "10.0.0.1:1"),
        ("application", "x"), ("started", 5.0), ("started", "yesterday"), ("ended", 5.0),
        ("ended", None),
        ("reason", "something else"), ("statements", 4), ("statements", "5"), ("refused", 1),
        ("rows", 0),
        ("bytes", 1), ("last_hash", "no hash"), ("last_hash", 5), ("last_hash", ""),
        ("file", "../../../etc/passwd"), ("file", "/etc/passwd"),
        ("file", "2026/01/01/s_other.sprec"),
        ("file", ""), ("file", "2026/01/01/\0"),
    ],
)  # fmt: skip
def test_a_row_that_says_something_else(
    recording: tuple[Path, SessionRow], column: str, value: object
) -> None:
    path, row = recording
    setattr(row, column, value)
    assert verdicts(path, row) == {"s_sound": False}


def test_a_sound_row_and_appended_events(recording: tuple[Path, SessionRow]) -> None:
    path, row = recording
    chain = Chain(bytes.fromhex(row.last_hash), 99, 99)
    parts = seal(chain, chunk_of([(ev.NOTE, 1.0, "test", "x")]), zstandard.ZstdCompressor()).parts
    appender = Appender()
    appender.append(Output(str(path), path.stat().st_size), parts)
    appender.close_all()
    assert verdicts(path, row) == {"s_sound": False}
