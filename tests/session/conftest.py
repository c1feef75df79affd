"""A stage with the real catalog of the shop, loaded once per test run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sallyport.sql.catalog.snapshot import CatalogSnapshot
from tests.session.playbook import POLICY, Stage
from tests.support.postgres import Server
from tests.targets.query import catalog_of


@pytest.fixture(scope="session")
def catalog(postgres: Server) -> CatalogSnapshot:
    return catalog_of(postgres.agent_dsn)


@pytest.fixture(scope="session")
def stage(catalog: CatalogSnapshot) -> Stage:
    """Shared: for transcripts that change neither policy nor catalog."""
    return Stage(catalog)


@pytest.fixture
def new_stage(catalog: CatalogSnapshot) -> Callable[[], Stage]:
    """Makes a stage of one's own, for transcripts that change it."""
    return lambda: Stage(catalog, POLICY)
