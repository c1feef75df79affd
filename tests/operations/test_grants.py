"""``sallyport grants`` against a real PostgreSQL: after its script the gateway works as before, and
past the gateway the role can do no more than the policy could ever allow.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from importlib import resources

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server, start_server

#: Beside the shop: things that the policy says nothing about, or says something special about.
MORE = """
CREATE SCHEMA "odd ""schema";
CREATE TABLE "odd ""schema"."a; DROP TABLE x" (id int, "we""ird" text);
CREATE SCHEMA hr;
CREATE TABLE hr.pay (id serial PRIMARY KEY, who text, amount int);
CREATE TABLE public.diary (id serial PRIMARY KEY, day date, line text, secret text);
CREATE SCHEMA app;
CREATE TABLE app.hidden (id int, public_part text, never text);
CREATE VIEW app.behind WITH (security_invoker) AS SELECT h.id, h.public_part FROM app.hidden h;
CREATE VIEW app.further WITH (security_invoker) AS SELECT b.public_part FROM app.behind b
  WHERE b.id > 0;
CREATE VIEW public.pay_view AS SELECT who, amount FROM hr.pay;
CREATE FUNCTION public.untrusted() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION public.constant() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION public.status_of(wanted int, word text DEFAULT 'is ') RETURNS text
  LANGUAGE sql STABLE AS
  'SELECT word || status::text FROM orders WHERE id = wanted';
CREATE FUNCTION public.status_twice(wanted int) RETURNS text LANGUAGE sql STABLE
  BEGIN ATOMIC SELECT public.status_of(wanted, 'a ') || public.status_of(wanted); END;
CREATE FUNCTION public.status_owned(wanted int) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
  BEGIN ATOMIC SELECT status::text FROM public.orders WHERE id = wanted; END;
CREATE FUNCTION public.only_in_view(wanted int) RETURNS text LANGUAGE sql STABLE AS
  'SELECT sku FROM public.products WHERE id = wanted';
CREATE FUNCTION public.first_of(list anyarray) RETURNS anyelement LANGUAGE sql AS 'SELECT list[1]';
CREATE FUNCTION public.joined(glue text, VARIADIC parts text[]) RETURNS text LANGUAGE sql
  AS 'SELECT array_to_string(parts, glue)';
CREATE FUNCTION public.pay_of(wanted int) RETURNS int LANGUAGE sql STABLE
  AS 'SELECT amount FROM hr.pay WHERE id = wanted';
CREATE FUNCTION public.owned_pay(wanted int) RETURNS int LANGUAGE sql STABLE SECURITY DEFINER
  BEGIN ATOMIC SELECT amount FROM hr.pay WHERE id = wanted; END;
CREATE FUNCTION public.diary_secret() RETURNS text LANGUAGE sql STABLE
  AS 'SELECT max(secret) FROM public.diary';
CREATE FUNCTION public.writes_pay() RETURNS int LANGUAGE sql
  AS 'INSERT INTO hr.pay (who) VALUES (''x'') RETURNING id';
CREATE VIEW public.with_status AS SELECT id, public.only_in_view(id::int) AS sku
  FROM public.products;
CREATE FUNCTION public."tru""sted"(a integer, b text[] DEFAULT '{}') RETURNS integer LANGUAGE sql
  AS 'SELECT a';
