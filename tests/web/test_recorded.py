"""What people do is recorded, or not done; somebody who is locked is out of the console at once."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from sallyport.demo.issuer import DevIssuer
from sallyport.operations.actions import ActionQuery, find_actions
from sallyport.web.api.operations import PREFIX
from tests.support.waiting import wait_for
from tests.web.helpers import Browser, bearer, choose
from tests.web.real import ADAM, AGENT, DANA, OLGA, People, Real
from tests.web.world import EVIL, PEOPLE, RAW, World, world

MakeBrowser = Callable[[str], Browser]


def actions(place: World, **query: Any) -> list[Any]:
    """Newest first, once everything is written."""
    wait_for(lambda: place.recorder.backlog == 0)
    return [
        action.action
        for action in find_actions(place.services.sessions, ActionQuery(**query)).actions
    ]


@pytest.fixture(autouse=True)
def released(request: pytest.FixtureRequest) -> Iterator[None]:
    """No lock of one test in the next."""
    yield
    if "place" in request.fixturenames:
        locks = request.getfixturevalue("place").services.locks
        for lock in locks.active():
            locks.remove(lock)


def test_pages_are_recorded(browser: MakeBrowser, place: World) -> None:
    adam = browser("auditor")
    assert adam.get("/sessions/s_first/replay").status_code == 200
    assert adam.get("/sessions/s_first/replay/steps?from=300").status_code == 200
    assert adam.get("/sessions?text=customers").status_code == 200
    assert adam.get("/sessions").status_code == 200
    assert adam.get("/overview/live").status_code == 200
    assert adam.get("/sessions/s_nowhere").status_code == 404
    assert adam.post("/sessions/s_live2/kill", confirm="yes").status_code == 403
    answer = adam.post(
        "/policy/explain", target="shop", sql=f"select '{EVIL}'", claims='{"key": "s3cret"}'
    )
    assert answer.status_code == 200
    seen = [
        (action.name, action.object, action.outcome)
        for action in actions(place, subject="adam", limit=8)[::-1]
    ]
    assert seen == [
        ("sign-in", "", "done"),
        ("sessions.replay", "s_first", "done"),
        ("sessions.replay", "s_first", "done"),
        ("sessions.list", "", "done"),
        ("sessions.read", "s_nowhere", "failed"),
        ("sessions.kill", "s_live2", "refused"),
        ("policy.explain", "", "done"),
    ]
    explain, kill, missing, search, steps, *_ = actions(place, subject="adam")
    assert (explain.channel, explain.subject.email) == ("web", "adam@example.com")
    assert explain.details == {"target": "shop", "sql": f"select '{EVIL}'"}
    assert "sessions.kill needs one of the roles" in kill.reason and "s_nowhere" in missing.reason
    assert (search.details, steps.details) == ({"text": "customers"}, {"from": "300"})
    page = adam.get("/actions?name=policy").text
    assert "select &#39;" in page and not any(raw in page for raw in RAW)
    assert adam.get(f"/actions?outcome={'x' * 400}").status_code == 422
    assert browser("reviewer").get("/actions").status_code == 403


def test_decisions_and_sample_rows_are_recorded(browser: MakeBrowser, place: World) -> None:
    dana, request = browser("reviewer"), place.ask(4711)
    assert dana.get(f"/approvals/{request.id}").status_code == 200
    assert dana.get(f"/approvals/{request.id}/status").status_code == 200
    assert dana.get(f"/approvals/{request.id}/sample").status_code == 200
    assert dana.post(f"/approvals/{request.id}/decision", decision="deny").status_code == 422
    assert (
        dana.post(f"/approvals/{request.id}/decision", decision="deny", reason="no").status_code
        == 303
    )
    seen = [(action.name, action.outcome) for action in actions(place, object_id=request.id)[::-1]]
    assert seen == [
        ("approvals.read", "done"),
        ("approvals.sample", "done"),
        ("approvals.decide", "failed"),
        ("approvals.decide", "done"),
    ]
    decided, failed, sample, _ = actions(place, object_id=request.id)
    assert decided.details == {"decision": "deny", "reason": "no"}
    assert failed.reason and sample.details == {}


def test_what_cannot_be_recorded_is_not_done(
    browser: MakeBrowser, client: TestClient, issuer: DevIssuer, place: World
) -> None:
    olga, request = browser("operator"), place.ask(4712)
    before = len(place.gateway.killed)
    place.recorder.failed = True
    try:
        reading = client.get(f"{PREFIX}/sessions/s_first/events", headers=bearer(issuer, "auditor"))
        assert reading.status_code == 503 and "cannot be recorded" in reading.json()["detail"]
        path = f"{PREFIX}/approvals/{request.id}/decision"
        assert (
            client.post(
                path, json={"approve": True}, headers=bearer(issuer, "reviewer")
            ).status_code
            == 503
        )
        assert olga.get("/sessions/s_first").status_code == 503
        assert olga.get("/").status_code == 200
        locked = client.post(
            f"{PREFIX}/locks",
            json={"kind": "agent", "name": "github-actions", "reason": "odd"},
            headers=bearer(issuer, "operator"),
        )
        assert (locked.status_code, locked.json()["sessions"]) == (200, 1)
        assert len(place.gateway.killed) == before + 1
        path = f"{PREFIX}/locks/{locked.json()['lock']['id']}/release"
        assert client.post(path, headers=bearer(issuer, "operator")).status_code == 503
    finally:
        place.recorder.failed = False
    assert place.approvals.get(request.id).status.value == "pending"  # type: ignore[union-attr]


def test_whom_a_refused_attempt_named_is_recorded(
    client: TestClient, place: World, issuer: DevIssuer
) -> None:
    body = {"kind": "subject", "name": "olga", "issuer": "", "reason": "revenge", "minutes": 5}
    headers = bearer(issuer, "viewer")
    assert client.post(f"{PREFIX}/locks", json=body, headers=headers).status_code == 403
    broken = client.post(f"{PREFIX}/locks", json={"kind": 7}, headers=headers)
    assert broken.status_code == 403
    unusable, named = actions(place, name="locks.lock", limit=2)
    assert (named.outcome, named.details["name"], named.details["kind"]) == (
        "refused",
        "olga",
        "subject",
    )
    assert unusable.outcome == "refused" and "not usable" in unusable.details["body"]
    lock = {"kind": "subject", "name": "vera", "reason": "gone"}
    assert (
        client.post(f"{PREFIX}/locks", json=lock, headers=bearer(issuer, "operator")).status_code
        == 200
    )
    assert client.post(f"{PREFIX}/locks", json=body, headers=headers).status_code == 403
    (locked,) = actions(place, name="locks.lock", outcome="refused", limit=1)
    assert (locked.details["name"], "SP1608" in locked.reason) == ("olga", True)


def test_a_locked_person_is_signed_out_and_not_let_in(
    browser: MakeBrowser, client: TestClient, issuer: DevIssuer, place: World
) -> None:
    adam = browser("auditor")
    assert adam.get("/sessions/s_first").status_code == 200
    lock = {"kind": "subject", "name": "adam", "reason": f"gone {EVIL}", "minutes": 10}
    answer = client.post(f"{PREFIX}/locks", json=lock, headers=bearer(issuer, "operator"))
    assert answer.status_code == 200
    assert adam.get("/sessions/s_first").status_code == 303
    assert adam.get("/overview/live").status_code == 401
    started = adam.client.get("/sign-in/start", params={"next": "/policy"})
    back = choose(started.headers["Location"], PEOPLE["auditor"])
    page = adam.client.get(back.partition(":8642")[2])
    assert page.status_code == 403
    assert (
        "[SP1608] the subject &#34;adam&#34; is locked until" in page.text
        and "Reason: gone" in page.text
    )
    assert not any(raw in page.text for raw in RAW)
    refused = actions(place, subject="adam")[0]
    assert (refused.name, refused.outcome) == ("sign-in", "refused")
    answer = client.get(f"{PREFIX}/targets", headers=bearer(issuer, "auditor"))
    assert (answer.status_code, answer.json()["code"]) == (403, "SP1608")


def test_the_agent_lock_of_the_consoles_client_locks_nobody_out(
    browser: MakeBrowser, client: TestClient, issuer: DevIssuer, place: World
) -> None:
    """An ID token names the console as its azp: that is nobody's agent."""
    lock = {"kind": "agent", "name": place.services.settings.client_id, "reason": "by mistake"}
    assert (
        client.post(f"{PREFIX}/locks", json=lock, headers=bearer(issuer, "operator")).status_code
        == 200
    )
    assert browser("auditor").get("/sessions/s_first").status_code == 200


