"""pg_sleep: refused unless policy names it; then for a time that no data say."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.support.gateway import SHOP_POLICY, Gateway

_NAMED = 'functions: ["pg_catalog.pg_sleep", "pg_catalog.pg_sleep_for", "public.order_total"]'
POLICY = (
    SHOP_POLICY.replace('functions: ["public.order_total"]', _NAMED)
    .replace("packs: [no-ddl, no-unbounded-write]\n", "")
    .replace("rules:\n", "rules:\n  - {name: all kinds of statements, allow: [read, ddl, temp]}\n")
)


@pytest.fixture
def db(make_gateway: Callable[..., Gateway]) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(make_gateway(policy=POLICY).dsn(), autocommit=True) as opened:
        yield opened


def test_named_by_policy_it_waits_and_can_be_canceled(
    db: psycopg.Connection[tuple[object, ...]],
) -> None:
    assert db.execute("SELECT pg_sleep(0), pg_sleep_for('1 ms')").fetchone() == ("", "")
    assert db.execute("SELECT pg_sleep(%s)", [0.01]).fetchone() == ("",)
    db.execute("SET statement_timeout = '50ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        db.execute("SELECT pg_sleep(600)")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT pg_sleep_until(now())",  # not named
        "SELECT pg_sleep(id) FROM products",
        "SELECT pg_sleep(length(c.ssn)) FROM customers c",
        "SELECT pg_sleep((SELECT id FROM products WHERE id = 1))",
        "CREATE VIEW sleepy AS SELECT pg_sleep(1)",
        "CREATE TEMP TABLE sleepy (a text DEFAULT pg_sleep(1)::text)",
        "CREATE INDEX sleepy ON products ((pg_sleep(1)::text))",
        "ALTER TABLE products ADD CHECK (pg_sleep(1) IS NOT NULL)",
    ],
)
def test_not_for_a_time_that_data_say_nor_in_what_is_stored(
    db: psycopg.Connection[tuple[object, ...]], sql: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP1103"):
        db.execute(sql.encode())


def test_that_policy_names_it_is_no_mistake(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(policy=POLICY.replace('"public.order_total"', '"public.no_such"'))
    psycopg.connect(gateway.dsn()).close()
    assert "public.no_such matches nothing" in gateway.output()
    assert "pg_sleep" not in gateway.output()


def test_unless_named_it_is_refused(gateway: Gateway) -> None:
    with (
        psycopg.connect(gateway.dsn(), autocommit=True) as db,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP1103"),
    ):
        db.execute("SELECT pg_sleep(0)")
