"""Signing in to the console with a real SAML provider, and what another site can make a
browser do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx2
import pytest
from starlette.testclient import TestClient

from sallyport.core.clock import SystemClock
from sallyport.core.secret import Secret
from sallyport.identity.locks import Lock
from sallyport.identity.replay import UsedMessages
from sallyport.identity.saml.provider import SamlProvider
from sallyport.identity.saml.settings import SamlSettings
from sallyport.web.app import build
from sallyport.web.auth.saml import MAX_RESPONSE
from sallyport.web.security import CONTENT_SECURITY_POLICY
from tests.identity.saml_provider import Pair, SamlIdp, form_of, saml_idp
from tests.web.world import World

HERE = "http://127.0.0.1:8642"


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamlIdp]:
    with saml_idp(tmp_path_factory.mktemp("samlidp")) as running:
        yield running


@pytest.fixture(scope="module")
def saml(idp: SamlIdp) -> dict[str, SamlProvider]:
    def provider(name: str, binding: str = "redirect", seconds: float = 3600.0) -> SamlProvider:
        pair = idp.sp_pair if name.startswith("ending") else Pair("", "")
        settings = SamlSettings(
            name,
            idp.entity_id,
            f"{idp.url}/metadata",
            f"{HERE}/saml/{name}/metadata",
            f"{HERE}/saml/{name}/acs",
            title=f"{name} account",
            binding=binding,
            session_seconds=seconds,
            slo_url=f"{HERE}/saml/{name}/slo",
            certificate=pair.certificate,
            key=Secret(pair.key) if pair.key else None,
        )
        return SamlProvider(settings, SystemClock(), UsedMessages(SystemClock()))

    return {
        "corp": provider("corp"),
        "posted": provider("posted", "post"),
        "short": provider("short", seconds=2.0),
        "ending": provider("ending"),
        "ending-posted": provider("ending-posted", "post"),
    }


@pytest.fixture(scope="module")
def app(place: World, saml: dict[str, SamlProvider]) -> Iterator[TestClient]:
    """One application; its event loop."""
    with TestClient(
        build(replace(place.services, saml=saml)), base_url=HERE, follow_redirects=False
    ) as client:
        yield client


@pytest.fixture
def client(app: TestClient) -> TestClient:
    app.cookies.clear()
    limit = app.app.state.console.sign_in_limit  # type: ignore[attr-defined]
    limit.__init__(SystemClock(), 100, 60.0)
    limit = app.app.state.console.logout_limit  # type: ignore[attr-defined]
    limit.__init__(SystemClock(), 20, 60.0)
    return app


def answered(url: str) -> dict[str, str]:
    """What the provider's page would post."""
    return httpx2.get(url, trust_env=False).json()


def came_back(client: TestClient, response: str, name: str = "corp") -> httpx2.Response:
    """The provider's page posts: no cookie goes along, but with what our page posts then."""
    cookies = list(client.cookies.jar)
    client.cookies.clear()
    posted = client.post(
        f"/saml/{name}/acs",
        data={"SAMLResponse": response},
        headers={"Origin": "https://idp.example", "Sec-Fetch-Site": "cross-site"},
    )
    assert posted.status_code == 200
    assert not posted.cookies
    assert f'action="/saml/{name}/finish"' in posted.text and "data-sends-itself" in posted.text
    for cookie in cookies:
        client.cookies.jar.set_cookie(cookie)
    return client.post(f"/saml/{name}/finish", data=form_of(posted.text))


def test_signing_in(client: TestClient, idp: SamlIdp) -> None:
    page = client.get("/sign-in?next=/approvals").text
    assert "Sign in with corp account" in page
    assert "/sign-in/saml/corp?next=/approvals" in page
    start = client.get("/sign-in/saml/corp?next=/approvals")
    assert start.headers["Location"].startswith(f"{idp.url}/sso?SAMLRequest=")
    done = came_back(client, answered(start.headers["Location"])["SAMLResponse"])
    assert (done.status_code, done.headers["Location"]) == (303, "/approvals")
    assert client.get("/approvals").status_code == 200  # dba: a reviewer
    assert client.get("/actions").status_code == 403


def test_a_posted_request(client: TestClient, idp: SamlIdp) -> None:
    page = client.get("/sign-in/saml/posted")
    policy = page.headers["Content-Security-Policy"]
    assert f"form-action {idp.url};" in policy
    assert policy.count("form-action") == 1
    field = page.text.split('name="SAMLRequest" value="')[1].split('"')[0]
    answer = httpx2.post(f"{idp.url}/sso", data={"SAMLRequest": field}, trust_env=False).json()
    assert came_back(client, answer["SAMLResponse"], "posted").headers["Location"] == "/"


