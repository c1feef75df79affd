"""An old primary that comes back is not the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from sallyport.core.secret import Secret
from sallyport.store.database import StoreError
from sallyport.store.postgres import StoreAddress, engine_of, open_postgres
from sallyport.store.timeline import Timeline
from tests.store.test_link import in_loop, linked, until
from tests.support.postgres import Server
from tests.support.stores import store_database


@pytest.fixture
def address(postgres: Server) -> Iterator[StoreAddress]:
    with store_database(postgres) as address:
        yield address


def test_it_is_kept_and_shared_and_never_goes_back(tmp_path: Path) -> None:
    file = tmp_path / "store.timeline"
    first, beside = Timeline(file), Timeline(file)
    assert first.refuses(2) == "" and beside.refuses(2) == ""
    assert beside.refuses(3) == ""
    assert "old primary" in first.refuses(2), "the worker beside has used a newer one"
    assert "old primary" in Timeline(file).refuses(2), "a restart forgets nothing"
    assert Timeline(file).refuses(3) == ""
    Timeline(file).forget()
    assert Timeline(file).refuses(1) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["store.timeline"]


@pytest.mark.parametrize("content", ["", "x", "99999999999999999999"])
def test_a_file_that_says_nothing_admits_no_server(tmp_path: Path, content: str) -> None:
    file = tmp_path / "store.timeline"
    file.write_text(content)
    assert Timeline(file).refuses(5) != ""


def test_a_kept_connection_to_the_primary_of_before_is_not_used(address: StoreAddress) -> None:
    engine = engine_of(address)
    pids = [pid(engine), pid(engine)]
    assert pids[0] == pids[1], "the pool keeps it"
    address.timeline.refuses(2)  # elsewhere the new primary was found
    with pytest.raises(SQLAlchemyError, match="old primary"):
        pid(engine)
    address.timeline.forget()
    assert pid(engine) != pids[0]
    engine.dispose()


def test_nothing_opens_an_old_primary(address: StoreAddress) -> None:
    address.timeline.refuses(2)
    with pytest.raises(StoreError, match="old primary"):
        open_postgres(address)

    async def test() -> None:
        with pytest.raises(StoreError, match="old primary"):
            async with linked(address, "a"):
                pass
        address.timeline.forget()
        async with linked(address, "a") as link:
            await until(lambda: not link.is_lost)

    in_loop(test)


def test_an_ordinary_role_may_ask_for_it(address: StoreAddress, postgres: Server) -> None:
    """It owns the database and has no other privilege."""
    engine = engine_of(address)
    with engine.begin() as connection:
        connection.execute(text("CREATE ROLE timeline_reader LOGIN PASSWORD 'secret'"))
    try:
        own = replace(address, user="timeline_reader", password=Secret("secret"))
        ordinary = engine_of(own)
        with ordinary.connect() as connection:
            message = "SELECT pg_logical_emit_message(true, 'sallyport', '')"
            assert connection.execute(text(message)).scalar() is not None
        ordinary.dispose()
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP ROLE timeline_reader"))
        engine.dispose()


def pid(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
