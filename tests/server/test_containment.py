"""Containment through the front door: approval, release by CLI and REST, a restart, expiry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from sallyport.demo.issuer import DevIssuer
from tests.server.test_locks import ADAM, OLGA, House, listens, running
from tests.support.gateway import AGENT, DBA
from tests.support.postgres import Server
from tests.support.waiting import wait_for

POLICY = """\
version: 1
untrusted: ["public.customers.notes"]
packs: [contain-untrusted]
contain: {for: 1h, reviewers: {groups: [dba]}}
rules:
  - {name: read, allow: [read], relations: ["public.*"]}
  - {name: stock, allow: [update], relations: ["public.products"]}
  - name: cards wait
    hold: [select]
    columns: ["public.customers.card_number"]
    reviewers: {groups: [dba]}
masks:
  - {columns: ["public.customers.email"], with: email}
"""
READ = "SELECT notes FROM customers WHERE id = 1;"
WRITE = "UPDATE products SET stock = stock WHERE id = 1;"
ADDRESS = "SELECT 'it is ' || email FROM customers WHERE id = 1;"
WAITS = r"this update waits for approval"


@pytest.fixture
def house(issuer: DevIssuer, postgres: Server) -> Iterator[House]:
    with running(issuer, postgres, POLICY) as house:
        yield house


def _contained(house: House) -> list[dict[str, object]]:
    answer = house.rest("GET", "/containments", OLGA)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["containments"])


def _releases(house: House) -> list[dict[str, object]]:
    return [
        action
        for action in house.actions()
        if "containments.release" in json.dumps(action) and "done" in json.dumps(action)
    ]


def test_a_write_waits_until_somebody_approves_or_releases(house: House) -> None:
    with house.psql() as psql:
        psql.send(WRITE).wait_for("UPDATE 1")
        psql.send(READ).wait_for(r"\(1 row\)")
        psql.send(ADDRESS).wait_for(r"it is \[redacted\]")
        psql.send(WRITE).wait_for(WAITS)
        (request,) = house.rest("GET", "/approvals?status=pending", DBA).json()["approvals"]
        body = {"approve": True, "reason": "looked at it"}
        decision = house.rest("POST", f"/approvals/{request['id']}/decision", DBA, json=body)
        assert decision.status_code == 200, decision.text
        psql.wait_for("UPDATE 1")
        # what no rule allows does not wait either: containment gives nothing
        psql.send("DELETE FROM orders WHERE id = -1;").wait_for("SP1001")
        (containment,) = _contained(house)
        assert containment["column"] == "public.customers.notes"
        assert containment["statement"] == 2
        listed = house.cli("contain", "list")
        assert str(containment["id"]) in listed.stdout, listed.stderr
        refused = house.cli("contain", "release", str(containment["id"]), client=ADAM)
        assert refused.returncode == 1 and "operator" in refused.stderr
        released = house.cli("contain", "release", str(containment["id"]))
        assert released.returncode == 0, released.stderr
        psql.send(WRITE).wait_for("UPDATE 1")
        psql.send(ADDRESS).wait_for(r"it is [a-z]\*")
    assert not _contained(house)
    assert "released" in house.cli("contain", "list", "--all").stdout
    wait_for(lambda: bool(_releases(house)))
    assert ADAM not in json.dumps(_releases(house)[-1])
    assert "public.customers.notes" in json.dumps(_releases(house)[-1])


def test_what_was_granted_ends_with_the_containment(house: House) -> None:
    """Whoever is contained again, by another text, waits again."""
    with house.psql() as psql:
        psql.send(READ).wait_for(r"\(1 row\)")
        psql.send(WRITE).wait_for(WAITS)
        (request,) = house.rest("GET", "/approvals?status=pending", DBA).json()["approvals"]
        (containment,) = _contained(house)
        assert request["rule"] == f"contain: writes ({containment['id']})"
        body = {"approve": True, "reason": "a day's work", "minutes": 60, "scope": "rule"}
        decision = house.rest("POST", f"/approvals/{request['id']}/decision", DBA, json=body)
        assert decision.status_code == 200, decision.text
        psql.wait_for("UPDATE 1")
        psql.send(READ).wait_for(r"\(1 row\)")
        psql.send(WRITE).wait_for("UPDATE 1")  # granted
        assert house.cli("contain", "release", str(containment["id"])).returncode == 0
        psql.send(READ).wait_for(r"\(1 row\)")
        psql.send(WRITE).wait_for(WAITS)


def test_nobody_releases_themselves(house: House) -> None:
    with house.psql(OLGA) as psql:
        psql.send(READ).wait_for(r"\(1 row\)")
    (containment,) = _contained(house)
    answer = house.rest("POST", f"/containments/{containment['id']}/release", OLGA, json={})
    assert answer.status_code == 409 and "nobody releases themselves" in answer.text
    assert house.rest("POST", "/containments/con_none/release", OLGA, json={}).status_code == 404


def test_it_outlives_the_gateway_and_is_recorded(house: House) -> None:
    with house.psql() as psql:
        psql.send(READ).wait_for(r"\(1 row\)")
    (before,) = _contained(house)
    house.gateway.restart()
    wait_for(lambda: listens(house.url))
    assert _contained(house) == [before]
    with house.psql() as psql:
        psql.send(WRITE).wait_for(WAITS)
    replayed = house.reading("sessions", "replay", str(before["session"]), "--instant")
    assert re.search("contained", replayed.stdout), replayed.stdout + replayed.stderr


def test_a_read_that_was_held_contains_once_it_runs(house: House) -> None:
    text = "SELECT notes, card_number IS NULL FROM customers WHERE id = 1;"
    with house.psql() as psql:
        psql.send(text).wait_for("waits for approval")
        assert not _contained(house)
        (request,) = house.rest("GET", "/approvals?status=pending", DBA).json()["approvals"]
        body = {"approve": True, "reason": "looked at it"}
        house.rest("POST", f"/approvals/{request['id']}/decision", DBA, json=body)
        psql.wait_for(r"\(1 row\)")
        assert len(_contained(house)) == 1


def test_an_approval_from_before_does_not_count(issuer: DevIssuer, postgres: Server) -> None:
    """Asked for, and given, by the rule that held the write before the text was read."""
    waits = "stock, hold: [update], reviewers: {groups: [dba]}"
    held = POLICY.replace("stock, allow: [update]", waits)
    with running(issuer, postgres, held) as house, house.psql() as psql, house.psql() as reader:
        psql.send(WRITE).wait_for(WAITS)
        (request,) = house.rest("GET", "/approvals?status=pending", DBA).json()["approvals"]
        reader.send(READ).wait_for(r"\(1 row\)")
        body = {"approve": True, "reason": "looked at it"}
        house.rest("POST", f"/approvals/{request['id']}/decision", DBA, json=body)
        psql.wait_for(r"SP1404|approval apr_\w+ until[\s\S]*approval apr_\w+ until")
        assert "UPDATE 1" not in psql.stdout


def test_other_agents_are_not_concerned(house: House) -> None:
    with house.psql() as psql, house.psql(DBA) as dba:
        psql.send(READ).wait_for(r"\(1 row\)")
        dba.send(WRITE).wait_for("UPDATE 1")
        page = house.rest("GET", "/containments", AGENT)
        assert page.status_code == 403


def test_a_lost_index_lets_nobody_go(house: House) -> None:
    with house.psql() as psql, house.psql(DBA) as dba:
        psql.send(READ).wait_for(r"\(1 row\)")
        dba.send(READ).wait_for(r"\(1 row\)")
    released, kept = _contained(house)
    if released["subject"] == "claude-agent":
        released, kept = kept, released
    answer = house.rest("POST", f"/containments/{released['id']}/release", OLGA, json={})
    assert answer.status_code == 200, answer.text
    house.gateway.stop()
    for path in (house.gateway.home / "var").glob("sallyport.db*"):
        path.unlink()
    done = house.reading("audit", "reindex")
    assert "2 containments made anew" in done.stdout, done.stdout + done.stderr
    house.gateway.start()
    wait_for(lambda: listens(house.url))
    (after,) = _contained(house)
    times = ("read_at", "until", "why")
    assert {k: v for k, v in after.items() if k not in times} == {
        k: v for k, v in kept.items() if k not in times
    }
    assert after["read_at"] == pytest.approx(kept["read_at"], abs=1e-5)
    assert 0.0 < float(str(after["until"])) - float(str(kept["until"])) <= 601.0
    with house.psql() as psql, house.psql(DBA) as dba:
        psql.send(WRITE).wait_for(WAITS)
        dba.send(WRITE).wait_for("UPDATE 1")
    house.gateway.stop()
    assert "made anew" not in house.reading("audit", "reindex").stdout
    house.gateway.start()
