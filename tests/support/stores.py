"""The gateway's store in a test: SQLite in a directory, or a database of its own in PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg
from sqlalchemy import Engine

from sallyport.core.secret import Secret
from sallyport.demo.postgres import SUPERUSER
from sallyport.store.database import open_database, open_readonly
from sallyport.store.postgres import StoreAddress, open_postgres, open_postgres_readonly
from tests.support.postgres import SUPERUSER_PASSWORD, Server

_numbers = count(1)


@dataclass(frozen=True)
class Store:
    """``address`` None: SQLite in ``directory``."""

    directory: Path
    address: StoreAddress | None = None

    def open(self) -> Engine:
        """For reading and writing; the caller disposes of it."""
        return (
            open_database(self.directory) if self.address is None else open_postgres(self.address)
        )

    def readonly(self) -> Engine:
        """As commands open it."""
        if self.address is None:
            return open_readonly(self.directory)
        return open_postgres_readonly(self.address)


#: Data directories of servers that have a database with the newest schema to copy.
_prepared: set[Path] = set()


@contextmanager
def store_database(server: Server, *, empty: bool = False) -> Iterator[StoreAddress]:
    """A new database for a store, dropped at the end. ``empty``: without any table."""
    template = "template0" if empty else _template(server)
    address = _address(server, f"store_{os.getpid()}_{next(_numbers)}")
    _run(server, f"CREATE DATABASE {address.database} TEMPLATE {template} ENCODING 'UTF8'")
    try:
        yield address
    finally:
        _run(server, f"DROP DATABASE {address.database} WITH (FORCE)")


def _template(server: Server) -> str:
    address = _address(server, f"store_template_{os.getpid()}")
    if server.cluster.data not in _prepared:
        _run(server, f"CREATE DATABASE {address.database} TEMPLATE template0 ENCODING 'UTF8'")
        open_postgres(address).dispose()
        _prepared.add(server.cluster.data)
    return address.database


def _address(server: Server, database: str) -> StoreAddress:
    return StoreAddress(server.host, server.port, database, SUPERUSER, Secret(SUPERUSER_PASSWORD))


def _run(server: Server, sql: str) -> None:
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        connection.execute(sql)
