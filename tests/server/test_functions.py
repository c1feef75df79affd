"""SQL functions that are read by their body, over the wire: what their text means moves with
search_path.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import SHOP_POLICY, Gateway
from tests.support.postgres import Server, start_server

SCHEMA = """
CREATE SCHEMA app;
CREATE TABLE app.products (id int, name text);
INSERT INTO app.products SELECT id, 'app ' || id FROM public.products;
GRANT USAGE ON SCHEMA app TO sallyport_agent;
GRANT SELECT ON ALL TABLES IN SCHEMA app TO sallyport_agent;
CREATE FUNCTION public.product(wanted int) RETURNS text LANGUAGE sql STABLE
  AS 'SELECT name FROM products WHERE id = wanted';
CREATE FUNCTION public.bound(wanted int) RETURNS text LANGUAGE sql STABLE
  BEGIN ATOMIC SELECT name FROM public.products WHERE id = wanted; END;
CREATE TABLE app.order_items (id int);
CREATE FUNCTION public.counted() RETURNS bigint LANGUAGE sql STABLE
  AS 'SELECT count(*) FROM order_items';
CREATE VIEW public.named AS SELECT id, public.product(id) AS name FROM public.products;
GRANT SELECT ON public.named TO sallyport_agent;
CREATE FUNCTION public.untrusted_total(int) RETURNS bigint LANGUAGE sql SECURITY DEFINER
  AS 'SELECT count(*) FROM products';
"""
POLICY = SHOP_POLICY.replace("version: 1\n", 'version: 1\nsearch_paths: ["app, public"]\n').replace(
    '    relations: ["public.*"]', '    relations: ["public.*", "app.products"]', 1
)


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer) -> Iterator[Gateway]:
    server: Server = start_server()
    try:
        with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
            connection.execute(SCHEMA)
        running = Gateway(issuer, {"shop": server}, policy=POLICY).start()
        yield running
        running.stop()
    finally:
        server.stop()


@pytest.fixture
def db(gateway: Gateway) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(gateway.dsn(), autocommit=True) as opened:
        yield opened


Session = psycopg.Connection[tuple[object, ...]]


def name(db: Session, sql: str) -> object:
    row = db.execute(sql.encode(), prepare=False).fetchone()
    assert row is not None
    return row[0]


def test_a_prepared_statement_means_what_the_path_says_when_it_runs(db: Session) -> None:
    plain = name(db, "SELECT product(3)")
    db.execute("PREPARE q AS SELECT product(3)")
    assert name(db, "EXECUTE q") == plain != "app 3"
    db.execute("SET search_path = app, public")
    assert name(db, "EXECUTE q") == "app 3"
    assert name(db, "SELECT bound(3)") == plain
    db.execute("RESET search_path")
    assert name(db, "EXECUTE q") == plain


def test_a_statement_of_the_protocol_too(db: Session) -> None:
    for path in ("public", "app, public", "public"):
        db.execute(f"SET search_path = {path}".encode())
        row = db.execute("SELECT product(%s)", [3], prepare=True).fetchone()
        assert row is not None and (row[0] == "app 3") is path.startswith("app")


def test_what_the_path_leads_to_is_judged(db: Session) -> None:
    db.execute("PREPARE q AS SELECT counted()")
    assert name(db, "EXECUTE q")
    db.execute("SET search_path = app, public")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"app\.order_items"):
        db.execute("EXECUTE q")


@pytest.mark.parametrize(
    "query",
    ["SELECT id FROM public.products WHERE product(id) IS NOT NULL", "SELECT id FROM named"],
)
def test_a_cursor_over_text_is_not_read_under_another_path(db: Session, query: str) -> None:
    with db.transaction():
        db.execute(f"DECLARE c CURSOR FOR {query} ORDER BY id".encode())
        assert len(db.execute("FETCH 2 FROM c").fetchall()) == 2
        with db.transaction(force_rollback=True):
            db.execute("SET LOCAL search_path = app, public")
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP1302"),
                db.transaction(),
            ):
                db.execute("FETCH 2 FROM c")
        assert len(db.execute("FETCH 2 FROM c").fetchall()) == 2


def test_a_cursor_over_bound_functions_does_not_mind(db: Session) -> None:
    with db.transaction():
        db.execute("DECLARE c CURSOR FOR SELECT id, bound(id) FROM public.products ORDER BY id")
        assert len(db.execute("FETCH 2 FROM c").fetchall()) == 2
        db.execute("SET LOCAL search_path = app, public")
        assert len(db.execute("FETCH 2 FROM c").fetchall()) == 2


def test_not_in_the_statement_that_moves_the_path(db: Session) -> None:
    """PostgreSQL would look the function's names up after set_config ran."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP1102"):
        db.execute("SELECT set_config('search_path', 'app, public', false), product(3)")
    assert name(db, "SHOW search_path") != "app, public"


def test_refusals_say_why_a_function_is_not_followed(db: Session) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP1103") as caught:
        db.execute("SELECT untrusted_total(1)")
    assert "it resolves names with its owner's privileges" in str(caught.value)
