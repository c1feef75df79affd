"""A real browser before the real thing: psql waits, people sign in with a password and decide,
sessions end, recordings play.
"""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from tests.support.browser import PHONE, Watched, shoot
from tests.support.waiting import wait_for
from tests.web.real import ADAM, DANA, DORA, OLGA, PAUL, VERA, People, Real, sign_in

WAITS = r"NOTICE: .*this update waits for approval (apr_\w+)"


def ask(real: Real, psql: Any, ticket: int, note: str = "closed") -> str:
    """psql sends an UPDATE that a rule holds; the request's id, from the NOTICE that psql
    prints.
    """
    psql.send(f"UPDATE tickets SET note = '{note}' WHERE id = {ticket};")
    return str(psql.wait_for(WAITS).group(1))


def test_signing_in_and_out(chromium: Any, real: Real) -> None:
    watched = Watched(chromium, real.url)
    page = watched.page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/sessions?verdict=refused")
    assert "/sign-in?next=" in page.url
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("Name").fill(DANA)
    page.get_by_label("Password").fill("not it")
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("Not like that.").wait_for()
    page.get_by_label("Name").fill(DANA)
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{real.url}/sessions?verdict=refused")
    (authorize,) = [url for url in asked if url.startswith(f"{real.provider.url}/auth?")]
    assert "code_challenge_method=S256" in authorize
    assert "response_type=code" in authorize
    page.locator("details.who summary").click()
    page.get_by_text("Roles: reviewer").wait_for()
    cookies = page.context.cookies(real.url)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{real.url}/sign-in")
    page.goto("/sessions")
    assert "/sign-in" in page.url
    page.context.add_cookies(cookies)
    page.goto("/sessions")
    assert "/sign-in" in page.url, "the old cookie is worth nothing"
    watched.close()


@pytest.mark.parametrize(
    ("person", "roles"),
    [(VERA, "viewer"), (ADAM, "auditor"), (OLGA, "operator"), (DORA, "reviewer")],
)
def test_roles_follow_from_groups(people: People, person: str, roles: str) -> None:
    page = people(person)
    page.goto("/")
    page.locator("details.who summary").click()
    page.get_by_text(f"Roles: {roles}", exact=True).wait_for()


def test_a_group_without_a_role_is_told_so(chromium: Any, real: Real) -> None:
    watched = Watched(chromium, real.url)
    page = watched.page()
    sign_in(page, real, PAUL)
    main = page.get_by_role("main")
    assert "You have: none" in main.inner_text()
    shoot(page, "no-role")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{real.url}/sign-in")
    watched.close()


def test_an_update_waits_and_is_approved(people: People, real: Real) -> None:
    page = people(DANA)
    page.goto("/approvals")
    page.evaluate("window.never = 'loaded again'")
    with real.psql() as psql:
        id_ = ask(real, psql, 1)
        page.get_by_text("WHERE id = 1", exact=False).wait_for()
        assert page.evaluate("window.never") == "loaded again", "it came by itself"
        shoot(page, "real-inbox")
        page.locator("li.request", has_text="WHERE id = 1").get_by_role("link").click()
        page.wait_for_url(f"**/approvals/{id_}")
        assert "SET note = 'closed' WHERE id = 1" in page.get_by_label("SQL").inner_text()
        _preview(page, "1 row would be changed")
        shoot(page, "real-approval", full_page=True)
        assert real.note(1) == "open"
        page.get_by_label("Reason").fill("seen with the team")
        page.get_by_role("button", name="Approve").click()
        page.get_by_text("seen with the team").wait_for()
        psql.wait_for(r"UPDATE 1\n")
        psql.wait_for(r"approved by dana@example.com")
        assert psql.finish() == 0
    assert real.note(1) == "closed"
    shoot(page, "real-approved", full_page=True)


def _preview(page: Any, text: str) -> None:
    """The preview is measured while the page is already there."""
    deadline = time.monotonic() + 8
    while text not in page.get_by_role("main").inner_text():
        assert time.monotonic() < deadline, page.get_by_role("main").inner_text()
        page.wait_for_timeout(100)
        page.reload()


def test_a_denial_needs_a_reason_which_psql_prints(people: People, real: Real) -> None:
    page = people(DANA)
    with real.psql() as psql:
        id_ = ask(real, psql, 2)
        page.goto(f"/approvals/{id_}")
        page.get_by_role("button", name="Deny").click()
        page.get_by_role("alert").wait_for()
        shoot(page, "real-deny-without-reason")
        assert "ERROR" not in psql.stderr
        page.get_by_label("Reason").fill("not on a \x1b[31mFriday\u202e")
        page.get_by_role("button", name="Deny").click()
        page.get_by_text("denied by").or_(page.locator("q")).first.wait_for()
        psql.wait_for(r"42501: \[SP1402\] update was denied by dana@example.com: not on a .*Friday")
        assert psql.finish() == 0
    assert not re.search("[\x1b\u202e]", psql.stderr), (
        "what a reviewer writes is inert in a terminal"
    )
    assert real.note(2) == "open"


