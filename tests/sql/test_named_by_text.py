"""What a text argument names is what the server says it names, or the call is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from sallyport.sql.analysis import Context
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import analyze
from sallyport.sql.facts import StatementFacts
from sallyport.targets.catalog_loader import load_catalog, refreshed_catalog
from tests.support.postgres import Server
from tests.targets.query import catalog_of, simple_query

LONG = "s" * 63
SEQUENCES = (
    "sq", '"Sq"', '"SQ"', "sq_longer", '"sq "', '"a.b"', '"12345"', '"é"', '"É"', '"ß"', '"x""y"',
    '"s"', LONG,
)  # fmt: skip

SETUP = """
create table owners (id serial primary key, "Id" int generated always as identity, plain int,
  "two" serial);
create sequence second owned by owners.two;
create table "Owners" (id serial);
create sequence moved owned by owners.plain;
create schema other;
create table other.owners (id serial);
create domain short as varchar(9);
create domain plain as text;
create view settings as select * from pg_settings;
create function setting_names() returns setof text stable language sql
  as $$ select name from pg_settings $$;
create function tag() returns text immutable language sql as $$ select 'public.sq' $$;
"""


@pytest.fixture(scope="module")
def database(any_postgres: Server) -> Iterator[str]:
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as connection:
        connection.execute("drop database if exists named_by_text with (force)")
        connection.execute("create database named_by_text")
        dsn = any_postgres.superuser_dsn.rpartition("/")[0] + "/named_by_text"
        with psycopg.connect(dsn, autocommit=True) as inside:
            inside.execute(SETUP)
            for number in range(100, 20_000, 700):
                inside.execute(f"create schema tenant_{number}")
            for name in SEQUENCES:
                inside.execute(f"create sequence {name}")  # type: ignore[arg-type]
        yield dsn
        connection.execute("drop database named_by_text with (force)")


@pytest.fixture(scope="module")
def snapshot(database: str) -> CatalogSnapshot:
    return catalog_of(database)


def facts(snapshot: CatalogSnapshot, sql: str) -> StatementFacts:
    (statement,) = analyze(sql.encode(), snapshot, Context(("pg_catalog", "public")))
    return statement


ARGUMENTS = (
    "'sq'", "'public.sq'", "'SQ'", "'Public.Sq'", "'\"Sq\"'", "'\"SQ\"'", "'public.\"Sq\"'",
    "'sq_longer'",
    "'sq'::text", "'sq'::regclass", "'public.sq'::varchar", "'public.sq'::regclass",
    "'sq'::text::regclass",
    "'public.sq_longer'::varchar(9)", "'sq_longer'::varchar(2)", "'sq_longer'::char(2)",
    "'sq '::bpchar",
    "'sq_longer'::\"char\"", "'sq_longer'::short", "'sq'::plain", "'sq'::name", "'sq'::name::text",
    f"'{LONG}'", f"'{LONG}xyz'", f"'{LONG}xyz'::name", f"'{LONG}xyz'::name::text",
    "'sq'::regclass::text", "'\"Sq\"'::regclass::text", "'sq' || ''", "concat('s', 'q')", "tag()",
    "pg_get_serial_sequence('owners', 'id')", "pg_get_serial_sequence('OWNERS', 'Id')",
    "pg_get_serial_sequence('owners', 'ID')",
    "pg_get_serial_sequence('public.owners', 'plain')", "pg_get_serial_sequence('owners', 'two')",
    "pg_get_serial_sequence('owners'::text, 'id'::text)",
    "pg_get_serial_sequence('\"Owners\"', 'id')",
    "pg_get_serial_sequence('other.owners', 'id')::regclass",
    "pg_get_serial_sequence('owners', 'idd'::varchar(2))",
    "pg_get_serial_sequence('ownersx'::varchar(6), 'id')",
    "pg_get_serial_sequence('owners'::regclass::text, 'id')",
    "pg_get_serial_sequence('owners', 'id'::name)",
    "pg_get_serial_sequence('owners', 'id')::varchar(8)",
    "pg_get_serial_sequence('owners', 'i' || 'd')",
    "lower('SQ')", "'12345'", "'\"12345\"'", "'0012345'", "'a.b'", "'\"a.b\"'", "' sq '", "'sq. '",
    "'\"sq \"'", "'sq '", "'É'", "'é'", "'\"É\"'", "'ß'", "'\"x\"\"y\"'", "'public . sq'",
    "'sq_longer'::varchar(9)::text",
    "'sq'::cstring::text", "(array['sq'])[1]", "(select 'sq')", "coalesce(null, 'sq')", "'S'",
    "'public.sq'::xml::text", "e's\\x71'", "u&'s\\0071'", "$$sq$$", "'-'", "''",
    "'named_by_text.public.sq'",
)  # fmt: skip


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("call", ["setval({}, 77)", "nextval({})"])
def test_the_sequence_that_is_judged_is_the_one_that_moves(
    database: str, snapshot: CatalogSnapshot, call: str, argument: str
) -> None:
    sql = f"select {call.format(argument)}"
    judged = facts(snapshot, sql)
    if judged.unknowns:
        return
    (access,) = judged.accesses
    with psycopg.connect(database) as connection:
        before = _states(connection)
        connection.execute(sql.encode())
        moved = {oid for oid, state in _states(connection).items() if state != before[oid]}
        connection.rollback()
        for oid in moved:
            connection.execute("select setval(%s::oid::regclass, 1, false)", (oid,))
        connection.commit()
    assert moved == {access.relation}


def _states(connection: psycopg.Connection[tuple[object, ...]]) -> dict[int, object]:
    return {
        oid: connection.execute(f"select last_value, is_called from {name}").fetchone()
        for oid, name in connection.execute(
            "select oid, oid::regclass::text from pg_class where relkind = 'S'"
        ).fetchall()
    }


@pytest.mark.parametrize(
    "argument",
    [
        "'sq'",
        "'public.\"Sq\"'",
        "'SQ'",
        "'sq'::text",
        "'public.sq'::regclass",
        "'é'",
        f"'{LONG}'",
        "pg_get_serial_sequence('owners', 'id')",
        "pg_get_serial_sequence('public.owners', 'Id')",
        "pg_get_serial_sequence('owners', 'plain')::regclass",
    ],
)
def test_plain_names_are_understood(snapshot: CatalogSnapshot, argument: str) -> None:
    assert not facts(snapshot, f"select setval({argument}, 7)").unknowns


def test_a_name_that_is_looked_up_at_run_time_says_so(snapshot: CatalogSnapshot) -> None:
    assert facts(snapshot, "select nextval('sq'::text)").resolves_names_at_run_time
    assert not facts(snapshot, "select nextval('sq')").resolves_names_at_run_time


PATHS = (
    "'tenant_100'", "'tenant_100'::text", "'tenant_10000'::varchar(10)", "'tenant_10000'::varchar",
    "'tenant_10000'::char(10)",
    "'tenant_10000'::bpchar", "'tenant_100'::name", "'tenant_100'::name::text",
    "'tenant_100'::short::text", "'tenant_10000'::short",
    "'tenant_100' || ''", "'TENANT_100'", "'\"TENANT_100\"'", "'tenant_100, public'",
    "'tenant_100'::plain", "'tenant_10000'::\"char\"",
    "'tenant_10000'::varchar(10)::text", f"'{'t' * 70}'", f"'{'t' * 70}'::name",
)  # fmt: skip


@pytest.mark.parametrize("value", PATHS)
@pytest.mark.parametrize(
    "name",
    ["'search_path'", "'SEARCH_PATH'", "'search_pathology'::varchar(11)", "'search_path'::name"],
)
@pytest.mark.parametrize("local", ["false", "'f'", "'tru'", "'off'", "'of'", "' y '"])
def test_the_path_that_is_judged_is_the_one_that_is_set(
    database: str, snapshot: CatalogSnapshot, name: str, value: str, local: str
) -> None:
    sql = f"select set_config({name}, {value}, {local})"
    judged = facts(snapshot, sql)
    if judged.unknowns:
        return
    (change,) = judged.settings
    with psycopg.connect(database) as connection:
        connection.execute(sql.encode())
        assert connection.execute("show search_path").fetchone() == (change.value,)
        connection.commit()
        kept = connection.execute("show search_path").fetchone() == (change.value,)
    assert change.name == "search_path"
    assert change.local is not kept


@pytest.mark.parametrize(
    "argument",
    [
        "'TimeZone'::char(8)",
        "'TimeZones'::varchar(8)",
        "'TimeZone' || ''",
        "'TimeZone'::name",
        "$1::name",
        "$1::varchar(8)",
    ],
)
def test_a_setting_is_named_by_a_plain_text(snapshot: CatalogSnapshot, argument: str) -> None:
    assert facts(snapshot, f"select current_setting({argument})").unknowns


def test_a_parameter_that_another_place_may_type_names_no_setting(
    snapshot: CatalogSnapshot,
) -> None:
    assert not facts(snapshot, "select current_setting($1)").unknowns
    assert not facts(snapshot, "select current_setting($1::text)").unknowns
    assert facts(snapshot, "select current_setting($1), $1::name").unknowns


@pytest.mark.parametrize(
    "sql",
    [
        "select s.name, pg_catalog.current_setting(s.name) from pg_settings s where s.source <> ''",
        "select count(*) from (select current_setting(name) as v from pg_settings) x where v <> ''",
        "with s as (select name as n from pg_settings) select current_setting(n, true) from s",
    ],
)
def test_settings_are_read_by_the_rows_that_show_them(snapshot: CatalogSnapshot, sql: str) -> None:
    assert not facts(snapshot, sql).unknowns


@pytest.mark.parametrize(
    "sql",
    [
        "select current_setting(category) from pg_settings",
        "select current_setting(name || '') from pg_settings",
        "select current_setting(name) from settings",
        "select current_setting(v.name) from settings v, pg_settings",
        "select current_setting(n) from setting_names() n",
        "select current_setting(coalesce(n, name)) from pg_settings, setting_names() n",
        "select current_setting(n) from (select name from pg_settings union select 'x') s (n)",
        "with recursive s (n) as (select name from pg_settings union select 'x' from s)"
        " select current_setting(n) from s",
        "select current_setting(n) from (values ((select name from pg_settings)), ('x')) v (n)",
        "select current_setting(name) from pg_settings natural right join (select 'x') v (name)",
        "select current_setting(name) from pg_settings natural full join (select 'x') v (name)",
        "select current_setting(name) from (select 'x') v (name) natural left join pg_settings",
    ],
)
def test_other_rows_name_no_setting(snapshot: CatalogSnapshot, sql: str) -> None:
    assert [unknown.code for unknown in facts(snapshot, sql).unknowns] == ["SP1103"]


def test_a_sequence_that_changes_hands_is_another_catalog(database: str) -> None:
    async def look() -> None:
        connection.execute("create sequence handed; create table hands (a int, b int)")
        before = await load_catalog(query)
        for owner in ("hands.a", "hands.b", "none"):
            connection.execute(f"alter sequence handed owned by {owner}")  # type: ignore[arg-type]
            after = await refreshed_catalog(query, before)
            assert after.snapshot.epoch != before.snapshot.epoch
            before = after

    with simple_query(database) as query, psycopg.connect(database, autocommit=True) as connection:
        asyncio.run(look())
