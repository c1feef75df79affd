"""What RowDescription must say of every column, against what real servers say: the second lock
depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from msgspec.structs import replace
from psycopg import pq

from sallyport.core.errors import RefusedError
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import analyze
from sallyport.sql.facts import StatementFacts
from sallyport.sql.text import template
from tests.sql.conftest import fixture_database, statements
from tests.sql.rendering import CONTEXT
from tests.support.postgres import Server
from tests.targets.query import catalog_of

SHAPES = statements("shapes.sql")


def origins(facts: StatementFacts) -> list[tuple[bytes, int, int]]:
    return [
        (c.name.encode(), c.origin.relation, c.origin.attnum)
        if c.origin
        else (c.name.encode(), 0, 0)
        for c in facts.columns or ()
    ]


def facts_of_template(sql: str, catalog: CatalogSnapshot) -> StatementFacts | None:
    """What is judged in place of a text: that with parameters for its literals. None where the text
    itself is judged.
    """
    key = template.key(sql.encode())
    if key is None:
        return None
    context = replace(CONTEXT, template=True)
    try:
        (facts,) = analyze(template.with_parameters(key), catalog, context)
    except RefusedError:
        return None
    return None if facts.unknowns else facts


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
    assert origins(facts) == expected
    shared = facts_of_template(sql, catalog)
    assert shared is None or origins(shared) == expected


def test_most_shapes_are_known_to_the_newest_server() -> None:
    assert len(SHAPES) > 140
