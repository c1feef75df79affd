"""pg_dump through the gateway: the schema as it is, data with masks, and what is secret
left out.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import PRIVACY, SHOP_POLICY, Gateway
from tests.support.postgres import Server
from tests.support.psql import client_program

POLICY = SHOP_POLICY.replace(
    "masks:\n",
    "  - {name: agents read functions, subjects: {groups: [claude-postgres]}, allow:"
    " [function-source]}\nmasks:\n",
)
#: A key that pg_dump makes for psql, and the version of a server.
_OWN = re.compile(r"^\\(un)?restrict .*$", re.M)
SETUP = """
create extension if not exists postgres_fdw;
create server elsewhere foreign data wrapper postgres_fdw options (host 'secret-host.example',
  dbname 'x');
create foreign table public.afar (id int) server elsewhere options (table_name 'secret_table');
create function public.how() returns text language sql as $$ select 'in the source' $$;
create view public.sources with (security_invoker = false) as select proname, prosrc from pg_proc;
create function public.missing() returns setof text
  language sql stable as $$ select attmissingval::text from pg_attribute $$;
create function public.queries() returns setof text language sql stable as $$ select query
  from pg_stat_activity $$;
create view public.conninfo as select srvoptions from pg_foreign_server;
create function public.options() returns setof text[] language sql stable as $$ select srvoptions
  from pg_foreign_server $$;
