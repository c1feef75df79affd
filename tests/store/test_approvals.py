"""The tables of approvals come to a database that is there already, and wait for no other writer
for long.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import msgspec
import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from sallyport.approvals.service import Approvals
from sallyport.core.clock import ManualClock
from sallyport.core.errors import RefusedError
from sallyport.store import approvals as module
from sallyport.store import database
from sallyport.store.approvals import SqlApprovalStore
from sallyport.store.database import open_database
from sallyport.store.postgres import open_postgres
from sallyport.store.sealing import Seal
from tests.approvals.helpers import BINDING, House
from tests.support.postgres import Server
from tests.support.stores import store_database


def test_an_older_database_is_migrated(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / database.FILE}")
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with engine.begin() as connection:
        row = (
            "('s', 'a', 'i', '[]', '', '', 't', '', '', 1.0, 2.0, '', 0, 0, 0, 0, '', '', 'ended')"
        )
        connection.execute(sa.text(f"INSERT INTO sessions VALUES {row}"))
    engine.dispose()
    engine = open_database(tmp_path)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM sessions")).scalar_one() == 1
    assert SqlApprovalStore(engine, Seal(b"k" * 32)).open() == []
    engine.dispose()


def test_a_request_from_before_masks_were_sent(tmp_path: Path) -> None:
    """It is read, without the text that is sent, and so not used for a statement that has one."""
    house = House.open(tmp_path)
    request = house.approve(house.ask(mode="async"))
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    house.close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / database.FILE}")
    with engine.begin() as connection:
        fields = msgspec.msgpack.decode(msgspec.msgpack.encode(request.binding))
        del fields["recorded"]  # nothing was sealed, and nothing left out of recordings
        encoded = msgspec.msgpack.encode(fields)
        connection.execute(sa.text("UPDATE approvals SET binding = :binding"), {"binding": encoded})
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
    engine.dispose()
    house = House.open(tmp_path, house.clock)
    (kept,) = house.store.open()
    assert (
        kept.binding == replace(request.binding, sent="")
        and kept.binding.executed_sql == BINDING.sql
    )
    refusal = house.service.use(request.id, BINDING)
    assert refusal is not None and refusal.code.id == "SP1404"
    house.close()


def test_the_first_request_after_the_server_was_away_is_stored(
    postgres: Server, tmp_path: Path
) -> None:
    with store_database(postgres) as address:
        engine, clock = open_postgres(address), ManualClock()
        store = SqlApprovalStore(engine, Seal(b"k" * 32))
        house = House(tmp_path, clock, engine, store, Approvals(store, clock), {})
        house.ask()
        with psycopg.connect(postgres.superuser_dsn, autocommit=True) as db:
            gone = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
            assert db.execute(gone, (address.database,)).fetchall() == [(True,)]
        house.ask(replace(BINDING, session="ses_9"))
        assert len(store.open()) == 2
        house.close()


def test_both_texts_are_kept(tmp_path: Path) -> None:
    house = House.open(tmp_path)
    binding = replace(BINDING, sent=f"{BINDING.sql} AND note = '[redacted]'")
    request = house.ask(binding)
    assert house.store.get(request.id) == request and request.binding.sent == binding.sent
    house.close()


def test_decisions_are_on_disk_and_requests_survive_the_process(tmp_path: Path) -> None:
    """What SQLite is told: FULL for what takes effect."""
    house = House.open(tmp_path)
    said: list[str] = []
    sa.event.listen(
        house.engine, "before_cursor_execute", lambda c, cur, sql, *rest: said.append(sql)
    )
    request = house.ask()
    assert "PRAGMA synchronous = FULL" not in said
    house.approve(request)
    assert said.index("PRAGMA synchronous = FULL") < next(
        i for i, s in enumerate(said) if s.startswith("UPDATE approvals")
    )
    house.close()


def test_a_locked_database_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT", 50)
    house = House.open(tmp_path)
    request = house.ask()
    with house.engine.connect() as locker:
        locker.exec_driver_sql("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(RefusedError, match="SP1801"):
            house.approve(request)
        assert time.monotonic() - started < 2
        locker.rollback()
    assert house.approve(request).approvals == 1
    house.close()
