"""Every page for everybody: axe finds nothing, nothing is wider than a phone, focus is where people
left it, the keyboard reaches all.

``SALLYPORT_SHOTS=directory`` keeps a picture of the whole of every page: light, dark, laptop and
phone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sallyport.core.subject import Subject
from sallyport.demo.issuer import DevIssuer
from tests.audit.helpers import judged
from tests.support.browser import PHONE, Watched, shoot
from tests.support.npm import npm_install
from tests.web.running import running
from tests.web.world import EVIL, World

LAPTOP = {"viewport": {"width": 1280, "height": 800}}
PAGES = {
    "overview": ("Adam", "/"),
    "approvals": ("Dana", "/approvals"),
    "approval": ("Dana", "/approvals/REQUEST"),
    "sessions": ("Adam", "/sessions"),
    "search": ("Adam", "/sessions?text=from+customers&verdict=allowed"),
    "nothing-found": ("Adam", "/sessions?text=nowhere"),
    "statements": ("Adam", "/statements?q=from+customers"),
    "statements-wrong": ("Adam", "/statements?q=colour:red"),
    "session": ("Olga", "/sessions/s_first"),
    "session-end": ("Adam", "/sessions/s_first?from=200"),
    "long": ("Adam", "/sessions/s_long"),
    "replay": ("Adam", "/sessions/s_first/replay"),
    "policy": ("Vera", "/policy"),
    "version": ("Vera", "/policy/versions/2"),
    "targets": ("Vera", "/targets"),
    "locks": ("Olga", "/locks"),
    "containments": ("Olga", "/containments"),
    "actions": ("Adam", "/actions"),
    "missing": ("Vera", "/nowhere"),
    "forbidden": ("Vera", "/sessions/s_first"),
}
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def console(
    tmp_path_factory: pytest.TempPathFactory, issuer: DevIssuer
) -> Iterator[tuple[World, str]]:
    with running(tmp_path_factory.mktemp("console"), issuer) as place:
        _long_session(place[0])
        yield place


def _long_session(world: World) -> None:
    """Texts and names that are long: in one word, and in many lines."""
    who = replace(
        Subject("service-account:" + "very-long-" * 12, "https://idp.example.com",
        frozenset({"agents"})),
        agent="claude-code/" + "1.2.3-build-" * 6, label="a label " * 20,
    )  # fmt: skip
    session = world.recorder.open_session(
        "s_long", who, "shop", "[2001:db8:1234:5678:9abc:def0:1234:5678]:50000", "app" * 40
    )
    wide = (
        "SELECT "
        + ", ".join(f"o.column_number_{n} AS alias_{n}" for n in range(120))
        + " FROM public.orders o"
    )
    high = (
        "WITH\n"
        + ",\n".join(f"  part_{n} AS (SELECT {n} AS n)" for n in range(60))
        + "\nSELECT * FROM part_1"
    )
    word = "SELECT '" + "x" * 3000 + "'"
    for number, sql in enumerate((wide, high, word), 1):
        session.statement(judged(
            number, sql, outcome="allow",
            rule="a rule with a rather long name that says what it is for",
            relations=("public.orders",),
            masked=tuple(f"public.customers.column_{n}" for n in range(30)),
        ))  # fmt: skip
        session.complete(number, "SELECT 1", 1234567, "", 12.5)
    session.end("terminated")


@pytest.fixture
def open_page(console: tuple[World, str], chromium: Any) -> Iterator[Open]:
    """``open_page("Dana")``: signed in as Dana; whatever goes wrong in the browser fails
    the test.
    """
    world, url = console
    world.forget_sign_ins()
    browsers = Watched(chromium, url)

    def make(person: str, **options: Any) -> Any:
        page = browsers.page(**options)
        page.goto("/")
        page.get_by_role("link", name="Sign in").click()
        page.get_by_role("link", name=person).click()
        page.wait_for_url(f"{url}/")
        return page

    yield make
    browsers.close()


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core, installed from npm as the other Node packages of the tests are."""
    modules = npm_install(Path(__file__).parent / "axe") / "node_modules"
    return (modules / "axe-core" / "axe.min.js").read_text("utf-8")


def violations(page: Any, axe: str) -> list[str]:
    """What axe finds on the page as it is now. Evaluated by the debugger: the content policy stays
    as it is.
    """
    page.evaluate(axe)
    report = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]}"
        f" ({(node['failureSummary'] or '')[:300]})"
        for violation in report["violations"]
        for node in violation["nodes"][:5]
    ]


KINDS = {
    "light": LAPTOP,
    "dark": {**LAPTOP, "color_scheme": "dark"},
    "phone": PHONE,
    "phone-dark": {**PHONE, "color_scheme": "dark"},
}


