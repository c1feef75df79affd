"""Audit events in the Open Cybersecurity Schema Framework (OCSF), version 1.8.0:
schema.ocsf.io/1.8.0.

What happens in a session is Datastore Activity (class 6005), with the Security Control profile for
the verdict; what people do in the console, over REST and in Slack is API Activity (class 6003);
their sign-ins, and logins that were refused, are Authentication (class 3002); what is unusual about
an agent is a Detection Finding (class 2004).
``unmapped`` holds what OCSF has no place for, by the names that JSON Lines use. Tests validate
every kind against the schema.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any, Final

import sallyport
from sallyport.audit import events as ev
from sallyport.audit.actions import RAISE_FINDING
from sallyport.operations.auditcef import endpoint
from sallyport.operations.auditlog import LOGIN, AuditEvent, event_data

VERSION: Final = "1.8.0"
_DATASTORE, _API, _AUTHENTICATION, _FINDING = 6005, 6003, 3002, 2004
_CATEGORIES: Final = {
    2: "Findings",
    3: "Identity & Access Management",
    6: "Application Activity",
}
_QUERY, _OTHER = 4, 99
#: Activities of Datastore Activity by the first word of a command tag or statement.
_ACTIVITIES: Final = {
    "SELECT": (_QUERY, "Query"), "TABLE": (_QUERY, "Query"), "VALUES": (_QUERY, "Query"),
    "WITH": (_QUERY, "Query"),
    "FETCH": (1, "Read"), "COPY": (1, "Read"), "SHOW": (8, "List"), "EXPLAIN": (8, "List"),
    "INSERT": (6, "Create"), "UPDATE": (2, "Update"), "MERGE": (2, "Update"),
    "DELETE": (7, "Delete"), "TRUNCATE": (7, "Delete"),
}  # fmt: skip
#: And of API Activity by the last word of an action's name.
_OPERATIONS: Final = {
    "list": 2, "read": 2, "replay": 2, "actions": 2, "explain": 2, "sample": 2, "lock": 1,
    "issue": 1, "decide": 3, "release": 3,
    "revoke": 4, "kill": 4,
}  # fmt: skip
_OPERATION_NAMES: Final = {1: "Create", 2: "Read", 3: "Update", 4: "Delete"}
#: Security Control: (action_id, action, disposition_id, disposition).
_CONTROLS: Final = {
    "allow": (1, "Allowed", 1, "Allowed"),
    "deny": (2, "Denied", 2, "Blocked"),
    "hold": (99, "Held for approval", 14, "Delayed"),
}
_MASKED: Final = (4, "Modified", 1, "Allowed")
_SUCCESS, _FAILURE, _UNKNOWN = (1, "Success"), (2, "Failure"), (0, "Unknown")
_INFORMATIONAL, _LOW, _MEDIUM, _HIGH = (1, "Informational"), (2, "Low"), (3, "Medium"), (4, "High")
_SEVERITIES: Final = {"low": _LOW, "medium": _MEDIUM, "high": _HIGH}


def ocsf_event(event: AuditEvent) -> dict[str, Any]:
    """The event as JSON values."""
    data = event_data(event)
    if isinstance(event.event, ev.Action):
        if data["action"] == RAISE_FINDING:
            return _detection_finding(event, data)
        return _authentication(event, data) if event.kind == LOGIN else _api_activity(event, data)
    return _datastore_activity(event, data)


def ocsf_line(event: AuditEvent) -> str:
    """One line of JSON, ASCII only, without its line feed."""
    return json.dumps(ocsf_event(event), allow_nan=False).replace("\x7f", "\\u007f")


def _base(
    event: AuditEvent,
    class_uid: int,
    class_name: str,
    activity: tuple[int, str],
    level: tuple[int, str],
) -> dict[str, Any]:
    return {
        "category_uid": class_uid // 1000,
        "category_name": _CATEGORIES[class_uid // 1000],
        "class_uid": class_uid,
        "class_name": class_name,
        "activity_id": activity[0],
        "activity_name": activity[1],
        "type_uid": class_uid * 100 + activity[0],
        "type_name": f"{class_name}: {activity[1]}",
        "severity_id": level[0],
        "severity": level[1],
        "time": int(event.time * 1000),
        "metadata": {
            "version": VERSION,
            "uid": event.id,
            "sequence": event.position,
            "correlation_uid": event.session,
            "log_name": "sallyport audit",
            "event_code": event.kind,
            "product": {
                "name": "Sallyport",
                "vendor_name": "Sallyport",
                "version": sallyport.__version__,
            },
        },
    }


def _user(event: AuditEvent) -> dict[str, Any]:
    who = event.subject
    user: dict[str, Any] = {"uid": who.id or "nobody", "name": who.email or who.id or "nobody"}
    if who.email:
        user["email_addr"] = who.email
    if who.groups:
        user["groups"] = [{"name": group} for group in who.groups]
    return user


def _actor(event: AuditEvent, data: dict[str, Any]) -> dict[str, Any]:
    who = event.subject
    actor: dict[str, Any] = {"user": _user(event), "session": {"uid": event.session}}
    if who.issuer:
        actor["session"]["issuer"] = who.issuer
        actor["idp"] = {"name": who.issuer, "uid": who.issuer}
    if who.agent:
        actor["app_name"] = who.agent
    if who.actors:
        actor["invoked_by"] = ", for ".join(who.actors)
    return actor


def _source(data: dict[str, Any]) -> dict[str, Any]:
    host, port = endpoint(data)
    try:
        place: dict[str, Any] = {"ip": str(ipaddress.ip_address(host))}
    except ValueError:
        place = {"name": host or "local"}
    return place if port is None else place | {"port": port}


def _datastore_activity(event: AuditEvent, data: dict[str, Any]) -> dict[str, Any]:
    activity, level, status = _occasion(event, data)
    made = _base(event, _DATASTORE, "Datastore Activity", activity, level) | {
        "actor": _actor(event, data),
        "src_endpoint": _source(data),
        "dst_endpoint": {"name": data["target"] or "none", "svc_name": "postgresql"},
        "database": {"name": data["target"] or "none", "type_id": 1, "type": "Relational"},
        "type_id": 1,
        "type": "Database",
        "status_id": status[0],
        "status": status[1],
    }
    if isinstance(event.event, ev.Statement):
        _add_statement(made, data)
    elif isinstance(event.event, ev.Login):
        made["message"] = f"{data['subject']} connected to {data['target']}"
        made["unmapped"] = {
            key: data[key]
            for key in ("label", "application", "gateway", "channel", "role", "settings", "claims")
            if data[key]
        }
    else:
        made["message"] = data["reason"]
        made["unmapped"] = {key: data[key] for key in ("events", "bytes", "seconds") if key in data}
    return made


def _occasion(
    event: AuditEvent, data: dict[str, Any]
) -> tuple[tuple[int, str], tuple[int, str], tuple[int, str]]:
    """Activity, severity and status."""
    match event.event:
        case ev.Statement(outcome=outcome):
            refused = outcome == "deny"
            failed = refused or bool(data["sqlstate"])
            status = _FAILURE if failed else _UNKNOWN if data["seconds"] is None else _SUCCESS
            level = _MEDIUM if refused else _LOW if failed or outcome == "hold" else _INFORMATIONAL
            return _activity(data), level, status
        case ev.Login():
            return (3, "Connect"), _INFORMATIONAL, _SUCCESS
        case ev.Gap():
            return (_OTHER, "Recording interrupted"), _HIGH, _FAILURE
        case _:
            return (_OTHER, "Disconnect"), _INFORMATIONAL, _SUCCESS


def _activity(data: dict[str, Any]) -> tuple[int, str]:
    for text in (data["command"], data["sql"]):
        word = text.lstrip(" \t\r\n(").partition(" ")[0].partition("\n")[0].upper()
        if word == "COPY" and " FROM " in data["sql"].upper():
            return 5, "Write"
        if word in _ACTIVITIES:
            return _ACTIVITIES[word]
    command = " ".join(data["command"].split()[:2])
    return _OTHER, command or "Other statement"


def _add_statement(made: dict[str, Any], data: dict[str, Any]) -> None:
    made["metadata"]["profiles"] = ["security_control"]
    control = _CONTROLS.get(data["verdict"], _CONTROLS["deny"])
    if data["verdict"] == "allow" and data["masked"]:
        control = _MASKED
    made["action_id"], made["action"], made["disposition_id"], made["disposition"] = control
    if data["rule"] or data["policy_version"]:
        made["policy"] = {
            "name": data["rule"] or "no rule", "uid": data["policy_version"],
            "version": data["policy_version"],
        }  # fmt: skip
    query = {"query_string": data["sql"], "uid": str(data["number"])}
    if data["seconds"] is not None:
        query["query_time"] = int(made["time"])
    made["query_info"] = query
    if len(data["relations"]) == 1:
        made["table"] = {"name": data["relations"][0]}
    made["message"] = " ".join(filter(None, (data["verdict"], data["code"], data["message"])))
    if code := data["code"] or data["sqlstate"]:
        made["status_code"] = code
    if data["message"]:
        made["status_detail"] = data["message"]
    names = (
        "sent", "parameters", "relations", "masked", "command", "rows", "sqlstate", "seconds",
        "detail", "hint", "catalog_epoch", "label",
        "application", "gateway",
    )  # fmt: skip
    made["unmapped"] = {name: data[name] for name in names if data[name] not in ("", None, [])}


def _api_activity(event: AuditEvent, data: dict[str, Any]) -> dict[str, Any]:
    number = _OPERATIONS.get(data["action"].rpartition(".")[2], _OTHER)
    is_done = data["outcome"] == ev.DONE
    status = _SUCCESS if is_done else _FAILURE
    name = _OPERATION_NAMES.get(number, data["action"] or "Other")
    made = _base(
        event, _API, "API Activity", (number, name), _INFORMATIONAL if is_done else _MEDIUM
    ) | {
        "actor": _actor(event, data),
        "src_endpoint": _source(data),
        "api": {"operation": data["action"], "service": {"name": f"sallyport {data['channel']}"}},
        "status_id": status[0],
        "status": status[1],
        "message": f"{data['action']} {data['object']}".strip(),
    }
    if data["object"]:
        made["resources"] = [{"uid": data["object"]}]
    if data["reason"]:
        made["status_detail"] = data["reason"]
    if data["details"]:
        made["unmapped"] = {"details": data["details"]}
    return made


def _detection_finding(event: AuditEvent, data: dict[str, Any]) -> dict[str, Any]:
    details = data["details"]
    actor = _actor(event, data)
    actor["session"]["uid"] = details["session"]
    level = _SEVERITIES.get(details["severity"], _MEDIUM)
    return _base(event, _FINDING, "Detection Finding", (1, "Create"), level) | {
        "finding_info": {
            "uid": data["object"],
            "title": details["detector"],
            "desc": details["evidence"],
            "analytic": {"name": details["detector"], "type_id": 2, "type": "Behavioral"},
        },
        "status_id": 1,
        "status": "New",
        "message": details["evidence"],
        "evidences": [
            {
                "actor": actor,
                "database": {"name": details["target"], "type_id": 1, "type": "Relational"},
            }
        ],
        "unmapped": {"details": {name: details[name] for name in ("statements", "done")}},
    }


def _authentication(event: AuditEvent, data: dict[str, Any]) -> dict[str, Any]:
    is_done, details = data["outcome"] == ev.DONE, dict(data["details"])
    level, status = (_INFORMATIONAL, _SUCCESS) if is_done else (_MEDIUM, _FAILURE)
    made = _base(event, _AUTHENTICATION, "Authentication", (1, "Logon"), level) | {
        "user": _user(event),
        "src_endpoint": _source(data),
        "service": {"name": f"sallyport {data['channel']}".strip()},
        "status_id": status[0],
        "status": status[1],
        "message": f"{data['action']}: {data['outcome']}",
    }
    if data["reason"]:
        made["status_detail"] = data["reason"]
    if code := details.pop("code", ""):
        made["status_code"] = code
    if target := details.pop("target", ""):
        made["dst_endpoint"] = {"name": target, "svc_name": "postgresql"}
    count = details.get("count", "")
    if count.isascii() and count.isdecimal():
        made["count"] = int(count)
    if details:
        made["unmapped"] = {"details": details}
    return made