def test_the_end_of_the_providers_session_signs_out(client: TestClient) -> None:
    start = client.get("/sign-in/saml/short")
    came_back(client, answered(start.headers["Location"])["SAMLResponse"], "short")
    ends = time.monotonic() + 10
    assert client.get("/approvals").status_code == 200
    while client.get("/approvals").status_code == 200:
        assert time.monotonic() < ends, "still signed in"
        time.sleep(0.1)
    assert client.get("/approvals").headers["Location"].startswith("/sign-in")


def test_another_browser_is_not_signed_in(client: TestClient) -> None:
    """Somebody posts the response of their own sign-in from another browser, or from none."""
    start = client.get("/sign-in/saml/corp")
    response = answered(start.headers["Location"])["SAMLResponse"]
    client.cookies.clear()
    assert came_back(client, response).status_code == 403  # without a sign-in of this browser
    client.get("/sign-in/saml/corp")
    assert came_back(client, response).status_code == 403  # with one, but another
    assert client.get("/").status_code == 303


def test_a_sign_in_counts_once_and_for_its_provider(client: TestClient) -> None:
    start = client.get("/sign-in/saml/corp")
    response = answered(start.headers["Location"])["SAMLResponse"]
    begun = client.cookies["sallyport_signin"]
    # The wrong answer uses it up.
    assert came_back(client, "x").status_code == 403
    client.cookies.set("sallyport_signin", begun)
    assert came_back(client, response).status_code == 403
    # A sign-in that was begun with one provider does not end with another.
    client.get("/sign-in/saml/posted")
    start = client.get("/sign-in/saml/corp")
    assert (
        came_back(client, answered(start.headers["Location"])["SAMLResponse"], "posted").status_code
        == 403
    )


def test_the_pending_sign_in_of_the_issuer_is_another(client: TestClient) -> None:
    client.get("/sign-in/saml/corp")
    assert client.get("/sign-in/callback?code=x&state=y").status_code == 403


def test_a_locked_subject_stays_out(client: TestClient, place: World, idp: SamlIdp) -> None:
    lock = Lock("l1", "subject", "ada", idp.entity_id, "left", 0.0, None, "olga", "i", "")
    place.services.locks.add(lock)
    try:
        start = client.get("/sign-in/saml/corp")
        done = came_back(client, answered(start.headers["Location"])["SAMLResponse"])
        assert done.status_code == 403
        assert "SP1608" in done.text
    finally:
        place.services.locks.remove(lock)


@pytest.mark.parametrize("data", [{}, {"SAMLResponse": "x"}, {"SAMLResponse": ["a", "b"]}])
def test_nonsense(client: TestClient, data: dict[str, object]) -> None:
    for path in ("/saml/corp/acs", "/saml/corp/finish"):
        answer = client.post(path, data=data)
    assert answer.status_code in (400, 403)


def test_a_page_gives_the_response_back_and_nothing_else(client: TestClient) -> None:
    """Whatever another site posts is text in it; folded base64 is one line."""
    evil = '"><script>alert(1)</script>'
    page = client.post("/saml/corp/acs", data={"SAMLResponse": evil, "RelayState": evil})
    assert "<script>alert" not in page.text
    assert page.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert page.headers["Cache-Control"] == "no-store"
    page = client.post("/saml/corp/acs", data={"SAMLResponse": "abcd\r\nefgh\n"})
    assert form_of(page.text) == {"SAMLResponse": "abcdefgh"}
    large = client.post("/saml/corp/acs", data={"SAMLResponse": "a" * (MAX_RESPONSE + 1)})
    assert large.status_code == 413


def test_unknown_providers(client: TestClient) -> None:
    for path in ("/sign-in/saml/x", "/saml/x/metadata"):
        assert client.get(path).status_code == 404
    for path in ("/saml/x/acs", "/saml/x/finish"):
        assert client.post(path).status_code == 404


def test_our_metadata(client: TestClient) -> None:
    answer = client.get("/saml/corp/metadata")
    assert answer.headers["Content-Type"].startswith("application/samlmetadata+xml")
    assert f'Location="{HERE}/saml/corp/acs"' in answer.text


# -- single logout ---------------------------------------------------------------------------------


