"""Tests that ask for ``store`` or ``engine`` run on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support.stores import Store, store_database


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with ExitStack() as stack:
        address = None
        if request.param == "postgresql":
            server = request.getfixturevalue("postgres")
            address = stack.enter_context(store_database(server))
        yield Store(tmp_path, address)


@pytest.fixture
def engine(store: Store) -> Iterator[Engine]:
    engine = store.open()
    yield engine
    engine.dispose()
