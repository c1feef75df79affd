"""Who is told of a finding: webhook, mail, Slack, and a SIEM by syslog and in OCSF, each at the
other end of a socket or file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from sallyport.demo.issuer import DevIssuer
from sallyport.operations.auditocsf import VERSION
from tests.approvals.slack_double import CHANNEL, SIGNING_SECRET, TOKEN, SlackDouble, slack_double
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.receivers import HttpReceiver, SyslogReceiver, mail_receiver
from tests.support.waiting import wait_for
from tests.watch.test_live import findings, learn, watched

EVIDENCE = "rows of public.order_items"


@dataclass
class Told:
    """One finding of high severity, and everybody who hears of findings."""

    finding: dict[str, Any]
    hook: HttpReceiver
    mails: list[tuple[str, bytes]]
    slack: SlackDouble
    syslog: SyslogReceiver
    file: Path
    gateway: Gateway

    def streamed(self) -> list[dict[str, Any]]:
        """Events of the stream in OCSF that are of findings."""
        events = [json.loads(line) for line in self.file.read_text().splitlines()]
        return [event for event in events if event["class_uid"] == 2004]


@pytest.fixture(scope="module")
def told(
    issuer: DevIssuer, postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Told]:
    def secret(text: str) -> dict[str, Any]:
        return {"command": ["printf", "%s", text]}

    file = tmp_path_factory.mktemp("siem") / "events.json"
    hook, syslog = HttpReceiver(lambda path, body: (204, "")), SyslogReceiver()
    gateways: list[Gateway] = []

    def make(extra: dict[str, Any]) -> Gateway:
        streams = [
            {"name": "siem", "to": "syslog", "address": f"127.0.0.1:{syslog.port}",
             "tls": "disable", "begin": "beginning"},
            {"name": "cef", "to": "syslog", "address": f"127.0.0.1:{syslog.port}",
             "tls": "disable", "format": "cef", "begin": "beginning"},
            {"name": "ocsf", "to": "file", "path": str(file), "format": "ocsf",
             "begin": "beginning"},
        ]  # fmt: skip
        extra = {**extra, "audit": {"stream": streams}}
        gateways.append(Gateway(issuer, {"shop": postgres}, extra=extra).start())
        return gateways[0]

    try:
        with mail_receiver() as (port, mails), slack_double() as slack:
            mail = {"host": "127.0.0.1", "port": port, "tls": "none", "from": "gw@example.com"}
            bot = {"signing_secret": secret(SIGNING_SECRET), "bot_token": secret(TOKEN)}
            approvals = {
                "webhooks": [{"url": f"{hook.url}/", "secret": secret("a-shared-secret")}],
                "mail": {**mail, "to": ["dba@example.com"]},
                "slack": {**bot, "channel": CHANNEL, "api": slack.url},
            }
            gateway = watched(make, approvals)
            with psycopg.connect(gateway.dsn(), autocommit=True) as db:
                learn(db)
                db.execute("SELECT * FROM order_items, generate_series(1, 2)").fetchall()
                wait_for(lambda: [f for f in findings(gateway) if f["detector"] == "bulk"])
            (bulk,) = [f for f in findings(gateway) if f["detector"] == "bulk"]
            yield Told(bulk, hook, mails, slack, syslog, file, gateway)
            assert slack.problems == []
    finally:
        for gateway in gateways:
            gateway.stop()
        hook.stop()
        syslog.stop()


def test_a_webhook(told: Told) -> None:
    wait_for(lambda: told.hook.taken)
    (body,) = [json.loads(taken) for taken in told.hook.taken]
    assert (body["event"], body["id"], body["severity"]) == ("finding", told.finding["id"], "high")
    assert EVIDENCE in body["text"] and body["url"].endswith(f"/findings/{body['id']}")


def test_a_mail(told: Told) -> None:
    wait_for(lambda: told.mails)
    ((envelope, text),) = told.mails
    assert "<dba@example.com>" in envelope
    assert (
        b"Subject: Finding: [high]" in text and f"/findings/{told.finding['id']}".encode() in text
    )


def test_a_message_in_slack(told: Told) -> None:
    wait_for(lambda: told.slack.messages)
    assert len(told.slack.messages) == 1
    shown = told.slack.shown(told.slack.last)
    assert EVIDENCE in shown and f"/findings/{told.finding['id']}" in shown
    assert not told.slack.buttons(told.slack.last)


def test_a_siem_by_syslog(told: Told) -> None:
    def raised() -> list[dict[str, Any]]:
        lines = [message.split(" - ", 1)[1] for message in list(told.syslog.messages)]
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in events if event.get("object") == told.finding["id"]]

    wait_for(raised)
    (event,) = raised()
    assert (event["action"], event["subject"]) == ("findings.raise", "claude-agent")
    assert EVIDENCE in event["details"]["evidence"] and event["details"]["done"] == "notify"


def test_the_severity_in_cef(told: Told) -> None:
    def raised() -> list[str]:
        lines = [message.split(" - ", 1)[1] for message in list(told.syslog.messages)]
        return [line for line in lines if line.startswith("CEF:0|") and told.finding["id"] in line]

    wait_for(raised)
    (line,) = raised()
    assert "|findings.raise|Unusual behaviour|8|" in line and EVIDENCE in line


def test_a_detection_finding_in_ocsf(told: Told) -> None:
    wait_for(told.streamed)
    (event,) = [e for e in told.streamed() if e["finding_info"]["uid"] == told.finding["id"]]
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(VERSION))
    validator = jsonschema.Draft202012Validator(schema.get_class_schema("detection_finding", []))
    validator.validate(event)
    assert (event["severity"], event["finding_info"]["analytic"]["name"]) == ("High", "bulk")
    assert EVIDENCE in event["message"]
    actor = event["evidences"][0]["actor"]
    assert actor["session"]["uid"] == told.finding["session"]
    done = told.gateway.run("audit", "export", "--kind", "action", "--format", "ocsf")
    exported = [json.loads(line) for line in done.stdout.splitlines()]
    assert event["metadata"]["uid"] in {each["metadata"]["uid"] for each in exported}
