"""psycopg 3: simple and extended protocol, text and binary, prepared, pipelined, COPY, cursors,
cancel.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg
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


@pytest.fixture
def db(door: Gateway) -> Iterator[psycopg.Connection]:
    with psycopg.connect(door.dsn(), autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("binary", [False, True])
def test_extended_query(door: Gateway, db: psycopg.Connection, binary: bool) -> None:
    check_masked(db.execute(QUERY, (), binary=binary).fetchall(), door)


def test_simple_query(door: Gateway) -> None:
    with psycopg.connect(door.dsn(), cursor_factory=psycopg.ClientCursor) as db:
        check_masked(db.execute(QUERY).fetchall(), door)


@pytest.mark.parametrize("binary", [False, True])
def test_prepared_and_executed_often(door: Gateway, db: psycopg.Connection, binary: bool) -> None:
    sql = f"SELECT {COLUMNS} FROM customers WHERE id <= %s ORDER BY id"
    for _ in range(3):
        check_masked(db.execute(sql, (5,), prepare=True, binary=binary).fetchall(), door)


@pytest.mark.parametrize("binary", [False, True])
def test_computed_from_masks(door: Gateway, db: psycopg.Connection, binary: bool) -> None:
    notices: list[str | None] = []
    db.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    for _ in range(3):
        cursor = db.execute(COMPUTED, prepare=True, binary=binary)
        assert {cursor.pgresult.ftable(number) for number in range(5)} == {0}
        check_computed(cursor.fetchall(), door)
    assert notices == [NOTICE] * 3


def test_computed_from_masks_in_a_simple_query_a_cursor_and_copy(door: Gateway) -> None:
    notices: list[str | None] = []
    with psycopg.connect(door.dsn(), cursor_factory=psycopg.ClientCursor) as db:
        db.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        advice: list[str] = []
        db.add_notice_handler(
            lambda notice: advice.append(f"{notice.message_detail} {notice.message_hint}")
        )
        check_computed(db.execute(COMPUTED).fetchall(), door)
        assert notices == [NOTICE]
        assert "share a mask" in advice[0] and "such as a key" in advice[0]
        with db.cursor("computed") as cursor:
            cursor.itersize = 2
            check_computed(list(cursor.execute(COMPUTED)), door)
        with db.cursor().copy(f"COPY ({COMPUTED}) TO STDOUT") as copy:
            copy.set_types(["int4", "text", "text", "text", "date"])
            check_computed(list(copy.rows()), door)
    assert set(notices) == {NOTICE}


def test_parameters_compare_with_masks(door: Gateway, db: psycopg.Connection) -> None:
    sql = "SELECT count(*) FROM customers WHERE email = %s"
    ((real,),) = truth(door, "SELECT email FROM customers WHERE id = 1")
    for _ in range(2):
        assert db.execute(sql, (real,), prepare=True).fetchone() == (0,)
        (count,) = db.execute(sql, ("m***@example.net",), prepare=True).fetchone()
        assert count > 1


def test_an_error_names_a_place_in_the_text_of_the_client(db: psycopg.Connection) -> None:
    """The server's positions are in the text with masks."""
    sql = "SELECT upper(email), 7 FROM customers WHERE id = 'x'"
    with pytest.raises(psycopg.errors.InvalidTextRepresentation) as failed:
        db.execute(sql)
    assert failed.value.diag.statement_position == str(sql.index("'x'") + 1)
    assert failed.value.diag.message_primary == 'invalid input syntax for type integer: "x"'


def test_an_error_quotes_the_mask(db: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidTextRepresentation, match=r'"\*{7}3775"'):
        db.execute("SELECT ssn::int FROM customers WHERE id = 1")


def test_binary_parameters_of_many_types(db: psycopg.Connection) -> None:
    import datetime
    from decimal import Decimal
    from uuid import UUID

    from psycopg.types.json import Jsonb

    values = (
        1, 2**40, 1.5, Decimal("12.34"), "zürich ☃", b"\x00\xff", True, None,
        datetime.date(2024, 2, 29),
        datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), UUID(int=7), [1, 2, None],
        Jsonb({"a": [1, None]}),
    )  # fmt: skip
    casts = ["int4", "int8", "float8", "numeric", "text", "bytea", "bool", "text", "date"]
    casts += ["timestamptz", "uuid", "int4[]", "jsonb"]
    sql = "SELECT " + ", ".join(f"%b::{cast}" for cast in casts)
    row = db.execute(sql, values, binary=True).fetchone()
    assert row == (*values[:-1], {"a": [1, None]})


def test_a_pipeline(door: Gateway, db: psycopg.Connection) -> None:
    with db.pipeline():
        cursors = [db.execute(QUERY) for _ in range(20)]
    for cursor in cursors:
        check_masked(cursor.fetchall(), door)


def test_a_refusal_in_a_pipeline_skips_until_sync_and_no_further(
    door: Gateway, db: psycopg.Connection
) -> None:
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP1001"),
        db.pipeline() as pipeline,
    ):
        first = db.execute("SELECT 1")
        pipeline.sync()
        db.execute("DELETE FROM customers WHERE id = 1")
        db.execute("UPDATE products SET stock = -1 WHERE id = 1")
        pipeline.sync()
    assert first.fetchone() == (1,)
    assert truth(door, "SELECT count(*) FROM products WHERE stock = -1") == [(0,)]
    check_masked(db.execute(QUERY).fetchall(), door)


