"""Statements with masks in them: what is planned, counted and sampled is the text that the target
would get.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import pq

from sallyport.approvals.preview.counting import sample_of
from sallyport.approvals.preview.measure import Query, measure, measure_held
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.judge import Judge, Verdict
from sallyport.masking.sqlmasks import hash_settings
from sallyport.policy.file.load import parse_policy
from sallyport.session.held import HeldStatement
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from tests.support.postgres import Server
from tests.targets.query import catalog_of

POLICY = """\
version: 1
rules:
  - {name: works, allow: [read, write], relations: ["public.*"]}
masks:
  - {columns: ["public.customers.email"], with: email, write_filter: masked}
  - {columns: ["public.customers.phone"], with: {partial: {keep_last: 4}}}
  - {columns: ["public.customers.ssn"], with: {hash: {key: tokens}}}
  - {columns: ["public.customers.notes"], with: redact}
  - {columns: ["public.customers.birth_date"], with: {date: {precision: year}}, filter: equality}
"""
KEY = Secret("a key of these tests")


@pytest.fixture(scope="module")
def catalog(any_postgres: Server) -> CatalogSnapshot:
    return catalog_of(any_postgres.superuser_dsn)


@pytest.fixture
def connection(any_postgres: Server) -> Iterator[psycopg.Connection[object]]:
    options = " ".join(f"-c {name}={value}" for name, value in hash_settings("tokens", KEY).items())
    with psycopg.connect(
        any_postgres.superuser_dsn, autocommit=True, options=options
    ) as connection:
        yield connection


@pytest.fixture
def query(connection: psycopg.Connection[object]) -> Query:
    async def run(sql: str) -> list[list[str | None]]:
        result = connection.pgconn.exec_(sql.encode())
        assert result.status != pq.ExecStatus.FATAL_ERROR, result.error_message
        return [
            [
                None if (v := result.get_value(r, c)) is None else v.decode()
                for c in range(result.nfields)
            ]
            for r in range(result.ntuples)
        ]

    return run


def judged(catalog: CatalogSnapshot, sql: str, *, rewritten: bool = True) -> tuple[Verdict, str]:
    """The verdict, and the text that is sent."""
    keys = {"tokens": KEY}
    judge = Judge(
        "shop", parse_policy(POLICY, "policy.yaml"), catalog, keys, max_statement_bytes=1 << 20
    )
    script = judge.subject_judge(
        Subject("agent", "https://idp.test", frozenset()), ("public",)
    ).judge(sql.encode())
    verdict = script.statements[0]
    assert verdict.refusal is None, verdict.refusal
    sent = script.sent(sql.encode()).decode()
    assert (sent != sql) is rewritten
    return verdict, sent


DOMAIN = "split_part(c.email, '@', 2) = 'example.com'"
COUNTED = [
    f"UPDATE orders o SET status = 'paid' FROM customers c WHERE c.id = o.customer_id AND {DOMAIN}",
    f"UPDATE orders o SET total = 0 FROM customers c, (SELECT id, phone FROM customers) d WHERE"
    f" c.id = o.customer_id AND {DOMAIN}"
    " AND d.id = c.id AND right(d.phone, 2) < '50' RETURNING o.id, 'where'",
    (f"DELETE FROM order_items i USING orders o JOIN customers c ON c.id = o.customer_id WHERE o.id"
     f" = i.order_id AND {DOMAIN}"),
    ("DELETE FROM order_items WHERE order_id IN (SELECT o.id FROM orders o, customers c WHERE c.id"
     " = o.customer_id AND c.ssn LIKE 'tok_%')"),
    f"WITH w AS (SELECT c.id FROM customers c WHERE {DOMAIN} AND c.notes = '[redacted]') DELETE"
    f" FROM order_items i USING w, orders o"
    " WHERE o.customer_id = w.id AND i.order_id = o.id",
    "INSERT INTO products (sku, name, price) SELECT 'c' || c.id, 'a name', 1 FROM customers c WHERE"
    " c.phone IS NOT NULL AND c.email LIKE '%@%'"
    " ON CONFLICT DO NOTHING",
    "WITH w AS (SELECT c.id, c.ssn FROM customers c WHERE c.ssn < 'tok_8') INSERT INTO products"
    " (sku, name, price)"
    " SELECT 'c' || w.id, 'a name', 1 FROM w",
    ("UPDATE orders SET total = 0 WHERE customer_id = (SELECT min(c.id) FROM customers c WHERE"
     " c.birth_date < '1980-01-01')"),
    "UPDATE customers SET city = 'x' WHERE email LIKE '%@example.com' AND id < 50",
]  # fmt: skip


@pytest.mark.parametrize("sql", COUNTED)
def test_what_is_counted_is_what_the_masks_let_it_touch(
    catalog: CatalogSnapshot, query: Query, connection: psycopg.Connection[object], sql: str
) -> None:
    verdict, sent = judged(catalog, sql)
    preview = asyncio.run(measure(query, verdict.facts, sent, None, ("public",), masked=True))
    notes = ["rows that conflict with others are counted as well"] if "ON CONFLICT" in sql else []
    assert list(preview.problems) == notes
    assert json.loads(preview.plan)[0]["Plan"]["Node Type"] == "ModifyTable"
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL session_replication_role = replica")
        assert preview.rows == connection.execute(sent.encode()).rowcount > 0


UNMASKED = "UPDATE orders SET status = 'paid' WHERE id = 1"
KEYED = "UPDATE customers SET city = 'x' WHERE id = 1"


@pytest.mark.parametrize(("sql", "costs"), [(COUNTED[0], False), (KEYED, False), (UNMASKED, True)])
def test_a_plan_tells_no_statistics_of_what_is_masked(
    catalog: CatalogSnapshot, query: Query, sql: str, costs: bool
) -> None:
    verdict, sent = judged(catalog, sql, rewritten=sql == COUNTED[0])
    held = HeldStatement(
        sql, None, (), (), ("public",), "", "", (), sent, in_transaction=False, verdict=verdict
    )
    preview = asyncio.run(measure_held(query, held))
    assert preview.rows is not None and "ModifyTable" in preview.plan
    told = [name in preview.plan for name in ("Plan Width", "Plan Rows", "Total Cost")]
    assert told == [costs] * 3


def test_merge_with_masks_is_counted_by_action(catalog: CatalogSnapshot, query: Query) -> None:
    if catalog.server_version < 150000:
        pytest.skip("MERGE came with PostgreSQL 15")
    sql = (
        "MERGE INTO products p USING (SELECT c.id, c.phone FROM customers c WHERE c.email LIKE"
        " '%@%') s ON s.id = p.id WHEN MATCHED AND right(s.phone, 1) < '5' THEN UPDATE SET stock ="
        " 0 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN DO NOTHING"
    )
    verdict, sent = judged(catalog, sql)
    preview = asyncio.run(measure(query, verdict.facts, sent, None, ("public",), masked=True))
    assert preview.problems == ()
    deleted, updated = preview.actions
    assert deleted.startswith("delete ") and updated.startswith("update ")


def test_a_plan_that_is_too_long_leaves_the_count(catalog: CatalogSnapshot, query: Query) -> None:
    """The expressions of masks stand in it more than once."""
    many = " UNION ALL ".join(f"SELECT id FROM orders WHERE id = {n}" for n in range(1, 71))
    sql = (
        f"DELETE FROM order_items i USING customers c, ({many}) o WHERE o.id = i.order_id AND"
        " c.email LIKE '%@%'"
    )
    verdict, sent = judged(catalog, sql)
    preview = asyncio.run(measure(query, verdict.facts, sent, None, ("public",), masked=True))
    assert preview.problems == ("the plan is too long to be shown",)
    assert preview.plan == "" and preview.rows is not None and preview.rows > 0


@pytest.mark.parametrize("sql", [sql for sql in COUNTED if sql[:6] in ("UPDATE", "DELETE")])
def test_a_sample_has_the_rows_that_the_masks_choose(
    catalog: CatalogSnapshot, connection: psycopg.Connection[object], sql: str
) -> None:
    _, sent = judged(catalog, sql)
    sample = sample_of(sent, 10)
    assert sample.sql, sample.why
    rows = len(connection.execute(sample.sql.encode()).fetchall())
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL session_replication_role = replica")
        assert bool(rows) == bool(connection.execute(sent.encode()).rowcount)
