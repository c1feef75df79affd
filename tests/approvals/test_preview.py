"""Previews against a real server: the plan is of exactly this statement, counts are exact, nothing
runs, failures are said without values.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence

import psycopg
import pytest
from psycopg import pq

from sallyport.approvals.preview.counting import count_of
from sallyport.approvals.preview.measure import Query, measure
from sallyport.approvals.states import Preview
from sallyport.core.errors import SallyportError
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import Context, analyze
from tests.support.postgres import Server
from tests.targets.query import catalog_of

PATH = ("public",)


class ServerError(SallyportError):
    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


@pytest.fixture(scope="module")
def catalog(any_postgres: Server) -> CatalogSnapshot:
    return catalog_of(any_postgres.superuser_dsn)


@pytest.fixture(scope="module")
def query(any_postgres: Server) -> Iterator[Query]:
    """Over one connection for all tests: what one leaves behind, the next one meets."""
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as connection:

        async def run(sql: str) -> Sequence[Sequence[str | None]]:
            result = connection.pgconn.exec_(sql.encode())
            if result.status == pq.ExecStatus.FATAL_ERROR:
                message = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode()
                raise ServerError(
                    message, (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
                )
            assert connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
            return [
                [
                    None if (v := result.get_value(r, c)) is None else v.decode()
                    for c in range(result.nfields)
                ]
                for r in range(result.ntuples)
            ]

        yield run


@pytest.fixture
def preview(query: Query, catalog: CatalogSnapshot):  # type: ignore[no-untyped-def]
    def run(
        sql: str, binds: Sequence[bytes | None] | None = None, formats: Sequence[int] = ()
    ) -> Preview:
        context = Context(search_path=PATH, role=catalog.role, trusted_functions=lambda f: True)
        facts = analyze(sql.encode(), catalog, context)[0]
        return asyncio.run(measure(query, facts, sql, binds, PATH, formats))

    return run


def one(dsn: str, sql: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(sql).fetchone()  # type: ignore[arg-type]
        assert row is not None
        return int(row[0])


COUNTED = [
    "UPDATE orders SET status = 'paid'",
    "UPDATE orders SET status = 'paid' WHERE id < 20",
    "update public.orders as o set status = 'paid' where o.id in (1, 2, 3) -- where returning",
    "DELETE FROM orders WHERE id = 1 RETURNING id, 'where'",
    "DELETE FROM order_items i USING orders o WHERE o.id = i.order_id AND o.id < 10",
    (
        "UPDATE orders o SET status = 'paid' FROM products p, customers c WHERE c.id ="
        " o.customer_id AND p.id < 4"
    ),
    (
        "UPDATE orders SET status = (SELECT status FROM orders WHERE id = 1) WHERE id IN (SELECT id"
        " FROM orders WHERE id > 5)"
    ),
    (
        "WITH w AS (SELECT id FROM orders WHERE id < 5) DELETE FROM orders o USING w WHERE w.id ="
        " o.id RETURNING *"
    ),
    (
        'UPDATE ONLY "orders" "WHERE" SET placed_at = nullif($q$ FROM orders WHERE $q$, $q$ FROM'
        ' orders WHERE $q$)::timestamptz WHERE "WHERE".id > 3'
    ),
    "DELETE FROM orders WHERE status::text = ' where 1 = 1 ' OR id = 7;",
    "TRUNCATE orders, order_items CASCADE",
]


@pytest.mark.parametrize("sql", COUNTED)
def test_counts_are_what_the_statement_would_touch(preview, any_postgres: Server, sql: str) -> None:
    """Compared with the command tag of the statement itself, rolled back."""
    before = one(any_postgres.superuser_dsn, "SELECT count(*) FROM orders")
    counted = preview(sql)
    assert counted.problems == ()
    with psycopg.connect(any_postgres.superuser_dsn) as connection:
        if sql.startswith("TRUNCATE"):
            total = "SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM order_items)"
            assert counted.rows == one(any_postgres.superuser_dsn, total)
            assert "ACCESS EXCLUSIVE" in counted.locks[0] and "public.orders (" in counted.locks[0]
        else:
            connection.execute("SET session_replication_role = replica")
            assert counted.rows == connection.execute(sql).rowcount
            assert json.loads(counted.plan)[0]["Plan"]["Node Type"] == "ModifyTable"
        connection.rollback()
    assert one(any_postgres.superuser_dsn, "SELECT count(*) FROM orders") == before


def test_parameters_count_as_they_would_run(preview) -> None:  # type: ignore[no-untyped-def]
    sql = "UPDATE products SET name = $1 WHERE id < $2"
    text = preview(sql, [b"it's", b"6"])
    assert (text.rows, text.problems) == (5, ())
    binary = preview(sql, [b"x", (6).to_bytes(8, "big")], [0, 1])
    assert (binary.rows, binary.problems) == (5, ())
    nothing = preview("UPDATE products SET name = $1 WHERE id = $2", [b"x", None], [1])
    assert (nothing.rows, nothing.problems) == (0, ())


def test_a_value_is_a_value_and_never_sql(preview) -> None:  # type: ignore[no-untyped-def]
    hostile = b"x'; DELETE FROM orders; --\\'"
    assert preview("UPDATE products SET name = $1 WHERE name = $1", [hostile]).rows == 0
    assert preview("UPDATE orders SET status = status").rows > 0


def test_values_that_cannot_be_read_are_said(preview) -> None:  # type: ignore[no-untyped-def]
    counted = preview("UPDATE orders SET status = 'paid' WHERE id = $1", [b"12three"])
    assert counted.rows is None and counted.plan == ""
    assert "could not be computed: invalid text representation (22P02)" in counted.problems[0]
    assert "12three" not in repr(counted)
    counted = preview("UPDATE orders SET status = 'paid' WHERE id = $1", [b"1", b"2"])
    assert "2 bind values were sent for 1 parameters" in counted.problems[0]
    counted = preview("UPDATE products SET name = $1", [b"\xff\xfe"])
    assert "$1 is not valid for its type" in counted.problems[0]


@pytest.mark.parametrize("how", ["{}::regclass IS NULL", "to_tsvector({}::regconfig, 'x') IS NULL",
                                 "('a.b.' || {})::regclass IS NULL",
                                 "current_setting({}) IS NULL"])  # fmt: skip
def test_names_that_are_data_are_not_repeated(preview, any_postgres: Server, how: str) -> None:
    """Who reads the preview may be somebody for whom policy masks the column."""
    counted = preview(f"DELETE FROM customers WHERE {how.format('email')}")
    assert counted.rows is None and counted.problems and counted.plan
    assert "@" not in " ".join(counted.problems) and "example" not in " ".join(counted.problems)


def test_slow_ones_give_up(preview) -> None:  # type: ignore[no-untyped-def]
    counted = preview("DELETE FROM orders WHERE (SELECT pg_sleep(60)) IS NOT NULL")
    assert counted.rows is None and "longer than 3 s" in counted.problems[0]
    assert counted.plan and counted.seconds < 5


def test_it_waits_for_no_lock(preview, any_postgres: Server) -> None:
    with psycopg.connect(any_postgres.superuser_dsn) as locker:
        locker.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        counted = preview("UPDATE orders SET status = 'paid'")
        locker.rollback()
    assert "somebody holds a lock" in counted.problems[0] and counted.seconds < 2


@pytest.mark.parametrize("more", ["", " AND 1 / (id - id) = 0"], ids=["counted", "failing"])
def test_advisory_locks_are_given_back(preview, any_postgres: Server, more: str) -> None:
    """Taken for the session, they would stand in the way of others for as long as the gateway
    lives.
    """
    counted = preview(f"DELETE FROM orders WHERE pg_advisory_lock(4711) IS NOT NULL{more}")
    assert (counted.rows is None) is bool(more)
    assert one(any_postgres.superuser_dsn, "SELECT pg_try_advisory_lock(4711)::int") == 1


def test_what_writes_while_it_is_counted_does_not(preview) -> None:  # type: ignore[no-untyped-def]
    counted = preview("DELETE FROM orders WHERE nextval('orders_id_seq') > 0")
    assert counted.rows is None and "in a read-only transaction" in counted.problems[0]


def test_schema_changes_name_locks_and_dependants(any_postgres: Server, query: Query) -> None:
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE changed (id int PRIMARY KEY, note text, other int);CREATE INDEX"
            " changed_note ON changed (note);CREATE TABLE refers (id int REFERENCES changed);CREATE"
            " VIEW on_table AS SELECT id, note FROM changed;CREATE VIEW on_view AS SELECT id FROM"
            " on_table;CREATE TABLE child () INHERITS (changed);CREATE FUNCTION names_it() RETURNS"
            " int LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM Changed); END';CREATE"
            " FUNCTION reads_it() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(other) FROM"
            " changed; END"
        )
        try:
            catalog = catalog_of(any_postgres.superuser_dsn)
            context = Context(search_path=PATH, role=catalog.role, trusted_functions=lambda f: True)

            def preview(sql: str) -> Preview:
                return asyncio.run(
                    measure(query, analyze(sql.encode(), catalog, context)[0], sql, None, PATH)
                )

            counted = preview("DROP TABLE changed CASCADE")
            assert counted.problems == ()
            assert (
                counted.locks[0].startswith("ACCESS EXCLUSIVE")
                and "public.changed (" in counted.locks[0]
            )
            assert "The same on 1 partitions" in counted.locks[-1]
            listed = "\n".join(counted.dependants)
            for name in (
                "view on_table", "view on_view", "index changed_note",
                "refers_id_fkey on table refers",
                "table child", "function reads_it()", "function names_it() has changed in its text",
            ):  # fmt: skip
                assert name in listed, listed
            assert "_RETURN" not in listed
            dropped = "\n".join(preview("ALTER TABLE changed DROP COLUMN note CASCADE").dependants)
            assert "changed_note" in dropped and "on_table" in dropped and "on_view" in dropped
            assert "refers" not in dropped and "reads_it()" not in dropped
            assert (
                preview("CREATE INDEX CONCURRENTLY i ON changed (note)")
                .locks[0]
                .startswith("SHARE UPDATE")
            )
            assert preview("CREATE INDEX i ON changed (note)").locks[0].startswith("SHARE:")
        finally:
            connection.execute(
                "DROP FUNCTION names_it(), reads_it(); DROP TABLE changed, refers CASCADE"
            )


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("DELETE FROM orders WHERE CURRENT OF c", "cursor"),
        ("WITH w AS (DELETE FROM a RETURNING id) DELETE FROM orders WHERE id IN (SELECT id FROM w)",
        "changes data"),
        (("MERGE INTO a USING (WITH w AS (DELETE FROM c RETURNING x) SELECT x FROM w) b ON a.x ="
          " b.x WHEN MATCHED THEN DELETE"), "changes data"),
        ("UPDATE a SET x = 1; UPDATE b SET x = 1", "one statement"),
        ("UPDATE other.s.t SET x = 1", "cannot be named"),
        ("nonsense", "syntax error"),
    ],
)  # fmt: skip
def test_what_cannot_be_counted_is_said(sql: str, why: str) -> None:
    count = count_of(sql)
    assert count.sql == "" and why in count.why


MERGES = [
    ("MERGE INTO products p USING (SELECT id FROM products WHERE id < 5) s ON p.id = s.id WHEN"
     " MATCHED THEN UPDATE SET name = 'x'"),
    "MERGE INTO products AS p USING (VALUES (1), (2), (900001), (900002)) AS s (id) ON p.id = s.id"
    " AND (true OR 'when' = 'then') -- on\n"
    "WHEN MATCHED AND p.id = 1 AND s.id > 0 THEN DELETE WHEN MATCHED THEN DO NOTHING"
    " WHEN NOT MATCHED AND s.id > 900001 THEN INSERT (id, name, sku, price) VALUES (s.id, 'n', 'c',"
    " 1)",
    "WITH w AS (SELECT id FROM products WHERE id IN (1, 2, 3)) MERGE INTO ONLY products USING w ON"
    " w.id = products.id"
    " WHEN MATCHED AND CASE WHEN products.id = 2 THEN true ELSE false END THEN UPDATE SET name ="
    " CASE WHEN true THEN 'y' END",
    "MERGE INTO products p USING (SELECT a.id FROM products a JOIN products b ON (a.id = b.id)"
    " WHERE a.id < 4) s ON (p.id = s.id)"
    " WHEN MATCHED THEN DELETE",
]  # fmt: skip


@pytest.mark.parametrize("sql", MERGES)
def test_merges_are_counted_by_action(preview, any_postgres: Server, sql: str) -> None:
    counted = preview(sql)
    assert counted.problems == ()
    with psycopg.connect(any_postgres.superuser_dsn) as connection:
        connection.execute("SET session_replication_role = replica")
        try:
            ran = connection.execute(sql).rowcount  # type: ignore[call-overload]
        except psycopg.Error as error:
            pytest.fail(f"it does not run at all: {error}")
        connection.rollback()
    assert counted.rows == ran
    assert sum(int(line.split()[1]) for line in counted.actions) == ran


def test_merges_say_what_happens(preview) -> None:  # type: ignore[no-untyped-def]
    assert preview(MERGES[1]).actions == ("delete 1", "insert 1")


def test_rows_that_the_source_lacks(any_postgres: Server, preview) -> None:
    if any_postgres.version < "17":
        pytest.skip("WHEN NOT MATCHED BY SOURCE came with PostgreSQL 17")
    total = one(any_postgres.superuser_dsn, "SELECT count(*) FROM products")
    sql = (
        "MERGE INTO products p USING (VALUES (1), (2)) s (id) ON p.id = s.id WHEN NOT MATCHED BY"
        " SOURCE AND p.id > 3 THEN DELETE"
    )
    assert preview(sql).actions == (f"delete {total - 3}",)


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        (("INSERT INTO products (id, name, sku, price) VALUES (90001, 'a', 'b', 1), (90002, 'a',"
          " 'c', 2)"), 2),
        (("INSERT INTO products (id, name, sku, price) SELECT id + 90000, name, sku, price FROM"
          " products WHERE id < 4"), 3),
        ("WITH w AS (SELECT * FROM products WHERE id = 1) INSERT INTO products (id, name, sku,"
         " price)"
         " (SELECT 90000, name, sku, price FROM w) RETURNING id", 1),
        (("INSERT INTO products (id, name, sku, price) SELECT 90001, 'select', 'on conflict', 1"
          " LIMIT 0"), 0),
    ],
)  # fmt: skip
def test_inserts_are_counted(preview, sql: str, rows: int) -> None:  # type: ignore[no-untyped-def]
    counted = preview(sql)
    assert (counted.rows, counted.problems) == (rows, ())


def test_conflicts_are_said(preview) -> None:  # type: ignore[no-untyped-def]
    sql = (
        "INSERT INTO products (id, name, sku, price) SELECT id, name, sku, price FROM products ON"
        " CONFLICT DO NOTHING"
    )
    counted = preview(sql)
    assert counted.rows > 0 and counted.problems == (
        "rows that conflict with others are counted as well",
    )


def test_a_join_inside_of_the_source_stays_there() -> None:
    """Source and condition are put together in another order than in the statement."""
    sql = (
        "MERGE INTO t USING (SELECT * FROM b WHERE x IN (SELECT 1 FROM z JOIN y ON true)) s ON t.id"
        " = s.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1)"
    )
    assert "NOT EXISTS (SELECT 1 FROM t WHERE t.id = s.id)" in count_of(sql).sql


def test_long_chains_of_operators_are_counted() -> None:
    sql = f"DELETE FROM t WHERE {' + '.join(['x'] * 150)} > 2"
    assert count_of(sql).sql.startswith("SELECT pg_catalog.count(*) FROM t WHERE ((((")
