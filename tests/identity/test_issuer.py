"""The demo's own issuer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx2
import pytest

from sallyport.core.clock import SystemClock
from sallyport.core.errors import ConfigError
from sallyport.core.secret import Secret
from sallyport.demo.issuer import DEMO_CLIENTS, DemoClient, DevIssuer
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


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.0.2.1", "example.com"])
def test_loopback_only(host: str) -> None:
    with pytest.raises(ConfigError, match="loopback"):
        DevIssuer(host=host)


def test_the_port_is_free_again(issuer: DevIssuer) -> None:
    port = int(issuer.url.rpartition(":")[2])
    issuer.stop()
    with DevIssuer(port=port) as again:
        assert again.url == issuer.url
