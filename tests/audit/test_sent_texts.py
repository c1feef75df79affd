"""A text that ran in a statement's place is recorded once, and every reader has it everywhere."""

from __future__ import annotations

import runpy
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import zstandard
from msgspec.structs import astuple

from sallyport.audit import events as ev
from sallyport.audit import tail
from sallyport.audit.blocks import VERSION, file_header, genesis, seal
from sallyport.audit.chain import Chain
from sallyport.audit.chunks import MOST_SENT, MOST_SENT_BYTES
from sallyport.audit.events import LONGEST_SENT
from sallyport.audit.follow import RecordingTail
from sallyport.audit.reader import RecordingReader
from sallyport.audit.recorder import Recorder
from sallyport.audit.recording import SessionRecording
from sallyport.audit.senttexts import ABSENT, SentTexts
from sallyport.audit.tail import last_events
from sallyport.session.ports import JudgedStatement, RecordedVerdict
from tests.audit.helpers import begin, chunk_of, events_of, judged
from tests.audit.test_journal import Gateway, recovered, stop_writer
from tests.docs.test_read_recording import READER
from tests.docs.test_read_recording import read as read_without_our_code
from tests.support.waiting import wait_for


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path, interval=0.001)


def record(recording: SessionRecording, texts: Sequence[str]) -> None:
    for number, sent in enumerate(texts, 1):
        recording.statement(judged(number, f"select {number}", outcome="allow", sent=sent))


def read(recorder: Recorder, recording: SessionRecording) -> list[ev.Statement]:
    recorder.start()
    recording.end("done")
    recorder.close()
    return statements(events_of(recording.output.path))


def statements(events: Sequence[ev.Event]) -> list[ev.Statement]:
    return [event for event in events if isinstance(event, ev.Statement)]


def test_a_text_stands_in_a_recording_once(recorder: Recorder) -> None:
    texts = ["select 'a'", "select 'b'", "", "select 'a'", "select 'a'", "select 'b'"]
    recording = begin(recorder)
    record(recording, texts)
    chunk = recording.chunks.take()
    assert chunk is not None
    assert chunk.buffer.count(b"select 'a'") == chunk.buffer.count(b"select 'b'") == 1


def test_readers_have_it_everywhere(recorder: Recorder) -> None:
    texts = ["select 'a'", "select 'b'", "", "select 'a'", "select 'a'", "select 'b'"]
    recording, following = begin(recorder), begin(recorder)
    record(recording, texts)
    record(following, texts[3:])
    written = read(recorder, recording)
    assert [statement.sent for statement in written] == texts
    assert [bool(s.sent_digest) for s in written] == [False, False, False, True, True, True]
    alone = statements(events_of(following.output.path))
    assert [s.sent for s in alone] == texts[3:]
    assert not alone[0].sent_digest


@pytest.mark.parametrize("bytes_", [LONGEST_SENT, LONGEST_SENT + 1])
def test_a_very_long_text_is_written_each_time(recorder: Recorder, bytes_: int) -> None:
    text = "x" * bytes_
    recording = begin(recorder)
    record(recording, [text, text])
    first, second = read(recorder, recording)
    assert first.sent == second.sent == text
    assert bool(second.sent_digest) == (bytes_ <= LONGEST_SENT)


def test_many_texts(recorder: Recorder) -> None:
    """More than anybody remembers: a reader that keeps the last ones has all of them."""
    texts = [f"select {n % (3 * MOST_SENT) if n % 5 else 0}" for n in range(10 * MOST_SENT)]
    recording = begin(recorder)
    record(recording, texts)
    written = read(recorder, recording)
    assert [statement.sent for statement in written] == texts
    assert sum(bool(statement.sent_digest) for statement in written) > MOST_SENT
    strangers = read_without_our_code(recording.output.path)
    assert [event[16] for event in strangers if event[0] == "statement"] == texts


def test_long_texts(recorder: Recorder) -> None:
    """What is remembered has a bound of bytes, too, which writer and readers share."""
    texts = [f"{n % 40 if n % 3 else 0:060000}" for n in range(200)]
    recording = begin(recorder)
    record(recording, texts)
    written = read(recorder, recording)
    assert [statement.sent for statement in written] == texts
    repeats = [bool(statement.sent_digest) for statement in written]
    assert sum(repeats) >= 50
    last = {text: number for number, text in enumerate(texts[:-1])}
    for number, text in enumerate(texts):
        before = texts[last.get(text, number) + 1 : number]
        if repeats[number]:
            assert sum(map(len, set(before))) + len(text) <= MOST_SENT_BYTES
    with RecordingReader(recording.output.path) as reader:
        events = [msgspec.msgpack.decode(raw) for block in reader.blocks() for raw in block.split()]
    strangers = runpy.run_path(str(READER))["with_texts"](events)  # hashing it all takes minutes
    assert [event[16] for event in strangers if event[0] == ev.STATEMENT] == texts