def signed_in(client: TestClient, idp: SamlIdp, name: str) -> None:
    idp.takes_part()
    start = client.get(f"/sign-in/saml/{name}")
    if start.status_code == 303:
        answer = answered(start.headers["Location"])
    else:
        field = start.text.split('name="SAMLRequest" value="')[1].split('"')[0]
        answer = httpx2.post(f"{idp.url}/sso", data={"SAMLRequest": field}, trust_env=False).json()
    assert came_back(client, answer["SAMLResponse"], name).status_code == 303
    assert client.get("/approvals").status_code == 200


@pytest.fixture
def alone(saml: dict[str, SamlProvider], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Only that provider: here all of them have one entity id, which the configuration refuses."""

    def leave(name: str) -> None:
        for each in set(saml) - {name}:
            monkeypatch.delitem(saml, each)

    return leave


def sign_out(client: TestClient) -> httpx2.Response:
    csrf = client.get("/approvals").text.split('name="csrf" value="')[1].split('"')[0]
    return client.post("/sign-out", data={"csrf": csrf})


def carried(client: TestClient, name: str, message: httpx2.Response) -> httpx2.Response:
    """The provider's message, by redirect or form, without a cookie of ours."""
    client.cookies.clear()
    if message.status_code == 302:
        return client.get(message.headers["Location"].removeprefix(HERE))
    return client.post(f"/saml/{name}/slo", data=form_of(message.text))


def test_signing_out_signs_out_at_the_provider(
    client: TestClient, idp: SamlIdp, alone: Callable[[str], None]
) -> None:
    alone("ending")
    signed_in(client, idp, "ending")
    page = sign_out(client)
    url = page.headers["Refresh"].removeprefix("0; url=")
    assert url.startswith(f"{idp.url}/slo?SAMLRequest=")
    assert client.get("/approvals").status_code == 303, "whatever the provider says"
    answer = httpx2.get(url, trust_env=False)
    done = carried(client, "ending", answer)
    assert "signed out at the identity provider as well" in done.text
    # Its answer counts once.
    assert carried(client, "ending", answer).status_code == 403
    # The provider has no session of ours any more.
    assert httpx2.get(url, trust_env=False).status_code == 500


def test_signing_out_by_post(
    client: TestClient, idp: SamlIdp, alone: Callable[[str], None]
) -> None:
    alone("ending-posted")
    signed_in(client, idp, "ending-posted")
    page = sign_out(client)
    assert f"form-action 'self' {idp.url};" in page.headers["Content-Security-Policy"]
    answer = httpx2.post(f"{idp.url}/slo", data=form_of(page.text), trust_env=False)
    done = carried(client, "ending-posted", answer)
    assert "signed out at the identity provider as well" in done.text


@pytest.mark.parametrize("name", ["ending", "ending-posted"])
def test_the_provider_signs_out(client: TestClient, idp: SamlIdp, name: str) -> None:
    signed_in(client, idp, name)
    cookies = list(client.cookies.jar)
    asked = httpx2.get(f"{idp.url}/logout", trust_env=False)
    done = carried(client, name, asked)
    for cookie in cookies:
        client.cookies.jar.set_cookie(cookie)
    assert client.get("/approvals").status_code == 303
    if done.status_code == 303:
        told = httpx2.get(done.headers["Location"], trust_env=False)
    else:
        assert "data-sends-itself" in done.text
        told = httpx2.post(f"{idp.url}/slo", data=form_of(done.text), trust_env=False)
    assert told.status_code == 200, told.text
    assert carried(client, name, asked).status_code == 403, "a request counts once"


def test_strangers_sign_nobody_out(client: TestClient, idp: SamlIdp) -> None:
    signed_in(client, idp, "ending")
    cookies = list(client.cookies.jar)
    asked = httpx2.get(f"{idp.url}/logout", trust_env=False).headers["Location"]
    for path in (
        asked.removeprefix(HERE).partition("&Signature")[0],
        asked.removeprefix(HERE).replace("/ending/", "/ending-posted/"),
        "/saml/ending/slo",
        "/saml/corp/slo?" + asked.partition("?")[2],  # without a key there is none
    ):
        assert client.get(path).status_code == 403
    assert client.post("/saml/ending/slo", data={"SAMLRequest": "x"}).status_code == 403
    for cookie in cookies:
        client.cookies.jar.set_cookie(cookie)
    assert client.get("/approvals").status_code == 200


def test_failed_logouts_are_limited(client: TestClient) -> None:
    codes = {client.get("/saml/ending/slo?SAMLRequest=x").status_code for _ in range(30)}
    assert codes == {403, 429}


def test_starts_are_limited(client: TestClient) -> None:
    codes = {
        client.post("/saml/corp/finish", data={"SAMLResponse": "x"}).status_code for _ in range(101)
    }
    assert codes == {403, 429}