def test_a_lock_that_cannot_be_stored_is_in_force_and_says_so(
    tmp_path: Path, issuer: DevIssuer
) -> None:
    """And a release that cannot be stored is none: the next start would know nothing of it."""
    headers, body = (
        bearer(issuer, "operator"),
        {"kind": "subject", "name": "adam", "reason": "gone"},
    )
    with (
        world(tmp_path, issuer) as place,
        TestClient(place.app, base_url="http://127.0.0.1:8642") as client,
    ):
        stored = client.post(f"{PREFIX}/locks", json=body, headers=headers).json()["lock"]
        with sqlite3.connect(tmp_path / "sallyport.db") as db:
            db.execute("ALTER TABLE locks RENAME TO gone")
        answer = client.post(f"{PREFIX}/locks", json={**body, "reason": "now"}, headers=headers)
        assert answer.status_code == 503
        assert "lost if the gateway stops before it can be stored" in answer.json()["detail"]
        tried = client.get(f"{PREFIX}/targets", headers=bearer(issuer, "auditor"))
        assert (tried.status_code, "Reason: now" in tried.json()["detail"]) == (403, True)
        (lock,) = client.get(f"{PREFIX}/locks", headers=headers).json()["locks"]
        assert lock["id"] != stored["id"]
        answer = client.post(f"{PREFIX}/locks/{lock['id']}/release", headers=headers)
        assert (answer.status_code, "The lock stays" in answer.json()["detail"]) == (503, True)
        assert client.get(f"{PREFIX}/targets", headers=bearer(issuer, "auditor")).status_code == 403
        kept = [(action.name, action.outcome) for action in actions(place, name="locks")[::-1]]
        assert kept == [
            ("locks.lock", "done"),
            ("locks.lock", "failed"),
            ("locks.release", "failed"),
        ]