def test_what_a_reader_keeps_is_bounded() -> None:
    texts = SentTexts()
    tracemalloc.start()
    try:
        for number in range(2 * MOST_SENT):
            sent = f"{number:0{LONGEST_SENT}}"
            texts.complete(ev.Statement(1.0, number, "select 1", "allow", sent=sent))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < MOST_SENT_BYTES + (1 << 17)


def test_who_does_not_show_texts_keeps_none(recorder: Recorder) -> None:
    recording = begin(recorder)
    record(recording, ["select 'a'", "select 'a'"])
    read(recorder, recording)
    following = RecordingTail(recording.output.path, recording.id, texts=False)
    first, second = statements(list(following.read()))
    assert (first.sent, first.sent_digest) == ("select 'a'", b"")
    assert second.sent == "" and second.sent_digest


def test_the_end_is_read_with_texts_from_before(recorder: Recorder) -> None:
    recorder.start()
    recording = begin(recorder)
    verdict = RecordedVerdict("allow", sent="select 'a'")
    for number in range(1, 51):
        recording.statement(JudgedStatement(number, f"select {number}", verdict))
        wait_for(lambda: recording.backlog == 0)
    path, id_ = recording.output.path, recording.id
    following = RecordingTail(path, id_)
    assert {s.sent for s in statements(list(following.read()))} == {"select 'a'"}
    recording.statement(JudgedStatement(51, "select 51", verdict))
    wait_for(lambda: recording.backlog == 0)
    assert [s.sent for s in statements(list(following.read()))] == ["select 'a'"]
    _, events = last_events(path, id_, 3)
    last = statements(list(events))
    assert 3 <= len(last) < 20
    assert {(s.sent, bool(s.sent_digest)) for s in last} == {("select 'a'", True)}
    _, events = last_events(path, id_, 1, maximum=1)
    assert [s.sent for s in statements(list(events))] == [ABSENT]
    recorder.close()


def in_blocks(path: Path, *blocks: Sequence[ev.Statement | ev.Reply]) -> None:
    chain = Chain(genesis("ses_a", VERSION, b""))
    parts: list[bytes | memoryview] = [file_header("ses_a")]
    for events in blocks:
        tagged = [
            (ev.STATEMENT if isinstance(event, ev.Statement) else ev.REPLY, *astuple(event))
            for event in events
        ]
        block = seal(chain, chunk_of(tagged), zstandard.ZstdCompressor())
        parts += block.parts
        chain.advance(block.hash, len(events))
    path.write_bytes(b"".join(parts))


def statement(number: int, sent: str = "", refers_to: str = "") -> ev.Statement:
    digest = ev.digest_of(refers_to.encode())
    return ev.Statement(float(number), number, "select 1", "allow", sent=sent, sent_digest=digest)


def test_a_text_that_comes_again_later_is_not_that_of_an_earlier_reference(tmp_path: Path) -> None:
    path = tmp_path / "ses_a.sprec"
    in_blocks(path, [statement(1, "a")], [statement(2, refers_to="a"), statement(3, "a")])
    _, events = last_events(path, "ses_a", 2)
    assert [s.sent for s in statements(list(events))] == ["a", "a"]


def test_texts_are_looked_for_from_the_end_backwards(tmp_path: Path) -> None:
    path = tmp_path / "ses_a.sprec"
    reply = ev.Reply(1.0, 1, b"x" * 5000)
    in_blocks(path, [statement(1), reply], [statement(2, "a")], [statement(3, refers_to="a")])
    _, events = last_events(path, "ses_a", 1, maximum=1000)
    assert [s.sent for s in statements(list(events))] == ["a"]


def test_no_texts_are_looked_for_where_none_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ses_a.sprec"
    in_blocks(path, [statement(1)], [statement(2)], [statement(3, "a"), statement(4)])
    offsets = []
    read_block = tail._block
    monkeypatch.setattr(tail, "_block", lambda *at: offsets.append(at[1]) or read_block(*at))
    list(last_events(path, "ses_a", 2)[1])
    assert len(offsets) == 2  # the first, for when it began, and the last


def test_a_text_that_is_nowhere_is_said_to_be() -> None:
    statement = ev.Statement(1.0, 1, "select 1", "allow", sent_digest=b"0" * 16)
    completed = SentTexts().complete(statement)
    assert isinstance(completed, ev.Statement)
    assert completed.sent == ABSENT


def test_the_journal_has_every_text(tmp_path: Path) -> None:
    """What the recording lacks after a crash may be the statement that had the text."""
    gateway = Gateway(tmp_path)
    recording = begin(gateway.recorder)
    recording.statement(judged(1, "SELECT 1", outcome="allow", changes=False, sent="select 'a'"))
    gateway.recorder.start()
    stop_writer(gateway)
    verdict = RecordedVerdict("allow", sent="update 'b'")
    for number in (2, 3):
        recording.statement(JudgedStatement(number, f"UPDATE t SET n = {number}", verdict))
    gateway.write()
    gateway.die()
    assert gateway.start() == 2
    path = recording.output.path
    assert recovered(gateway, path) == [2, 3]
    written = statements(events_of(path))
    assert [s.sent for s in written] == ["select 'a'", "update 'b'", "update 'b'"]
    gateway.engine.dispose()
