"""Two gateways with data directories of their own and one store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.approvals import make_tables
from tests.support.gateway import Gateway
from tests.support.postgres import Server, start_server
from tests.support.stores import store_database
from tests.workers.crew import PEOPLE

KEY = "5e" * 32


@pytest.fixture(scope="module")
def issuer() -> Iterator[DevIssuer]:
    """With people and programs of all roles."""
    with DevIssuer(PEOPLE) as running:
        yield running


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    """The target, with tables whose rows wait for approval when they are deleted."""
    server = start_server(settings={"max_connections": "100"})
    make_tables(server)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def untouched_servers() -> Iterator[list[Server]]:
    """Servers of stores that no test has stopped so far."""
    servers: list[Server] = []
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
def store_server(untouched_servers: list[Server]) -> Iterator[Server]:
    """The store's PostgreSQL, apart from the targets': a test may stop it. One that was not
    stopped serves the next test as well, with another database.
    """
    server = untouched_servers.pop() if untouched_servers else start_server()
    postmaster = server.cluster.pid
    yield server
    if postmaster and server.cluster.pid == postmaster:
        untouched_servers.append(server)
    else:
        server.stop()


@pytest.fixture
def make_member(
    issuer: DevIssuer, postgres: Server, store_server: Server
) -> Iterator[Callable[..., Gateway]]:
    """``make_member(grace=..., policy=...)`` starts a gateway of the store."""
    with members_of_store(issuer, postgres, store_server) as make:
        yield make


def _stop(gateway: Gateway) -> None:
    if gateway.log.exists():  # it was started
        gateway.stop()


@contextmanager
def members_of_store(
    issuer: DevIssuer, postgres: Server, store_server: Server, *, empty: bool = False
) -> Iterator[Callable[..., Gateway]]:
    """Gives what makes gateways of one new store. ``store``: merged over its section.
    ``start=False``: not yet. ``kind``: another class of gateway. ``empty``: without any table.
    """
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("STORE_KEY", KEY)
        address = stack.enter_context(store_database(store_server, empty=empty))
        patch.setenv("STORE_PASSWORD", address.password.reveal())  # type: ignore[union-attr]

        def make(
            grace: float = 60.0,
            extra: Any = None,
            store: Any = None,
            *,
            start: bool = True,
            kind: type[Gateway] = Gateway,
            **options: Any,
        ) -> Gateway:
            section = {
                "host": address.host,
                "port": address.port,
                "database": address.database,
                "user": address.user,
                "password": {"env": "STORE_PASSWORD"},
                "key": {"env": "STORE_KEY"},
                "tls": "disable",
                "grace_seconds": grace,
                **(store or {}),
            }
            made = kind(
                issuer, {"shop": postgres}, extra={"store": section, **(extra or {})}, **options
            )
            stack.callback(_stop, made)
            return made.start() if start else made

        yield make
