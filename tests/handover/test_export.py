"""``sallyport audit export``: what a gateway recorded, as other systems take it."""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from sallyport.audit.events import Gap, Login, SubjectFields
from sallyport.audit.recorder import Recorder
from sallyport.core.errors import SallyportError
from sallyport.operations.auditcef import cef_line, endpoint
from sallyport.operations.auditlog import (
    AuditEvent,
    ExportCursor,
    ExportQuery,
    audit_events,
    json_line,
)
from sallyport.operations.auditocsf import VERSION, ocsf_event
from sallyport.operations.sessions import Sessions
from tests.audit.helpers import begin, judged
from tests.handover.house import HOSTILE, REASON, SECRET_EMAIL, SECRET_SSN, Handed
from tests.support.gateway import Gateway
from tests.support.waiting import wait_for

#: What acts on a terminal, ends a line for somebody, or hides.
ACTIVE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


def lines_of(output: bytes) -> list[str]:
    """Line feeds alone end lines here."""
    text = output.decode("utf-8")
    assert text.endswith("\n")
    return text[:-1].split("\n")


def read_cef(line: str) -> tuple[list[str], dict[str, str]]:
    """Header and extension as ArcSight's document says to read them."""
    parts = re.split(r"(?<!\\)\|", line, maxsplit=7)
    assert len(parts) == 8, line
    keys = list(re.finditer(r"(?:^|(?<= ))(\w+)=", parts[7]))
    ends = [key.start() - 1 for key in keys[1:]] + [len(parts[7])]
    values = (parts[7][key.end() : end] for key, end in zip(keys, ends, strict=True))
    unescape = {"\\n": "\n", "\\r": "\r", "\\=": "=", "\\\\": "\\", "\\|": "|"}
    decoded = [re.sub(r"\\.", lambda escape: unescape[escape[0]], value) for value in values]
    return parts[:7], dict(zip((key[1] for key in keys), decoded, strict=True))


@pytest.mark.parametrize("form", ["jsonl", "cef", "ocsf"])
def test_no_form_has_a_raw_value_or_a_character_that_acts(handed: Handed, form: str) -> None:
    before = handed.lines()
    output = handed.run("audit", "export", "--format", form).stdout_bytes
    assert SECRET_SSN.encode() not in output and SECRET_EMAIL.encode() not in output
    assert b"*******1120" in output
    assert not ACTIVE.search(output.decode())
    kinds = Counter(line["kind"] for line in handed.lines())
    # the gateway still writes the ends of sessions
    assert len(before) <= len(lines_of(output)) <= sum(kinds.values())
    assert set(kinds) == {"login", "statement", "end", "decision", "action"}


def test_json_lines_hold_everything(handed: Handed) -> None:
    lines = handed.lines("--session", handed.session)
    assert [line["kind"] for line in lines] == ["login", *["statement"] * 11, "end"]
    assert [line["id"] for line in lines] == [f"{handed.session}:{n}" for n in range(13)]
    times = [datetime.fromisoformat(line["time"]) for line in lines]
    assert times == sorted(times) and all(
        re.fullmatch(r"[-\d]{10}T[:\d]{8}\.\d{3}Z", line["time"]) for line in lines
    )
    first, by_ssn, by_email, bound, said = lines[1:6]
    assert (first["verdict"], first["rule"], first["rows"], first["command"]) == (
        "allow", "agents read the shop", 3, "SELECT 3",
    )  # fmt: skip
    assert first["masked"] == ["public.customers.email", "public.customers.ssn"]
    assert (first["subject"], first["agent"], first["target"]) == (
        "claude-agent",
        "claude-code",
        "shop",
    )
    assert by_ssn["sql"] == "SELECT name FROM customers WHERE ssn = '*******1120'"
    assert by_email["parameters"] == ["n***@secret.example"]
    assert bound["parameters"] == [HOSTILE]
    assert HOSTILE.replace("'", "''") in said["sql"], (
        "the text is as it was, escaped as JSON escapes"
    )
    (dropped,) = [line for line in lines if line.get("sql") == "DROP TABLE orders"]
    assert (dropped["code"], dropped["sqlstate"]) == ("SP1002", "42501")
    assert dropped["message"].startswith("[SP1002]") and dropped["detail"]


