"""One record for all tests here: they only read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sallyport.demo.issuer import DevIssuer
from tests.handover.house import Handed, gateway_with_console, make_record
from tests.support.browser import chromium_running
from tests.support.postgres import Server


@pytest.fixture(scope="session")
def handed(issuer: DevIssuer, postgres: Server) -> Iterator[Handed]:
    gateway = gateway_with_console(issuer, postgres).start()
    try:
        yield make_record(gateway)
    finally:
        gateway.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with chromium_running() as browser:
        yield browser
