"""Settings that clients send when they connect: they may say what SET may say, and are refused with
the same words.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import asyncpg
import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import PRIVACY, SHOP_POLICY, Gateway
from tests.support.postgres import Server
from tests.support.psql import client_program

#: As PGOPTIONS has them, and what SHOW says then.
TAKEN = [
    ("-c default_transaction_read_only=on", "default_transaction_read_only", "on"),
    ("-cjit=off", "jit", "off"),
    ("--work-mem=64MB", "work_mem", "64MB"),
    ("-csearch_path=public", "search_path", "public"),
    ("-c search_path=", "search_path", ""),
    ("-c search_path=pg_catalog", "search_path", "pg_catalog"),
    (r"-c search_path=\"$user\",\ public", "search_path", '"$user", public'),
    ("-c row_security=off", "row_security", "off"),
    ("-c client_min_messages=warning", "client_min_messages", "warning"),
    ("-c enable_seqscan=off -c lock_timeout=5s", "lock_timeout", "5s"),
    ("-c statement_timeout=0", "statement_timeout", "0"),
    (
        "-c default_transaction_isolation=serializable",
        "default_transaction_isolation",
        "serializable",
    ),
    (
        r"-c default_transaction_isolation=repeatable\ read",
        "default_transaction_isolation",
        "repeatable read",
    ),
    ("-c plan_cache_mode=force_custom_plan", "plan_cache_mode", "force_custom_plan"),
    (r"-c DateStyle=ISO,\ DMY", "DateStyle", "ISO, DMY"),
    ("-c STANDARD_conforming_strings=TRUE", "standard_conforming_strings", "on"),
    ("-c client_encoding=utf-8", "client_encoding", "UTF8"),
]
#: As SET says it, and as PGOPTIONS does.
REFUSED = [
    ("role = 'postgres'", "-c role=postgres"),
    ("session_authorization = 'postgres'", "--session-authorization=postgres"),
    ("session_replication_role = 'replica'", "-csession_replication_role=replica"),
    ("standard_conforming_strings = 'off'", "-c standard_conforming_strings=off"),
    ("client_encoding = 'SJIS'", "-c client_encoding=SJIS"),
    ("client_encoding = 'SQL_ASCII'", "-c client_encoding=SQL_ASCII"),
    ("datestyle = 'German'", "-c datestyle=German"),
    ("enable_memoize = 'on'", "-c enable_memoize=on"),
    ("work_mem = '100GB'", "-c work_mem=100GB"),
    ("backslash_quote = 'on'", "-c backslash_quote=on"),
    ("local_preload_libraries = 'x'", "-c local_preload_libraries=x"),
    ("search_path = pg_temp", "-c search_path=pg_temp"),
    ("search_path = hr, public", "-c search_path=hr,public"),
    ("app.tenant = '7'", "-c app.tenant=7"),
    ("sallyport.x = '7'", "-c sallyport.x=7"),
]


@pytest.fixture(scope="module")
def open_gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    """Its policy masks nothing."""
    policy = SHOP_POLICY[: SHOP_POLICY.index("masks:")]
    running = Gateway(issuer, {"shop": postgres}, policy=policy).start()
    yield running
    running.stop()


def _fatal(gateway: Gateway, options: str) -> str:
    with pytest.raises(psycopg.OperationalError) as failure:
        psycopg.connect(gateway.dsn(), options=options)
    return str(failure.value)


@pytest.mark.parametrize(("options", "name", "value"), TAKEN)
def test_what_set_takes_is_taken_at_login(
    gateway: Gateway, options: str, name: str, value: str
) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True, options=options) as db:
        assert db.execute(f"SHOW {name}").fetchone() == (value,)
        db.execute("RESET ALL")
        assert db.execute(f"SHOW {name}").fetchone() == (value,)
        assert db.execute("SELECT email FROM public.customers ORDER BY id LIMIT 1").fetchone()


@pytest.mark.parametrize(("sql", "options"), REFUSED)
def test_what_set_refuses_is_refused_at_login_with_the_same_words(
    gateway: Gateway, sql: str, options: str
) -> None:
    with (
        psycopg.connect(gateway.dsn(), autocommit=True) as db,
        pytest.raises(psycopg.Error) as failure,
    ):
        db.execute(f"SET {sql}".encode())
    diagnostics = failure.value.diag
    assert diagnostics.message_primary is not None
    fatal = _fatal(gateway, options)
    for part in (
        diagnostics.message_primary,
        diagnostics.message_detail,
        diagnostics.message_hint,
    ):
        assert part and part in fatal


@pytest.mark.parametrize("name", ["nosuch", "statment_timeout", "transaction_snapshot"])
def test_a_setting_that_does_not_exist_is_named_as_postgres_does(
    gateway: Gateway, postgres: Server, name: str
) -> None:
    statements = [f"SET {name} = 1", f"RESET {name}", f"SHOW {name}", f"SET {name} TO DEFAULT"]
    said = []
    for dsn in (postgres.superuser_dsn, gateway.dsn()):
        for sql in statements:
            with psycopg.connect(dsn) as db, pytest.raises(psycopg.Error) as failure:
                db.execute(sql.encode())
            words = (failure.value.diag.message_primary or "").removeprefix("[SP1305] ")
            said.append((failure.value.sqlstate, words))
        with pytest.raises(psycopg.OperationalError, match=f'parameter "{name}"'):
            psycopg.connect(dsn, options=f"-c {name}=1")
    assert said[:4] == said[4:]


@pytest.mark.parametrize(
    "options",
    [
        "-c user=postgres",
        "-c database=postgres",
        "-c replication=true",
        "-c options=-crole=postgres",
        r"-c options=-c\ role=postgres",
        "-c _pq_.x=1",
        "-c Role=postgres",
        r"-c jit=off\ -crole=postgres -c row_security=off -c role=postgres",
        "-c jit=off -c role=postgres -c jit=on",
    ],
)
def test_names_of_the_protocol_are_no_settings(gateway: Gateway, options: str) -> None:
    assert re.search(r"\[SP130[15]\]", _fatal(gateway, options))


def test_a_value_that_the_server_does_not_take_is_the_clients_mistake(gateway: Gateway) -> None:
    fatal = _fatal(gateway, "-c jit=perhaps")
    assert "[SP1301]" in fatal
    assert "startup parameter" in fatal
    fatal = _fatal(gateway, r"-c jit=off\ -c\ row_security=off")  # one value, with a space in it
    assert "[SP1301]" in fatal


def test_date_styles_where_nothing_is_masked(open_gateway: Gateway, gateway: Gateway) -> None:
    with psycopg.connect(open_gateway.dsn(), autocommit=True, options="-c datestyle=German") as db:
        row = db.execute(
            "SELECT birth_date::text, '24.12.2020'::date::text FROM customers LIMIT 1"
        ).fetchone()
        assert row is not None
        assert row[1] == "24.12.2020"
        db.execute("SET datestyle = 'SQL, MDY'")
    privacy = gateway.dsn(gateway.token(PRIVACY))  # birth dates are masked for everybody
    with (
        psycopg.connect(privacy, autocommit=True) as db,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        db.execute("SET datestyle = 'SQL, MDY'")
    # a mask of dates that comes into force while a session has another style
    open_text = open_gateway.policy
    undated = "".join(line for line in SHOP_POLICY.splitlines(True) if "[pii.birth]" not in line)
    open_gateway.change_policy(undated)
    try:
        with psycopg.connect(
            open_gateway.dsn(), autocommit=True, options="-c datestyle=German"
        ) as db:
            (born,) = db.execute("SELECT birth_date::text FROM customers").fetchone() or ("",)
            assert "." in born and not born.startswith("01.01.")
            open_gateway.change_policy(SHOP_POLICY)
            cursor = db.execute(
                "SELECT birth_date::text, birth_date, to_json(birth_date)::text FROM customers"
            )
            for row in cursor.fetchall():
                for value in row:
                    assert value is None or "01.01." in str(value) or "-01-01" in str(value)
    finally:
        open_gateway.change_policy(open_text)


def test_asyncpg_and_server_settings(gateway: Gateway) -> None:
    async def main() -> Any:
        settings = {"jit": "off", "search_path": "public", "default_transaction_read_only": "on"}
        db = await asyncpg.connect(
            host="127.0.0.1",
            port=gateway.port,
            user="claude",
            password=gateway.token(),
            database="shop",
            ssl=False,
            server_settings=settings,
        )
        try:
            return [await db.fetchval(f"SHOW {name}") for name in settings]
        finally:
            await db.close(timeout=60)

    assert asyncio.run(main()) == ["off", "public", "on"]


def test_psql_and_pgoptions(gateway: Gateway) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    env["PGOPTIONS"] = (
        r"-c default_transaction_read_only=on -c search_path=\"\$user\",public --jit=off"
    )
    script = "SHOW default_transaction_read_only; SHOW jit; SELECT count(*) > 0 FROM customers"
    done = subprocess.run(
        [client_program("psql"), "-XAtq", "-d", gateway.dsn()],
        input=script,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["on", "off", "t"], done.stderr


def test_read_only_at_login_holds(gateway: Gateway) -> None:
    db = psycopg.connect(
        gateway.dsn(), autocommit=True, options="-c default_transaction_read_only=on"
    )
    with db, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        db.execute("UPDATE products SET price = price WHERE id = 1")


def test_less_time_than_policy_gives(issuer: DevIssuer, postgres: Server) -> None:
    policy = SHOP_POLICY + "limits: {statement_timeout: 20s}\n"
    running = Gateway(issuer, {"shop": postgres}, policy=policy).start()
    try:
        with psycopg.connect(
            running.dsn(), autocommit=True, options="-c statement_timeout=200ms"
        ) as db:
            with pytest.raises(psycopg.errors.QueryCanceled):
                db.execute("SELECT count(*) FROM generate_series(1, 100000000)")
            db.execute("SET statement_timeout = '19s'")
            for longer in ("0", "'21s'", "-1", "'400us'"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    db.execute(f"SET statement_timeout = {longer}".encode())
            assert db.execute("SHOW statement_timeout").fetchone() == ("19s",)
        assert "[SP1301]" in _fatal(running, "-c statement_timeout=0")
        with psycopg.connect(running.dsn(), autocommit=True) as db:
            assert db.execute("SHOW statement_timeout").fetchone() == ("20s",)
    finally:
        running.stop()


def test_who_wants_another_encoding_is_told_how_to_use_utf8(open_gateway: Gateway) -> None:
    with (
        psycopg.connect(open_gateway.dsn(), autocommit=True) as db,
        pytest.raises(psycopg.Error) as failure,
    ):
        db.execute("set client_encoding = 'SJIS'")
    hint = failure.value.diag.message_hint or ""
    assert all(
        client in hint
        for client in ("PGCLIENTENCODING=UTF8", "JDBC", "Npgsql: Client Encoding=UTF8")
    )


def test_every_name_of_utf8_may_be_set(open_gateway: Gateway) -> None:
    """PostgreSQL reports UNICODE, which psycopg2's users say, as it was set."""
    for name in ("UNICODE", "unicode", "utf-8", "UTF8"):
        with psycopg.connect(open_gateway.dsn(), autocommit=True) as db:
            db.execute(f"SET client_encoding TO '{name}'".encode())
            assert db.execute("SELECT 'ä€'").fetchone() == ("ä€",)
