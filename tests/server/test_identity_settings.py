"""The target knows who is asking: row-level security decides by it, and nothing that a client sends
changes it.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.core.subject import Subject
from sallyport.demo.issuer import DevIssuer
from sallyport.session.identity_settings import (
    application_name,
    array_literal,
    identity_settings,
    left_out,
)
from tests.support.gateway import AGENT, PRIVACY, SHOP_POLICY, Gateway
from tests.support.postgres import Server

POLICY = SHOP_POLICY + 'settings: ["app.*"]\n'
POLICY = POLICY.replace(
    '["public.order_total"]', '["public.order_total", "public.posing", "public.seen_by"]'
)
OWN = "SELECT owner FROM notes ORDER BY owner"
WHO = "SELECT current_setting('sallyport.subject', true)"


@pytest.fixture(scope="module")
def door(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as db:
        db.execute(
            "CREATE TABLE notes (owner text, readers text[] DEFAULT '{}');"
            f"INSERT INTO notes VALUES ('{AGENT}'), ('paul'), ('shared');"
            "UPDATE notes SET readers = '{claude-postgres,privacy}' WHERE owner = 'shared';"
            "ALTER TABLE notes ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY own ON notes USING (owner = current_setting('sallyport.subject', true)"
            " OR readers && current_setting('sallyport.groups', true)::text[]);"
            "GRANT SELECT ON notes TO sallyport_agent;"
            "CREATE FUNCTION posing() RETURNS text LANGUAGE sql SET sallyport.agent = 'x' AS"
            " $$ SELECT current_setting('sallyport.agent') $$;"
            "CREATE FUNCTION seen_by() RETURNS text LANGUAGE sql AS"
            " $$ SELECT current_setting('sallyport.session', true) $$;"
            "ALTER ROLE sallyport_agent SET sallyport.subject = 'by-role';"
            "ALTER DATABASE shop SET sallyport.groups = '{dba}'"
        )
        running = Gateway(issuer, {"shop": postgres}, policy=POLICY).start()
        try:
            yield running
        finally:
            running.stop()
            db.execute(
                "DROP TABLE notes; DROP FUNCTION posing(), seen_by();ALTER ROLE sallyport_agent"
                " RESET sallyport.subject; ALTER DATABASE shop RESET sallyport.groups"
            )


def test_row_security_decides_by_the_subject(door: Gateway) -> None:
    with psycopg.connect(door.dsn(), autocommit=True) as db:
        assert db.execute(OWN).fetchall() == [(AGENT,), ("shared",)]
        assert db.execute(WHO).fetchone() == (AGENT,)
        assert db.execute("SHOW sallyport.groups").fetchone() == ('{"claude-postgres"}',)
        assert db.execute("SELECT current_setting(%s)", ("sallyport.issuer",)).fetchone() == (
            door.issuer.url,
        )
    with psycopg.connect(door.dsn(door.token(PRIVACY)), autocommit=True) as db:
        assert db.execute(OWN).fetchall() == [("paul",), ("shared",)]


@pytest.mark.parametrize(
    "sql",
    [
        f"SET sallyport.subject = '{PRIVACY}'",
        f"SET LOCAL sallyport.subject = '{PRIVACY}'",
        f'SET "sallyport"."SUBJECT" = \'{PRIVACY}\'',
        f"SET SESSION \"Sallyport\".subject TO '{PRIVACY}'",
        f"SELECT set_config('sallyport.subject', '{PRIVACY}', false)",
        f"SELECT set_config('sally' || 'port.subject', '{PRIVACY}', true)",
        f"SELECT pg_catalog.set_config('SALLYPORT.subject', '{PRIVACY}', false) FROM notes",
        f"UPDATE pg_settings SET setting = '{PRIVACY}' WHERE name = 'sallyport.subject'",
        "SET sallyport.groups = '{privacy}'",
        "RESET sallyport.subject",
        "SET sallyport.subject TO DEFAULT",
        f"ALTER ROLE CURRENT_USER SET sallyport.subject = '{PRIVACY}'",
        f"ALTER DATABASE shop SET sallyport.subject = '{PRIVACY}'",
        (
            f"CREATE FUNCTION f() RETURNS int LANGUAGE sql SET sallyport.subject = '{PRIVACY}' AS"
            " 'SELECT 1'"
        ),
        f"DO $$ BEGIN PERFORM set_config('sallyport.subject', '{PRIVACY}', false); END $$",
    ],
)
def test_no_statement_changes_it(door: Gateway, sql: str) -> None:
    with psycopg.connect(door.dsn(), autocommit=True) as db:
        with pytest.raises(psycopg.Error):
            db.execute(sql.encode())
        assert db.execute(OWN).fetchall() == [(AGENT,), ("shared",)]
        assert db.execute(WHO).fetchone() == (AGENT,)


def test_a_name_as_a_parameter_changes_nothing(door: Gateway) -> None:
    with psycopg.connect(door.dsn(), autocommit=True) as db:
        with pytest.raises(psycopg.Error):
            db.execute("SELECT set_config(%s, %s, false)", ("sallyport.subject", PRIVACY))
        assert db.execute(WHO).fetchone() == (AGENT,)


@pytest.mark.parametrize(
    "sql", ["RESET ALL", "DISCARD ALL", "BEGIN; SET app.x = '1'; ROLLBACK", "RESET app.x"]
)
def test_going_back_goes_back_to_it(door: Gateway, sql: str) -> None:
    with psycopg.connect(door.dsn(), autocommit=True) as db:
        db.execute(sql.encode())
        assert db.execute(WHO).fetchone() == (AGENT,)
        assert db.execute(OWN).fetchall() == [(AGENT,), ("shared",)]


@pytest.mark.parametrize(
    "options",
    [f"-c sallyport.subject={PRIVACY}", f"--Sallyport.Subject={PRIVACY}", "-csallyport.groups={}"],
)
def test_nothing_in_the_login_changes_it(door: Gateway, options: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="SP1301"):
        psycopg.connect(door.dsn(), options=options)


def test_a_function_that_sets_one_does_so_for_itself_only(door: Gateway) -> None:
    """Policy trusts it by name, and it is over when it returns."""
    with psycopg.connect(door.dsn(), autocommit=True) as db:
        assert db.execute("SELECT posing()").fetchone() == ("x",)
        assert db.execute("SELECT current_setting('sallyport.agent')").fetchone() == (
            "claude-code",
        )


def test_keys_of_masks_stay_hidden(door: Gateway) -> None:
    with psycopg.connect(door.dsn(), autocommit=True) as db:
        for sql in (
            "SHOW sallyport.hash_default_i",
            "SELECT current_setting('sallyport.hash_default_i', true)",
        ):
            with pytest.raises(psycopg.Error, match="SP1103"):
                db.execute(sql.encode())


def test_the_server_sees_subject_and_session_in_the_application_name(
    door: Gateway, postgres: Server
) -> None:
    with (
        psycopg.connect(door.dsn(), autocommit=True, application_name="nightly report") as db,
        psycopg.connect(postgres.superuser_dsn, autocommit=True) as admin,
    ):
        session = (db.execute("SELECT seen_by()").fetchone() or ("",))[0]
        assert session.startswith("ses_")
        seen = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        name = f"nightly report {AGENT}/{session}"
        assert admin.execute(seen, (name,)).fetchone() == (1,)
        db.execute("SET application_name = 'other'")
        db.execute("RESET application_name")
        assert db.execute("SHOW application_name").fetchone() == (name,)


def test_values_that_do_not_fit_are_left_out_and_not_cut() -> None:
    many = Subject("s", "https://idp", frozenset(f"group-{n:04}" for n in range(400)))
    settings = identity_settings(many, "ses_1")
    assert left_out(settings) == ["sallyport.groups"]
    assert settings["sallyport.subject"] == "s"
    odd = identity_settings(Subject("a\0b", "x" * 2000, frozenset()), "ses_1")
    assert left_out(odd) == ["sallyport.issuer", "sallyport.subject"]
    assert odd["sallyport.groups"] == "{}"


def test_array_literals_read_back(postgres: Server) -> None:
    words = ["plain", 'quo"te', "back\\slash", "com,ma", "{brace}", "NULL", "", " space ", "ä"]
    with psycopg.connect(postgres.superuser_dsn) as db:
        assert db.execute("SELECT %s::text[]", (array_literal(words),)).fetchone() == (words,)


@pytest.mark.parametrize(
    ("asked", "subject", "name"),
    [
        ("psql", "claude", "psql claude/ses_" + "0" * 26),
        ("", "claude", "claude/ses_" + "0" * 26),
        ("x" * 99, "y" * 99, "x" * 7 + " " + "y" * 24 + "/ses_" + "0" * 26),
        ("ä\n", "däna\n", "?? d?na?/ses_" + "0" * 26),
    ],
)
def test_application_names_are_bounded(asked: str, subject: str, name: str) -> None:
    made = application_name(asked, Subject(subject, "i", frozenset()), "ses_" + "0" * 26)
    assert made == name
    assert len(made) <= 63
