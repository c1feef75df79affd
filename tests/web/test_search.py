"""Searching sessions by what their statements say, in the console and over REST."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from sallyport.demo.issuer import DevIssuer
from sallyport.web.api.operations import PREFIX
from tests.web.helpers import Browser, bearer
from tests.web.world import EVIL, RAW

MakeBrowser = Callable[[str], Browser]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("text=DROP+table", ["s_first"]),
        ("text=drop+table&verdict=refused", ["s_first"]),
        ("text=drop+table&verdict=allowed", []),
        ("relation=customers", ["s_first"]),
        ("relation=public.customers", ["s_first"]),
        ("relation=orders", []),
        ("text=select+259", ["s_first"]),
        (
            "text=select+1&target=shop&subject=bot-0&verdict=refused",
            ["s_090", "s_060", "s_030", "s_000"],
        ),
        ("verdict=held", []),
        ("text=100%25", []),
    ],
)
def test_statements_are_found(browser: MakeBrowser, query: str, ids: list[str]) -> None:
    page = browser("auditor").get(f"/sessions?{query}").text
    assert re.findall(r'<a class="mono" href="/sessions/(s_\w+)">', page) == ids


def test_the_result_leads_to_the_statement(browser: MakeBrowser) -> None:
    adam = browser("auditor")
    page = adam.get("/sessions?text=drop+table").text
    (link,) = re.findall(
        r'<tr class="found"><td colspan="10"><a href="([^"]+)">Statement 2</a>', page
    )
    path, _, anchor = unescape(link).partition("#")
    assert f'id="{anchor}"' in adam.get(path).text
    assert "drop table customers" in page


def test_a_search_in_many_pages(browser: MakeBrowser) -> None:
    adam = browser("auditor")
    path, seen = "/sessions?text=select+1&verdict=allowed", []
    for _ in range(5):
        page = adam.get(path).text
        seen += re.findall(r'<a class="mono" href="/sessions/(s_\w+)">', page)
        onward = re.search(r'rel="next" href="([^"]+)">Search on', page)
        if onward is None:
            break
        path = unescape(onward[1])
        assert "text=select+1" in path
    assert len(seen) == len(set(seen)) == 91


def test_hostile_searches_and_results_are_inert(browser: MakeBrowser) -> None:
    adam = browser("auditor")
    for query in (
        f"text={quote(EVIL[:60])}",
        f"relation={quote(EVIL)}",
        "text=from+customers+where",
    ):
        answer = adam.get(f"/sessions?{query}")
        assert answer.status_code == 200
        for raw in RAW:
            assert raw not in answer.text
        assert "s_first" in answer.text


def test_who_only_sees_lists_cannot_ask_what_statements_say(browser: MakeBrowser) -> None:
    vera = browser("viewer")
    page = vera.get("/sessions").text
    assert 'name="verdict"' in page
    assert 'name="text"' not in page
    for query in ("text=drop", "relation=customers"):
        assert vera.get(f"/sessions?{query}").status_code == 403


def test_rest(client: TestClient, issuer: DevIssuer) -> None:
    headers = bearer(issuer, "auditor")

    def found(query: str) -> list[tuple[str, int | None]]:
        answer = client.get(f"{PREFIX}/sessions?{query}", headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["unread"] == []
        return [(session["id"], session["statement"]) for session in answer.json()["sessions"]]

    assert found("text=drop%20table") == [("s_first", 2)]
    assert found("relation=public.customers&verdict=deny") == [("s_first", 2)]
    assert found("relation=public.customers&verdict=hold") == []
    assert found("subject=agent") == [("s_first", None)]
    assert len(found("verdict=deny")) == 11
    for query in ("text=drop", "relation=customers"):
        assert (
            client.get(f"{PREFIX}/sessions?{query}", headers=bearer(issuer, "viewer")).status_code
            == 403
        )
    assert client.get(f"{PREFIX}/sessions?verdict=refused", headers=headers).status_code == 422


def test_masked_columns_of_each_statement(browser: MakeBrowser) -> None:
    page = browser("auditor").get("/sessions/s_first").text
    assert "public.customers.email" in page