def test_decisions_and_actions(handed: Handed) -> None:
    decided = handed.lines("--kind", "decision")
    assert [(line["object"], line["details"]["approve"]) for line in decided] == [
        (handed.approved, "true"), (handed.denied, "false"),
    ]  # fmt: skip
    assert decided[0]["details"]["reason"] == REASON and decided[0]["email"] == "dana@example.com"
    names = [
        line["action"] for line in handed.lines("--kind", "action", "--subject", "olga@example.com")
    ]
    assert names == ["sessions.kill", "locks.lock", "locks.release"]


def test_filters(handed: Handed) -> None:
    refused = handed.lines("--verdict", "deny", "--target", "shop")
    assert {line["code"] for line in refused} == {"SP1002", "SP1104", "SP1101", "SP1402"}
    assert handed.lines("--target", "elsewhere") == []
    assert {line["subject"] for line in handed.lines("--subject", "dana")} == {"dana"}
    every = handed.lines()
    moment = sorted(line["time"] for line in every)[len(every) // 2]
    before, after = handed.lines("--to", moment), handed.lines("--from", moment)
    assert {line["id"] for line in before} | {line["id"] for line in after} == {
        line["id"] for line in every
    }
    assert len(before) + len(after) == len(every)
    assert all(line["time"] < moment for line in before) and all(
        line["time"] >= moment for line in after
    )


def test_cef(handed: Handed) -> None:
    plain = handed.lines()
    for line, told in zip(
        lines_of(handed.run("audit", "export", "--format", "cef").stdout_bytes), plain, strict=True
    ):
        header, fields = read_cef(line)
        assert header[:3] == ["CEF:0", "Sallyport", "Sallyport"] and 0 <= int(header[6]) <= 10
        assert fields["externalId"] == told["id"] and fields["suid"] == told["subject"]
        cef_keys = (
            r"rt|(externalI|deviceExternalI)d|su(id|ser)|sntdom|spriv|spt|dhost|sourceServiceName"
            r"|src|act|outcome|reason|msg|app|duid|c[sn]\d(Label)?"
        )
        assert all(re.fullmatch(cef_keys, key) for key in fields), fields
        if told["kind"] == "statement" and told["sql"].isprintable():
            assert fields["msg"] == told["sql"], "escaped so that readers get back what it was"
    (hostile,) = [
        line
        for line in lines_of(handed.run("audit", "export", "--format", "cef").stdout_bytes)
        if "<img" in line and "said" in line
    ]
    _, fields = read_cef(hostile)
    assert "\nCEF:0|forged|line" in fields["msg"] and "\\e]0;owned\\x07" in fields["msg"]


@pytest.mark.parametrize("client", ["127.0.0.1:5", "::1:5", "local", "", "fe80::1%eth0:77"])
def test_cef_of_every_kind_of_client(client: str) -> None:
    host, port = endpoint({"client": client})
    assert (
        (host, port) == ("", None)
        if client in ("local", "")
        else (client.rpartition(":")[0], int(client[-2:].strip(":")))
    )
    login = Login(0.0, 1e9, "s|=\\", SubjectFields("a|b=c\\d\n", "", ()), "t", client, "")
    header, fields = read_cef(cef_line(AuditEvent("login", 1e9, "s", 0, login, login)))
    assert (header[4], fields["suid"]) == ("login", "a|b=c\\d\n")
    assert "\n" not in cef_line(AuditEvent("login", 1e9, "s", 0, login, login))


def test_cef_says_when_it_cuts(tmp_path: Path) -> None:
    login = Login(0.0, 1e9, "s", SubjectFields("x" * 5000, "", ()), "t", "", "")
    assert f"{'x' * 4000}… (5000 characters) " in cef_line(
        AuditEvent("login", 1e9, "s", 0, login, login)
    )


@pytest.fixture(scope="module")
def validators() -> dict[int, Any]:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(VERSION))
    classes = {
        6005: ("datastore_activity", ["security_control"]),
        6003: ("api_activity", []),
        3002: ("authentication", []),
    }
    return {
        uid: jsonschema.Draft202012Validator(schema.get_class_schema(name, profiles))
        for uid, (name, profiles) in classes.items()
    }


