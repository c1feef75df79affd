"""The store opens, migrates and protects its file, and explains itself when it cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from sallyport.store import database
from sallyport.store.database import HEAD, StoreError, open_database, open_readonly
from sallyport.store.tables import metadata


def test_a_new_database_has_the_newest_schema(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": _is_common})
        assert compare_metadata(context, metadata) == []


def _is_common(name: str | None, kind: str, parents: object) -> bool:
    """Not the index of statements, which only PostgreSQL has here."""
    return not (kind == "table" and str(name).startswith("search_"))


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_files_are_private_and_wal_is_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    engine = open_database(data)
    with engine.begin() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar_one() == "wal"
        connection.execute(sa.text("CREATE TABLE t (x)"))
    assert data.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in data.iterdir()} == {0o600}
    engine.dispose()


def test_alembic_is_not_imported_when_the_schema_is_current(tmp_path: Path) -> None:
    open_database(tmp_path).dispose()
    code = (
        "import sys; from pathlib import Path; from sallyport.store.database import open_database\n"
        "open_database(Path(sys.argv[1])); print('alembic' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout.strip() == "False"


def test_two_gateways_may_start_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sallyport.store.database import open_database\n"
    )
    code += "open_database(Path(sys.argv[1]))"
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    engine = open_database(tmp_path)
    with engine.begin() as connection:
        _become(connection, "9999", usable_from="9999")
    engine.dispose()
    with pytest.raises(StoreError, match="newer than this version"):
        open_database(tmp_path)
    with pytest.raises(StoreError, match="schema 9999"):
        open_readonly(tmp_path)


def test_a_newer_schema_that_only_has_more_is_used(tmp_path: Path) -> None:
    """As by a worker that starts again while the other gateways are upgraded."""
    engine = open_database(tmp_path)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE locks ADD COLUMN mood TEXT NOT NULL DEFAULT ''"))
        _become(connection, "9999", usable_from=HEAD)
    engine.dispose()
    for opened in (open_database(tmp_path), open_readonly(tmp_path)):
        with opened.connect() as connection:
            assert database.revision_of(connection) == "9999"
        opened.dispose()


def _become(connection: sa.Connection, revision: str, usable_from: str) -> None:
    """As a later migration leaves it."""
    connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{revision}'"))
    connection.execute(
        sa.text(f"UPDATE store_facts SET value = '{usable_from}' WHERE name = 'usable_from'")
    )


def test_what_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / database.FILE).write_bytes(b"this is not SQLite " * 100)
    for attempt in (open_database, open_readonly):
        with pytest.raises(StoreError, match="not a database"):
            attempt(tmp_path)


def test_a_missing_database_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no sessions yet"):
        open_readonly(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot open"):
        open_database(tmp_path / "file")


def test_readonly_cannot_write(tmp_path: Path) -> None:
    open_database(tmp_path).dispose()
    engine = open_readonly(tmp_path)
    with pytest.raises(sa.exc.OperationalError, match="readonly"), engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM sessions"))
    engine.dispose()


def test_a_store_that_was_copied_says_where_it_went(tmp_path: Path) -> None:
    (tmp_path / "sallyport.db.migrated-2026-11-30").touch()
    with pytest.raises(StoreError, match="was copied to a shared store"):
        open_readonly(tmp_path)
