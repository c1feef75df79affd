"""Chunks of encoded events, compiled and interpreted: what was appended comes out once, in order,
counted.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.audit import chunks as installed
from sallyport.audit import events as ev

SOURCE = Path(__file__).parents[2] / "src" / "sallyport" / "audit" / "chunks.py"


def _interpreted() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chunks_interpreted", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


interpreted = _interpreted()
BOTH = pytest.mark.parametrize("module", [installed, interpreted], ids=["installed", "interpreted"])


def writer_of(module: Any) -> Any:
    return module.ChunkWriter(module.Intake(lambda: None, 1 << 62))


def taken(writer: Any) -> list[Any]:
    return list(iter(writer.take, None))


def content(chunks: list[Any]) -> bytes:
    return b"".join(chunk.buffer[: chunk.size] for chunk in chunks)


def test_the_interpreted_module_is_not_the_compiled_one() -> None:
    assert interpreted.COMPILED is False


def test_it_runs_where_cython_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cython", None)
    writer = writer_of(_interpreted())
    writer.append(b"event")
    assert writer.take()[:3] == (b"event", 5, 1)


def test_the_compiled_module_is_up_to_date() -> None:
    if not installed.COMPILED:
        pytest.skip("not compiled; run scripts/build-native")
    built = Path(installed.__file__).stat().st_mtime
    sources = [SOURCE, *SOURCE.parent.glob("*.pxd")]
    assert built > max(path.stat().st_mtime for path in sources), "run scripts/build-native"


@BOTH
@given(sizes=st.lists(st.integers(0, 3000), max_size=40), takes=st.sets(st.integers(0, 40)))
def test_what_is_appended_comes_out_once_and_in_order(
    module: Any, sizes: list[int], takes: set[int]
) -> None:
    writer = writer_of(module)
    chunks: list[Any] = []
    events = [bytes([number % 256]) * (size + 1) for number, size in enumerate(sizes)]
    for number, event in enumerate(events):
        writer.append(event, 1, number % 2, number)
        if number in takes:
            chunks += taken(writer)
    chunks += taken(writer)
    assert content(chunks) == b"".join(events)
    assert writer.accepted == writer.intake.accepted == sum(map(len, events))
    assert writer.waiting == 0
    assert (
        sum(chunk.events for chunk in chunks)
        == sum(chunk.statements for chunk in chunks)
        == len(events)
    )
    assert sum(chunk.refused for chunk in chunks) == len(events) // 2
    assert sum(chunk.rows for chunk in chunks) == sum(range(len(events)))


@BOTH
@given(
    at=st.floats(0, 1e9), number=st.integers(0, 1 << 63), sql=st.text(max_size=300),
    refused=st.booleans(),
    size=st.sampled_from([0, 31, 32, 255, 256, 65535, 65536]),
)  # fmt: skip
def test_statements_are_encoded_as_the_reader_expects(
    module: Any, at: float, number: int, sql: str, refused: bool, size: int
) -> None:
    statement = ev.Statement(
        at, number, sql + "x" * size, "deny" if refused else "allow", binds=(b"1", None)
    )
    fields = msgspec.structs.astuple(statement)
    writer = writer_of(module)
    rest = b"".join(map(msgspec.msgpack.encode, fields[3:]))
    writer.append_statement(at, number, statement.sql, rest, refused)
    chunk = writer.take()
    assert ev.decode_event(chunk.buffer[: chunk.size]) == statement
    assert (chunk.events, chunk.statements, chunk.refused, chunk.rows) == (1, 1, int(refused), 0)


@BOTH
@given(
    number=st.sampled_from([0, 1, 127, 128, 255, 256, 65535, 65536, (1 << 32) - 1, 1 << 32,
    (1 << 64) - 1]),
    size=st.sampled_from([0, 1, 255, 256, 65535, 65536]), tag=st.text(max_size=40),
    rows=st.integers(0, 1 << 40),
    seconds=st.floats(0, 1e6),
)  # fmt: skip
def test_answers_are_encoded_as_the_reader_expects(
    module: Any, number: int, size: int, tag: str, rows: int, seconds: float
) -> None:
    answered = ev.Answered(1.5, number, b"\xc1" * size, tag, rows, seconds)
    writer = writer_of(module)
    writer.append_answered(1.5, number, answered.data, tag, rows, seconds)
    chunk = writer.take()
    assert chunk.buffer[: chunk.size] == msgspec.msgpack.encode(answered)
    assert (chunk.events, chunk.statements, chunk.rows) == (1, 0, rows)


@BOTH
def test_a_piece_of_a_reply(module: Any) -> None:
    writer = writer_of(module)
    writer.append_data(ev.REPLY, 2.0, 3, b"0123456789", 2, 5)
    chunk = writer.take()
    assert ev.decode_event(chunk.buffer[: chunk.size]) == ev.Reply(2.0, 3, b"23456")
    for start, size in ((-1, 2), (0, 11), (11, 0), (5, 6), (0, -1)):
        with pytest.raises(ValueError, match="not inside"):
            writer.append_data(ev.REPLY, 2.0, 3, b"0123456789", start, size)
    assert writer.waiting == 0


@BOTH
def test_what_cannot_be_encoded_leaves_nothing_behind(module: Any) -> None:
    writer = writer_of(module)
    with pytest.raises(UnicodeEncodeError):
        writer.append_statement(1.0, 1, "\udcff", b"", False)
    with pytest.raises(OverflowError):
        writer.append_answered(1.0, 1, b"", "", 1 << 80, 0.0)
    assert (writer.waiting, writer.accepted, writer.take()) == (0, 0, None)
    writer.append(b"next")
    assert content(taken(writer)) == b"next"


@BOTH
def test_the_first_event_that_waits_is_announced(module: Any) -> None:
    writer = writer_of(module)
    for _ in range(3):
        writer.append(b"event")
        writer.append(b"event")
        assert len(taken(writer)) == 1
    assert writer.intake.dirty == [writer] * 3


@BOTH
def test_the_thread_is_woken_when_it_is_idle_and_when_much_waits(module: Any) -> None:
    calls: list[int] = []
    intake = module.Intake(lambda: calls.append(intake.accepted), 100)
    writers = [module.ChunkWriter(intake) for _ in range(2)]
    for number in range(30):
        writers[number % 2].append(bytes(10))
    assert calls == [100, 200, 300]
    assert intake.accepted == 300
    writers[0].take()
    intake.idle = True
    for _ in range(3):
        writers[0].append(b"x")
    assert calls == [100, 200, 300, 301]


def test_buffers_follow_use() -> None:
    if not installed.COMPILED:
        pytest.skip("the interpreted module has no buffers")
    writer = writer_of(installed)
    assert writer.capacity == 0
    writer.append(b"x")
    assert writer.capacity == 4096
    for _ in range(5000):
        writer.append(bytes(100))
    assert 500_000 <= writer.capacity <= 1 << 20
    assert len(taken(writer)) == 1
    assert writer.capacity == 0
    writer.append(b"x")
    assert writer.capacity == 1 << 19
    taken(writer)
    writer.append(b"x")
    assert writer.capacity == 4096


@BOTH
def test_a_full_chunk_is_followed_by_another_one(module: Any) -> None:
    writer = writer_of(module)
    events = [bytes([number]) * 300_000 for number in range(10)] + [b"z" * (3 << 20), b"end"]
    for event in events:
        writer.append(event)
    chunks = taken(writer)
    assert content(chunks) == b"".join(events)
    assert sorted(chunk.size > 1 << 20 for chunk in chunks) == [False] * (len(chunks) - 1) + [True]
    assert max(len(chunk.buffer) for chunk in chunks) <= (3 << 20) + 4096
    assert writer.waiting == 0


@BOTH
def test_a_thread_that_takes_loses_nothing(module: Any) -> None:
    writer = writer_of(module)
    chunks: list[Any] = []
    done = threading.Event()

    def take() -> None:
        while not done.is_set() or writer.waiting:
            chunks.extend(taken(writer))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread = threading.Thread(target=take)
        thread.start()
        for number in range(20_000):
            writer.append(b"%07d" % number, 1)
        done.set()
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert content(chunks) == b"".join(b"%07d" % number for number in range(20_000))
    for chunk in chunks:
        assert chunk.size == 7 * chunk.events == 7 * chunk.statements


CALLER = """# cython: language_level=3
from libc.string cimport memset
from sallyport.audit.chunks cimport ChunkWriter
from sallyport.audit.msgpack cimport put_nil