def test_ocsf_is_valid(handed: Handed, validators: dict[int, Any]) -> None:
    lines = [
        json.loads(line)
        for line in lines_of(handed.run("audit", "export", "--format", "ocsf").stdout_bytes)
    ]
    for line in lines:
        validators[line["class_uid"]].validate(line)
        assert line["metadata"]["version"] == VERSION
        assert line["type_uid"] == line["class_uid"] * 100 + line["activity_id"]
    statements = {
        line["query_info"]["query_string"]: line for line in lines if "query_info" in line
    }
    read = statements["SELECT id, email, ssn FROM customers ORDER BY id LIMIT 3"]
    assert (read["activity_name"], read["action"], read["table"]["name"]) == (
        "Query",
        "Modified",
        "public.customers",
    )
    dropped = statements["DROP TABLE orders"]
    assert (dropped["action"], dropped["disposition"], dropped["status"]) == (
        "Denied",
        "Blocked",
        "Failure",
    )
    assert statements["UPDATE products SET name = name WHERE id = 1"]["activity_name"] == "Update"
    assert Counter(line["class_uid"] for line in lines)[6003] == 5
    broken = {**read, "activity_id": 55}
    with pytest.raises(jsonschema.ValidationError):
        validators[6005].validate(broken)
    with pytest.raises(jsonschema.ValidationError):
        validators[6005].validate({**read, "made_up": 1})


def test_ocsf_of_a_gap_and_of_whoever_has_no_name(validators: dict[int, Any]) -> None:
    login = Login(0.0, 1e9, "s", SubjectFields("", "", ()), "", "local", "")
    gap = AuditEvent("gap", 1e9, "s", 0, login, Gap(0.0, 2.5, 3, 400, "disk full"))
    made = ocsf_event(gap)
    validators[6005].validate(made)
    assert made["severity"] == "High" and made["unmapped"] == {
        "events": 3,
        "bytes": 400,
        "seconds": 2.5,
    }
    assert json.loads(json_line(gap))["reason"] == "disk full"
    assert "reason=disk full" in cef_line(gap)


def export(gateway: Gateway, file: Path) -> list[str]:
    handed = Handed(gateway, "", "", "")
    return [line["id"] for line in handed.lines("--cursor", file)]


