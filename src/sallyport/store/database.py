"""The store of a gateway that shares it with none: SQLite in WAL mode at
``<data>/sallyport.db``, migrated when it is opened for writing.

:func:`open_database` (the gateway) creates the file with mode 0600, brings the schema to
:data:`HEAD` and returns an engine. Alembic costs a quarter of a second to import, so it is only
imported when the schema is not at HEAD. :func:`open_readonly` (the CLI, beside a running gateway)
changes nothing and reports a database that is missing or of another version.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DatabaseError

from sallyport.core.errors import SallyportError

#: The newest migration; a test compares it with the scripts.
HEAD: Final = "0019"
FILE: Final = "sallyport.db"


class StoreError(SallyportError):
    """The store cannot be used; the text says why and what to do."""


def open_database(data_dir: Path) -> Engine:
    """Open for reading and writing, creating and migrating as needed. Raises StoreError."""
    path = data_dir / FILE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its -wal and -shm files the mode of the database file.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(
            f"cannot open {path}: {error.strerror}; is the data directory writable?"
        ) from error
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _prepare)
    try:
        with _locked(data_dir), engine.connect() as connection:
            _migrate_file(connection, path)
            damage = connection.execute(text("PRAGMA quick_check(1)")).scalar()
        if damage != "ok":
            raise StoreError(f"{path} is damaged: {damage}")
    except DatabaseError as error:
        engine.dispose()
        raise StoreError(f"cannot use {path}: {error.orig}") from error
    except StoreError:
        engine.dispose()
        raise
    return engine


def set_aside(data: Path, reason: str = "damaged") -> Path:
    """Rename the database and its log, so that a new one can be made. ``reason``: in its name.
    Raises StoreError.
    """
    name = f"{FILE}.{reason}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    try:
        for suffix in ("-wal", "-shm", ""):
            if (data / f"{FILE}{suffix}").exists():
                os.rename(data / f"{FILE}{suffix}", data / f"{name}{suffix}")
    except OSError as error:
        raise StoreError(f"cannot rename {data / FILE}: {error.strerror}") from None
    return data / name


def refuse_copied(data_dir: Path) -> None:
    """Raises StoreError when the database was copied to a shared store and not made anew since."""
    path = data_dir / FILE
    copied = sorted(data_dir.glob(f"{FILE}.migrated-*"))
    if copied and not path.is_file():
        raise StoreError(
            f"{path} was copied to a shared store, and is {copied[0].name} since: the "
            "configuration's 'store' says where that is"
        )


def open_readonly(data_dir: Path) -> Engine:
    """Open for reading only. Raises StoreError when there is no database, or its schema is not this
    version's.
    """
    path = data_dir / FILE
    refuse_copied(data_dir)
    if not path.is_file():
        raise StoreError(
            f"no sessions yet: {path} does not exist. Has a gateway run with this data directory?"
        )
    if not os.access(path, os.R_OK):
        raise StoreError(f"cannot read {path}: run this as the user that runs the gateway")
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True),
    )
    try:
        with engine.connect() as connection:
            usable, revision = is_usable(connection), revision_of(connection)
    except DatabaseError as error:
        engine.dispose()
        raise StoreError(
            f"cannot read {path}: {error.orig}. If it is damaged, stop the gateway and run"
            " 'sallyport audit reindex'"
        ) from error
    if not usable:
        engine.dispose()
        raise StoreError(
            f"{path} has schema {revision or 'none'}, this version of Sallyport reads {HEAD}: "
            "start the gateway of this version once, it migrates"
        )
    return engine


def _prepare(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA busy_timeout = 10000")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Two gateways that start at once migrate one after the other."""
    fd = os.open(data_dir / f"{FILE}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def revision_of(connection: Connection) -> str:
    """The schema's version, "" for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return "" if row is None else str(row[0])


def is_usable(connection: Connection) -> bool:
    """Whether this version can use the schema: it is :data:`HEAD`, or a newer one that only has
    more than HEAD had. Every migration says which is the oldest version for which that is so.
    """
    revision = revision_of(connection)
    if revision <= HEAD:
        return revision == HEAD
    query = text("SELECT value FROM store_facts WHERE name = 'usable_from'")
    usable_from = connection.execute(query).scalar()
    return usable_from is not None and str(usable_from) <= HEAD


def _migrate_file(connection: Connection, path: Path) -> None:
    connection.rollback()
    with connection.begin():
        migrate(connection, str(path))


def migrate(connection: Connection, name: str) -> None:
    """Bring the schema to :data:`HEAD`, in the caller's transaction and under the caller's lock.
    ``name``: of the database, for errors. Raises StoreError for one of a newer version, unless that
    one can be used as it is: gateways of two versions run beside each other during an upgrade.
    """
    revision = revision_of(connection)
    if is_usable(connection):
        return
    if revision > HEAD:
        raise StoreError(
            f"{name} has schema {revision}, newer than this version of Sallyport ({HEAD}): upgrade"
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
