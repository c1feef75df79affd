"""A store moves from SQLite to PostgreSQL whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from sallyport.core.data_directory import hold_directory
from sallyport.policy.versions import PolicyVersion
from sallyport.store.approvals import SqlApprovalStore
from sallyport.store.database import FILE as DATABASE
from sallyport.store.database import StoreError, open_database
from sallyport.store.mark import identity_of, open_shared_store, open_store
from sallyport.store.policies import SqlPolicyVersions
from sallyport.store.postgres import StoreAddress, open_postgres
from sallyport.store.sealing import FILE, Seal
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.tables import metadata, store_facts
from sallyport.store.transfer import move_to_postgres
from sallyport.store.writer import Writer
from tests.approvals.helpers import House
from tests.store.test_session_index import row
from tests.support.postgres import Server
from tests.support.stores import store_database

KEY = b"k" * 32


@pytest.fixture
def address(postgres: Server) -> Iterator[StoreAddress]:
    with store_database(postgres, empty=True) as address:
        yield address


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A store with rows that were hard for PostgreSQL: big numbers, JSON, zero bytes."""
    house = House.open(tmp_path)
    house.approve(house.ask(mode="async"))
    engine = open_database(tmp_path)
    writer = Writer(engine)
    SqlSessionIndex(engine, writer).save(row("s_1", bytes=1 << 40, label="a\0b"))
    policies = SqlPolicyVersions(engine, writer)
    policies.keep(PolicyVersion("a", "text", "p.yaml", 1.0, "", "", 0.5))
    policies.keep(PolicyVersion("b", "text", "p.yaml", 2.0, "", "", None))
    writer.close()
    with engine.begin() as connection:
        connection.execute(sa.text("PRAGMA user_version = 77"))
    engine.dispose()
    house.close()
    (tmp_path / FILE).write_bytes(KEY)
    return tmp_path


def test_everything_comes_over_and_goes_on(data: Path, address: StoreAddress) -> None:
    counts = move_to_postgres(data, address, "gw-1", KEY)
    assert (counts["sessions"], counts["approvals"], counts["policy_versions"]) == (1, 1, 2)
    assert not (data / DATABASE).exists(), "it must not serve again, without later locks"
    assert [path.name for path in data.glob(f"{DATABASE}.migrated-*Z")]
    engine = open_postgres(address)
    moved = SqlSessionIndex(engine).get("s_1")
    assert moved == row("s_1", bytes=1 << 40, label="a\ufffdb", gateway="gw-1")
    (request,) = SqlApprovalStore(engine, Seal(KEY)).open()
    assert request.approvals == 1 and request.binding.sql.startswith("UPDATE orders")
    assert identity_of(engine) == 77
    writer = Writer(engine)
    SqlPolicyVersions(engine, writer).keep(PolicyVersion("c", "", "", 3.0, ""))
    writer.close()
    assert [version.id for version in SqlPolicyVersions(engine).recent()] == [3, 2, 1]
    engine.dispose()


def test_a_start_without_the_shared_store_is_refused_and_loses_nothing(
    data: Path, address: StoreAddress
) -> None:
    recordings = data / "recordings"
    with hold_directory(data) as lock:
        open_store(data, recordings, lock, accept_lost_state=False).engine.dispose()
        move_to_postgres(data, address, "gw-1", KEY)
        for _ in range(2):
            shared = open_shared_store(data, lock, address, accept_lost_state=False)
            assert shared.problem == ""
            shared.engine.dispose()
            with pytest.raises(StoreError, match="was copied to a shared store"):
                open_store(data, recordings, lock, accept_lost_state=False)
        alone = open_store(data, recordings, lock, accept_lost_state=True)
        assert "is missing" in alone.accepted
        alone.engine.dispose()


def test_a_target_with_rows_and_another_key_are_refused(data: Path, address: StoreAddress) -> None:
    with pytest.raises(StoreError, match=r"store\.key is another key"):
        move_to_postgres(data, address, "gw-1", b"x" * 32)
    engine = open_postgres(address)
    with engine.begin() as connection:
        connection.execute(sa.insert(store_facts), [{"name": "x", "value": "y"}])
    with pytest.raises(StoreError, match="has rows in store_facts already"):
        move_to_postgres(data, address, "gw-1", KEY)
    with engine.connect() as connection:
        emptied = [table for table in metadata.sorted_tables if table is not store_facts]
        for table in emptied:
            query = sa.select(sa.func.count()).select_from(table)
            assert connection.execute(query).scalar() == 0
    engine.dispose()