def test_psql_that_goes_away_withdraws_its_request(people: People, real: Real) -> None:
    page = people(DANA)
    page.goto("/approvals")
    with real.psql() as psql:
        psql.send("UPDATE tickets SET note = $1 WHERE id = 3 \\bind 'never' \\g").wait_for(WAITS)
        waiting = page.locator("li.request", has_text="WHERE id = 3")
        waiting.wait_for()
        psql.process.kill()
        waiting.wait_for(state="detached")
    row = (
        page.locator("section", has=page.get_by_role("heading", name="Decided"))
        .locator("tr")
        .nth(1)
    )
    assert "withdrawn" in row.inner_text()
    assert real.note(3) == "open"
    page.goto(f"/sessions/{real.last_session()}")
    line = page.locator("table.statements tbody tr")
    assert "held" in line.inner_text(), "it never ran, and is recorded all the same"
    assert "UPDATE tickets SET note = $1 WHERE id = 3" in line.inner_text()
    auditor = people(ADAM)
    auditor.goto(f"/sessions/{real.last_session()}/replay")
    auditor.get_by_role("button", name="Show all").click()
    auditor.locator("p.bind", has_text="never").wait_for()


def test_two_reviewers_decide_at_once(people: People, real: Real) -> None:
    dana, dora = people(DANA), people(DORA)
    with real.psql() as psql:
        id_ = ask(real, psql, 4)
        for page in (dana, dora):
            page.goto(f"/approvals/{id_}")
        dora.get_by_label("Reason").fill("I say no")
        for page, button in ((dana, "Approve"), (dora, "Deny")):
            page.get_by_role("button", name=button).click(no_wait_after=True)
        psql.wait_for(r"UPDATE 1\n|SP1402")
        dana.get_by_text("approved by").or_(dana.get_by_role("alert")).first.wait_for()
        dora.get_by_role("alert").or_(dora.locator("q")).first.wait_for()
    told = [page for page in (dana, dora) if page.locator("#problem").count()]
    assert len(told) == 1, "exactly one is told that it was too late"
    assert "is no longer pending" in told[0].locator("#problem").inner_text()
    told[0].get_by_text(
        "dora@example.com" if told[0] is dana else "dana@example.com"
    ).first.wait_for()
    shoot(told[0], "real-too-late")
    approved = told[0] is dora
    assert real.note(4) == ("closed" if approved else "open")


def test_a_viewer_has_no_buttons_and_is_refused(people: People, real: Real) -> None:
    page = people(VERA)
    with real.psql() as psql:
        id_ = ask(real, psql, 5)
        page.goto("/approvals")
        page.get_by_text("update public.tickets").first.wait_for()
        assert page.get_by_role("main").get_by_role("button").count() == 0
        assert "WHERE id = 5" not in page.get_by_role("main").inner_text(), (
            "viewers do not read statements"
        )
        page.goto("/policy")
        csrf = page.locator("input[name=csrf]").first.get_attribute("value")
        answer = page.request.post(
            f"/approvals/{id_}/decision",
            form={"csrf": csrf, "decision": "approve"},
            headers={"Origin": real.url},
        )
        assert answer.status == 403
        assert "approvals.decide needs" in answer.text()
        answer = page.request.post(
            f"/sessions/{real.last_session()}/kill",
            form={"csrf": csrf, "confirm": "yes"},
            headers={"Origin": real.url},
        )
        assert answer.status == 403
        psql.end()
    assert real.note(5) == "open"


@pytest.mark.parametrize("busy", [True, False])
def test_a_live_session_is_ended(people: People, real: Real, busy: bool) -> None:
    page = people(OLGA)
    with real.psql(application=f"to-be-ended-{busy}") as psql:
        psql.send("SELECT 'here' AS it;").wait_for("here")
        if busy:
            # known by its template, so that the long one passes the lane
            psql.send("SELECT count(*) AS few FROM generate_series(1, 1);").wait_for("few")
            psql.send("SELECT count(*) AS few FROM generate_series(1, 1000000000);")
            wait_for(lambda: _backends(real, "active") == 1)
        page.goto("/sessions?status=live")
        _listed(page, real.last_session()).click()
        page.wait_for_url(f"**/sessions/{real.last_session()}")
        if busy:
            page.locator("p:text-is('Now: active') + pre", has_text="1000000000").wait_for()
        shoot(page, f"real-session-live-{'busy' if busy else 'idle'}")
        page.get_by_role("button", name="End session").click()
        assert psql.process.poll() is None, "the box must be ticked"
        page.get_by_label("Cancel what runs").check()
        page.get_by_role("button", name="End session").click()
        page.get_by_role("button", name="End session").wait_for(state="detached")
        if not busy:
            psql.send("SELECT 1;")
        psql.wait_for(r"FATAL: +57P01: .*\[SP1803\].*olga@example.com")
        assert psql.finish() == 2
    wait_for(lambda: _backends(real) == 0)
    page.reload()
    page.get_by_text("olga@example.com", exact=False).first.wait_for()


