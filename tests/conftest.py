"""Fixtures for everybody: PostgreSQL servers, the gateway, tokens. See tests/support for how they work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.postgres import NPM_VERSIONS, WHEEL, Server, start_server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pg",
        default=f"{WHEEL},16",
        help="PostgreSQL versions to test against: 'all', or a list of "
        f"{', '.join([WHEEL, *NPM_VERSIONS])} (default: %(default)s)",
    )


def _versions(config: pytest.Config) -> list[str]:
    known = [WHEEL, *NPM_VERSIONS]
    wanted = known if config.getoption("--pg") == "all" else config.getoption("--pg").split(",")
    if unknown := set(wanted) - set(known):
        raise pytest.UsageError(
            f"--pg: no such version: {', '.join(sorted(unknown))}. Known: {', '.join(known)}"
        )
    return wanted


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that ask for ``any_postgres`` run once per version of ``--pg``."""
    if "any_postgres" in metafunc.fixturenames:
        metafunc.parametrize(
            "any_postgres", _versions(metafunc.config), indirect=True, ids="pg{}".format, scope="session"
        )


class Servers:
    """Starts each version at most once per run."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._running: dict[str, Server] = {}

    def get(self, version: str) -> Server:
        if version not in self._running:
            server = start_server(version)
            self._stack.callback(server.stop)
            self._running[version] = server
        return self._running[version]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack)


@pytest.fixture(scope="session")
def postgres(servers: Servers) -> Server:
    """PostgreSQL 18 with the shop; shared, so leave it as it was (or use :func:`own_postgres`)."""
    return servers.get(WHEEL)


@pytest.fixture(scope="session")
def postgres_tls(servers: Servers) -> Server:
    """PostgreSQL 16 with TLS and the shop; ``.ca`` is the authority to trust."""
    return servers.get("16")


@pytest.fixture(scope="session")
def any_postgres(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """Each version of ``--pg`` in turn."""
    return servers.get(request.param)


@pytest.fixture
def own_postgres() -> Iterator[Server]:
    """A PostgreSQL 18 of this test alone; it may be changed, stopped and restarted."""
    server = start_server()
    yield server
    server.stop()
