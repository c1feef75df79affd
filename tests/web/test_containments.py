"""The page of containments: who is contained, hostile names inert, and releasing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sallyport.core.subject import Subject
from sallyport.judge import UntrustedRead
from sallyport.policy.containment import COLUMN, Containment
from tests.web.helpers import Browser
from tests.web.world import EVIL, RAW, World

MakeBrowser = Callable[[str], Browser]


@pytest.fixture
def contained(place: World) -> Iterator[Containment]:
    """Somebody with a hostile name read a column."""
    containments = place.gateway.containments
    subject = Subject(f"sue {EVIL}", "https://idp.test", frozenset(), agent=EVIL, client=EVIL)
    read = UntrustedRead("public.tickets.body", "shop", "s_first", 3, 3600.0, COLUMN)
    made = containments.note_read(subject, read)
    assert made is not None
    yield made
    containments.release(made.id, "test")


def test_the_page_shows_why(browser: MakeBrowser, contained: Containment) -> None:
    page = browser("auditor").get("/containments")
    assert page.status_code == 200
    assert "public.tickets.body" in page.text and "statement 3 of s_first" in page.text
    assert "/release" not in page.text, "an auditor releases nobody"
    for raw in RAW:
        assert raw not in page.text


def test_an_operator_releases(browser: MakeBrowser, place: World, contained: Containment) -> None:
    olga = browser("operator")
    path = f"/containments/{contained.id}/release"
    assert path in olga.get("/containments").text
    assert olga.post(path).status_code in (200, 303)
    assert not place.gateway.containments.active()
    assert olga.post(path).status_code == 409


def test_nobody_else_may(browser: MakeBrowser, place: World, contained: Containment) -> None:
    for role in ("viewer", "reviewer", "auditor"):
        answer = browser(role).post(f"/containments/{contained.id}/release")
        assert answer.status_code == 403
    assert browser("viewer").get("/containments").status_code == 403
    assert place.gateway.containments.active() == [contained]
