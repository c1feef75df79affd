"""Fixtures: a real OpenID provider in Node, and a scriptable issuer whose clock the test moves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sallyport.core.clock import Clock, ManualClock
from sallyport.core.secret import Secret
from sallyport.identity.oidc.keys import CacheLimits
from sallyport.identity.settings import IssuerSettings
from tests.identity.door import Door
from tests.identity.provider import Provider
from tests.support.npm import npm_install

IDP = Path(__file__).parent / "idp"


@dataclass(frozen=True)
class RealProvider:
    """The npm package oidc-provider, running."""

    url: str

    def token(self, client: str = "claude-agent", **form: str) -> Secret:
        answer = httpx2.post(
            f"{self.url}/token",
            data={"grant_type": "client_credentials", **form},
            auth=(client, f"{client}-secret"),
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        return Secret(answer.json()["access_token"])


@pytest.fixture(scope="session")
def real_provider() -> Iterator[RealProvider]:
    place = npm_install(IDP)
    copy = place / f"server-{os.getpid()}.mjs"
    shutil.copy(IDP / "server.mjs", copy)  # Node resolves packages beside the script
    process = subprocess.Popen(
        ["node", str(copy)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the provider did not start; try: node {copy}"
        yield RealProvider(json.loads(line)["issuer"])
    finally:
        process.kill()
        process.communicate()
        copy.unlink(missing_ok=True)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def provider(clock: ManualClock) -> Iterator[Provider]:
    provider = Provider(clock)
    yield provider
    provider.down()


@pytest.fixture
def make_provider(clock: ManualClock) -> Iterator[Callable[..., Provider]]:
    made: list[Provider] = []

    def make(*args: Any, **options: Any) -> Provider:
        made.append(Provider(clock, *args, **options))
        return made[-1]

    yield make
    for provider in made:
        provider.down()


@pytest.fixture
def make_door(clock: ManualClock) -> Iterator[Callable[..., Door]]:
    """``make_door(issuer url or settings, ...)`` with settings as options."""
    made: list[Door] = []

    def make(
        *issuers: str | IssuerSettings,
        limits: CacheLimits | None = None,
        at: Clock | None = None,
        remembered: int = 4096,
        required_claims: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Door:
        settings = [
            IssuerSettings(issuer, **{"audience": "sallyport", **options})
            if isinstance(issuer, str)
            else issuer
            for issuer in issuers
        ]
        made.append(
            Door(
                settings,
                at or clock,
                limits,
                remembered=remembered,
                required_claims=required_claims,
            )
        )
        return made[-1]

    yield make
    for door in made:
        door.close()


@pytest.fixture
def door(provider: Provider, make_door: Callable[..., Door]) -> Door:
    """The scriptable provider's tokens open this door."""
    return make_door(provider.url)
