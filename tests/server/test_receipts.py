"""Receipts over REST: whose statement it is gets one, and whoever has the log's public key and the
statement can check it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sallyport.demo.issuer import DevIssuer
from tests.server.test_locks import ADAM, OLGA, House, running
from tests.support.gateway import AGENT
from tests.support.postgres import Server
from tests.support.psql import run_psql
from tests.support.waiting import wait_for

SQL = "SELECT count(*) FROM products;"


@pytest.fixture
def house(issuer: DevIssuer, postgres: Server) -> Iterator[House]:
    with running(issuer, postgres) as house:
        yield house


def refused_to_others(house: House, path: str, session: str) -> None:
    """What is not there, or not theirs, is not found."""
    for wrong in (
        path.replace("/1/", "/2/"),
        path.replace("/1/", "/0/"),
        path.replace("/1/", "/x/"),
        path.replace(session, session[:-1]),
        path.replace(session, "ses_nobody"),
    ):
        assert house.rest("POST", wrong, AGENT).status_code == 404, wrong
    stranger = house.rest("POST", path, "paul-privacy")
    assert stranger.status_code == 404, "no role, and not theirs"


def checked_by_anybody(house: House, tmp_path: Path, receipt: str, opening: str) -> None:
    """With the public key and the statement."""
    file, key = tmp_path / "statement.receipt", tmp_path / "log.vkey"
    file.write_text(receipt)
    key.write_text(house.reading("audit", "key").stdout)
    check = ("audit", "check-receipt", str(file), "--key", str(key), "--opening", opening)
    checked = house.reading(*check, "--statement", SQL)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "verdict: allow" in checked.stdout
    refused = house.reading(*check, "--statement", SQL.replace("products", "orders"))
    assert refused.returncode == 1 and "another statement" in refused.stdout
    file.write_text(receipt.replace('"allow"', '"deny"'))
    assert house.reading(*check, "--statement", SQL).returncode == 1


def test_a_receipt_says_what_became_of_a_statement(house: House, tmp_path: Path) -> None:
    gateway = house.gateway
    done = run_psql(gateway.dsn(gateway.token(AGENT)), SQL)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: house.rest("GET", "/sessions?status=ended", OLGA).json()["sessions"])
    (session,) = house.rest("GET", "/sessions?status=ended", OLGA).json()["sessions"]
    path = f"/sessions/{session['id']}/statements/1/receipt"
    made = house.rest("POST", path, AGENT)
    assert made.status_code == 200, made.text
    receipt, opening = made.json()["receipt"], made.json()["opening"]
    assert "SELECT" not in receipt and "products" not in receipt, "it only commits to the statement"
    assert house.rest("POST", path, ADAM).json()["receipt"] == receipt, "an auditor may as well"
    refused_to_others(house, path, session["id"])
    checked_by_anybody(house, tmp_path, receipt, opening)
    by_command = house.reading("audit", "receipt", session["id"], "1")
    assert (by_command.stdout, opening in by_command.stderr) == (receipt, True)
    asked = [action for action in house.actions() if action["action"] == "receipts.make"]
    assert {action["outcome"] for action in asked} == {"done", "failed"}
    assert {action["object"] for action in asked} >= {session["id"]}
