"""Two-phase commit through a real gateway: who prepared a transaction, and nobody else, ends it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import AGENT, DBA, Gateway
from tests.support.postgres import Server, start_server

POLICY = """\
version: 1
rules:
  - {name: everything, allow: [all]}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = start_server("18")
    try:
        with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
            db.execute("ALTER SYSTEM SET max_prepared_transactions = 10")
            db.execute("CREATE TABLE marks (name text); GRANT ALL ON marks TO PUBLIC")
            db.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        server.restart()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def gateway(server: Server) -> Iterator[Gateway]:
    with DevIssuer() as issuer:
        gateway = Gateway(issuer, {"shop": server}, POLICY).start()
        try:
            yield gateway
        finally:
            gateway.stop()


def _connect(gateway: Gateway, client: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(gateway.dsn(gateway.token(client)), autocommit=True)


@pytest.mark.parametrize("prepare", [False, True])
def test_another_session_of_the_subject_finishes_it(gateway: Gateway, prepare: bool) -> None:
    name = f"mine's {prepare}"
    quoted = name.replace("'", "''")
    with _connect(gateway, AGENT) as db:
        db.execute("BEGIN")
        db.execute("INSERT INTO marks VALUES (%s)", [name])
        db.execute(f"PREPARE TRANSACTION '{quoted}'", prepare=prepare)
    with _connect(gateway, AGENT) as db:
        listed = "SELECT gid, database FROM pg_prepared_xacts"
        assert db.execute(listed, prepare=prepare).fetchall() == [(name, "shop")]
        db.execute(f"COMMIT PREPARED '{quoted}'", prepare=prepare)
        assert db.execute(listed, prepare=prepare).fetchall() == []
        assert db.execute("SELECT 1 FROM marks WHERE name = %s", [name]).fetchall() == [(1,)]


def test_another_subject_does_not(gateway: Gateway, server: Server) -> None:
    with _connect(gateway, AGENT) as db:
        db.execute("BEGIN")
        db.execute("INSERT INTO marks VALUES ('theirs')")
        db.execute("PREPARE TRANSACTION 'theirs'")
    with psycopg.connect(server.superuser_dsn) as direct:
        (stored,) = direct.execute("SELECT gid FROM pg_prepared_xacts").fetchone() or ("",)
    with _connect(gateway, DBA) as stranger:
        assert stranger.execute("SELECT count(*) FROM pg_prepared_xacts").fetchall() == [(0,)]
        for name in ("theirs", stored):
            for verb in ("COMMIT", "ROLLBACK"):
                with pytest.raises(psycopg.errors.UndefinedObject) as raised:
                    stranger.execute(f"{verb} PREPARED '{name}'")
                said = f'prepared transaction with identifier "{name}" does not exist'
                assert raised.value.diag.message_primary == said
        for text in (
            f"COMMIT /* */ PREPARED '{stored}'",
            f"COMMIT PREPARED E'{stored}'",
            f"COMMIT PREPARED '{stored}' -- '",
            f"COMMIT PREPARED $${stored}$$",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP1107"):
                stranger.execute(text)
        for text in (
            f"SELECT 1; COMMIT PREPARED '{stored}'",
            f"COMMIT PREPARED '{stored}'; SELECT",
        ):
            with pytest.raises(psycopg.Error):
                stranger.execute(text)
    with _connect(gateway, AGENT) as db:
        db.execute("ROLLBACK PREPARED 'theirs'")
        assert db.execute("SELECT 1 FROM marks WHERE name = 'theirs'").fetchall() == []


def test_a_schema_change_shows_when_it_is_committed(gateway: Gateway) -> None:
    with _connect(gateway, AGENT) as db:
        db.execute("BEGIN")
        db.execute("CREATE TABLE later (name text)")
        db.execute("PREPARE TRANSACTION 'schema'")
        with pytest.raises(psycopg.errors.UndefinedTable):
            db.execute("SELECT * FROM later")
        db.execute("COMMIT PREPARED 'schema'")
        assert db.execute("SELECT * FROM later").fetchall() == []


def test_it_must_be_allowed(gateway: Gateway) -> None:
    policy = POLICY.replace("all]", "read, insert, commit-prepared]")
    strict = Gateway(gateway.issuer, gateway.targets, policy).start()
    try:
        with _connect(strict, AGENT) as db:
            db.execute("BEGIN")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP1001"):
                db.execute("PREPARE TRANSACTION 'denied'")
    finally:
        strict.stop()


@pytest.mark.parametrize(
    "end", ["PREPARE TRANSACTION 'm'", "COMMIT PREPARED 'm'", "ROLLBACK PREPARED 'm'"]
)
def test_it_is_not_for_the_block_of_several_statements(gateway: Gateway, end: str) -> None:
    """PostgreSQL runs them in an implicit block, in which it neither prepares nor finishes one."""
    with _connect(gateway, AGENT) as db:
        for text in (
            f"CREATE TABLE several (n int); {end}",
            f"{end}; CREATE TABLE several (n int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP1107"):
                db.execute(text)
        assert db.execute("SELECT gid FROM pg_prepared_xacts").fetchall() == []
        with pytest.raises(psycopg.errors.UndefinedTable):
            db.execute("SELECT * FROM several")


@pytest.mark.parametrize(
    "text",
    [
        "BEGIN; CREATE TABLE own (n int); PREPARE TRANSACTION 'own'",
        "BEGIN; PREPARE TRANSACTION 'own'",
        "begin; insert into marks values ('own'); prepare transaction 'own'; select 1",
    ],
)
def test_several_statements_may_prepare_a_block_of_their_own(gateway: Gateway, text: str) -> None:
    with _connect(gateway, AGENT) as db:
        db.execute(text)
        assert db.execute("SELECT gid FROM pg_prepared_xacts").fetchall() == [("own",)]
        db.execute("ROLLBACK PREPARED 'own'")
