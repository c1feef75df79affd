"""Earlier policies in the console and over REST: what each changed, inert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from sallyport.demo.issuer import DevIssuer
from sallyport.web.api.operations import PREFIX
from sallyport.web.app import build
from tests.web.helpers import Browser, bearer
from tests.web.world import RAW, World

MakeBrowser = Callable[[str], Browser]


def test_versions_are_listed_and_compared(browser: MakeBrowser) -> None:
    vera = browser("viewer")
    page = vera.get("/policy").text
    assert page.count('<td data-label="Version">') == 3
    assert '<a href="/policy/versions/3?against=1">with the one in force</a>' in page
    changed = vera.get("/policy/versions/2").text
    assert (
        '<span class="key added">1 added</span> <span class="key removed">1 removed</span>'
        in changed
    )
    assert '<tr class="removed">' in changed
    assert '<span class="unseen">removed</span>' in changed
    assert "allow: [read]  # &lt;script&gt;alert(1)" in changed
    against = vera.get("/policy/versions/3?against=1").text
    assert (
        '<span class="key added">1 added</span> <span class="key removed">0 removed</span>'
        in against
    )
    assert "The first version that was kept" in vera.get("/policy/versions/1").text
    assert (
        '<option value="2">2: 1123456789abcdef</option><option value="1" selected>1:'
        " 0123456789abcdef</option>" in against
    )
    assert "The same version" in vera.get("/policy/versions/1?against=1").text


@pytest.mark.parametrize(
    "path", ["/policy", "/policy/versions/1", "/policy/versions/2", "/policy/versions/3?against=1"]
)
def test_they_are_inert(browser: MakeBrowser, path: str) -> None:
    answer = browser("viewer").get(path)
    assert answer.status_code == 200
    for raw in RAW:
        assert raw not in answer.text


@pytest.mark.parametrize("path", ["9", "x", "-1", "²", "1?against=9", "1?against=x", "9" * 30])
def test_versions_that_are_not_there(browser: MakeBrowser, path: str) -> None:
    assert browser("viewer").get(f"/policy/versions/{path}").status_code == 404


def test_rest(client: TestClient, issuer: DevIssuer) -> None:
    headers = bearer(issuer, "viewer")
    listed = client.get(f"{PREFIX}/policy/versions", headers=headers).json()["versions"]
    assert [entry["id"] for entry in listed] == [3, 2, 1]
    assert "text" not in listed[0]
    comparison = client.get(f"{PREFIX}/policy/versions/3", headers=headers).json()
    assert comparison["against"]["id"] == 2
    assert comparison["version"]["text"].startswith("version: 1")
    assert [line[0] for line in comparison["diff"].splitlines()].count("+") == 2
    same = client.get(f"{PREFIX}/policy/versions/3?against=3", headers=headers).json()
    assert same["diff"] == ""
    for path in ("4", "x", "3?against=9"):
        assert client.get(f"{PREFIX}/policy/versions/{path}", headers=headers).status_code == 404
    assert client.get(f"{PREFIX}/policy/versions/3?against=x", headers=headers).status_code == 422


def test_without_versions(place: World, issuer: DevIssuer) -> None:
    app = build(replace(place.services, policies=None))
    with TestClient(app, base_url="http://127.0.0.1:8642", follow_redirects=False) as client:
        vera = Browser(client).sign_in("viewer")
        assert "Versions" not in vera.get("/policy").text
        assert vera.get("/policy/versions/1").status_code == 404
        assert (
            client.get(f"{PREFIX}/policy/versions", headers=bearer(issuer, "viewer")).status_code
            == 404
        )
