"""asyncpg: always extended protocol, always binary, type introspection through pg_catalog, its own
statement cache.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from tests.drivers.expected import (
    COLUMNS,
    COMPUTED,
    NOTICE,
    QUERY,
    check_computed,
    check_masked,
    check_no_secrets,
    truth,
)
from tests.support.gateway import Gateway


def _run(door: Gateway, work: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        context = ssl.create_default_context(cafile=str(door.ca)) if door.ca else False
        db = await asyncpg.connect(
            host="127.0.0.1",
            port=door.port,
            user="claude",
            password=door.token(),
            database="shop",
            ssl=context,
        )
        try:
            return await work(db)
        finally:
            await db.close(timeout=60)

    return asyncio.run(main())


def test_fetch(door: Gateway) -> None:
    rows = _run(door, lambda db: db.fetch(QUERY))
    check_masked([tuple(row) for row in rows], door)


def test_prepared_with_parameters(door: Gateway) -> None:
    async def work(db: asyncpg.Connection) -> list[list[tuple]]:
        statement = await db.prepare(f"SELECT {COLUMNS} FROM customers WHERE id <= $1 ORDER BY id")
        return [[tuple(row) for row in await statement.fetch(5)] for _ in range(3)]

    for rows in _run(door, work):
        check_masked(rows, door)


def test_computed_from_masks(door: Gateway) -> None:
    notices: list[str] = []

    async def work(db: asyncpg.Connection) -> list[list[tuple]]:
        db.add_log_listener(lambda _, notice: notices.append(notice.message))
        statement = await db.prepare(COMPUTED.replace("LIMIT 5", "LIMIT $1"))
        return [[tuple(row) for row in await statement.fetch(5)] for _ in range(3)]

    for rows in _run(door, work):
        check_computed(rows, door)
    assert notices == [NOTICE] * 3


def test_types_that_need_introspection(door: Gateway) -> None:
    """An enum, an array, jsonb: asyncpg asks pg_catalog about the types it does not know."""

    async def work(db: asyncpg.Connection) -> Any:
        order = await db.fetchrow(
            "SELECT status, total FROM orders WHERE id = $1 AND status = $2", 1, "shipped"
        )
        product = await db.fetchrow("SELECT tags, attributes FROM products WHERE id = 2")
        return tuple(order), tuple(product)

    order, product = _run(door, work)
    assert order[0] == "shipped"
    assert product[0] == ["sale", "gift"]
    assert '"colour"' in product[1]


def test_cursors_in_a_transaction(door: Gateway) -> None:
    async def work(db: asyncpg.Connection) -> list[tuple]:
        async with db.transaction():
            return [tuple(row) async for row in db.cursor(QUERY, prefetch=2)]

    check_masked(_run(door, work), door)


def test_copy_out_and_in(door: Gateway, spare_products: range) -> None:
    received: list[bytes] = []

    async def take(data: bytes) -> None:
        received.append(data)

    async def work(db: asyncpg.Connection) -> None:
        await db.copy_from_query(
            "SELECT * FROM customers WHERE id < $1", 100, output=take, format="csv"
        )
        await db.copy_from_table("customers", output=take, format="binary")
        records = [(i, f"AS-{i}", "x", 3) for i in spare_products]
        await db.copy_records_to_table(
            "products", records=records, columns=["id", "sku", "name", "price"]
        )

    _run(door, work)
    assert b"Mei Silva" in b"".join(received)
    check_no_secrets(b"".join(received), door)
    assert truth(door, "SELECT count(*) FROM products WHERE id > 9000") == [(len(spare_products),)]


def test_executemany_and_refusal(door: Gateway, spare_products: range) -> None:
    async def work(db: asyncpg.Connection) -> Any:
        await db.executemany(
            "INSERT INTO products (id, sku, name, price) VALUES ($1, $2, 'x', 1)",
            [(i, f"EM-{i}") for i in spare_products[:100]],
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="SP1002"):
            await db.execute("DELETE FROM orders")
        return await db.fetchval("SELECT count(*) FROM products WHERE sku LIKE 'EM-%'")

    assert _run(door, work) == 100


def test_a_pool(door: Gateway) -> None:
    """Pools reset connections with a script of their own."""

    async def main() -> list[Any]:
        context = ssl.create_default_context(cafile=str(door.ca)) if door.ca else False
        async with asyncpg.create_pool(
            host="127.0.0.1", port=door.port, user="claude", password=door.token(), database="shop",
            ssl=context, min_size=2, max_size=4,
        ) as pool:  # fmt: skip
            return await asyncio.gather(*(pool.fetchval("SELECT $1::int", i) for i in range(40)))

    assert asyncio.run(main()) == list(range(40))


def test_a_timeout_cancels(door: Gateway) -> None:
    async def work(db: asyncpg.Connection) -> Any:
        with pytest.raises(TimeoutError):
            await db.fetch(
                "SELECT count(*) FROM orders a, orders b, orders c WHERE a.total < b.total",
                timeout=0.5,
            )
        return await db.fetchval("SELECT 1")

    assert _run(door, work) == 1
