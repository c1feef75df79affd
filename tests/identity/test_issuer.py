"""The demo's own issuer."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from sallyport.core.clock import SystemClock
from sallyport.core.errors import ConfigError
from sallyport.core.secret import Secret
from sallyport.demo.issuer import DEMO_CLIENTS, DemoClient, DevIssuer
from sallyport.demo.signin import CONSOLE_CLIENT
from tests.identity.door import VAGUE, Door

MakeDoor = Callable[..., Door]


@pytest.fixture
def issuer() -> Iterator[DevIssuer]:
    with DevIssuer(lifetime=120) as issuer:
        yield issuer


def ask(issuer: DevIssuer, auth: tuple[str, str] | None = None, **form: str) -> httpx2.Response:
    return httpx2.post(f"{issuer.url}/token", data=form, auth=auth, trust_env=False)


@pytest.mark.parametrize("client", DEMO_CLIENTS)
def test_everybody_of_the_demo_gets_in(issuer: DevIssuer, make_door: MakeDoor, client: str) -> None:
    answer = ask(issuer, (client, "demo"), grant_type="client_credentials")
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 120)
    subject = make_door(issuer.url, at=SystemClock()).login(Secret(body["access_token"]))
    expected = DEMO_CLIENTS[client]
    assert (subject.id, subject.groups, subject.email) == (
        expected.subject,
        set(expected.groups),
        expected.email,
    )
    assert subject.agent == (expected.agent or client)


@pytest.mark.parametrize("path", ["/jwks", "/device?user_code=X", "/authorize"])
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "", "evil.example@localhost:x"]
)
def test_a_page_elsewhere_whose_name_leads_here_reads_nothing(
    issuer: DevIssuer, host: str, path: str
) -> None:
    """DNS rebinding: the browser believes that this is evil.example."""
    with pytest.raises(httpx2.HTTPStatusError, match=r"421|400"):
        httpx2.get(issuer.url + path, headers={"Host": host}, trust_env=False).raise_for_status()
    form = {"grant_type": "client_credentials", "client_id": "dana-dba", "client_secret": "demo"}
    answer = httpx2.post(f"{issuer.url}/token", data=form, headers={"Host": host}, trust_env=False)
    assert answer.status_code in (400, 421) and "access_token" not in answer.text


def test_the_secret_may_come_in_the_body(issuer: DevIssuer) -> None:
    form = {"grant_type": "client_credentials", "client_id": "dana-dba", "client_secret": "demo"}
    assert ask(issuer, **form).status_code == 200


@pytest.mark.parametrize(
    ("auth", "form", "status", "error"),
    [
        (("dana-dba", "wrong"), {"grant_type": "client_credentials"}, 401, "invalid_client"),
        (("nobody", "demo"), {"grant_type": "client_credentials"}, 401, "invalid_client"),
        (("nobody", ""), {"grant_type": "client_credentials"}, 401, "invalid_client"),
        (None, {"grant_type": "client_credentials"}, 401, "invalid_client"),
        (("dana-dba", "demo"), {"grant_type": "password"}, 400, "unsupported_grant_type"),
        (("dana-dba", "demo"), {}, 400, "unsupported_grant_type"),
    ],
)
def test_others_do_not(
    issuer: DevIssuer, auth: tuple[str, str] | None, form: dict[str, str], status: int, error: str
) -> None:
    answer = ask(issuer, auth, **form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


def test_a_client_without_a_secret_gets_nothing() -> None:
    with DevIssuer({"open": DemoClient("open", Secret(""), ())}) as issuer:
        assert ask(issuer, ("open", ""), grant_type="client_credentials").status_code == 401


def test_rotation(issuer: DevIssuer, make_door: MakeDoor) -> None:
    before = issuer.token("dana-dba")
    issuer.rotate()
    door = make_door(issuer.url, at=SystemClock())
    door.login(before)
    door.login(issuer.token("dana-dba"))
    issuer.rotate(keep_old=False)
    assert make_door(issuer.url, at=SystemClock()).refusal(before) == VAGUE


def test_only_public_keys_are_published(issuer: DevIssuer) -> None:
    (key,) = httpx2.get(f"{issuer.url}/jwks", trust_env=False).json()["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}


# -- people, through the authorization endpoint ----------------------------------------------------

VERIFIER = "v" * 43
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
)
BACK = "http://127.0.0.1:8642/sign-in/callback"
ASKED = {
    "response_type": "code", "client_id": CONSOLE_CLIENT, "redirect_uri": BACK,
    "scope": "openid email",
    "state": "s", "nonce": "n", "code_challenge": CHALLENGE, "code_challenge_method": "S256",
}  # fmt: skip


def authorize(issuer: DevIssuer, path: str = "/authorize/as", **changes: str) -> httpx2.Response:
    query = {"as": "dana-dba", **ASKED, **changes}
    return httpx2.get(f"{issuer.url}{path}", params=query, trust_env=False)


def code_of(answer: httpx2.Response) -> str:
    assert answer.status_code == 303, answer.text
    back = dict(parse_qsl(urlsplit(answer.headers["Location"]).query))
    assert back["state"] == "s"
    return back["code"]


def redeem(issuer: DevIssuer, code: str, **changes: str) -> httpx2.Response:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": BACK,
        "client_id": CONSOLE_CLIENT,
    }
    return ask(issuer, **{**form, "code_verifier": VERIFIER, **changes})


def test_a_person_signs_in(issuer: DevIssuer, make_door: MakeDoor) -> None:
    page = authorize(issuer, "/authorize")
    assert page.status_code == 200
    assert "Dana" in page.text
    assert "claude-agent" not in page.text, "programs do not sign in"
    body = redeem(issuer, code_of(authorize(issuer))).json()
    assert make_door(issuer.url, at=SystemClock()).login(Secret(body["access_token"])).id == "dana"
    assert make_door(issuer.url, at=SystemClock()).refusal(Secret(body["id_token"])), (
        "an ID token opens nothing"
    )


def test_a_code_counts_once(issuer: DevIssuer) -> None:
    code = code_of(authorize(issuer))
    assert redeem(issuer, code).status_code == 200
    assert redeem(issuer, code).json() == {"error": "invalid_grant"}


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "w" * 43}, {"code_verifier": ""}, {"client_id": "other"},
        {"redirect_uri": "http://127.0.0.1:1/sign-in/callback"}, {"code": "x"},
    ],
)  # fmt: skip
def test_a_code_of_somebody_else(issuer: DevIssuer, changes: dict[str, str]) -> None:
    code = code_of(authorize(issuer))
    assert redeem(issuer, changes.pop("code", code), **changes).status_code == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "other"}, {"redirect_uri": "https://evil.example/sign-in/callback"},
        {"response_type": "token"},
        {"redirect_uri": "http://127.0.0.1:1/other"},
        {"redirect_uri": "http://127.0.0.1:80\r\n80/sign-in/callback"},
        {"redirect_uri": BACK + "?x=1"}, {"redirect_uri": "http://a@127.0.0.1/sign-in/callback"},
        {"scope": "email"},
        {"code_challenge_method": "plain"}, {"code_challenge": ""}, {"as": "claude-agent"},
        {"as": "nobody"},
    ],
)  # fmt: skip
def test_requests_that_are_not_answered(issuer: DevIssuer, changes: dict[str, str]) -> None:
    answer = authorize(issuer, **changes)
    assert answer.status_code == 400
    assert "Location" not in answer.headers


def test_a_code_grows_old() -> None:
    now = [1_000_000_000.0]
    with DevIssuer(now=lambda: now[0]) as issuer:
        code = code_of(authorize(issuer))
        now[0] += 61
        assert redeem(issuer, code).status_code == 400


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.0.2.1", "example.com"])
def test_loopback_only(host: str) -> None:
    with pytest.raises(ConfigError, match="loopback"):
        DevIssuer(host=host)


def test_the_port_is_free_again(issuer: DevIssuer) -> None:
    port = int(issuer.url.rpartition(":")[2])
    issuer.stop()
    with DevIssuer(port=port) as again:
        assert again.url == issuer.url