@pytest.mark.timeout(400)  # every page, and what axe says of it
@pytest.mark.parametrize("kind", KINDS)
def test_every_page_is_accessible_and_fits(
    open_page: Open, console: tuple[World, str], axe: str, kind: str
) -> None:
    world, _ = console
    people: dict[str, Any] = {}
    problems: list[str] = []
    for name, (person, path) in PAGES.items():
        page = people.get(person) or people.setdefault(person, open_page(person, **KINDS[kind]))
        page.goto(path.replace("REQUEST", world.request.id))
        assert page.get_by_role("heading", level=1).count() == 1, name
        if name == "replay":
            page.get_by_role("button", name="Next refusal").click()
            page.locator("li.scene.refused:not([hidden])").wait_for()
        if name == "overview":
            page.get_by_text("Plots as a table").click()
        shoot(page, f"{name}-{kind}", full_page=name not in ("sessions", "replay"))
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if wide > 0:
            problems.append(f"{name} is {wide} pixels wider than the window")
        if kind in ("light", "phone-dark"):  # both layouts, both sets of colours
            problems += [f"{name}: {violation}" for violation in violations(page, axe)]
    assert not problems, "\n".join(problems)


def test_signed_out_pages_are_accessible(
    console: tuple[World, str], chromium: Any, axe: str
) -> None:
    watched = Watched(chromium, console[1])
    for kind, options in KINDS.items():
        page = watched.page(**options)
        page.goto("/sign-in")
        shoot(page, f"sign-in-{kind}")
        assert violations(page, axe) == []
    watched.close()


def test_an_explanation_is_accessible(open_page: Open, axe: str) -> None:
    page = open_page("Vera", **PHONE)
    page.goto("/policy")
    page.get_by_label("Groups").fill("agents")
    page.get_by_role("textbox", name="Statement").fill(
        f"SELECT name, email FROM customers -- {EVIL}"
    )
    page.get_by_role("button", name="Explain").click()
    page.get_by_text("by rule “agents read”").wait_for()
    shoot(page, "explain-phone", full_page=True)
    assert violations(page, axe) == []


def test_the_navigation_of_a_phone_is_one_line(open_page: Open) -> None:
    page = open_page("Dana", **PHONE)
    boxes = [link.bounding_box() for link in page.locator("nav a").all()]
    assert len(boxes) == 5
    assert len({round(box["y"]) for box in boxes}) == 1
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
    assert all(box["height"] >= 40 for box in boxes), "thumbs"


def test_what_refreshes_itself_keeps_focus_and_what_is_open(open_page: Open) -> None:
    page = open_page("Adam")
    details = page.locator("#by-column")
    details.locator("summary").click()
    link = page.locator("#live table a").first
    link.focus()
    before = page.evaluate("document.activeElement.textContent")
    page.evaluate("document.querySelector('.tiles').dataset.seen = '1'")
    with page.expect_response("**/overview/live?*"):
        pass
    page.wait_for_timeout(300)
    assert page.evaluate("document.activeElement.textContent") == before
    assert details.evaluate("one => one.open")


def test_an_inbox_that_changes_keeps_focus(open_page: Open, console: tuple[World, str]) -> None:
    world, _ = console
    first = world.ask(6001)
    page = open_page("Dana")
    page.goto("/approvals")
    link = page.locator("li.request", has_text="id = 6001").get_by_role("link")
    link.focus()
    world.ask(6002)
    page.get_by_text("id = 6002").wait_for()
    assert page.evaluate("document.activeElement.getAttribute('href')") == f"/approvals/{first.id}"
    waiting = page.locator("#inbox [role=status]").inner_text()
    assert waiting == f"{len(world.approvals.pending())} requests are waiting."


def test_the_countdown_is_not_read_aloud(open_page: Open, console: tuple[World, str]) -> None:
    """What changes every few seconds is in no live region; what was decided is."""
    world, _ = console
    request = world.ask(6003)
    page = open_page("Dana")
    page.goto(f"/approvals/{request.id}")
    left = page.locator("#status .countdown")
    assert left.inner_text().endswith("left")
    assert (
        left.evaluate(
            "one => one.closest('[aria-live],[role=status],[role=alert]')?.outerHTML ?? ''"
        )
        == ""
    )
    assert page.locator("#status [role=status]").inner_text() == "pending 0 of 1 approved"


def test_the_keyboard_alone(open_page: Open, console: tuple[World, str]) -> None:
    """From the address bar through skip link and navigation into the page; focus is always seen."""
    page = open_page("Dana")
    page.goto("/sessions")
    seen: list[str] = []
    for _ in range(12):
        page.keyboard.press("Tab")
        focus = page.evaluate(
            """() => { const e = document.activeElement, s = getComputedStyle(e);
            return [e.textContent.trim().split('\\n')[0].slice(0, 30) || e.name,
                s.outlineStyle, parseFloat(s.outlineWidth)]; }"""
        )
        seen.append(focus[0])
        assert (focus[1], focus[2] >= 2) == ("solid", True), f"no focus to be seen at {focus[0]}"
    assert seen[0] == "Skip to content"
    assert seen[1] == "Sallyport"
    assert [word.split(" ")[0] for word in seen[2:7]] == [
        "Overview",
        "Approvals",
        "Sessions",
        "Policy",
        "Targets",
    ]
    assert seen[8].startswith("Search all")
    assert seen[9:11] == ["text", "relation"]
    page.goto("/sessions/s_first")
    region = page.get_by_role("region", name="Statements").last
    region.focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement !== document.body")
