"""Streams of the record: real receivers on loopback, which fail, refuse and vanish."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret
from sallyport.operations import streaming
from sallyport.operations.streaming import Stream, StreamSettings, late_streams
from sallyport.operations.streamsinks import (
    ElasticSink,
    FileSink,
    Sink,
    SplunkSink,
    SyslogSink,
    tls_context,
)
from tests.audit.helpers import begin, judged
from tests.operations.record import Record
from tests.support.certificates import Authority
from tests.support.receivers import HttpReceiver, SyslogReceiver
from tests.support.waiting import wait_for

HEADER = re.compile(
    r"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) \S+ sallyport \d+ (\w+) - (.*)", re.DOTALL
)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    made = Record(tmp_path / "data")
    yield made
    made.recorder.close()
    made.writer.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_PAUSE", 0.02)
    monkeypatch.setattr(streaming, "_FIRST_RETRY", 0.02)
    monkeypatch.setattr(streaming, "_LAST_RETRY", 0.1)


def write(record: Record, name: str, statements: int) -> list[str]:
    """A session that is over; the ids of its events."""
    session = begin(record.recorder, name)
    for number in range(1, statements + 1):
        session.statement(judged(number, f"SELECT {number} -- \u2028 é", outcome="allow"))
        session.complete(number, "SELECT 1", 1, "", 0.1)
    session.end("disconnected")
    record.settle()
    return [f"{name}:{position}" for position in range(statements + 2)]


@pytest.fixture
def stream_to(record: Record, tmp_path: Path) -> Iterator[Callable[..., Stream]]:
    streams: list[Stream] = []

    def make(sink: Sink, **settings: Any) -> Stream:
        values = {"name": "siem", "from_beginning": True, **settings}
        stream = Stream(StreamSettings(**values), sink, record.sessions, tmp_path / "streams")
        stream.start()
        streams.append(stream)
        return stream

    yield make
    for stream in streams:
        stream.close(0.2)


StreamTo = Callable[..., Stream]


def test_a_file_has_every_event_once_and_a_second_run_goes_on(
    record: Record, stream_to: StreamTo, tmp_path: Path
) -> None:
    path = tmp_path / "audit.jsonl"
    expected = write(record, "s_1", 1200)
    first = stream_to(FileSink(path))
    wait_for(lambda: first.sent == len(expected))
    first.close()
    expected += write(record, "s_2", 3)
    second = stream_to(FileSink(path))
    wait_for(lambda: second.sent == 5)
    wait_for(lambda: second.lag < 1.0)
    assert [json.loads(line)["id"] for line in path.read_text().split("\n")[:-1]] == expected


def test_a_file_that_is_moved_away_or_broke_off(
    record: Record,
    stream_to: StreamTo,
    tmp_path: Path,
) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text('{"id": "s_0:0", "half')
    stream = stream_to(FileSink(path))
    first = write(record, "s_1", 2)
    wait_for(lambda: stream.sent == len(first))
    path.rename(tmp_path / "rotated")
    second = write(record, "s_2", 2)
    wait_for(lambda: stream.sent == len(first) + len(second))
    lines = (tmp_path / "rotated").read_text().splitlines()
    assert lines[0] == '{"id": "s_0:0", "half' and len(lines) == 1 + len(first)
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == second


def syslog_over_tls(home: Path) -> tuple[SyslogReceiver, SyslogSink]:
    authority = Authority(home, "syslog CA")
    files = authority.issue("siem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    receiver = SyslogReceiver(context)
    return receiver, SyslogSink("localhost", receiver.port, tls_context(authority.file, None, None))


def test_syslog_over_tls(record: Record, stream_to: StreamTo, tmp_path: Path) -> None:
    receiver, sink = syslog_over_tls(tmp_path)
    expected = write(record, "s_1", 700)
    stream = stream_to(sink, format="jsonl")
    wait_for(lambda: len(receiver.messages) == len(expected))
    assert [event["id"] for event in receiver.events()] == expected
    for message in receiver.messages:
        matched = HEADER.fullmatch(message)
        assert matched is not None, message
        assert int(matched[1]) // 8 == 13 and matched[3] in ("login", "statement", "end")
    assert not stream.problem
    receiver.stop()


def test_a_receiver_without_the_right_certificate_gets_nothing(
    record: Record, stream_to: StreamTo, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    receiver, _ = syslog_over_tls(tmp_path / "a")
    (tmp_path / "b").mkdir()
    stranger = Authority(tmp_path / "b", "another CA")
    write(record, "s_1", 1)
    context = tls_context(stranger.file, None, None)
    stream = stream_to(SyslogSink("localhost", receiver.port, context))
    wait_for(lambda: stream.failures > 1)
    assert "certificate" in stream.problem and receiver.messages == []
    receiver.stop()


def test_a_syslog_that_dies_again_and_again_loses_nothing(
    record: Record, stream_to: StreamTo, tmp_path: Path
) -> None:
    receiver = SyslogReceiver()
    stream = stream_to(SyslogSink("127.0.0.1", receiver.port, None), format="jsonl")
    expected: set[str] = set()

    def has_arrived() -> bool:
        return {event["id"] for event in receiver.events()} == expected

    for round_ in range(4):
        expected |= set(write(record, f"s_{round_}", 50))
        wait_for(has_arrived)
        receiver.stop()
        expected |= set(write(record, f"t_{round_}", 50))
        wait_for(lambda: stream.problem)
        receiver.start()
        wait_for(lambda: not stream.problem)
    wait_for(has_arrived)
    assert stream.failures >= 4
    receiver.stop()


def test_splunk(record: Record, stream_to: StreamTo) -> None:
    busy = [503, 503, 429]
    receiver = HttpReceiver(lambda path, body: (busy.pop() if busy else 200, '{"code": 0}'))
    url = f"{receiver.url}/services/collector/event"
    expected = write(record, "s_1", 600)
    sink = SplunkSink(url, Secret("t0ken"), tls_context(None, None, None))
    stream = stream_to(sink, format="ocsf")
    wait_for(lambda: stream.sent == len(expected))
    events = [json.loads(line) for body in receiver.taken for line in body.splitlines()]
    assert [event["event"]["metadata"]["uid"] for event in events] == expected
    assert {event["sourcetype"] for event in events} == {"sallyport:audit"}
    assert receiver.requests[0][1]["Authorization"] == "Splunk t0ken"
    assert stream.failures == 3 and len(receiver.requests) == 3 + len(receiver.taken)
    receiver.stop()


def test_what_elastic_refuses_for_good_is_kept_and_the_rest_goes_on(
    record: Record, stream_to: StreamTo, tmp_path: Path
) -> None:
    stored: dict[str, Any] = {}

    def bulk(path: str, body: bytes) -> tuple[int, str]:
        lines = [json.loads(line) for line in body.splitlines()]
        items = []
        for action, document in zip(lines[::2], lines[1::2], strict=True):
            id_ = action["create"]["_id"]
            status = 409 if id_ in stored else 400 if id_ == "s_1:3" else 201
            if status == 201:
                stored[id_] = document
            items.append({"create": {"status": status, "error": {"reason": "mapping"}}})
        return 200, json.dumps({"errors": True, "items": items})

    receiver = HttpReceiver(bulk)
    expected = write(record, "s_1", 10)
    sink = ElasticSink(f"{receiver.url}/_bulk", "audit", None, tls_context(None, None, None))
    stream = stream_to(sink)
    wait_for(lambda: stream.sent == len(expected))
    assert set(stored) == set(expected) - {"s_1:3"} and stream.rejected == 1
    assert stored["s_1:1"]["@timestamp"] == stored["s_1:1"]["time"]
    (kept,) = (tmp_path / "streams" / "siem.rejected.jsonl").read_text().splitlines()
    assert json.loads(kept)["id"] == "s_1:3" and "mapping" in json.loads(kept)["reason"]
    receiver.stop()


def test_one_bad_event_does_not_stop_a_batch(record: Record, stream_to: StreamTo) -> None:
    def picky(path: str, body: bytes) -> tuple[int, str]:
        return (400, "no") if b'"id": "s_1:7"' in body else (200, "")

    receiver = HttpReceiver(picky)
    expected = write(record, "s_1", 30)
    stream = stream_to(SplunkSink(receiver.url, Secret("t"), tls_context(None, None, None)))
    wait_for(lambda: stream.sent == len(expected))
    lines = [line for body in receiver.taken for line in body.splitlines()]
    came = [json.loads(line)["event"]["id"] for line in lines]
    assert came == [id_ for id_ in expected if id_ != "s_1:7"] and stream.rejected == 1
    receiver.stop()


def test_lag_and_lateness(record: Record, stream_to: StreamTo) -> None:
    is_up = [True]
    receiver = HttpReceiver(lambda path, body: (200 if is_up[0] else 503, ""))
    sink = SplunkSink(receiver.url, Secret("t"), tls_context(None, None, None))
    stream = stream_to(sink, required=True, max_lag=1.0)
    write(record, "s_1", 3)
    wait_for(lambda: stream.sent == 5 and stream.lag < 1.0)
    assert late_streams([stream]) == ""
    is_up[0] = False
    write(record, "s_2", 3)
    wait_for(lambda: stream.is_late)
    assert late_streams([stream]) == "siem" and "503" in stream.problem
    is_up[0] = True
    wait_for(lambda: stream.sent == 10 and not stream.is_late)
    receiver.stop()


def test_what_is_not_required_is_never_late(record: Record, stream_to: StreamTo) -> None:
    stream = stream_to(SyslogSink("127.0.0.1", 1, None), max_lag=0.01)
    write(record, "s_1", 1)
    wait_for(lambda: stream.failures)
    time.sleep(0.05)
    assert stream.lag > 0.01 and not stream.is_late


def test_the_first_start_begins_now_unless_it_is_told(
    record: Record, stream_to: StreamTo, tmp_path: Path
) -> None:
    write(record, "s_old", 3)
    stream = stream_to(FileSink(tmp_path / "now"), from_beginning=False)
    expected = write(record, "s_new", 1)
    wait_for(lambda: stream.sent == len(expected))
    assert "s_old" not in (tmp_path / "now").read_text()


def test_a_cursor_that_is_none_is_an_error(record: Record, tmp_path: Path) -> None:
    (tmp_path / "streams").mkdir()
    (tmp_path / "streams" / "siem.cursor").write_text("garbage")
    with pytest.raises(SallyportError, match="does not say how far"):
        directory = tmp_path / "streams"
        Stream(StreamSettings("siem"), FileSink(tmp_path / "x"), record.sessions, directory)
