"""Signing in, staying signed in, and what a browser cannot be made to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient

from sallyport.core.clock import ManualClock
from sallyport.core.rate_limit import RateLimit
from sallyport.core.subject import Subject
from sallyport.demo.issuer import DevIssuer
from sallyport.web.auth.sign_in import local_path
from sallyport.web.auth.signins import SignIns
from sallyport.web.security import CONTENT_SECURITY_POLICY
from tests.web.helpers import Browser, choose
from tests.web.world import PEOPLE, World

MakeBrowser = Callable[[str], Browser]
PAGES = (
    "/",
    "/approvals",
    "/sessions",
    "/sessions/s_first",
    "/sessions/s_first/replay",
    "/policy",
    "/targets",
)


@pytest.mark.parametrize("path", PAGES)
def test_nobody_sees_a_page_without_signing_in(client: TestClient, path: str) -> None:
    client.cookies.clear()
    answer = client.get(path)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/sign-in?next=")


@pytest.mark.parametrize("path", ["/overview/live", "/approvals/stream"])
def test_fragments_send_the_page_to_the_sign_in(client: TestClient, path: str) -> None:
    client.cookies.clear()
    assert client.get(path).status_code == 401


def test_signing_in_and_out(browser: MakeBrowser, client: TestClient) -> None:
    dana = browser("reviewer")
    page = dana.get("/")
    assert page.status_code == 200
    assert "dana@example.com" in page.text
    cookie = client.cookies["sallyport"]
    assert dana.post("/sign-out").headers["Location"] == "/sign-in"
    client.cookies.set("sallyport", cookie)
    assert dana.get("/").status_code == 303, "the old id is worth nothing"


def test_the_cookie(place: World, client: TestClient) -> None:
    client.cookies.clear()
    started = client.get("/sign-in/start")
    done = client.get(choose(started.headers["Location"], PEOPLE["viewer"]).partition(":8642")[2])
    (kept,) = [c for c in done.headers.get_list("Set-Cookie") if c.startswith("sallyport=")]
    assert "HttpOnly" in kept
    assert "samesite=lax" in kept.lower()
    assert "path=/" in kept.lower()
    assert len(kept.split(";")[0]) > 40
    assert "domain" not in kept.lower()


def test_what_is_asked_of_the_issuer(client: TestClient) -> None:
    asked = parse_qs(urlsplit(client.get("/sign-in/start").headers["Location"]).query)
    assert asked["response_type"] == ["code"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == ["http://127.0.0.1:8642/sign-in/callback"]
    assert all(len(asked[name][0]) >= 40 for name in ("state", "nonce", "code_challenge"))


def _back(client: TestClient, person: str = "dana-dba") -> str:
    client.cookies.clear()
    client.app.state.console.sign_in_limit._counts.clear()
    started = client.get("/sign-in/start")
    return choose(started.headers["Location"], person).partition(":8642")[2]


def test_a_callback_of_another_browser_is_refused(client: TestClient) -> None:
    back = _back(client)
    client.cookies.clear()
    answer = client.get(back)
    assert answer.status_code == 403
    assert "another browser" in answer.text
    assert "sallyport" not in client.cookies


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("state=", "state=x", "not begun in this browser"),
        ("iss=http", "iss=https", "another issuer"),
        ("code=", "code=x", "gave no ID token"),
        ("code=", "code=a&code=", "twice"),
        ("code=", "error=access_denied&nocode=", "access_denied"),
    ],
)
def test_a_callback_that_was_tampered_with(
    client: TestClient, old: str, new: str, why: str
) -> None:
    answer = client.get(_back(client).replace(old, new, 1))
    assert answer.status_code == 403
    assert why in answer.text
    assert "sallyport" not in client.cookies


def test_a_callback_counts_once(client: TestClient) -> None:
    back = _back(client)
    assert client.get(back).status_code == 303
    assert client.get(back).status_code == 403


def test_a_token_made_for_another_sign_in(
    client: TestClient, place: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = _back(client)
    sign = DevIssuer.sign
    monkeypatch.setattr(
        DevIssuer,
        "sign",
        lambda self, claims, **more: sign(self, {**claims, "nonce": "replayed"}, **more),
    )
    answer = client.get(back)
    assert answer.status_code == 403
    assert "nonce" in answer.text


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("/sessions?x=1", "/sessions?x=1"), ("//evil.example", "/"), ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\r\nSet-Cookie: x", "/"), ("/sign-out", "/"), ("", "/"), ("/\t/evil.example", "/"),
        ("/a\\b", "/"),
    ],
)  # fmt: skip
def test_nobody_is_sent_elsewhere(asked: str, expected: str) -> None:
    assert local_path(asked) == expected


def test_sign_ins_are_limited(place: World, client: TestClient) -> None:
    client.cookies.clear()
    place.forget_sign_ins()
    seen = [client.get("/sign-in/start").status_code for _ in range(25)]
    place.forget_sign_ins()
    assert seen.count(303) == 20
    assert seen[-1] == 429


def test_no_role_is_403(client: TestClient) -> None:
    assert client.get(_back(client, "paul-privacy")).status_code == 303
    answer = client.get("/")
    assert answer.status_code == 403
    assert "You have: none" in answer.text


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        ("viewer", "/", 200), ("viewer", "/sessions", 200), ("viewer", "/sessions/s_first", 403),
        ("viewer", "/sessions/s_first/replay", 403), ("viewer", "/approvals", 200),
        ("viewer", "/targets", 200),
        ("reviewer", "/sessions/s_first", 200), ("reviewer", "/sessions/s_first/replay", 403),
        ("auditor", "/sessions/s_first/replay", 200),
        ("auditor", "/sessions/s_first/replay/steps", 200),
        ("operator", "/sessions/s_first", 200), ("operator", "/sessions/s_first/replay", 403),
    ],
)  # fmt: skip
def test_roles(browser: MakeBrowser, role: str, path: str, status: int) -> None:
    assert browser(role).get(path).status_code == status


def test_only_operators_kill(browser: MakeBrowser, place: World) -> None:
    for role in ("viewer", "reviewer", "auditor"):
        answer = browser(role).post("/sessions/s_live2/kill", confirm="yes")
        assert answer.status_code == 403
    olga = browser("operator")
    assert olga.post("/sessions/s_live2/kill").status_code == 422, "not confirmed"
    assert place.gateway.killed == []
    assert olga.post("/sessions/s_live2/kill", confirm="yes").status_code == 303
    assert place.gateway.killed == [("s_live2", "olga@example.com")]
    assert olga.post("/sessions/s_live2/kill", confirm="yes").status_code == 409


POSTS = (
    "/sign-out",
    "/policy/explain",
    "/sessions/s_live2/kill",
    "/approvals/x/decision",
    "/grants/x/revoke",
    "/locks",
    "/containments/x/release",
    "/locks/x/release",
    "/findings/x/acknowledge",
    "/agents/x/reset",
    "/connect",
    "/connect/terminal",
    "/connect/x/revoke",
)


@pytest.mark.parametrize("path", POSTS)
def test_every_post_needs_its_csrf_token(browser: MakeBrowser, path: str) -> None:
    olga = browser("operator")
    assert olga.post(path, csrf="").status_code == 403
    assert olga.post(path, csrf="x" * 43).status_code == 403
    assert olga.client.post(path, json={"csrf": olga.csrf()}).status_code == 415


def test_every_post_route_is_in_the_list_above(client: TestClient) -> None:
    paths = {
        r.path for r in client.app.routes if "POST" in r.methods and not r.path.startswith("/api/")
    }
    paths.remove("/slack/interactions")  # signed instead; tests/server/test_channels.py
    paths.remove("/saml/{name}/acs")  # from another site by design; tests/web/test_saml.py
    paths.remove("/saml/{name}/finish")  # bound to the browser by the sign-in that it began
    paths.remove("/saml/{name}/slo")  # signed by the provider; tests/web/test_saml.py
    paths.remove("/witness/add-checkpoint")  # signed; tests/audit/tlog/test_cosigning.py
    assert len(paths) == len(POSTS)


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}],
)
def test_forms_from_elsewhere(browser: MakeBrowser, headers: dict[str, str]) -> None:
    vera = browser("viewer")
    answer = vera.client.post("/sign-out", data={"csrf": vera.csrf()}, headers=headers)
    assert answer.status_code == 403
    assert vera.get("/").status_code == 200


@pytest.mark.parametrize(
    "path", [*PAGES, "/nowhere", "/static/console.css", "/healthz", "/sign-in", "/api/v1/sessions"]
)
def test_headers_of_every_answer(browser: MakeBrowser, path: str) -> None:
    answer = browser("auditor").get(path)
    assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == (
        "no-store" if "static" not in path else "public, max-age=300"
    )


def test_content_security_policy() -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'")
    assert "http" not in CONTENT_SECURITY_POLICY


@pytest.mark.parametrize(
    "path", ["/", "/approvals", "/sessions", "/sessions/s_first/replay", "/policy", "/targets"]
)
def test_pages_have_nothing_inline_and_nothing_from_elsewhere(
    browser: MakeBrowser, path: str
) -> None:
    page = browser("auditor").get(path).text
    for forbidden in (
        " style=",
        "<style",
        "javascript:",
        "onclick",
        'src="http',
        'src="//',
        "<script>",
    ):
        assert forbidden not in page
    assert 'href="#main"' in page
    assert 'lang="en"' in page


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8642", "user@127.0.0.1:8642", "10.0.0.1:8642", ""]
)
def test_other_hosts_are_refused(client: TestClient, host: str) -> None:
    assert client.get("/sign-in", headers={"Host": host}).status_code == 421
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_large_requests_are_refused(browser: MakeBrowser) -> None:
    vera = browser("viewer")
    assert vera.post("/policy/explain", sql="x" * (2 << 20)).status_code == 413
    chunks = iter([b"csrf=" + b"x" * (1 << 19)] * 4)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert vera.client.post("/policy/explain", content=chunks, headers=kind).status_code == 413


# -- the stores, without a browser -----------------------------------------------------------------

SOMEBODY = Subject("vera", "https://idp.example.com", frozenset())


def test_sign_ins_expire() -> None:
    clock = ManualClock()
    store = SignIns(clock, absolute=100.0, idle=40.0)
    id_ = store.open(SOMEBODY)
    for _ in range(3):
        clock.advance(30)
        assert asyncio.run(store.get(id_)) is not None
    clock.advance(10)
    assert asyncio.run(store.get(id_)) is None, "absolute"
    id_ = store.open(SOMEBODY)
    clock.advance(30)
    assert asyncio.run(store.get(id_, touch=False)) is not None
    clock.advance(10)
    assert asyncio.run(store.get(id_)) is None, "idle: a page that refreshes itself is nobody"
    assert len(store) == 0


def test_ids_are_not_kept() -> None:
    store = SignIns(ManualClock(), absolute=100.0, idle=40.0)
    id_ = store.open(SOMEBODY)
    assert id_ not in repr(vars(store))
    signin = asyncio.run(store.get(id_))
    assert signin is not None and signin.csrf not in repr(signin)


def test_rate_limit() -> None:
    clock = ManualClock()
    limit = RateLimit(clock, 2, 60.0)
    for _ in range(2):
        assert not limit.exceeded("a")
        limit.count("a")
    assert limit.exceeded("a")
    assert not limit.exceeded("b")
    clock.advance(60)
    assert not limit.exceeded("a")


def test_cookies_say_secure_behind_tls(tmp_path: Path, place: World) -> None:
    from dataclasses import replace

    from sallyport.web.app import build

    settings = replace(place.services.settings, public_url="https://console.example.com")
    with TestClient(
        build(replace(place.services, settings=settings)),
        base_url="https://console.example.com",
        follow_redirects=False,
    ) as client:
        answer = client.get("/sign-in/start")
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith("__Host-sallyport_signin=")
        assert "Secure" in cookie
        assert "max-age" in answer.headers["Strict-Transport-Security"]
