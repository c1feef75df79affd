"""A real browser: people sign in, look at every page, decide, end a session, replay. Chromium,
headless.

``SALLYPORT_SHOTS=directory`` keeps a picture of every page: light, dark, and on a phone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.browser import DESKTOP, PHONE, Watched, shoot
from tests.web.running import running
from tests.web.world import World

PAGES = {
    "overview": "/",
    "approvals": "/approvals",
    "sessions": "/sessions",
    "session": "/sessions/s_first",
    "replay": "/sessions/s_first/replay",
    "policy": "/policy",
    "targets": "/targets",
}


@pytest.fixture(scope="module")
def console(
    tmp_path_factory: pytest.TempPathFactory, issuer: DevIssuer
) -> Iterator[tuple[World, str]]:
    with running(tmp_path_factory.mktemp("console"), issuer) as place:
        yield place


Open = Callable[..., Any]


@pytest.fixture
def open_page(console: tuple[World, str], chromium: Any) -> Iterator[Open]:
    """``open_page("Dana")``: signed in as Dana; whatever goes wrong in the browser fails
    the test.
    """
    world, url = console
    world.forget_sign_ins()
    browsers = Watched(chromium, url)

    def make(person: str = "", **options: object) -> Any:
        page = browsers.page(**options)
        if person:
            page.goto("/")
            page.get_by_role("link", name="Sign in").click()
            page.get_by_role("link", name=person).click()
            page.wait_for_url(f"{url}/")
        return page

    yield make
    browsers.close()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("light", DESKTOP),
        ("dark", {**DESKTOP, "color_scheme": "dark"}),
        ("phone", PHONE),
    ],
)
def test_every_page(
    open_page: Open, console: tuple[World, str], kind: str, options: dict[str, object]
) -> None:
    anonymous = open_page(**options)
    anonymous.goto("/sign-in")
    shoot(anonymous, f"sign-in-{kind}")
    anonymous.get_by_role("link", name="Sign in").click()
    shoot(anonymous, f"issuer-{kind}")
    page = open_page("Adam", **options)
    for name, path in PAGES.items():
        page.goto(path)
        assert page.get_by_role("main").is_visible()
        assert page.get_by_role("heading", level=1).count() == 1
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"{name} is {wide} pixels wider than the window"
        if name == "replay":
            page.get_by_role("button", name="Next refusal").click()
            page.locator("li.scene.refused:not([hidden])").wait_for()
        shoot(page, f"{name}-{kind}")
    dana = open_page("Dana", **options)
    dana.goto(f"/approvals/{console[0].request.id}")
    shoot(dana, f"approval-{kind}")


def test_hostile_text_does_nothing(open_page: Open, console: tuple[World, str]) -> None:
    for person, paths in (
        ("Adam", [*PAGES.values(), "/sessions?subject=claude+%3C"]),
        ("Dana", [f"/approvals/{console[0].request.id}"]),
    ):
        page = open_page(person)
        for path in paths:
            page.goto(path)
            page.wait_for_load_state("load")
            assert (
                page.evaluate(
                    "document.querySelectorAll('main script:not([src]), main img').length"
                )
                == 0
            )
            text = page.evaluate("document.body.innerText")
            for raw in ("\u202e", "\u200b", "\x1b", "\x07"):
                assert raw not in text
            if not re.fullmatch(r"/sessions(\?.*)?", path):  # lists cut long names
                assert "\\u{202e}gpj" in text, f"{path}: it is shown, as escapes"
            assert "49" not in re.findall(r"onerror=alert\(2\)>(\S\S)", text), (
                "templates are not evaluated"
            )


def test_an_approval_comes_in_and_is_approved(open_page: Open, console: tuple[World, str]) -> None:
    world, _ = console
    page = open_page("Dana")
    page.goto("/approvals")
    request = world.ask(4711)
    # by server-sent events: nobody loaded the page again
    page.get_by_text("WHERE id = 4711").wait_for()
    page.locator("li.request", has_text="4711").get_by_role("link").click()
    page.get_by_label("Reason").fill("seen with the team")
    page.get_by_role("button", name="Approve").click()
    page.get_by_text("seen with the team").wait_for()
    decided = world.approvals.get(request.id)
    assert decided is not None
    assert decided.status.value == "approved"
    assert (decided.decisions[0].reviewer, decided.decisions[0].channel) == ("dana", "web")
    assert decided.decisions[0].address == "127.0.0.1"


def test_the_inbox_is_live_though_its_script_comes_late(open_page: Open) -> None:
    page = open_page("Dana")

    def late(route: Any) -> None:
        time.sleep(0.5)
        route.continue_()

    page.route("**/hx-sse.min.js", late)
    with page.expect_request("**/approvals/stream"):
        page.goto("/approvals")


def test_a_denial_needs_a_reason(open_page: Open, console: tuple[World, str]) -> None:
    world, _ = console
    request = world.ask(4712)
    page = open_page("Dana")
    page.goto(f"/approvals/{request.id}")
    page.get_by_role("button", name="Deny").click()
    page.get_by_role("alert").wait_for()
    assert world.approvals.get(request.id).status.value == "pending"  # type: ignore[union-attr]
    page.get_by_label("Reason").fill("not on a Friday")
    page.get_by_role("button", name="Deny").click()
    page.get_by_text("not on a Friday").wait_for()
    assert world.approvals.get(request.id).status.value == "denied"  # type: ignore[union-attr]


def test_a_session_is_ended(open_page: Open, console: tuple[World, str]) -> None:
    world, _ = console
    page = open_page("Olga")
    page.goto("/sessions/s_first")
    page.get_by_label("Cancel what runs").check()
    page.get_by_role("button", name="End session").click()
    page.wait_for_url("**/sessions/s_first")
    page.get_by_role("button", name="End session").wait_for(state="detached")
    assert ("s_first", "olga@example.com") in world.gateway.killed


def test_a_replay_plays_and_pauses(open_page: Open) -> None:
    page = open_page("Adam")
    page.goto("/sessions/s_first/replay")
    visible = page.locator("li.scene:not([hidden])")
    assert visible.count() == 1
    page.get_by_label("Pace").select_option("64")
    page.get_by_role("button", name="Play").click()
    visible.nth(5).wait_for()
    page.get_by_role("button", name="Pause").click()
    before = visible.count()
    page.wait_for_timeout(300)
    assert visible.count() == before
    page.get_by_role("button", name="Next refusal").click()
    refusal = page.locator("li.scene.refused:not([hidden])")
    refusal.wait_for()
    assert "drop table customers" in refusal.inner_text()
    page.get_by_role("button", name="Next refusal").click()
    page.get_by_text("No further refusal.").wait_for()
    assert visible.count() > 500, "it went through the pages to the end"


def test_explain(open_page: Open) -> None:
    page = open_page("Vera")
    page.goto("/policy")
    page.get_by_label("Groups").fill("agents")
    page.get_by_role("textbox", name="Statement").fill("SELECT name, email FROM customers")
    page.get_by_role("button", name="Explain").click()
    page.get_by_text("by rule “agents read”").wait_for()
    assert page.get_by_role("cell", name="email", exact=True).count() >= 1
    shoot(page, "explain-light")


def test_the_keyboard_reaches_everything(open_page: Open) -> None:
    page = open_page("Vera")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_a_sign_in_that_ended(open_page: Open) -> None:
    page = open_page("Vera")
    page.context.clear_cookies()
    page.wait_for_url("**/sign-in*", timeout=12_000)  # the overview asks every five seconds
