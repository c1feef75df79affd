"""Findings in a real browser: told, acknowledged, and the page of the agent that they are about."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.browser import shoot
from tests.web.real import ADAM, AGENT, DANA, OLGA, People, Real, real_house

DUMP = "SELECT tickets.* FROM tickets, generate_series(1, 20)"


@pytest.fixture(scope="module")
def real() -> Iterator[Real]:
    watch = {"learning_days": 0, "learning_statements": 30, "episode_minutes": 0.02}
    with real_house(watch=watch) as house:
        yield house


@pytest.fixture(scope="module")
def finding(real: Real) -> None:
    """About a session that copied far more than it ever read."""
    dsn = real.gateway.dsn(real.gateway.token(AGENT))
    with psycopg.connect(dsn, autocommit=True) as db:
        for _ in range(4):
            for number in range(12):
                db.execute("SELECT note FROM tickets WHERE id = %s", (number,))
            time.sleep(1.3)
        db.execute("SELECT count(*) FROM people")
        time.sleep(0.7)
        with db.cursor().copy(f"COPY ({DUMP}) TO STDOUT") as copy:
            assert sum(1 for _ in copy.rows()) == 4000
        time.sleep(1.5)


def test_a_finding_is_acknowledged(people: People, finding: None) -> None:
    page = people(DANA)
    page.goto("/")
    page.locator("details.who summary").click()
    page.get_by_role("link", name="Findings").click()
    row = page.locator("tr", has_text="read 4,000 rows of public.tickets")
    row.wait_for()
    shoot(page, "findings", full_page=True)
    row.get_by_role("link").first.click()
    page.get_by_label("Reason").fill("<b>asked</b> for it")
    page.get_by_label("Expected from now on").check()
    shoot(page, "finding", full_page=True)
    page.get_by_role("button", name="Acknowledge").click()
    page.get_by_text("Expected from now on.").wait_for()
    page.get_by_text("<b>asked</b> for it").wait_for()
    page.goto("/findings?status=open&detector=bulk")
    page.get_by_text("No findings like that.").wait_for()


def test_the_page_of_an_agent(people: People, finding: None) -> None:
    page = people(OLGA)
    page.goto("/findings")
    page.locator("section", has_text="Agents").get_by_role("link", name="claude").first.click()
    page.get_by_role("heading", name="Relations and actions").wait_for()
    assert page.locator("tr", has_text="public.tickets").first.is_visible()
    shoot(page, "agent", full_page=True)
    page.get_by_label("Yes: forget").check()
    page.get_by_role("button", name="Reset").click()
    page.get_by_text("Nothing was learned yet.").wait_for()


def test_auditors_read_and_viewers_do_not(people: People, finding: None) -> None:
    page = people(ADAM)
    page.goto("/findings")
    page.get_by_role("heading", name="Findings").wait_for()
    page.goto("/actions?name=findings")
    page.get_by_text("findings.raise").first.wait_for()
    page = people("vera")
    page.goto("/findings")
    page.get_by_text("Not permitted").first.wait_for()