def test_whoever_is_locked_does_not_fill_the_record(tmp_path: Path, issuer: DevIssuer) -> None:
    with (
        world(tmp_path, issuer) as place,
        TestClient(place.app, base_url="http://127.0.0.1:8642") as client,
    ):
        lock = {"kind": "subject", "name": "adam", "reason": "gone"}
        headers = bearer(issuer, "operator")
        assert client.post(f"{PREFIX}/locks", json=lock, headers=headers).status_code == 200
        adam = bearer(issuer, "auditor")
        assert {client.get(f"{PREFIX}/targets", headers=adam).status_code for _ in range(50)} == {
            403
        }
        assert len(actions(place, name="targets.read", limit=100)) == 30
        assert client.get(f"{PREFIX}/targets", headers=headers).status_code == 200


@pytest.mark.parametrize("by_time", [True, False])
def test_refused_attempts_do_not_fill_the_record(
    tmp_path: Path, issuer: DevIssuer, monkeypatch: pytest.MonkeyPatch, by_time: bool
) -> None:
    """A token of the issuer is enough to be refused; how often is recorded, not each time."""
    with world(tmp_path, issuer) as place:
        with TestClient(place.app, base_url="http://127.0.0.1:8642") as client:
            body = {"kind": "subject", "name": "olga", "reason": "x" * 500}
            tries = [
                client.post(
                    f"{PREFIX}/locks", json=body, headers=bearer(issuer, "viewer")
                ).status_code
                for _ in range(45)
            ]
            assert set(tries) == {403}
            assert len(actions(place, outcome="refused", limit=100)) == 30
            headers = bearer(issuer, "auditor")
            assert client.get(f"{PREFIX}/sessions?text=x", headers=headers).status_code == 200
            assert client.post(f"{PREFIX}/locks", json=body, headers=headers).status_code == 403
            assert len(actions(place, outcome="refused", limit=100)) == 31, (
                "another subject has its own"
            )
            if by_time:
                now = place.recorder.clock.now()
                monkeypatch.setattr(place.recorder.clock, "now", lambda: now + 61, raising=False)
                place.services.actions.settle()
                monkeypatch.undo()
            else:
                place.services.actions.close()
        (left,) = actions(place, name="refusals")
        assert (left.subject.id, left.outcome, left.details) == ("vera", "refused", {"count": "15"})