INSERT INTO hr.pay (who, amount) VALUES ('ann', 7);
INSERT INTO app.hidden VALUES (1, 'shown', 'never shown');
GRANT USAGE ON SCHEMA hr, app, "odd ""schema" TO sallyport_agent;
GRANT ALL ON ALL TABLES IN SCHEMA hr, app, "odd ""schema", public TO sallyport_agent;
GRANT ALL ON ALL SEQUENCES IN SCHEMA hr, public TO sallyport_agent;
GRANT CREATE ON SCHEMA public TO PUBLIC;
GRANT CREATE, TEMPORARY ON DATABASE shop TO sallyport_agent;
GRANT SELECT ON hr.pay TO PUBLIC;
GRANT SELECT (id) ON "odd ""schema"."a; DROP TABLE x" TO PUBLIC;
CREATE EXTENSION dblink;
CREATE EXTENSION citext;
"""

RULES = """
  - name: a diary is kept
    subjects: {groups: [claude-postgres]}
    targets: [shop]
    allow: [insert]
    columns: ["public.diary.day", "public.diary.line"]
  - name: nobody reads the secret of the diary
    deny: [read]
    columns: ["public.diary.secret"]
  - name: the customers' table is not for locking
    subjects: {groups: [claude-postgres]}
    hold: [delete]
    relations: ["public.payments"]
    when: has(subject.claims.night_shift)
    reviewers: {groups: [dba]}
  - name: hidden is only shown through a view
    subjects: {groups: [claude-postgres]}
    allow: [read, update]
    relations: ["app.further"]
