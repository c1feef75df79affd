"""``sallyport audit report`` of what a gateway recorded, as an auditor gets it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.handover.house import REASON, SECRET_EMAIL, SECRET_SSN, Handed
from tests.handover.test_export import ACTIVE
from tests.handover.test_replay_files import opened
from tests.support.browser import DESKTOP, PHONE, shoot
from tests.support.gateway import Gateway
from tests.support.waiting import wait_for

PERIOD = ("--from", "2026-01-01")


@pytest.fixture(scope="module")
def report(handed: Handed) -> dict[str, Any]:
    output = handed.run("audit", "report", *PERIOD, "--json").stdout
    assert not ACTIVE.search(output) and output.isascii()
    assert SECRET_SSN not in output and SECRET_EMAIL not in output
    return dict(json.loads(output))


@pytest.fixture(scope="module")
def report_file(handed: Handed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "report.html"
    handed.run("audit", "report", *PERIOD, "--html", file)
    return file


def test_access_and_columns(handed: Handed, report: dict[str, Any]) -> None:
    statements = handed.lines("--kind", "statement")
    (access,) = report["access"]
    assert (access["subject"], access["agent"], access["target"]) == (
        "claude-agent",
        "claude-code",
        "shop",
    )
    assert access["verdicts"] == report["verdicts"] and sum(report["verdicts"].values()) == len(
        statements
    )
    assert sum(sum(counts.values()) for _, counts in report["spans"]) == len(statements)
    assert [(column["column"], column["readers"]) for column in report["columns"]] == [
        ("public.customers.email", {"claude-agent": 1}),
        ("public.customers.ssn", {"claude-agent": 1}),
    ]


def test_refusals_and_approvals(handed: Handed, report: dict[str, Any]) -> None:
    assert {(refusal["code"], refusal["count"]) for refusal in report["refusals"]} == {
        ("SP1002", 1), ("SP1104", 1), ("SP1101", 1), ("SP1402", 1),
    }  # fmt: skip
    approved, denied = report["approvals"]
    assert (approved["id"], approved["status"]) == (handed.approved, "used")
    (decision,) = approved["decisions"]
    assert (decision["reviewer"], decision["approve"], decision["reason"]) == (
        "dana@example.com",
        True,
        REASON,
    )
    assert 0 < decision["seconds"] < 60 and decision["channel"] == "rest"
    assert (denied["status"], denied["decisions"][0]["reason"]) == (
        "denied",
        "not in business hours",
    )


def test_changes_actions_integrity_and_configuration(report: dict[str, Any]) -> None:
    first, second = report["policies"]
    assert first["is_first"] and "+# <b>changed</b> on purpose" in second["diff"]
    assert [action["action"] for action in report["actions"]] == [
        "sessions.kill",
        "locks.lock",
        "locks.release",
    ]
    assert report["integrity"]["failed"] == 0 and report["integrity"]["recordings"] >= 5
    configuration = dict(report["configuration"])
    assert (
        configuration["Policy"].startswith(second["version"])
        and "as " in configuration["Target shop"]
    )
    assert "password" not in json.dumps(configuration)
    assert {control["coverage"] for control in report["controls"]} == {
        "evidenced",
        "partly",
        "not covered",
    }


def test_the_period_bounds_everything(handed: Handed) -> None:
    empty = json.loads(
        handed.run("audit", "report", "--from", "2020-01-01", "--to", "2020-02-01", "--json").stdout
    )
    for name in ("access", "columns", "refusals", "approvals", "policies", "actions", "spans"):
        assert empty[name] == [], name
    assert empty["integrity"]["recordings"] >= 5


def test_the_page(report_file: Path, chromium: Any) -> None:
    problems: list[str] = []
    page = opened(chromium, report_file, problems, **DESKTOP)
    text = page.locator("main").inner_text()
    assert not ACTIVE.search(text.replace("\t", " "))
    assert "dana@example.com after" in text and "it <i>deleted</i> orders" in text
    assert page.locator("main img, main i, main script").count() == 0
    assert "The gateway has no such access" in page.locator("#approvals").inner_text()
    assert "7 days shown; no statement in the rest" in page.locator("#summary").inner_text()
    assert page.locator("svg rect.v-allow").count() >= 1
    shoot(page, "report", full_page=True)
    summary = page.locator("#summary").bounding_box()
    assert summary["height"] < 1100, "the summary is one page"
    phone = opened(chromium, report_file, problems, **PHONE)
    assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shoot(phone, "report-phone", full_page=True)
    assert problems == []


def test_it_prints(report_file: Path, chromium: Any, tmp_path: Path) -> None:
    page = opened(chromium, report_file, [])
    pdf = page.pdf(prefer_css_page_size=True, print_background=True)
    assert pdf.startswith(b"%PDF-")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 10
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 703, "height": 1017})  # A4 within the margins, in CSS pixels
    assert page.locator("#summary").bounding_box()["height"] + 90 < 1017, (
        "the summary fits on the first page"
    )
    shoot(page, "report-print", full_page=True)
    tight = (
        "[...document.querySelectorAll('.tiles div')].filter((e) => e.scrollWidth > e.clientWidth)"
    )
    assert page.evaluate(f"{tight}.map((e) => e.innerText)") == [], "no word sticks out of a tile"
    wide = (
        "[...document.querySelectorAll('section, table')].filter((e) =>"
        " e.getBoundingClientRect().right > innerWidth).map((e) => e.innerText)"
    )
    assert page.evaluate(wide) == [], "nothing is cut at the edge"


def test_a_damaged_record_is_the_first_thing_it_says(
    make_gateway: Callable[..., Gateway], tmp_path: Path, chromium: Any
) -> None:
    gateway = make_gateway()
    handed = Handed(gateway, "", "", "")
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.execute("SELECT 1")
    wait_for(lambda: bool(handed.lines("--kind", "end")))
    (recording,) = (gateway.home / "var/recordings").glob("*/*/*/ses_*.sprec")
    content = bytearray(recording.read_bytes())
    content[-40] ^= 1
    recording.write_bytes(content)
    file = tmp_path / "report.html"
    done = handed.run("audit", "report", *PERIOD, "--html", file, code=1)
    assert "not intact" in done.stderr
    page = opened(chromium, file, [])
    assert "The record is not intact" in page.get_by_role("alert").inner_text()
    assert "NOT INTACT" in page.locator("#summary").inner_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--json"], "say when the period begins"),
        (["--from", "2026-01-01"], "--html FILE, --json, or both"),
        (["--from", "2026-02-01", "--to", "2026-01-01", "--json"], "the period is empty"),
        (["--from", "2026-01-01", "--html", "/no/such/place/x"], "cannot write"),
    ],
)
def test_what_is_wrong_is_said(handed: Handed, words: list[str], said: str) -> None:
    assert said in handed.run("audit", "report", *words, code=2).stderr
