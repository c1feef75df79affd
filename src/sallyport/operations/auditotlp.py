"""Audit events as OpenTelemetry log records and spans, in OTLP's JSON encoding
(opentelemetry.io/docs/specs/otlp; opentelemetry-proto 1.x).

Every event is a log record whose body is the JSON line of the event. A session is a trace: its span
has a child for each statement that has ended. Ids are made from the event's, so what comes twice
has the same ids. ``sample`` is the share of sessions whose allowed statements are sent; refused and
held ones, and everything that is no statement, always are.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import msgspec

from sallyport.audit import events as ev
from sallyport.audit.display import inert
from sallyport.operations.auditcef import severity
from sallyport.operations.auditlog import END, STATEMENT, AuditEvent, event_data, json_line

#: opentelemetry.proto.logs.v1.SeverityNumber.
_INFO, _WARN = 9, 13
#: Of CEF's severities: from here on it is a warning.
_SEVERE: Final = 7
#: opentelemetry.proto.trace.v1.Span.SpanKind, Status.StatusCode.
_SERVER, _ERROR = 2, 2
#: What the keys of an event's JSON are called in OpenTelemetry (semantic conventions 1.x); others
#: are sallyport.KEY.
_NAMES: Final = {
    "subject": "user.id",
    "email": "user.email",
    "session": "session.id",
    "target": "db.namespace",
    "sql": "db.query.text",
    "sqlstate": "db.response.status_code",
    "rows": "db.response.returned_rows",
    "application": "user_agent.original",
}
#: Beside the body, which has everything.
_ATTRIBUTES: Final = (
    "subject", "issuer", "agent", "session", "target", "verdict", "code", "rule", "policy_version",
    "relations", "masked", "sqlstate", "rows", "action", "object", "outcome",
)  # fmt: skip


def otlp_line(event: AuditEvent) -> str:
    """``log``, and ``span`` where there is one, of an event; ``sampled``: where its session stands
    between 0 and 1, None for what is always sent. One line of JSON, ASCII only.
    """
    data = event_data(event)
    made: dict[str, Any] = {"sampled": _share(event), "log": _log(event, data), "span": None}
    if event.kind == STATEMENT and event.complete is not None:
        made["span"] = _statement_span(event, data, event.complete)
    elif event.kind == END:
        made["span"] = _session_span(event, data)
    return json.dumps(made, allow_nan=False).replace("\x7f", "\\u007f")


def is_sampled(made: dict[str, Any], sample: float) -> bool:
    """Whether what :func:`otlp_line` made is sent. sample: from 0 to 1."""
    return made["sampled"] is None or made["sampled"] < sample


def _share(event: AuditEvent) -> float | None:
    if isinstance(event.event, ev.Statement) and event.event.outcome == "allow":
        return int(_trace_id(event)[:13], 16) / 16**13
    return None


def _log(event: AuditEvent, data: dict[str, Any]) -> dict[str, Any]:
    is_severe = severity(event) >= _SEVERE
    return {
        "timeUnixNano": _nanoseconds(event.time),
        "severityNumber": _WARN if is_severe else _INFO,
        "severityText": "WARN" if is_severe else "INFO",
        "eventName": f"sallyport.{event.kind}",
        "body": {"stringValue": json_line(event)},
        "attributes": [*_attributes(data), _attribute("log.record.uid", event.id)],
        "traceId": _trace_id(event),
        "spanId": _span_id(event.id if event.kind == STATEMENT else event.session),
    }


def _statement_span(
    event: AuditEvent, data: dict[str, Any], complete: ev.Complete
) -> dict[str, Any]:
    is_error = bool(complete.sqlstate) or data["verdict"] != "allow"
    command = data["command"].split(" ")[0] or "statement"
    return {
        "traceId": _trace_id(event),
        "spanId": _span_id(event.id),
        "parentSpanId": _span_id(event.session),
        "name": inert(f"{command} {event.login.target}"),
        "kind": _SERVER,
        "startTimeUnixNano": _nanoseconds(event.time),
        "endTimeUnixNano": _nanoseconds(event.time + max(complete.seconds, 0.0)),
        "attributes": [
            _attribute("db.system.name", "postgresql"),
            *_attributes(data),
            _attribute(_NAMES["sql"], data["sql"]),
        ],
        "status": {"code": _ERROR, "message": inert(data["message"])[:300]} if is_error else {},
    }


def _session_span(event: AuditEvent, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "traceId": _trace_id(event),
        "spanId": _span_id(event.session),
        "name": inert(f"session {event.login.target}"),
        "kind": _SERVER,
        "startTimeUnixNano": _nanoseconds(event.login.started),
        "endTimeUnixNano": _nanoseconds(max(event.time, event.login.started)),
        "attributes": [*_attributes(data), _attribute("sallyport.reason", data["reason"])],
        "status": {},
    }


def _attributes(data: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        _attribute(_NAMES.get(name, f"sallyport.{name}"), data[name])
        for name in _ATTRIBUTES
        if data.get(name) not in (None, "", [])
    ]


def _attribute(name: str, value: Any) -> dict[str, Any]:
    """opentelemetry.proto.common.v1.KeyValue."""
    return {"key": name, "value": _any_value(value)}


def _any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [_any_value(item) for item in value]}}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"stringValue": value if isinstance(value, str) else str(value)}


def _nanoseconds(moment: float) -> str:
    """Unix seconds; 64-bit integers are strings in OTLP's JSON."""
    return str(max(0, int(moment * 1_000_000)) * 1000)


def _trace_id(event: AuditEvent) -> str:
    return hashlib.sha256(event.session.encode()).hexdigest()[:32]


def _span_id(name: str) -> str:
    return hashlib.sha256(b"span " + name.encode()).hexdigest()[:16]


class PartialSuccess(msgspec.Struct, rename="camel"):
    """What a receiver did not take for good. Numbers are strings or numbers in JSON."""

    rejected_log_records: int | str = 0
    rejected_spans: int | str = 0
    error_message: str = ""

    @property
    def rejected(self) -> int:
        """How many. Raises ValueError."""
        return int(self.rejected_log_records) + int(self.rejected_spans)


class ExportAnswer(msgspec.Struct, rename="camel"):
    """ExportLogsServiceResponse, ExportTraceServiceResponse."""

    partial_success: PartialSuccess | None = None