# -- a real browser before the real thing ----------------------------------------------------------


def test_a_session_is_locked_in_a_browser(people: People, real: Real) -> None:
    page = people(OLGA)
    with real.psql() as psql:
        psql.send("SELECT 'here' AS it;").wait_for("here")
        session = real.last_session()
        wait_for(lambda: page.goto(f"/sessions/{session}").status == 200)
        form = page.locator("section[aria-labelledby=h-lock]")
        form.get_by_label(f"agent {AGENT}").check()
        form.get_by_label("Reason").fill("not today")
        form.get_by_label("Minutes").fill("30")
        form.get_by_role("button", name="Lock").click()
        assert psql.process.poll() is None, "the box must be ticked"
        form.get_by_label("End all its live sessions").check()
        form.get_by_role("button", name="Lock").click()
        page.wait_for_url(f"{real.url}/locks")
        page.get_by_role("group", name="In force").get_by_text("not today").wait_for()
        psql.send("SELECT 1;").wait_for(r"FATAL: +28000: .*\[SP1608\].*is locked until")
        assert psql.finish() == 2
    with real.psql() as again:
        again.wait_for(r"SP1608.*is locked")
    auditor = people(ADAM)
    auditor.goto("/locks")
    auditor.get_by_text("not today").first.wait_for()
    assert auditor.get_by_role("main").get_by_role("button").count() == 0, "auditors look"
    page.get_by_role("button", name="Release").click()
    page.get_by_text("No locks are in force.").wait_for()
    with real.psql() as again:
        again.send("SELECT 'back' AS it;").wait_for("back")
    auditor.goto("/actions")
    auditor.get_by_label("What", exact=True).fill("locks")
    auditor.get_by_role("button", name="Search").click()
    rows = auditor.get_by_role("group", name="Actions found").locator("tbody tr")
    wait_for(lambda: _reloaded(auditor, rows) >= 2)
    assert re.search(r"olga@example\.com.*locks\.release.*done", rows.nth(0).inner_text(), re.S)
    assert re.search(
        r"olga@example\.com.*locks\.lock.*done.*not today", rows.nth(1).inner_text(), re.S
    )


def _reloaded(page: Any, rows: Any) -> int:
    page.wait_for_load_state()
    page.reload()
    return int(rows.count())


def test_a_locked_reviewer_loses_the_open_window(people: People, real: Real) -> None:
    dana, olga = people(DANA), people(OLGA)
    dana.goto("/approvals")
    olga.goto("/locks")
    olga.get_by_label("Kind").select_option("subject")
    olga.get_by_label("Name", exact=True).fill(DANA)
    olga.get_by_label("Reason").fill("on leave")
    olga.get_by_label("End live sessions now").check()
    olga.get_by_role("button", name="Lock").click()
    olga.get_by_role("group", name="In force").get_by_text("on leave").wait_for()
    try:
        dana.reload()
        assert urlsplit(dana.url).path == "/sign-in"
        dana.get_by_role("link", name="Sign in").click()
        dana.get_by_text("SP1608").wait_for()
        assert "Reason: on leave" in dana.get_by_role("main").inner_text()
    finally:
        olga.get_by_role("button", name="Release").click()
        olga.get_by_text("No locks are in force.").wait_for()
        real.states.pop(DANA, None)
