"""What RowDescription must say of every column, against what real servers say: the second lock
depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import pq

from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import analyze
from tests.sql.conftest import fixture_database, statements
from tests.sql.rendering import CONTEXT
from tests.support.postgres import Server
from tests.targets.query import catalog_of

SHAPES = statements("shapes.sql")


@pytest.fixture(scope="module")
def opened(any_postgres: Server) -> Iterator[tuple[pq.PGconn, CatalogSnapshot]]:
    with (
        fixture_database(any_postgres.superuser_dsn, "sql_origins") as dsn,
        psycopg.connect(dsn, autocommit=True) as connection,
    ):
        connection.execute("set search_path = fx, public")
        yield connection.pgconn, catalog_of(dsn)


@pytest.mark.parametrize("sql", SHAPES)
def test_origin(sql: str, opened: tuple[pq.PGconn, CatalogSnapshot]) -> None:
    connection, catalog = opened
    if connection.prepare(b"", sql.encode()).status != pq.ExecStatus.COMMAND_OK:
        pytest.skip("this version of the server does not know this statement")
    described = connection.describe_prepared(b"")
    (facts,) = analyze(sql.encode(), catalog, CONTEXT)
    assert facts.unknowns == ()
    expected = [
        (described.fname(n), described.ftable(n), described.ftablecol(n))
        for n in range(described.nfields)
    ]
    found = [
        (c.name.encode(), c.origin.relation, c.origin.attnum)
        if c.origin
        else (c.name.encode(), 0, 0)
        for c in facts.columns or ()
    ]
    assert found == expected


def test_most_shapes_are_known_to_the_newest_server() -> None:
    assert len(SHAPES) > 140
