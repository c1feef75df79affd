"""Logins with tokens of a real OpenID provider (npm oidc-provider 9)."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable

import pytest

from sallyport.core.clock import SystemClock
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.claims import ClaimMapping
from tests.identity.conftest import RealProvider
from tests.identity.door import VAGUE, Door

MakeDoor = Callable[..., Door]


@pytest.fixture
def real_door(real_provider: RealProvider, make_door: MakeDoor) -> Door:
    return make_door(real_provider.url, at=SystemClock())


@pytest.mark.parametrize("algorithm", ["rs256", "es256", "eddsa"])
def test_a_token_opens_the_door(
    real_provider: RealProvider, real_door: Door, algorithm: str
) -> None:
    subject = real_door.login(real_provider.token(scope=algorithm), label="my-laptop")
    assert (subject.id, subject.issuer, subject.label) == (
        "claude-agent",
        real_provider.url,
        "my-laptop",
    )
    assert subject.groups == {"claude-postgres"}
    assert subject.agent == "claude-agent"
    assert subject.claims["aud"] == "sallyport"
    assert time.time() + 560 < subject.expires_at < time.time() + 640


@pytest.mark.parametrize(
    ("claim", "groups"),
    [
        ("groups", {"dba", "on-call"}),
        ("realm_access.roles", {"dba"}),
        ("https://example.com/groups", {"url-dba"}),
        ("absent", set()),
    ],
)
def test_groups_are_found_where_the_settings_say(
    real_provider: RealProvider, make_door: MakeDoor, claim: str, groups: set[str]
) -> None:
    door = make_door(real_provider.url, at=SystemClock(), claims=ClaimMapping(groups=(claim,)))
    assert door.login(real_provider.token("dana-dba")).groups == groups


def test_a_token_for_another_service_is_refused_and_explained(
    real_provider: RealProvider, real_door: Door
) -> None:
    token = real_provider.token(resource="https://other.example.com/")
    assert (
        real_door.refusal(token)
        == "[SP1601] the token is for audience another-service, this gateway expects sallyport"
    )


def test_an_algorithm_that_is_not_configured_is_refused(
    real_provider: RealProvider, make_door: MakeDoor
) -> None:
    door = make_door(real_provider.url, at=SystemClock(), algorithms=("ES256",))
    door.login(real_provider.token(scope="es256"))
    assert door.refusal(real_provider.token(scope="rs256")) == VAGUE
    assert "RS256" in door.reason


def test_an_expired_token_is_refused_and_explained(
    real_provider: RealProvider, make_door: MakeDoor
) -> None:
    class Later(SystemClock):
        now = staticmethod(lambda: time.time() + 600 + 185)

    door = make_door(real_provider.url, at=Later())
    assert door.refusal(real_provider.token()) == "[SP1601] the token expired 3 minutes ago"


def test_changed_claims_are_refused(real_provider: RealProvider, real_door: Door) -> None:
    header, payload, signature = real_provider.token().reveal().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["groups"] = ["dba"]
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    assert real_door.refusal(Secret(f"{header}.{forged}.{signature}")) == VAGUE
    assert "signature" in real_door.reason


def test_the_issuer_must_be_spelled_exactly(
    real_provider: RealProvider, make_door: MakeDoor
) -> None:
    door = make_door(real_provider.url + "/", at=SystemClock())
    assert door.refusal(real_provider.token()) == VAGUE  # iss has no slash
    (problem,) = door.run(door.authenticator.probe()).values()
    assert "set the issuer to exactly the value in the document" in problem


def test_many_logins_at_once(real_provider: RealProvider, real_door: Door) -> None:
    token = real_provider.token()

    async def storm() -> list[object]:
        return await asyncio.gather(
            *(
                real_door.authenticator.authenticate(token, label=f"n{n}", entrance="wire")
                for n in range(100)
            )
        )

    subjects = real_door.run(storm())
    assert all(isinstance(subject, Subject) for subject in subjects)
    assert {subject.label for subject in subjects} == {f"n{n}" for n in range(100)}
