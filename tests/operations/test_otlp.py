"""OpenTelemetry: an OTLP receiver on loopback that reads requests with the published protocol
buffers, and refuses what is not in them.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sallyport.operations import streaming
from sallyport.operations.otlpsink import OtlpSink
from sallyport.operations.streaming import Stream, StreamSettings
from tests.audit.helpers import begin, judged
from tests.operations.record import Record
from tests.support.receivers import HttpReceiver
from tests.support.waiting import wait_for

IDS = ("traceId", "spanId", "parentSpanId")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_PAUSE", 0.02)
    monkeypatch.setattr(streaming, "_FIRST_RETRY", 0.02)


def with_bytes(value: Any) -> Any:
    """OTLP's JSON has ids in hexadecimal digits, where that of protocol buffers has base64."""
    if isinstance(value, list):
        return [with_bytes(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: base64.b64encode(bytes.fromhex(item)).decode() if name in IDS else with_bytes(item)
        for name, item in value.items()
    }


class Receiver:
    """``logs``, ``spans``: what came, as messages of the protocol. ``fail``: answers to come."""

    def __init__(self) -> None:
        self.logs: list[Any] = []
        self.spans: list[Any] = []
        self.fail: list[tuple[int, str]] = []
        self.http = HttpReceiver(self._answer)

    def _answer(self, path: str, body: bytes) -> tuple[int, str]:
        if self.fail:
            return self.fail.pop(0)
        document = with_bytes(json.loads(body))
        if path == "/v1/logs":
            request = json_format.ParseDict(document, ExportLogsServiceRequest())
            for resource in request.resource_logs:
                for scope in resource.scope_logs:
                    self.logs += scope.log_records
        elif path == "/v1/traces":
            request = json_format.ParseDict(document, ExportTraceServiceRequest())
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    self.spans += scope.spans
        else:
            return 404, ""
        return 200, "{}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.http.stop()


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    made = Record(tmp_path / "data")
    yield made
    made.recorder.close()
    made.writer.close()


def session(record: Record, name: str) -> None:
    """An allowed and a refused statement."""
    opened = begin(record.recorder, name)
    opened.statement(judged(1, "SELECT 1", outcome="allow"))
    opened.complete(1, "SELECT 1", 1, "", 0.25)
    opened.statement(judged(2, "DROP TABLE x", outcome="deny"))
    opened.complete(2, "", 0, "42501", 0.0)
    opened.end("disconnected")
    record.settle()


def streamed(record: Record, receiver: Receiver, tmp_path: Path, sample: float) -> Stream:
    sink = OtlpSink(receiver.http.url, sample, None, ssl.create_default_context())
    settings = StreamSettings("otel", "otlp", from_beginning=True)
    stream = Stream(settings, sink, record.sessions, tmp_path / f"streams-{sample}")
    stream.start()
    return stream


def attributes(message: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in message.attributes}


def test_events_are_logs_and_statements_are_spans_of_their_session(
    record: Record, receiver: Receiver, tmp_path: Path
) -> None:
    session(record, "ses_1")
    receiver.fail = [(503, "busy")]
    stream = streamed(record, receiver, tmp_path, 1.0)
    wait_for(lambda: len(receiver.logs) >= 4 and len(receiver.spans) >= 3)
    stream.close()
    assert stream.failures == 1 and stream.rejected == 0
    check_logs(receiver)
    check_spans(receiver)


def check_logs(receiver: Receiver) -> None:
    login, allowed, refused, _ = receiver.logs
    assert [each.event_name for each in receiver.logs] == [
        "sallyport.login", "sallyport.statement", "sallyport.statement", "sallyport.end",
    ]  # fmt: skip
    assert json.loads(allowed.body.string_value)["sql"] == "SELECT 1"
    assert attributes(refused)["sallyport.verdict"] == "deny"
    assert {bytes(each.trace_id) for each in receiver.logs} == {bytes(login.trace_id)}
    assert len(login.trace_id) == 16 and len(login.span_id) == 8


def check_spans(receiver: Receiver) -> None:
    _, allowed, refused, end = receiver.logs
    by_id = {bytes(span.span_id): span for span in receiver.spans}
    parent = by_id[bytes(end.span_id)]
    statement, denied = by_id[bytes(allowed.span_id)], by_id[bytes(refused.span_id)]
    assert bytes(statement.parent_span_id) == bytes(parent.span_id) and not parent.parent_span_id
    took = statement.end_time_unix_nano - statement.start_time_unix_nano
    assert took == pytest.approx(250_000_000, abs=2_000)
    assert attributes(statement)["db.query.text"] == "SELECT 1"
    assert (statement.status.code, denied.status.code) == (0, 2)
    assert parent.start_time_unix_nano <= statement.start_time_unix_nano


def test_only_a_share_of_what_was_allowed(
    record: Record, receiver: Receiver, tmp_path: Path
) -> None:
    for number in range(20):
        session(record, f"ses_{number}")
    stream = streamed(record, receiver, tmp_path, 0.5)
    wait_for(lambda: sum(each.event_name == "sallyport.end" for each in receiver.logs) == 20)
    stream.close()
    verdicts = [
        attributes(each).get("sallyport.verdict")
        for each in receiver.logs
        if each.event_name == "sallyport.statement"
    ]
    assert verdicts.count("deny") == 20, "what was refused is always sent"
    # By the session's id, which is the same in every run.
    assert 0 < verdicts.count("allow") < 20
    names = {attributes(span)["session.id"] for span in receiver.spans}
    assert len(names) == 20 and len(receiver.spans) == 40 + verdicts.count("allow")


def test_what_is_refused_for_good_is_written_down(
    record: Record, receiver: Receiver, tmp_path: Path
) -> None:
    session(record, "ses_1")
    partial = {"partialSuccess": {"rejectedLogRecords": "4", "errorMessage": "not today"}}
    receiver.fail = [(200, json.dumps(partial)), (400, "x"), (400, "x"), (400, "x")]
    stream = streamed(record, receiver, tmp_path, 1.0)
    wait_for(lambda: len(receiver.logs) == 2)
    stream.close()
    assert stream.rejected == 2 and stream.sent >= 2, (stream.rejected, stream.sent)


@pytest.mark.parametrize("answer", [(200, "<html>"), (404, "no such page"), (302, "")])
def test_what_is_no_receiver_keeps_the_stream_waiting(
    record: Record, receiver: Receiver, tmp_path: Path, answer: tuple[int, str]
) -> None:
    session(record, "ses_1")
    receiver.fail = [answer]
    stream = streamed(record, receiver, tmp_path, 1.0)
    wait_for(lambda: len(receiver.logs) == 4)
    stream.close()
    assert stream.failures == 1 and stream.rejected == 0
