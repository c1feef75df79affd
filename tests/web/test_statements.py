"""The search box over all recorded statements."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from sallyport.demo.issuer import DevIssuer
from sallyport.web.api.operations import PREFIX
from tests.web.helpers import Browser, bearer
from tests.web.world import EVIL, RAW

MakeBrowser = Callable[[str], Browser]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("q=drop+table", 1),
        ("q=%22table+drop%22", 0),
        ("q=verdict:deny", 11),
        ("q=verdict:deny+code:SP1002", 1),
        ("q=subject:bot-0+verdict:deny", 4),
        ("q=relation:customers+masked:email", 1),
        ("q=sqlstate:42501", 1),
        ("q=select+25*+session:s_first", 11),
        ("q=drop&until=2001-01-01T00:00", 0),
    ],
)
def test_statements_are_found(browser: MakeBrowser, query: str, count: int) -> None:
    page = browser("auditor").get(f"/statements?{query}")
    assert page.status_code == 200
    assert len(re.findall(r'<td data-label="Statement">', page.text)) == count


def test_pages_lead_on_and_hits_to_their_session(browser: MakeBrowser) -> None:
    adam = browser("auditor")
    path, seen = "/statements?q=select", []
    while True:
        page = adam.get(path).text
        links = re.findall(r'<td data-label="Statement"><a href="([^"]+)"', page)
        seen += links
        onward = re.search(r'rel="next" href="([^"]+)"', page)
        if onward is None:
            break
        path = unescape(onward[1])
    assert len(seen) == len(set(seen)) == 358
    where, _, anchor = unescape(seen[0]).partition("#")
    assert f'id="{anchor}"' in adam.get(where).text


def test_hostile_texts_are_inert(browser: MakeBrowser) -> None:
    page = browser("auditor").get(f"/statements?q=note+relation:customers&since={quote(EVIL)}").text
    assert not any(raw in page for raw in RAW)
    page = browser("auditor").get("/statements?q=note+relation:customers").text
    assert "customers where id" in page and not any(raw in page for raw in RAW)


WRONG = ["q=colour:red", "q=%22open", "q=a*", "since=yesterday", "after=x"]


@pytest.mark.parametrize("query", WRONG)
def test_a_search_that_is_wrong_says_so(browser: MakeBrowser, query: str) -> None:
    page = browser("auditor").get(f"/statements?{query}")
    assert page.status_code == 422 and 'class="alert" role="alert"' in page.text


def test_only_who_may_read_statements(browser: MakeBrowser) -> None:
    assert browser("viewer").get("/statements?q=drop").status_code == 403


def test_rest(client: TestClient, issuer: DevIssuer) -> None:
    headers = bearer(issuer, "auditor")

    def page(query: str) -> dict[str, Any]:
        answer = client.get(f"{PREFIX}/statements?{query}", headers=headers)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    first = page("q=drop+table")
    assert [(hit["session"], hit["number"]) for hit in first["statements"]] == [("s_first", 2)]
    assert first["statements"][0]["code"] == "SP1002" and first["next"] is None
    assert first["complete_until"] > 0 and first["dropped"] == 0
    two = page("q=verdict:deny&limit=6")
    rest = page(f"q=verdict:deny&limit=6&after={two['next']}")
    assert len(two["statements"]) == 6 and len(rest["statements"]) == 5
    for query in ("q=colour:red", "colour=red", "after=x", "limit=0"):
        assert client.get(f"{PREFIX}/statements?{query}", headers=headers).status_code == 422
    viewer = bearer(issuer, "viewer")
    assert client.get(f"{PREFIX}/statements", headers=viewer).status_code == 403