grant select on public.sources, public.afar, public.conninfo to public;
"""


@pytest.fixture(scope="module")
def server(any_postgres: Server) -> Iterator[Server]:
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as db:
        db.execute(SETUP)
        try:
            yield any_postgres
        finally:
            db.execute(
                "drop server elsewhere cascade; drop function public.how(); drop function"
                " public.options();drop function public.missing(); drop function public.queries();"
                " drop view public.conninfo;drop view public.sources; drop extension postgres_fdw"
            )


@pytest.fixture(scope="module")
def door(issuer: DevIssuer, server: Server) -> Iterator[Gateway]:
    running = Gateway(issuer, {"shop": server}, policy=POLICY).start()
    yield running
    running.stop()


def _dump(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return subprocess.run(
        [client_program("pg_dump"), "--no-owner", "--no-privileges", *arguments, f"--dbname={dsn}"],
        capture_output=True,
        text=True,
        env=env,
        timeout=120,
        check=False,
    )


def _plain(dsn: str) -> str:
    return dsn.replace("sslmode=verify-full", "sslmode=disable")


def test_the_schema_is_that_of_the_database(door: Gateway, server: Server) -> None:
    through = _dump(door.dsn(), "--schema-only")
    assert through.returncode == 0, through.stderr
    assert "in the source" in through.stdout
    assert "secret" not in through.stdout
    direct = _dump(_plain(server.superuser_dsn), "--schema-only")
    assert direct.returncode == 0, direct.stderr
    assert "secret-host.example" in direct.stdout
    # but for what is not told: options of servers and foreign tables
    expected = re.sub(r" OPTIONS \(\n[^;]*\)(?=;)|\nOPTIONS \(\n[^;]*\n\)(?=;)", "", direct.stdout)
    assert _OWN.sub("", through.stdout) == _OWN.sub("", expected)


def test_a_table_is_dumped_with_masks(door: Gateway, server: Server) -> None:
    through = _dump(door.dsn(), "--table=customers", "--table=orders_2024")
    assert through.returncode == 0, through.stderr
    with psycopg.connect(server.superuser_dsn) as db:
        raw = db.execute("select email, ssn from customers").fetchall()
        (count,) = db.execute("select count(*) from customers").fetchone() or (0,)
    copied = through.stdout.partition("COPY public.customers ")[2].partition("\\.\n")[0]
    assert copied.count("\n") == count + 1
    assert not [value for row in raw for value in row if value and value in through.stdout]
    assert "***@example" in copied


def test_without_function_source_there_is_no_dump_of_functions(door: Gateway) -> None:
    refused = _dump(door.dsn(door.token(PRIVACY)), "--schema-only")
    assert refused.returncode != 0
    assert "[SP1001] function-source is not allowed" in refused.stderr
    assert _dump(door.dsn(door.token(PRIVACY)), "--table=products").returncode == 0


READS_SOURCE = [
    "select prosrc from pg_proc limit 1",
    "select * from pg_proc limit 1",
    "select p from pg_proc p limit 1",
    "select count(*) from pg_proc where prosrc like '%x%'",
    "select row_to_json(p) from pg_proc p limit 1",
    "select pg_get_functiondef('public.how'::regproc)",
    "select pg_catalog.pg_get_function_sqlbody('public.how'::regproc)",
    "select proconfig from pg_proc limit 1",
    "select routine_definition from information_schema.routines limit 1",
    "copy (select prosrc from pg_proc limit 1) to stdout",
    "explain select prosrc from pg_proc",
    "declare c cursor for select prosrc from pg_proc",
    "with a as (select prosrc from pg_proc) select 1 from a limit 1",
    "prepare x as select prosrc from pg_proc",
]


@pytest.mark.parametrize("sql", READS_SOURCE)
def test_the_source_of_functions_needs_an_action(door: Gateway, sql: str) -> None:
    with psycopg.connect(door.dsn(door.token(PRIVACY))) as db:
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as failure:
            db.execute(sql.encode())
        assert "SP1001" in str(failure.value)
    with psycopg.connect(door.dsn()) as db:
        if sql.startswith("copy"):
            with db.cursor().copy(sql.encode()) as copy:
                assert b"".join(copy)
        else:
            db.execute(sql.encode())


@pytest.mark.parametrize(
    "sql",
    [
        "select prosrc from sources",  # a view that another made
        "select * from options()",
        "select * from missing()",
        "select * from queries()",
        "select * from conninfo",
        (
            "select row(p.prosrc, s.srvoptions, a.rolpassword) from pg_proc p, pg_foreign_server s,"
            " pg_authid a"
        ),
        (
            "select row(p.prosrc, d.datacl, x.subconninfo) from pg_proc p, pg_database d,"
            " pg_subscription x, pg_authid"
        ),
    ],
)
def test_function_source_opens_nothing_else(door: Gateway, sql: str) -> None:
    with (
        psycopg.connect(door.dsn(), autocommit=True) as db,
        pytest.raises(psycopg.Error) as failure,
    ):
        db.execute(sql.encode())
    assert "[SP" in str(failure.value)


@pytest.mark.parametrize(
    "sql",
    [
        "select srvoptions from pg_foreign_server",
        "select ftoptions from pg_foreign_table",
        "select fdwoptions from pg_foreign_data_wrapper",
        "select rolconfig from pg_roles",
        "select useconfig from pg_user",
        (
            "select array(select option_value from pg_options_to_table(srvoptions)) from"
            " pg_foreign_server"
        ),
        "select to_jsonb(s)->>'srvoptions' from pg_foreign_server s",
        "copy (select srvoptions from pg_foreign_server) to stdout",
    ],
)
def test_options_and_settings_are_not_told(door: Gateway, sql: str) -> None:
    with psycopg.connect(door.dsn(), autocommit=True) as db:
        if sql.startswith("copy"):
            with db.cursor().copy(sql.encode()) as copy:
                assert b"".join(copy) == b"\\N\n"
            return
        rows = db.execute(sql.encode()).fetchall()
        assert rows
        assert {row[0] if row[0] != [] else None for row in rows} == {None}


def test_roles_and_servers_are_listed_whole(door: Gateway) -> None:
    with psycopg.connect(door.dsn(), autocommit=True) as db:
        assert db.execute("select * from pg_roles where rolname = current_user").fetchone()
        assert db.execute(
            "select tableoid::regclass::text, srvname from pg_foreign_server"
        ).fetchall() == [("pg_foreign_server", "elsewhere")]
        assert db.execute("select count(*) from pg_subscription").fetchone() == (0,)
        assert db.execute("select * from pg_seclabels").fetchall() == []


@pytest.mark.parametrize(
    ("sql", "passes"),
    [
        ("select set_config(name, 'off', false) from pg_settings where name = 'jit'", True),
        (
            (
                "select set_config(name, 'view', false) from pg_settings where name ="
                " 'restrict_nonsystem_relation_kind'"
            ),
            True,
        ),
        (
            (
                "select set_config('bytea_output', 'hex', false) from pg_show_all_settings() where"
                " name = 'bytea_output'"
            ),
            True,
        ),
        (
            (
                "select set_config('role', 'postgres', false) from pg_show_all_settings() where"
                " name = 'role'"
            ),
            False,
        ),
        (
            (
                "select set_config('bytea_output', setting, false) from pg_show_all_settings()"
                " where name = 'bytea_output'"
            ),
            False,
        ),
        (
            (
                "select set_config('bytea_output', 'hex', false) from pg_show_all_settings() where"
                " setting = 'hex'"
            ),
            False,
        ),
        ("select setting from pg_show_all_settings() where name = 'bytea_output'", False),
        ("select set_config(name, 'postgres', false) from pg_settings where name = 'role'", False),
        ("select set_config(name, 'hr', false) from pg_settings where name = 'search_path'", False),
        (
            "select set_config(name, 'off', false) from pg_settings where name = 'jit' or true",
            False,
        ),
        ("select set_config(name, 'off', false) from pg_settings where name <> 'jit'", False),
        ("select set_config(name, 'off', false) from pg_settings where 'jit' = name", False),
        (
            (
                "select set_config(name, 'off', false) from pg_settings s(setting, name) where name"
                " = 'jit'"
            ),
            False,
        ),
        (
            (
                "select set_config(name, 'off', false) from (select 'role' as name) s where name ="
                " 'role'"
            ),
            False,
        ),
        ("select set_config(name, 'off', false) from products where name = 'jit'", False),
        (
            "select set_config(name, 'off', false) from pg_settings, products where name = 'jit'",
            False,
        ),
        ("select set_config(setting, 'off', false) from pg_settings where name = 'jit'", False),
        ("select set_config(name, setting, false) from pg_settings where name = 'jit'", False),
        (
            (
                "select set_config(name, 'off', false), set_config('role', 'x', false) from"
                " pg_settings where name = 'jit'"
            ),
            False,
        ),
    ],
)
def test_a_setting_named_by_its_row(door: Gateway, sql: str, passes: bool) -> None:
    with psycopg.connect(door.dsn(), autocommit=True) as db:
        if passes:
            db.execute(sql.encode())
            return
        with pytest.raises(psycopg.Error) as failure:
            db.execute(sql.encode())
        assert "[SP" in str(failure.value)


def test_locking_as_reading_does_needs_to_read(door: Gateway) -> None:
    with psycopg.connect(door.dsn()) as db:
        db.execute("lock table customers, products in access share mode")
    for sql in (
        "lock table customers in row share mode",
        "lock table customers",
        "lock table pg_authid in access share mode",
        "lock table products in access share mode; lock table products in share mode",
    ):
        with psycopg.connect(door.dsn()) as db, pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute(sql.encode())
