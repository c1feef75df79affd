"""A database with the schema of ``corpus/schema.sql``, and its catalog snapshot as the gateway
would load it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from sallyport.sql.catalog.snapshot import CatalogSnapshot
from tests.sql.rewrite.database import SCHEMA, RewritingDatabase, identity_masks
from tests.support.postgres import Server
from tests.targets.query import catalog_of

__all__ = ["identity_masks"]

CORPUS = Path(__file__).with_name("corpus")
DATABASE = "sql_facts"


@contextmanager
def fixture_database(superuser_dsn: str, name: str = DATABASE) -> Iterator[str]:
    """Create the database; dropped afterwards, as the server is shared."""
    with psycopg.connect(superuser_dsn, autocommit=True) as connection:
        connection.execute(f"drop database if exists {name} with (force)")
        connection.execute(f"create database {name}")
        dsn = superuser_dsn.rpartition("/")[0] + "/" + name
        try:
            with psycopg.connect(dsn, autocommit=True) as inside:
                schema = (CORPUS / "schema.sql").read_text()
                if inside.info.server_version < 180000:  # virtual generated columns are new there
                    schema = schema.replace(" virtual", " stored")
                inside.execute(schema.encode())
            yield dsn
        finally:
            connection.execute(f"drop database if exists {name} with (force)")


@pytest.fixture(scope="session")
def facts_dsn(postgres: Server) -> Iterator[str]:
    with fixture_database(postgres.superuser_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def catalog(facts_dsn: str) -> CatalogSnapshot:
    return catalog_of(facts_dsn)


@pytest.fixture(scope="session")
def rewriting_database(any_postgres: Server) -> Iterator[RewritingDatabase]:
    """The database of :mod:`tests.sql.rewrite.database`, once for each version of PostgreSQL."""
    name = "rewriting"
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as connection:
        connection.execute(f"drop database if exists {name} with (force)".encode())
        connection.execute(f"create database {name}".encode())
        dsn = replace(any_postgres, database=name).superuser_dsn
        try:
            with psycopg.connect(dsn, autocommit=True) as inside:
                inside.execute(SCHEMA.encode())
                if inside.info.server_version >= 180000:
                    # 18.6 takes ``ONLY parent`` and ``parent`` for one relation, and drops the rows
                    # of children
                    inside.execute("set enable_self_join_elimination = off")
                yield RewritingDatabase(inside, catalog_of(dsn))
        finally:
            connection.execute(f"drop database if exists {name} with (force)".encode())


def statements(file: str) -> list[str]:
    """The statements of a corpus file: one per ``;`` at a line's end."""
    text = (CORPUS / file).read_text(encoding="utf-8")
    return [part.strip() for part in text.split(";\n") if part.strip()]


def blocks(file: str) -> list[tuple[str, str]]:
    """Label and query of every block of a corpus file; a block begins with a ``-- label`` line
    after an empty one.
    """
    text = (CORPUS / file).read_text(encoding="utf-8")
    queries = []
    for part in text.split("\n\n-- ")[1:]:
        label, _, query = part.partition("\n")
        queries.append((label, query.strip()))
    return queries