def test_a_refusal_aborts_the_transaction_as_an_error_would(door: Gateway) -> None:
    with psycopg.connect(door.dsn()) as db:
        db.execute("UPDATE products SET stock = stock + 1 WHERE id = 2")
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
            db.execute("DELETE FROM customers WHERE id = 1")
        assert refused.value.diag.sqlstate == "42501"
        assert refused.value.diag.message_primary.startswith("[SP")
        assert refused.value.diag.message_detail
        assert refused.value.diag.message_hint
        assert db.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            db.execute("SELECT 1")
        db.rollback()
        assert db.execute("SELECT 1").fetchone() == (1,)


def test_savepoints(door: Gateway) -> None:
    with psycopg.connect(door.dsn()) as db:
        before = db.execute("SELECT stock FROM products WHERE id = 3").fetchone()
        with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction():
            db.execute("TRUNCATE orders")
        assert db.execute("SELECT stock FROM products WHERE id = 3").fetchone() == before


@pytest.mark.parametrize("options", ["", "(FORMAT csv)", "(FORMAT binary)"])
def test_copy_out(door: Gateway, db: psycopg.Connection, options: str) -> None:
    with db.cursor().copy(f"COPY customers TO STDOUT {options}") as copy:
        data = b"".join(bytes(piece) for piece in copy)
    assert b"Mei Silva" in data
    check_no_secrets(data, door)


@pytest.mark.parametrize("binary", [False, True])
def test_copy_out_rows(door: Gateway, db: psycopg.Connection, binary: bool) -> None:
    sql = f"COPY ({QUERY}) TO STDOUT {'(FORMAT binary)' if binary else ''}"
    with db.cursor().copy(sql) as copy:
        copy.set_types(["int4", "text", "text", "text", "text", "text", "date"])
        check_masked(list(copy.rows()), door)


@pytest.mark.parametrize("binary", [False, True])
def test_copy_in(
    door: Gateway, db: psycopg.Connection, spare_products: range, binary: bool
) -> None:
    sql = f"COPY products (id, sku, name) FROM STDIN {'(FORMAT binary)' if binary else ''}"
    with pytest.raises(psycopg.errors.NotNullViolation), db.cursor().copy(sql) as copy:
        copy.set_types(["int4", "text", "text"])
        copy.write_row((9001, "A", "B"))
    sql = sql.replace("name)", "name, price)")
    with db.cursor().copy(sql) as copy:
        copy.set_types(["int4", "text", "text", "numeric"])
        for i in spare_products:
            copy.write_row((i, f"SKU-{i}", "tab\tand\\n", 2))
    assert truth(door, "SELECT count(*), min(name) FROM products WHERE id > 9000") == [
        (len(spare_products), "tab\tand\\n")
    ]


def test_a_server_side_cursor(door: Gateway) -> None:
    with psycopg.connect(door.dsn()) as db, db.cursor("people") as cursor:
        cursor.itersize = 2
        cursor.execute(QUERY)
        check_masked(list(cursor), door)


def test_a_cursor_can_move(door: Gateway) -> None:
    with psycopg.connect(door.dsn()) as db, db.cursor("people", scrollable=True) as cursor:
        cursor.execute("SELECT id, ssn FROM customers ORDER BY id")
        cursor.scroll(10)
        number, ssn = cursor.fetchone()
        assert number == 11
        assert ssn[-4:] == "9294"
        assert ssn != "330-19-9294"


def test_streaming_row_by_row(door: Gateway, db: psycopg.Connection) -> None:
    rows = list(db.cursor().stream(QUERY))
    check_masked(rows, door)


def test_executemany_and_returning(
    door: Gateway, db: psycopg.Connection, spare_products: range
) -> None:
    cursor = db.cursor()
    cursor.executemany(
        "INSERT INTO products (id, sku, name, price) VALUES (%s, %s, 'x', 1) RETURNING id",
        [(i, f"M-{i}") for i in spare_products[:50]],
        returning=True,
    )
    ids = [cursor.fetchone()[0]]
    while cursor.nextset():
        ids.append(cursor.fetchone()[0])
    assert ids == list(spare_products[:50])


def test_cancel(db: psycopg.Connection) -> None:
    timer = threading.Timer(0.5, db.cancel)
    timer.start()
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        db.execute(
            "SELECT count(*) FROM orders a, orders b, orders c WHERE a.total + b.total +"
            " c.total < 0"
        )
    timer.join()
    assert time.monotonic() - started < 20
    assert db.execute("SELECT 1").fetchone() == (1,)


def test_errors_of_the_server_come_through(db: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        db.execute("SELECT 1 / 0")
    with pytest.raises(psycopg.errors.SyntaxError):
        db.execute("SELEC 1")
    with pytest.raises(psycopg.errors.UndefinedTable):
        db.execute("SELECT * FROM nothing")


def test_a_large_result(door: Gateway, db: psycopg.Connection) -> None:
    sql = (
        "SELECT o.id, c.email FROM orders o JOIN customers c ON c.id = o.customer_id ORDER BY o.id"
    )
    rows = db.execute(sql).fetchall()
    assert len(rows) == 6000
    check_no_secrets(repr(rows), door)


def test_what_psycopg_knows_of_the_connection(db: psycopg.Connection) -> None:
    assert db.info.parameter_status("client_encoding") == "UTF8"
    assert db.info.parameter_status("standard_conforming_strings") == "on"
    assert db.info.server_version >= 140000
    assert db.info.backend_pid


def test_empty_query(db: psycopg.Connection) -> None:
    assert db.execute("").description is None
    assert db.execute("  -- only a comment").description is None


async def _async_rows(dsn: str) -> list[tuple]:
    async with await psycopg.AsyncConnection.connect(dsn) as db:
        return await (await db.execute(QUERY)).fetchall()


def test_async(door: Gateway) -> None:
    import asyncio

    check_masked(asyncio.run(_async_rows(door.dsn())), door)
