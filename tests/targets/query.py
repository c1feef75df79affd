"""A :data:`sallyport.targets.catalog_loader.Query` over libpq's simple protocol, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import pq

from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.targets.catalog_loader import Query, Row, load_catalog


@contextmanager
def simple_query(dsn: str) -> Iterator[Query]:
    """Connect; the query function raises psycopg.Error as the server does."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        raw = connection.pgconn

        async def query(sql: str) -> list[Row]:
            result = raw.exec_(sql.encode())
            if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
                raise psycopg.errors.error_from_result(result, "utf-8")
            return [
                [_text(result.get_value(row, column)) for column in range(result.nfields)]
                for row in range(result.ntuples)
            ]

        yield query


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def catalog_of(dsn: str) -> CatalogSnapshot:
    with simple_query(dsn) as query:
        return asyncio.run(_load(query))


async def _load(query: Query) -> CatalogSnapshot:
    return (await load_catalog(query)).snapshot
