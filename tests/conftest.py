"""Fixtures for everybody: PostgreSQL servers, the gateway, tokens. See tests/support for how they
work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.places import ROOT
from tests.support.postgres import DEBIAN, NPM_VERSIONS, WHEEL, Server, missing, start_server

# How fast examples are made says nothing of what is tested.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pg",
        default=f"{WHEEL},16",
        help="PostgreSQL versions to test against: 'all', or a list of "
        f"{', '.join([WHEEL, *NPM_VERSIONS, DEBIAN])} (default: %(default)s)",
    )


def _versions(config: pytest.Config) -> list[str]:
    known = [WHEEL, *NPM_VERSIONS, DEBIAN]
    wanted = known if config.getoption("--pg") == "all" else config.getoption("--pg").split(",")
    if unknown := set(wanted) - set(known):
        raise pytest.UsageError(
            f"--pg: no such version: {', '.join(sorted(unknown))}. Known: {', '.join(known)}"
        )
    return wanted


#: Modules that take longest. They begin first, or one process would work alone at the end.
LONGEST = (
    "attacks/test_attacks.py",
    "attacks/test_containment.py",
    "server/test_unknown_code.py",
    "server/test_approvals.py",
    "server/test_ephemeral.py",
    "server/test_cascade.py",
    "server/test_lane.py",
    "web/test_api.py",
    "targets/test_catalog_loader.py",
    "cluster/test_across.py",
    "cluster/test_members.py",
    "workers/test_deaths.py",
    "workers/test_across.py",
    "differential/test_differential.py",
    "workloads/test_workloads.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules first; the others stay in their order."""
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    if absent := [path for path in places if not path.exists()]:
        raise pytest.UsageError(f"LONGEST in tests/conftest.py names {absent[0]}, which is gone")
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that ask for ``any_postgres`` run once per version of ``--pg``; for
    ``extended_postgres`` also with Debian's.
    """
    versions = _versions(metafunc.config)
    for name, wanted in (
        ("any_postgres", versions),
        ("extended_postgres", [*versions, *{DEBIAN}.difference(versions)]),
    ):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, wanted, indirect=True, ids="pg{}".format, scope="session")


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """Commands that a test runs in this process set up the log for themselves."""
    yield
    structlog.reset_defaults()


class Servers:
    """Starts each version at most once per run."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._running: dict[str, Server] = {}

    def get(self, version: str) -> Server:
        if reason := missing(version):
            pytest.skip(reason)
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


@pytest.fixture(scope="session")
def extended_postgres(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """Each version of ``--pg`` in turn, and Debian's PostgreSQL 15 with all its extensions where it
    is installed.
    """
    return servers.get(request.param)


@pytest.fixture(scope="session")
def debian_postgres(servers: Servers) -> Server:
    """Debian's PostgreSQL 15: with PostGIS, libxml and OpenSSL. Skips where it is not installed."""
    return servers.get(DEBIAN)


@pytest.fixture
def own_postgres() -> Iterator[Server]:
    """A PostgreSQL 18 of this test alone; it may be changed, stopped and restarted."""
    server = start_server()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def issuer() -> Iterator[DevIssuer]:
    """The development issuer, with the demo's clients."""
    with DevIssuer() as running:
        yield running


@pytest.fixture(scope="session")
def gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    """A gateway with :data:`SHOP_POLICY` before PostgreSQL 18, for tests that leave it as it is."""
    running = Gateway(issuer, {"shop": postgres}).start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def any_gateway(issuer: DevIssuer, any_postgres: Server) -> Iterator[Gateway]:
    """A gateway per version of ``--pg``; TLS on both sides where that PostgreSQL has TLS."""
    running = Gateway(issuer, {"shop": any_postgres}, tls=any_postgres.ca is not None).start()
    yield running
    running.stop()


@pytest.fixture
def make_gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Callable[..., Gateway]]:
    """``make_gateway(policy=..., targets=..., tls=..., extra=...)`` starts one that this test may
    treat as it likes.
    """
    with ExitStack() as stack:

        def make(**options: Any) -> Gateway:
            options.setdefault("targets", {"shop": postgres})
            running = Gateway(issuer, **options).start()
            stack.callback(running.stop)
            return running

        yield make
