"""The report of a bad hour: a finding, masked columns, refused statements, and logins refused under
hostile names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.audit.refusedlogins import MOST_OF_ONE
from sallyport.demo.issuer import DevIssuer
from tests.handover.house import SECRET_SSN, Handed
from tests.handover.test_export import ACTIVE
from tests.handover.test_replay_files import opened
from tests.server.test_refused_logins import HOSTILE, refused
from tests.support.browser import DESKTOP, shoot
from tests.support.gateway import AGENT, Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for
from tests.watch.test_live import acknowledge, findings, learn, watched

MARKUP = "<img src=x onerror=alert(1)>"
REASON = f"a backfill, ticket 12 {MARKUP}"


def incident(gateway: Gateway) -> Handed:
    """Returns once all of it is recorded and the gateway has ended."""
    with psycopg.connect(gateway.targets["shop"].superuser_dsn) as db:
        row = db.execute("SELECT email FROM customers ORDER BY id LIMIT 1").fetchone()
    raw = row[0] if row is not None else ""
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        learn(db)
        db.execute("SELECT * FROM order_items, generate_series(1, 2)").fetchall()
        (finding,) = wait_for(lambda: [f for f in findings(gateway) if f["detector"] == "bulk"])
        acknowledge(gateway, finding["id"], REASON)
        db.execute("SELECT email, ssn FROM customers")
        db.execute("SELECT name FROM customers WHERE email = %s", [raw])
        for statement in ("DROP TABLE orders", f"DELETE FROM nowhere WHERE ssn = '{SECRET_SSN}'"):
            try:
                db.execute(statement)  # type: ignore[arg-type]
            except psycopg.Error:
                continue
    refused(gateway, gateway.token(AGENT), target="payroll")
    for n in range(8):
        refused(gateway, f"guess-{n}", user=f"{MARKUP}{n}" if n else HOSTILE)
    gateway.stop()
    return Handed(gateway, raw, "", "")


@pytest.fixture(scope="module")
def made(
    issuer: DevIssuer, postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path, str]]:
    """The report as JSON and as a page, and an address that is masked."""
    file = tmp_path_factory.mktemp("incident") / "report.html"
    running: list[Gateway] = []

    def make_gateway(**options: Any) -> Gateway:
        running.append(Gateway(issuer, {"shop": postgres}, **options).start())
        return running[0]

    handed = incident(watched(make_gateway))
    words = ("audit", "report", "--from", "2026-01-01", "--json", "--html", file)
    yield handed.run(*words).stdout, file, handed.session


def test_it_shows_no_raw_value(made: tuple[str, Path, str]) -> None:
    output, file, raw = made
    for text in (output, file.read_text()):
        assert raw not in text and SECRET_SSN not in text
    assert not ACTIVE.search(output) and MARKUP not in file.read_text()


def test_refused_logins_and_findings(made: tuple[str, Path, str]) -> None:
    report = json.loads(made[0])
    assert report["logins_refused"] == 9
    assert sum(row["count"] for row in report["logins"]) == 9
    assert len([row for row in report["logins"] if row["code"]]) == MOST_OF_ONE
    (finding,) = [f for f in report["findings"] if f["acknowledged"]]
    assert finding["detector"] == "bulk" and finding["reason"] == REASON and finding["by"]
    assert [row["action"] for row in report["actions"]] == ["findings.acknowledge"]


def test_the_page_reads_well(made: tuple[str, Path, str], chromium: Any) -> None:
    problems: list[str] = []
    page = opened(chromium, made[1], problems, **DESKTOP)
    text = page.locator("main").inner_text()
    assert not ACTIVE.search(text.replace("\t", " "))
    assert page.locator("main img, main script").count() == 0
    assert MARKUP in page.locator("#logins").inner_text()
    assert REASON in page.locator("#findings").inner_text()
    tile = page.locator("#summary .tiles li", has_text="logins refused")
    assert tile.inner_text().split()[0] == "9"
    assert problems == []
    shoot(page, "report-incident", full_page=True)