def write(ChunkWriter writer, Py_ssize_t size):
    # An event of `size` bytes, written in steps; between them the other thread may ask.
    cdef unsigned char *p = writer.reserve(1)
    cdef Py_ssize_t used = 0
    results = []
    while used < size:
        p = writer.extend(used, 1000)
        memset(p + used, used % 251, 1000)
        used += 1000
        results.append(writer.take())
    writer.commit(used, 1, 0, 2)
    return results

def give_up(ChunkWriter writer):
    put_nil(writer.reserve(10))
    writer.abandon()
"""


@pytest.mark.skipif(not installed.COMPILED, reason="not compiled")
def test_native_code_writes_events_in_place(tmp_path: Path) -> None:
    caller = _compiled(CALLER, tmp_path)
    writer = writer_of(installed)
    expected = b""
    chunks: list[Any] = []
    for size in (3000, 700_000, 600_000, 2_000_000):
        expected += b"".join(bytes([used % 251]) * 1000 for used in range(0, size, 1000))
        during = [chunk for chunk in caller.write(writer, size) if chunk is not None]
        chunks += during
        caller.give_up(writer)
    chunks += taken(writer)
    assert content(chunks) == expected
    assert sum(chunk.events for chunk in chunks) == sum(chunk.statements for chunk in chunks) == 4
    assert sum(chunk.rows for chunk in chunks) == 8


def _compiled(source: str, directory: Path) -> Any:
    cython_build = pytest.importorskip("Cython.Build")
    setuptools = pytest.importorskip("setuptools")
    (directory / "chunk_caller.pyx").write_text(source)
    extension = setuptools.Extension("chunk_caller", [str(directory / "chunk_caller.pyx")])
    modules = cython_build.cythonize(
        [extension],
        include_path=[str(SOURCE.parents[2])],
        build_dir=str(directory / "c"),
        quiet=True,
    )
    distribution = setuptools.Distribution(
        {"name": "caller", "ext_modules": modules, "script_args": ["-q"]}
    )
    command = distribution.get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(directory / "lib"), str(directory / "tmp")
    distribution.run_command("build_ext")
    (built,) = (directory / "lib").rglob("chunk_caller*")
    spec = importlib.util.spec_from_file_location("chunk_caller", built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@BOTH
def test_a_thread_that_takes_meanwhile_gets_every_event_once(module: Any) -> None:
    """Also at the moment when a buffer is full and another one begins."""
    writer = writer_of(module)
    ended = threading.Event()
    counts = [0, 0]

    def take() -> None:
        while not ended.is_set() or writer.waiting:
            chunk = writer.take()
            if chunk is not None:
                counts[0] += chunk.size
                counts[1] += chunk.events

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=take)
    thread.start()
    try:
        for number in range(6000):
            writer.append(bytes((9000, 100, 70000)[number % 3]))
    finally:
        ended.set()
        thread.join(30)
        sys.setswitchinterval(before)
    assert counts == [2000 * 79100, 6000]


@BOTH
def test_a_reference_to_what_is_dropped_is_never_written(module: Any) -> None:
    """Whichever moment the other thread chooses to drop what waits."""
    writer = writer_of(module)
    assert not writer.repeats(b"text", 4)
    writer.append(b"text")
    assert writer.repeats(b"text", 4)
    assert writer.drop() == []  # a reference is just being written
    writer.append(b"reference")
    assert content(writer.drop()) == b"textreference"
    assert (writer.waiting, writer.drop(), writer.take()) == (0, [], None)
    assert not writer.repeats(b"text", 4)


@BOTH
def test_a_thread_that_drops_leaves_no_reference_without_its_text(module: Any) -> None:
    writer = writer_of(module)
    ended = threading.Event()
    kept: list[Any] = []
    dropped: list[Any] = []

    def take_or_drop() -> None:
        turn = 0
        while not ended.is_set() or writer.waiting:
            turn += 1
            if turn % 3:
                kept.extend(taken(writer))
            else:
                dropped.extend(writer.drop())

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=take_or_drop)
    thread.start()
    try:
        for number in range(20_000):
            name = b"%d" % (number % 3)
            writer.append((b"r" if writer.repeats(name, 1) else b"t") + name)
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(before)
    assert len(content(kept)) + len(content(dropped)) == 40_000
    written, texts = content(kept), set()
    for start in range(0, len(written), 2):
        kind, name = written[start : start + 1], written[start + 1 : start + 2]
        if kind == b"t":
            texts.add(name)
        assert name in texts