def test_a_cursor_goes_on_where_it_was(
    make_gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    gateway, file = make_gateway(), tmp_path / "cursor"
    handed = Handed(gateway, "", "", "")
    seen: list[str] = []

    def has_seen(count: int) -> bool:
        seen.extend(export(gateway, file))
        return len(seen) >= count

    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        for number in range(3):
            db.execute("SELECT %s::int", [number])
            wait_for(partial(has_seen, 2 + number))
        with psycopg.connect(gateway.dsn(), autocommit=True) as second:
            second.execute("SELECT 'second'")
        wait_for(partial(has_seen, 7))
    wait_for(partial(has_seen, 8))
    assert Counter(seen) == Counter(line["id"] for line in handed.lines()), (
        "each once, none is missing"
    )
    assert export(gateway, file) == []
    cursor = file.read_text().strip()
    assert handed.lines("--since", cursor) == []
    assert not list(tmp_path.glob(".*"))


def test_a_live_statement_comes_when_it_is_over(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, interval=0.005)
    recorder.start()
    sessions, cursor, problems = Sessions(tmp_path / "recordings", None), ExportCursor(), []

    def taken() -> list[str]:
        events = audit_events(
            sessions, ExportQuery(), cursor, time.time(), lambda *problem: problems.append(problem)
        )
        return [f"{event.kind} {event.position}" for event in events]

    session = begin(recorder, "s_1")
    session.statement(judged(1, "SELECT pg_sleep(9)", outcome="allow"))
    wait_for(lambda: session.backlog == 0)
    assert taken() == ["login 0"]
    session.complete(1, "SELECT 1", 1, "", 9.0)
    wait_for(lambda: session.backlog == 0)
    assert taken() == ["statement 1"]
    session.statement(judged(2, "SELECT 2", outcome="allow"))
    session.end("terminated")
    recorder.close()
    assert taken() == ["statement 2", "end 3"]
    assert problems == []


def test_what_old_cursors_name_leaves_them(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.start()
    begin(recorder, "s_1").end("terminated")
    recorder.close()
    sessions, cursor = Sessions(tmp_path / "recordings", None), ExportCursor()
    list(audit_events(sessions, ExportQuery(), cursor, time.time(), lambda *_: None))
    assert cursor.read == {"s_1": 2}, "it began a moment ago: others may still come before it"
    later = time.time() + 3600
    assert (
        list(
            audit_events(
                sessions, ExportQuery(), ExportCursor.parse(str(cursor)), later, lambda *_: None
            )
        )
        == []
    )
    list(audit_events(sessions, ExportQuery(), cursor, later, lambda *_: None))
    assert cursor.read == {} and cursor.mark > time.time()


def test_memory_does_not_grow_with_a_recording(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.start()
    session = begin(recorder, "s_1")
    for number in range(1, 4_001):
        session.statement(judged(number, f"SELECT {number} -- {'x' * 4000}", outcome="allow"))
        session.complete(number, "SELECT 1", 1, "", 0.001)
        if number % 500 == 0:
            wait_for(lambda: session.backlog == 0)
    session.end("terminated")
    recorder.close()
    sessions = Sessions(tmp_path / "recordings", None)
    tracemalloc.start()
    try:
        events = audit_events(sessions, ExportQuery(), ExportCursor(), time.time(), lambda *_: None)
        size = sum(len(json_line(event)) for event in events)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 16_000_000 and peak < size / 3


@pytest.mark.parametrize(
    "text", ["x", "", "ses_1", "eJxtzNEKgjAUgOFXEa8jPDuznfUqETF", "é", "A" * 5000]
)
def test_what_is_no_cursor_is_said(text: str) -> None:
    with pytest.raises(SallyportError, match="not a cursor"):
        ExportCursor.parse(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "xml"], "--format takes jsonl, cef, ocsf; not 'xml'"),
        (["--kind", "row"], "--kind takes login"),
        (["--from", "yesterday"], "--from 'yesterday' is not a time"),
        (["--since", "x", "--to", "2026-01-01"], "cannot be combined with --session"),
        (["--since", "x"], "not a cursor"),
        (["--session", "ses_none"], "no session 'ses_none'"),
        (["--cursor", "/no/such/place"], "cannot keep the cursor"),
    ],
)
def test_what_is_wrong_is_said(handed: Handed, words: list[str], said: str) -> None:
    assert said in handed.run("audit", "export", *words, code=2).stderr


def test_a_damaged_recording_is_told_and_read_as_far_as_it_goes(
    make_gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    gateway = make_gateway()
    handed = Handed(gateway, "", "", "")
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.execute("SELECT 1")
        wait_for(lambda: len(handed.lines()) >= 2)
        db.execute("SELECT 2")
    wait_for(lambda: bool(handed.lines("--kind", "end")))
    (file,) = (gateway.home / "var/recordings").glob("*/*/*/ses_*.sprec")
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    file.write_bytes(content)
    done = handed.run("audit", "export", code=1)
    assert "see 'sallyport audit verify'" in done.stderr
    assert '"SELECT 1"' in done.stdout
