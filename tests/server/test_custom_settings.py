"""Custom settings: only those that policy lists, and by their full name what the database decides
by.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.sql.utility.custom_settings import ANY, is_listed, is_pattern, read_by
from tests.support.gateway import SHOP_POLICY, Gateway
from tests.support.postgres import Server

POLICY = SHOP_POLICY + 'settings: ["app.*", "own.tenant"]\n'


@pytest.fixture(scope="module")
def door(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as db:
        db.execute(
            "create table tenants (tenant text); alter table tenants enable row level"
            " security;create policy p on tenants using (tenant = current_setting('app.tenant',"
            " true) or tenant = current_setting('own.tenant', true));create view seen with"
            " (security_barrier) as select current_setting('app.viewed', true) as v;create function"
            " called() returns text language plpgsql as $$ begin return"
            " current_setting('App.Called', true); end $$;create function defaulted(t text default"
            " current_setting('app.defaulted', true)) returns text language sql stable as"
            " 'select t'"
        )
        running = Gateway(issuer, {"shop": postgres}, policy=POLICY).start()
        try:
            yield running
        finally:
            running.stop()
            db.execute(
                "drop table tenants; drop view seen; drop function called(), defaulted(text)"
            )


def test_what_is_listed_can_be_set_and_read(door: Gateway) -> None:
    with psycopg.connect(door.dsn(), autocommit=True, options="-c app.note=start") as db:
        assert db.execute("show app.note").fetchone() == ("start",)
        db.execute("set app.other = 'x'; set own.tenant = '7'")
        db.execute("select set_config('app.user', %s, false)", ("me",))
        row = db.execute(
            "select current_setting('app.user', true), current_setting('own.tenant')"
        ).fetchone()
        assert row == ("me", "7")
        assert db.execute("select current_setting('app.unset', true)").fetchone() == (None,)
        db.execute("reset app.other")


@pytest.mark.parametrize(
    "sql",
    [
        "set app.tenant = '1'",  # a row-security policy reads it
        "set app.viewed = '1'",
        "set app.called = '1'",
        # a parameter's default reads it, which does not stand where it is called
        "set app.defaulted = '1'",
        'set "App"."TENANT" = \'1\'',
        "select set_config('app.tenant', '1', true)",
        "reset app.tenant",
        "set other.x = '1'",
        "show other.x",
        "select current_setting('other.x', true)",
        "set sallyport.x = '1'",
        "select current_setting('sallyport.key', true)",
        "show sallyport.key",
        "select set_config('app.note', email, false) from customers",
        "select set_config('app.note', (select email from customers limit 1), false)",
        "select set_config('app.' || 'tenant', '1', false)",
        "set own.other = '1'",
    ],
)
def test_what_is_not_listed_is_refused(door: Gateway, sql: str) -> None:
    with (
        psycopg.connect(door.dsn(), autocommit=True) as db,
        pytest.raises(psycopg.Error) as failure,
    ):
        db.execute(sql.encode())
    assert "[SP1" in str(failure.value)


def test_a_verdict_is_not_that_of_another_name(door: Gateway) -> None:
    with psycopg.connect(door.dsn(), autocommit=True) as db:
        for _ in range(3):
            db.execute("select current_setting('app.note', true)")
            db.execute("select set_config('app.note', 'x', false)")
            for sql in (
                b"select current_setting('other.key', true)",
                b"select set_config('other.key', 'x', false)",
            ):
                with pytest.raises(psycopg.Error) as failure:
                    db.execute(sql)
                assert "[SP1" in str(failure.value)


def test_none_by_default(gateway: Gateway) -> None:
    for sql in (
        b"set app.note = '1'",
        b"show app.note",
        b"select current_setting('app.note', true)",
    ):
        with (
            psycopg.connect(gateway.dsn(), autocommit=True) as db,
            pytest.raises(psycopg.Error) as failure,
        ):
            db.execute(sql)
        assert "[SP1" in str(failure.value)


def test_what_a_definition_reads() -> None:
    assert read_by(["(t = current_setting('App.Tenant'::text, true))"]) == {"app.tenant"}
    for dynamic in (
        "current_setting('app.' || x)",
        "current_setting(name)",
        "current_setting(E'app\\x2ex')",
        'pg_catalog."current_setting"(x)',
        "select setting from pg_settings",
        "show app.x",
    ):
        assert ANY in read_by([dynamic]), dynamic
    assert is_listed("app.x", ["app.*"], frozenset())
    assert not is_listed("app.x", ["app.*"], frozenset({ANY}))
    assert is_listed("app.x", ["app.x"], frozenset({ANY}))
    assert not is_pattern("*")
    assert not is_pattern("sallyport.*")
    assert not is_pattern("_pq_.x")


def bound(door: Gateway, sql: str, values: tuple[str | None, ...]) -> str | None:
    """What a statement with parameters of the extended protocol gives, or the code of its
    refusal.
    """
    with psycopg.connect(door.dsn(), autocommit=True) as db:
        try:
            row = db.execute(sql.encode(), values).fetchone()
        except psycopg.Error as error:
            return str(error).partition("]")[0].strip("[")
        return None if row is None else row[0]


@pytest.mark.parametrize(
    ("sql", "values", "expected"),
    [
        ("select set_config(%s, %s, false)", ("app.user", "me"), "me"),
        ("select set_config(%s, %s, false)", ("own.tenant", "7"), "7"),
        ("select set_config(%s, %s, true)", ("statement_timeout", "900"), "900ms"),
        ("select set_config('statement_timeout', %s, false)", ("1s",), "1s"),
        ("select set_config(%s, 'public', false)", ("search_path",), "public"),
        ("select set_config('search_path', %s, false)", ("pg_catalog",), "pg_catalog"),
        # a row-security policy reads it
        ("select set_config(%s, %s, false)", ("app.tenant", "1"), "SP1301"),
        ("select set_config(%s, %s, false)", ("App.Tenant", "1"), "SP1301"),
        ("select set_config(%s, %s, false)", ("app.tenant", None), "SP1301"),
        ("select set_config(%s, %s, false)", ("other.x", "1"), "SP1301"),
        ("select set_config(%s, %s, false)", ("sallyport.x", "1"), "SP1301"),
        ("select set_config(%s, %s, false)", ("role", "postgres"), "SP1301"),
        ("select set_config(%s, %s, false)", ("session_replication_role", "replica"), "SP1301"),
        ("select set_config('search_path', %s, false)", ("pg_temp, other",), "SP1302"),
        ("select set_config(%s, %s, false)", ("Search_Path", "other"), "SP1302"),
        ("select set_config(%s::name, %s, false)", ("app.user", "1"), "SP1102"),
        ("select set_config(%s || '', %s, false)", ("app.user", "1"), "SP1102"),
        ("select set_config(%s, email, false) from customers", ("app.user",), "SP1102"),
        ("select current_setting(%s, true)", ("app.unset",), None),
        ("select current_setting(%s, true)", ("APP.note",), None),
        ("select current_setting(%s, true)", ("other.x",), "SP1103"),
        ("select current_setting(%s, true)", ("sallyport.key",), "SP1103"),
    ],
)
def test_names_and_values_that_arrive_at_bind(
    door: Gateway, sql: str, values: tuple[str | None, ...], expected: str | None
) -> None:
    assert bound(door, sql, values) == expected


def test_what_a_parameter_sets_is_in_force_for_what_follows(door: Gateway) -> None:
    with psycopg.connect(door.dsn(), autocommit=True) as db:
        db.execute("select set_config(%s, %s, false)", ("search_path", "pg_catalog"))
        with pytest.raises(psycopg.errors.UndefinedTable):
            db.execute("select name from products")
        for path in ("pg_catalog", "public"):  # the same statement, prepared by the driver at last
            for _ in range(6):
                db.execute("select set_config('search_path', %s, false)", (path,))
        assert db.execute("select name from products limit 1").fetchone() is not None
        with db.pipeline():
            db.execute("select set_config(%s, %s, false)", ("search_path", "pg_catalog"))
            db.execute("select set_config(%s, %s, false)", ("search_path", "public"))
            cursor = db.execute("select name from products limit 1")
        assert cursor.fetchone() is not None