"""


def policy() -> str:
    demo = resources.files("sallyport.demo").joinpath("policy.yaml").read_text()
    demo = demo.replace('["public.order_total"]', '["public.order_total", "public.tru*"]')
    demo = demo.replace("rules:\n", "rules:" + RULES, 1)
    assert RULES in demo
    return demo


#: What the policy gives, through the gateway, before and after alike.
WORKS = [
    (
        "SELECT id, name, email, ssn, card_number, birth_date, notes FROM customers ORDER BY id"
        " LIMIT 3"
    ),
    "SELECT count(*) FROM payments",
    "SELECT o.*, c.city FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id = 7",
    "SELECT * FROM orders_2025 WHERE id < 3000 ORDER BY id",
    "SELECT order_id, email, status FROM customer_orders WHERE order_id = 5",
    "SELECT order_total(9)",
    'SELECT public."tru""sted"(3)',
    "SELECT who, amount FROM pay_view",
    "SELECT constant(), first_of(ARRAY[1, 2]), joined('-', 'a', 'b')",
    "SELECT status_of(12), status_of(word => '', wanted => 13), status_twice(14), status_owned(15)",
    "SELECT sku FROM with_status WHERE id = 3",
    "SELECT public_part FROM app.further",
    "INSERT INTO orders (customer_id, placed_at) VALUES (5, '2026-03-01') RETURNING status, total",
    (
        "INSERT INTO products (id, sku, name, price) VALUES (9000, 'SKU-9000', 'Test', 5) ON"
        " CONFLICT (id) DO UPDATE SET stock = 3"
    ),
    "UPDATE orders SET status = 'paid'::order_status WHERE id = 12",
    "UPDATE products SET stock = stock + 1 WHERE sku = 'SKU-00003'",
    "INSERT INTO diary (day, line) VALUES ('2026-01-01', 'quiet')",
    "SELECT day, line FROM diary",
    "EXPLAIN SELECT * FROM products WHERE id = 4",
    "SELECT relname FROM pg_catalog.pg_class WHERE relname = 'customers'",
    "COPY (SELECT id, sku FROM products ORDER BY id LIMIT 2) TO STDOUT",
    "WITH gone AS (SELECT 1) SELECT name, price FROM products, gone WHERE stock > 390",
]

#: What the policy never gives anybody, as the role, past the gateway.
FAILS = [
    "DELETE FROM products WHERE id = 1",
    "TRUNCATE payments",
    "UPDATE customers SET name = 'x' WHERE id = 1",
    "UPDATE pay_view SET amount = 0",
    "INSERT INTO customers (name, email, city) VALUES ('x', 'x@example.com', 'Boston')",
    "SELECT secret FROM diary",
    "SELECT * FROM diary",
    "INSERT INTO diary (secret) VALUES ('x')",
    "UPDATE diary SET line = 'x'",
    "SELECT * FROM hr.pay",
    "INSERT INTO hr.pay (who) VALUES ('x')",
    'SELECT * FROM "odd ""schema"."a; DROP TABLE x"',
    "SELECT never FROM app.hidden",
    "SELECT * FROM app.hidden",
    "UPDATE app.hidden SET never = 'x'",
    "SELECT setval('orders_id_seq', 1)",
    "SELECT public.untrusted()",
    "SELECT public.pay_of(1)",
    "SELECT public.owned_pay(1)",
    "SELECT public.diary_secret()",
    "SELECT public.writes_pay()",
    "SELECT * FROM dblink('dbname=shop', 'select 1') AS t(a int)",
    "CREATE TABLE public.mine (a int)",
    "CREATE TEMPORARY TABLE mine (a int)",
    "CREATE SCHEMA mine",
    "ALTER TABLE orders ADD COLUMN x int",
    "DROP TABLE products",
    "LOCK TABLE customers IN EXCLUSIVE MODE",
    "SELECT id FROM customers FOR UPDATE",
    "COPY customers TO PROGRAM 'cat'",
    (
        "CREATE TRIGGER t BEFORE INSERT ON products FOR EACH ROW EXECUTE FUNCTION"
        " suppress_redundant_updates_trigger()"
    ),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = start_server()
    with psycopg.connect(running.superuser_dsn, autocommit=True) as connection:
        connection.execute(MORE)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, server: Server) -> Iterator[Gateway]:
    running = Gateway(issuer, {"shop": server}, policy=policy()).start()
    yield running
    running.stop()


def grants(gateway: Gateway, *words: str) -> subprocess.CompletedProcess[str]:
    return gateway.run("grants", "--target", "shop", *words)


def answers(dsn: str, statements: list[str]) -> list[object]:
    """Rows of each statement, or its SQLSTATE; every write is rolled back."""
    replies: list[object] = []
    with psycopg.connect(dsn) as connection:
        for sql in statements:
            try:
                if sql.startswith("COPY"):
                    with connection.cursor().copy(sql) as copy:  # type: ignore[call-overload]
                        replies.append(b"".join(copy))
                    continue
                cursor = connection.execute(sql)  # type: ignore[call-overload]
                replies.append(cursor.fetchall() if cursor.description else cursor.rowcount)
            except psycopg.Error as error:
                replies.append((error.sqlstate, str(error)))
            finally:
                connection.rollback()
    return replies


@pytest.fixture(scope="module")
def before(gateway: Gateway) -> list[object]:
    return answers(gateway.dsn(), WORKS)


@pytest.fixture(scope="module")
def script(gateway: Gateway, before: list[object], server: Server) -> str:
    """The script, applied twice: the second time changes nothing and does not fail."""
    checked = grants(gateway, "--check")
    assert checked.returncode == 1
    assert "too much: CREATE, TEMPORARY on database shop\n" in checked.stdout
    assert "too much: TRUNCATE, REFERENCES, TRIGGER, MAINTAIN on public.orders\n" in checked.stdout
    done = grants(gateway)
    assert done.returncode == 0, done.stderr
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        connection.execute(done.stdout.encode())
        privileges = "SELECT relname, relacl::text FROM pg_class ORDER BY oid"
        once = connection.execute(privileges).fetchall()
        connection.execute(done.stdout.encode())
        assert connection.execute(privileges).fetchall() == once
    return done.stdout


def test_everything_works_through_the_gateway_as_before(
    gateway: Gateway, script: str, before: list[object]
) -> None:
    refused = [(sql, a) for sql, a in zip(WORKS, before, strict=True) if isinstance(a, tuple)]
    assert refused == []
    assert answers(gateway.dsn(), WORKS) == before


@pytest.mark.parametrize("sql", FAILS)
def test_past_the_gateway_the_role_fails_at_the_rest(server: Server, script: str, sql: str) -> None:
    with (
        psycopg.connect(server.agent_dsn) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(sql)  # type: ignore[call-overload]


def test_afterwards_nothing_is_too_much_or_missing(gateway: Gateway, script: str) -> None:
    checked = grants(gateway, "--check", "--json")
    said = json.loads(checked.stdout)
    assert (said["excess"], said["missing"]) == ([], [])
    assert checked.returncode == 0
    assert said["role"] == "sallyport_agent"


def test_the_script_says_why(script: str) -> None:
    assert script.count("BEGIN;") == script.count("COMMIT;") == 1
    assert '--   SELECT: rule "agents read the shop"' in script
    assert (
        'DELETE: rule "the customers\' table is not for locking" (after approval) (under a'
        " condition)" in script
    )
    assert (
        "masked by the gateway, not by PostgreSQL: email, phone, ssn, card_number, birth_date,"
        " notes" in script
    )
    assert (
        'GRANT SELECT ("id", "day", "line"), INSERT ("day", "line") ON TABLE "public"."diary"'
        in script
    )
    assert (
        'GRANT SELECT ("id", "public_part"), UPDATE ("public_part") ON TABLE "app"."hidden"'
        in script
    )
    assert "behind app.behind, a view with security_invoker" in script
    assert 'GRANT SELECT, USAGE ON SEQUENCE "public"."diary_id_seq"' in script
    assert 'GRANT EXECUTE ON ROUTINE public."tru""sted"(a integer, b integer[])' not in script
    assert 'GRANT EXECUTE ON ROUTINE public."tru""sted"(a integer, b text[])' in script
    assert "GRANT EXECUTE ON ROUTINE public.status_of(wanted integer, word text)" in script.replace(
        '"', ""
    )
    assert "What this script does not narrow" in script
    assert "public.status_owned runs with its owner's privileges (SECURITY DEFINER)" in script


def test_no_name_ends_a_comment(script: str) -> None:
    for line in script.splitlines():
        assert line == "" or line.startswith(
            ("--", "BEGIN;", "COMMIT;", "SET LOCAL ", "GRANT ", "REVOKE ")
        )


def test_public_can_be_left_alone(gateway: Gateway, script: str) -> None:
    kept = grants(gateway, "--keep-public").stdout
    assert "FROM PUBLIC;" not in kept
    assert "made with --keep-public" in kept


def test_powers_are_named(gateway: Gateway, server: Server, script: str) -> None:
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE ROLE strong BYPASSRLS CREATEROLE IN ROLE pg_read_all_data; CREATE TABLE hr.own"
            " (a int);ALTER TABLE hr.own OWNER TO strong; ALTER DEFAULT PRIVILEGES IN SCHEMA hr"
            " GRANT SELECT ON TABLES TO strong;GRANT SET ON PARAMETER log_statement TO strong"
        )
        try:
            checked = grants(gateway, "--check", "--role", "strong")
        finally:
            connection.execute("DROP OWNED BY strong; DROP ROLE strong")
    assert checked.returncode == 1
    for words in (
        "has BYPASSRLS",
        "has CREATEROLE",
        "strong owns table hr.own",
        "is a member of pg_read_all_data",
        "privileges on parameter log_statement",
        "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA hr REVOKE ALL ON TABLES FROM strong",
        "too much: SELECT on hr.pay",
    ):
        assert words in checked.stdout, checked.stdout


def test_what_is_missing_is_listed(gateway: Gateway, server: Server, script: str) -> None:
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        connection.execute("REVOKE SELECT ON products FROM sallyport_agent")
        checked = grants(gateway, "--check")
        connection.execute("GRANT SELECT ON products TO sallyport_agent")
    assert checked.returncode == 0
    assert "missing: SELECT on public.products\n" in checked.stdout


def test_mistakes_are_one_line(gateway: Gateway) -> None:
    for words, said in (
        (("--role", "no'b\\ody"), "there is no role"),
        (("--target", "shoop"), "no target 'shoop'"),
    ):
        done = grants(gateway, *words)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
