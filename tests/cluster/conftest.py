"""Two gateways with data directories of their own and one store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.stores import store_database

KEY = "5e" * 32


@pytest.fixture
def store_server() -> Iterator[Server]:
    """The store's PostgreSQL, apart from the targets': a test may stop it."""
    from tests.support.postgres import start_server

    server = start_server()
    yield server
    server.stop()


@pytest.fixture
def make_member(
    issuer: DevIssuer, postgres: Server, store_server: Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Gateway]]:
    """``make_member(grace=..., policy=...)`` starts a gateway of the store."""
    monkeypatch.setenv("STORE_KEY", KEY)
    with ExitStack() as stack:
        address = stack.enter_context(store_database(store_server))
        monkeypatch.setenv("STORE_PASSWORD", address.password.reveal())  # type: ignore[union-attr]

        def make(grace: float = 60.0, extra: Any = None, **options: Any) -> Gateway:
            store = {
                "host": address.host,
                "port": address.port,
                "database": address.database,
                "user": address.user,
                "password": {"env": "STORE_PASSWORD"},
                "key": {"env": "STORE_KEY"},
                "tls": "disable",
                "grace_seconds": grace,
            }
            running = Gateway(
                issuer, {"shop": postgres}, extra={"store": store, **(extra or {})}, **options
            )
            stack.callback(running.stop)
            return running.start()

        yield make
