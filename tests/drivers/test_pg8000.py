"""pg8000: pure Python, extended protocol in text format, unnamed and named statements."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pg8000.dbapi
import pg8000.native
import pytest

from tests.drivers.expected import (
    COLUMNS,
    COMPUTED,
    NOTICE,
    QUERY,
    check_computed,
    check_masked,
    truth,
)
from tests.support.gateway import Gateway


def _arguments(door: Gateway) -> dict:
    context = ssl.create_default_context(cafile=str(door.ca)) if door.ca else False
    return {
        "host": "127.0.0.1", "port": door.port, "user": "claude", "password": door.token(),
        "database": "shop", "ssl_context": context,
    }  # fmt: skip


@pytest.fixture
def db(door: Gateway) -> Iterator[pg8000.native.Connection]:
    connection = pg8000.native.Connection(**_arguments(door))
    yield connection
    connection.close()


def test_run(door: Gateway, db: pg8000.native.Connection) -> None:
    check_masked([tuple(row) for row in db.run(QUERY)], door)


def test_parameters(door: Gateway, db: pg8000.native.Connection) -> None:
    rows = db.run(f"SELECT {COLUMNS} FROM customers WHERE id <= :maximum ORDER BY id", maximum=5)
    check_masked([tuple(row) for row in rows], door)


def test_prepared(door: Gateway, db: pg8000.native.Connection) -> None:
    statement = db.prepare(f"SELECT {COLUMNS} FROM customers WHERE id <= :maximum ORDER BY id")
    for _ in range(3):
        check_masked([tuple(row) for row in statement.run(maximum=5)], door)
    statement.close()


def test_computed_from_masks(door: Gateway, db: pg8000.native.Connection) -> None:
    statement = db.prepare(COMPUTED)
    for _ in range(3):
        check_computed([tuple(row) for row in statement.run()], door)
    statement.close()
    assert [notice[b"M"].decode() for notice in db.notices] == [NOTICE] * 3


def test_a_refusal(db: pg8000.native.Connection) -> None:
    with pytest.raises(pg8000.native.DatabaseError) as refused:
        db.run("TRUNCATE orders")
    fields = refused.value.args[0]
    assert fields["C"] == "42501"
    assert fields["M"].startswith("[SP10")
    assert db.run("SELECT 1") == [[1]]


def test_dbapi_transactions(door: Gateway, spare_products: range) -> None:
    db = pg8000.dbapi.connect(**_arguments(door))
    cursor = db.cursor()
    cursor.execute(
        "INSERT INTO products (id, sku, name, price) VALUES (%s, 'P8', 'x', 1)",
        (spare_products[0],),
    )
    db.rollback()
    cursor.execute(
        "INSERT INTO products (id, sku, name, price) VALUES (%s, 'P8', 'x', 1)",
        (spare_products[1],),
    )
    db.commit()
    db.close()
    assert truth(door, "SELECT id FROM products WHERE id > 9000") == [(spare_products[1],)]