def _listed(page: Any, session: str) -> Any:
    """The link to a session in the list, once the session is in it: the index is written a moment
    later.
    """
    link = page.get_by_role("link", name=session)
    deadline = time.monotonic() + 8
    while not link.count():
        assert time.monotonic() < deadline, page.get_by_role("main").inner_text()
        page.wait_for_timeout(100)
        page.reload()
    return link


def _backends(real: Real, state: str = "%") -> int:
    """Sessions of agents at PostgreSQL itself."""
    return int(
        real.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'sallyport_agent' AND state LIKE"
            " %s AND application_name LIKE 'to-be-ended%%'",
            state,
        )[0][0]
    )


def test_a_session_is_played_as_the_agent_saw_it(people: People, real: Real) -> None:
    with real.psql(application="to-be-played") as psql:
        psql.send("SELECT id, email FROM people ORDER BY id;").wait_for(r"a\*\*\*@secret")
        psql.send("SELECT pg_sleep(0);")
        time.sleep(0.6)
        psql.send("DROP TABLE people;").wait_for("no-ddl|SP1002")
        psql.send("SELECT 'the end' AS it;").wait_for("the end")
        assert psql.finish() == 0
    page = people(ADAM)
    page.goto("/sessions?status=ended")
    _listed(page, real.last_session()).click()
    page.get_by_role("link", name="Replay").click()
    page.wait_for_url("**/replay")
    visible = page.locator("li.scene:not([hidden])")
    assert visible.count() == 1
    page.get_by_label("Pace").select_option("1")
    page.get_by_role("button", name="Play").click()
    page.get_by_text("a***@secret.example").first.wait_for()
    page.get_by_role("button", name="Pause").click()
    before = visible.count()
    page.wait_for_timeout(700)
    assert visible.count() == before, "it waits"
    assert page.locator("li.scene.refused:not([hidden])", has_text="DROP TABLE").count() == 0
    page.get_by_role("button", name="Next refusal").click()
    page.locator("li.scene.refused:not([hidden])", has_text="DROP TABLE").wait_for()
    shoot(page, "real-replay")
    page.get_by_role("button", name="Show all").click()
    page.get_by_text("the end").last.wait_for()
    shoot(page, "real-replay-all", full_page=True)
    assert "ada1@" not in page.content(), "what the agent did not see is not in the recording"


def test_explain_asks_the_judge(people: People) -> None:
    page = people(VERA)
    page.goto("/policy")
    for sql, seen in (
        ("SELECT id, email FROM people", ("allow", "by rule “agents read”", "\temail\t")),
        (
            "UPDATE tickets SET note = 'x' WHERE id = 1",
            ("hold", "by rule “changes wait for a DBA”"),
        ),
        ("DROP TABLE people", ("deny", "SP1002", "no-ddl: no schema changes")),
        (
            "SELECT id FROM people WHERE email LIKE 'a%'",
            ("allow", "by rule “agents read”", "Sent to the database"),
        ),
        ("SELEC", ("syntax error",)),
    ):
        page.get_by_label("Groups").fill("agents")
        page.get_by_role("textbox", name="Statement").fill(sql)
        page.get_by_role("button", name="Explain").click()
        page.wait_for_load_state()
        answer = page.locator("section[aria-labelledby=h-answer]").inner_text()
        shoot(page, f"real-explain-{sql.split()[0].lower()}-{len(sql)}")
        for text in seen:
            assert text in answer, (sql, answer)


def test_a_decision_by_keyboard_alone(people: People, real: Real) -> None:
    page = people(DANA)
    with real.psql() as psql:
        id_ = ask(real, psql, 6)
        page.goto("/approvals")
        page.get_by_text("WHERE id = 6").wait_for()
        _tab_to(page, f"a[href='/approvals/{id_}']")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/approvals/{id_}")
        _tab_to(page, "#reason")
        page.keyboard.type("by hand")
        _tab_to(page, "button[value=approve]")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", (
            "it shows"
        )
        page.keyboard.press("Enter")
        page.get_by_text("by hand").wait_for()
        psql.wait_for(r"UPDATE 1\n")


def _tab_to(page: Any, selector: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    pytest.fail(f"Tab does not reach {selector}")


def test_a_decision_on_a_phone(people: People, real: Real) -> None:
    page = people(DANA, **PHONE)
    with real.psql() as psql:
        id_ = ask(real, psql, 7)
        page.goto("/approvals")
        page.locator("li.request", has_text="WHERE id = 7").get_by_role("link").tap()
        page.wait_for_url(f"**/approvals/{id_}")
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        button = page.get_by_role("button", name="Approve")
        size = button.bounding_box()
        assert size is not None
        assert size["height"] >= 40, "big enough for a finger"
        shoot(page, "real-phone-approval", full_page=True)
        button.tap()
        page.get_by_text("approved by").or_(
            page.get_by_text("dana@example.com at")
        ).first.wait_for()
        psql.wait_for(r"UPDATE 1\n")
