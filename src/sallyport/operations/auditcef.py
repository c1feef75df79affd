"""Audit events in ArcSight's Common Event Format (CEF, version 0: "ArcSight Common Event Format
(CEF) Implementation Standard").

A line is ``CEF:0|vendor|product|version|event class|name|severity|extension``. In the header ``|``
and ``\\`` are escaped; in values of the extension ``=``, ``\\``, CR and LF are. Whatever else is
invisible or acts on a terminal comes out as :func:`sallyport.audit.display.inert` writes it. Keys
of the extension are this module's: nothing that was recorded becomes a key.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

import sallyport
from sallyport.audit import events as ev
from sallyport.audit.actions import RAISE_FINDING
from sallyport.audit.display import inert
from sallyport.operations.auditlog import ACTION, DECISION, END, GAP, LOGIN, AuditEvent, event_data

#: Characters of one value: the standard's own bound for custom strings. What is longer says so;
#: JSON Lines has it all.
LONGEST: Final = 4000
_NAMES: Final = {
    LOGIN: "Session opened",
    END: "Session ended",
    GAP: "Recording interrupted",
    ACTION: "Management action",
    DECISION: "Approval decided",
}
_VERDICTS: Final = {
    "allow": "Statement allowed",
    "hold": "Statement held",
    "deny": "Statement refused",
}
_LOW, _MIDDLE, _HIGH, _HIGHEST = 1, 3, 6, 8
#: Of what is unusual about an agent, by how severe it is.
_FINDINGS: Final = {"low": _MIDDLE, "medium": _HIGH, "high": _HIGHEST}


def cef_line(event: AuditEvent) -> str:
    """One line, without its line feed."""
    data = event_data(event)
    header = ("Sallyport", "Sallyport", sallyport.__version__, _signature(event), _name(event))
    fields = {**_common(event, data), **_special(event, data)}
    extension = " ".join(
        f"{key}={_value(value)}"
        for key, value in fields.items()
        if _is_told(fields.get(key.removesuffix("Label")))
    )
    return "|".join(("CEF:0", *map(_header, header), str(severity(event)), extension))


def severity(event: AuditEvent) -> int:
    """0 to 10: 0-3 is low, 4-6 medium, 7-8 high."""
    match event.event:
        case ev.Statement(outcome="deny"):
            return _HIGH
        case ev.Statement(outcome="hold"):
            return _MIDDLE
        case ev.Statement():
            return _MIDDLE if event.complete is not None and event.complete.sqlstate else _LOW
        case ev.Action(name=name, details=details) if name == RAISE_FINDING:
            return _FINDINGS.get(dict(details).get("severity", ""), _HIGH)
        case ev.Action(outcome=outcome):
            return _MIDDLE if outcome == ev.DONE else _HIGH
        case ev.Gap():
            return _HIGHEST
        case _:
            return _LOW


def _login_name(outcome: str) -> str:
    return "Signed in" if outcome == ev.DONE else "Login refused"


def _signature(event: AuditEvent) -> str:
    match event.event:
        case ev.Statement(outcome=outcome):
            return f"statement.{outcome}"
        case ev.Action(name=name):
            return name
        case _:
            return event.kind


def _name(event: AuditEvent) -> str:
    if isinstance(event.event, ev.Statement):
        return _VERDICTS.get(event.event.outcome, "Statement")
    if event.kind == LOGIN and isinstance(event.event, ev.Action):
        return _login_name(event.event.outcome)
    if isinstance(event.event, ev.Action) and event.event.name == RAISE_FINDING:
        return "Unusual behaviour"
    return _NAMES[event.kind]


def _common(event: AuditEvent, data: dict[str, Any]) -> dict[str, Any]:
    host, port = endpoint(data)
    fields: dict[str, Any] = {
        "rt": max(int(event.time * 1000), 0),
        "externalId": event.id,
        "suid": data["subject"],
        "suser": data["email"],
        "sntdom": data["issuer"],
        "spriv": ",".join(data["groups"]),
        "spt": port,
        "dhost": data.get("target", ""),
        "deviceExternalId": data.get("gateway", ""),
        "sourceServiceName": data["agent"],
        "cs1Label": "session",
        "cs1": event.session,
    }
    if host:
        try:
            is_4 = ipaddress.ip_address(host).version == 4
        except ValueError:
            return fields | {"shost": host}
        fields |= {"src": host} if is_4 else {"c6a2Label": "Source IPv6 Address", "c6a2": host}
    return fields


def _special(event: AuditEvent, data: dict[str, Any]) -> dict[str, Any]:
    match event.event:
        case ev.Statement():
            return _statement(data)
        case ev.Action():
            details = " ".join(f"{key}: {value};" for key, value in data["details"].items())
            return {
                "act": data["action"], "outcome": data["outcome"], "reason": data["reason"],
                "app": data["channel"],
                "duid": data["object"], "msg": details,
            }  # fmt: skip
        case ev.Login():
            return {
                "act": "connect",
                "outcome": "done",
                "requestClientApplication": data["application"],
            }
        case ev.End():
            return {"act": "disconnect", "reason": data["reason"]}
        case _:
            return {"reason": data["reason"], "cn1Label": "lost events", "cn1": data["events"]}


def _statement(data: dict[str, Any]) -> dict[str, Any]:
    seconds = data["seconds"]
    return {
        "act": data["verdict"],
        "outcome": "" if seconds is None else data["sqlstate"] or "done",
        "reason": " ".join(filter(None, (data["code"], data["message"]))),
        "msg": data["sql"],
        "cs2Label": "rule",
        "cs2": data["rule"],
        "cs3Label": "relations",
        "cs3": ",".join(data["relations"]),
        "cs4Label": "masked columns",
        "cs4": ",".join(data["masked"]),
        "cs5Label": "policy version",
        "cs5": data["policy_version"],
        "cs6Label": "command",
        "cs6": data["command"],
        "cn1Label": "rows",
        "cn1": data["rows"],
        "cn2Label": "microseconds",
        "cn2": None if seconds is None else int(seconds * 1e6),
        "cn3Label": "statement number",
        "cn3": data["number"],
    }


def endpoint(data: Mapping[str, Any]) -> tuple[str, int | None]:
    """Host and port of the client, of :func:`event_data`; ("", None) for a Unix socket. Sessions
    have both, actions the host alone.
    """
    client = data.get("client")
    if client is None:
        return str(data.get("address", "")).strip("[]"), None
    host, _, port = str(client).rpartition(":")
    if host and port.isascii() and port.isdecimal():
        return host.strip("[]"), int(port)
    return "", None


def _is_told(value: object) -> bool:
    """A label without its value says nothing."""
    return value not in ("", None)


def _header(text: str) -> str:
    return inert(text).replace("\\", "\\\\").replace("|", "\\|")


def _value(value: object) -> str:
    text = str(value)
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}… ({len(text)} characters)"
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    escaped = (inert(line).replace("\\", "\\\\").replace("=", "\\=") for line in lines)
    return "\\n".join(escaped)
