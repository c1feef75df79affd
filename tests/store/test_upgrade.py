"""Migrations expand: a gateway of an earlier version goes on with the store of this one, as far
back as the migrations say.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from sallyport.store import database
from sallyport.store.database import HEAD, migrate, open_database, revision_of
from sallyport.store.postgres import engine_of, open_postgres
from tests.support.postgres import Server
from tests.support.stores import store_database

_VALUES: dict[type, Any] = {str: "x", int: 7, float: 1.5, bytes: b"x", bool: True, dict: "[]"}


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        engine = sa.create_engine(f"sqlite:///{tmp_path / database.FILE}")
        yield engine
        engine.dispose()
        return
    server: Server = request.getfixturevalue("postgres")
    with store_database(server, empty=True) as address:
        engine = engine_of(address)
        yield engine
        engine.dispose()


def migrate_to(engine: sa.Engine, revision: str) -> None:
    config = Config()
    scripts = Path(database.__file__).parent / "migrations"
    config.set_main_option("script_location", str(scripts))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def usable_from(engine: sa.Engine) -> str:
    with engine.connect() as connection:
        query = sa.text("SELECT value FROM store_facts WHERE name = 'usable_from'")
        return str(connection.execute(query).scalar_one())


def reflected(engine: sa.Engine) -> sa.MetaData:
    tables = sa.MetaData()
    tables.reflect(engine)
    return tables


def row_of(table: sa.Table) -> dict[str, Any]:
    """What an insert has to name: every column without a default."""
    return {
        column.name: _value(column)
        for column in table.columns
        if not (column.nullable or column.server_default is not None or column.identity)
    }


def _value(column: sa.Column[Any]) -> Any:
    if isinstance(column.type, sa.ARRAY):
        return ["x"]
    try:
        return _VALUES.get(column.type.python_type, "[]")
    except NotImplementedError:  # tsvector
        return "x"


def test_rows_of_the_oldest_version_that_may_use_it_are_taken(empty: sa.Engine) -> None:
    with empty.begin() as connection:
        migrate(connection, "new")
    oldest = usable_from(empty)
    assert oldest <= HEAD
    with empty.begin() as connection:
        for table in reversed(reflected(empty).sorted_tables):
            table.drop(connection)
    migrate_to(empty, oldest)
    before = reflected(empty)
    with empty.begin() as connection:
        migrate(connection, "of an earlier version")
        assert revision_of(connection) == HEAD
    after = reflected(empty)
    for name, table in before.tables.items():
        assert name in after.tables, f"{name} was removed"
        missing = set(table.columns.keys()) - set(after.tables[name].columns.keys())
        assert not missing, f"{name} lost {missing}"
        if name == "alembic_version":
            continue
        with empty.connect() as connection, connection.begin() as transaction:
            for parent in table.foreign_keys:
                referred = before.tables[parent.column.table.name]
                connection.execute(referred.insert().values(row_of(referred)))
            connection.execute(table.insert().values(row_of(table)))
            connection.execute(sa.select(table)).first()
            transaction.rollback()


def test_what_is_there_stays(empty: sa.Engine) -> None:
    """A store with rows of the version before, which the newest migration brings up to date."""
    migrate_to(empty, f"{int(HEAD) - 1:04}")
    before = reflected(empty)
    rows = {"sessions": before.tables["sessions"], "locks": before.tables["locks"]}
    with empty.begin() as connection:
        for table in rows.values():
            connection.execute(table.insert().values(row_of(table)))
    with empty.begin() as connection:
        migrate(connection, "of the version before")
        for table in rows.values():
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 1


def test_both_kinds_of_store_end_with_the_same_facts(tmp_path: Path, postgres: Server) -> None:
    with store_database(postgres, empty=True) as address:
        shared = open_postgres(address)
        own = open_database(tmp_path)
        try:
            assert usable_from(shared) == usable_from(own)
        finally:
            shared.dispose()
            own.dispose()
