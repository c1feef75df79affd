"""A console per module that asks, and browsers' worth of sign-ins through the real issuer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from sallyport.demo.issuer import DevIssuer
from tests.support.browser import chromium_running
from tests.web.helpers import Browser
from tests.web.real import People, Real, real_house
from tests.web.world import World, world


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, issuer: DevIssuer) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("console"), issuer) as made:
        yield made


@pytest.fixture(scope="module")
def client(place: World) -> Iterator[TestClient]:
    """Nobody's browser; it has the application's event loop."""
    with TestClient(place.app, base_url="http://127.0.0.1:8642", follow_redirects=False) as made:
        yield made


@pytest.fixture
def browser(place: World, client: TestClient) -> Callable[[str], Browser]:
    """``browser("auditor")``: signed in with that role."""

    def make(role: str) -> Browser:
        client.cookies.clear()
        place.forget_sign_ins()
        return Browser(client).sign_in(role)

    return make


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A real browser. Not for the whole session: while it runs, this thread has an event loop that
    runs.
    """
    with chromium_running() as browser:
        yield browser


@pytest.fixture(scope="session")
def real() -> Iterator[Real]:
    """Everything real, for browsers: see tests/web/real.py."""
    with real_house() as house:
        yield house


@pytest.fixture
def people(chromium: Any, real: Real) -> Iterator[People]:
    """``people("dana")``: a browser window of Dana, signed in; whatever goes wrong in it fails the
    test.
    """
    made = People(chromium, real)
    yield made
    made.watched.close()
