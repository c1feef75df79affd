"""Fixtures for everybody: PostgreSQL servers, the gateway, tokens. See tests/support for how they
work.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from sallyport.demo.issuer import DevIssuer
from tests.support import sampling
from tests.support.gateway import Gateway
from tests.support.places import ROOT
from tests.support.postgres import DEBIAN, NPM_VERSIONS, WHEEL, Server, missing, start_server

# How fast examples are made says nothing of what is tested. Where CI is set they are the same in
# each run, so that no change is refused for a fault of another; developers get others, and are told
# what it takes to repeat one.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize="CI" in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")


#: What ``--pg`` is when nobody says. All cases of a test run on the first of them, and on the
#: second every fifth, the first of them always.
DEFAULT = (WHEEL, "16")
EVERY = 5


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pg",
        help="PostgreSQL versions to test against: 'all', or a list of "
        f"{', '.join([WHEEL, *NPM_VERSIONS, DEBIAN])} (default: {','.join(DEFAULT)}, and on the "
        "second only a part of each test's cases)",
    )
    parser.addoption(
        "--thorough",
        action="store_true",
        help="try all made examples of a property, and not a part of them",
    )


def pytest_configure(config: pytest.Config) -> None:
    sampling.thorough = config.getoption("--thorough")


def _versions(config: pytest.Config) -> list[str]:
    versions = [WHEEL, *NPM_VERSIONS, DEBIAN]
    option = config.getoption("--pg") or ",".join(DEFAULT)
    chosen = versions if option == "all" else option.split(",")
    if unknown := set(chosen) - set(versions):
        raise pytest.UsageError(
            f"--pg: no such version: {', '.join(sorted(unknown))}. Known: {', '.join(versions)}"
        )
    return chosen


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


def _left_out(items: list[pytest.Item]) -> set[pytest.Item]:
    """Cases of the second version that ``--pg`` alone asks for: every test runs on both, most of
    its cases on the first.
    """
    cases: Counter[str] = Counter()
    left_out = set()
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        version = parameters.get("any_postgres", parameters.get("extended_postgres"))
        if version != DEFAULT[1] or len(parameters) == 1:
            continue
        test = item.nodeid.partition("[")[0]
        if cases[test] % EVERY:
            left_out.add(item)
        cases[test] += 1
    return left_out


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what :func:`_left_out` says, and put the longest modules first; the others stay in
    their order.
    """
    is_named = any("::" in argument for argument in config.args)
    if config.getoption("--pg") is None and not is_named and (left_out := _left_out(items)):
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    if absent := [path for path in places if not path.exists()]:
        raise pytest.UsageError(f"LONGEST in tests/conftest.py names {absent[0]}, which is gone")
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))


def pytest_collection_finish() -> None:
    """What the collector of garbage need not look at again: hundreds of modules and all items."""
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that ask for ``any_postgres`` run once per version of ``--pg``; for
    ``extended_postgres`` also with Debian's.
    """
    versions = _versions(metafunc.config)
    for name, server_versions in (
        ("any_postgres", versions),
        ("extended_postgres", [*versions, *{DEBIAN}.difference(versions)]),
    ):
        if name in metafunc.fixturenames:
            metafunc.parametrize(
                name, server_versions, indirect=True, ids="pg{}".format, scope="session"
            )


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
