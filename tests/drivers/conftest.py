"""One gateway per PostgreSQL version, and a way for tests that change rows to leave none behind."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.drivers.expected import server_of
from tests.support.gateway import Gateway
from tests.support.postgres import Server


@pytest.fixture
def door(any_gateway: Gateway) -> Gateway:
    """The gateway under test."""
    return any_gateway


@pytest.fixture(scope="module")
def plain_door(issuer: DevIssuer, any_postgres: Server) -> Iterator[Gateway]:
    """Without TLS towards the client, for clients built without it; towards PostgreSQL as ever."""
    running = Gateway(issuer, {"shop": any_postgres}).start()
    yield running
    running.stop()


@pytest.fixture
def spare_products(door: Gateway) -> Iterator[range]:
    """Product ids above 9000 are free for the test; they are gone afterwards."""
    yield range(9001, 9999)
    with psycopg.connect(server_of(door).superuser_dsn) as db:
        db.execute("DELETE FROM products WHERE id > 9000")
