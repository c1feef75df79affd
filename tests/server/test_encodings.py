"""Databases in other encodings than UTF-8: the server converts what it sends, which fails for some
values. Whether it fails must not depend on a masked one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server

#: Bytes of a text, in hex, that each encoding has and that cannot be sent as UTF-8.
UNSENDABLE = {"WIN1252": "81", "EUC_JP": "a9a1", "SQL_ASCII": "ff41"}
ENCODINGS = [*UNSENDABLE, "LATIN1"]
POLICY = """version: 1
rules:
  - {name: agents work, subjects: {groups: [claude-postgres]}, allow: [read, write],
     relations: ["public.*"]}
masks:
  - {columns: ["public.*.secret", "public.*.doc", "public.*.list", "public.*.number"], with: redact}
"""
#: Two tables that differ in the masked columns only.
TABLES = """
CREATE TABLE {name}
  (id int PRIMARY KEY, label text, secret text, doc json, list text[], number int);
INSERT INTO {name} SELECT 1, 'a', t, json_build_array(t), ARRAY[t], {number}
  FROM convert_from('\\x{bytes}', '{encoding}') t;
GRANT ALL ON {name} TO {role};
"""
#: Statements that are answered in every encoding.
SERVED = (
    "SELECT id, secret FROM {}",
    "SELECT * FROM {} ORDER BY id",
    "SELECT doc, list FROM {}",
    "SELECT upper(secret) FROM {}",
    "SELECT {} FROM {}",
    "WITH c AS (SELECT id, secret FROM {}) SELECT * FROM c",
    "COPY (SELECT id, secret FROM {}) TO STDOUT",
    "COPY {} (id, label, number) TO STDOUT",
    "UPDATE {} SET label = label RETURNING id, number",
    "SELECT id, number FROM {}",
)
#: Those in which no mask can stand at the scan.
REFUSED = (
    "UPDATE {} SET label = label RETURNING secret",
    "INSERT INTO {} (id) VALUES (2) RETURNING *",
    "DELETE FROM {} RETURNING doc",
    "COPY {} TO STDOUT",
    "COPY {} (list) TO STDOUT (FORMAT binary)",
)


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    servers = {name: replace(postgres, database=name.lower()) for name in ENCODINGS}
    with ExitStack() as stack:
        admin = stack.enter_context(psycopg.connect(postgres.superuser_dsn, autocommit=True))
        for encoding, server in servers.items():
            admin.execute(
                f"CREATE DATABASE {server.database} TEMPLATE template0 ENCODING '{encoding}'"
                " LOCALE 'C'".encode()
            )
            stack.callback(admin.execute, f"DROP DATABASE {server.database} WITH (FORCE)".encode())
            with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
                for name, text, number in (("sendable", "61", 1), ("other", "", 2)):
                    more = {"bytes": text or UNSENDABLE.get(encoding, "81"), "encoding": encoding}
                    connection.execute(
                        TABLES.format(name=name, number=number, role=server.user, **more).encode()
                    )
        running = Gateway(issuer, servers, policy=POLICY)
        stack.callback(running.stop)
        yield running.start()


@pytest.fixture(params=ENCODINGS)
def session(gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    dsn = gateway.dsn(target=request.param)
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def outcome(session: psycopg.Connection, sql: str, binary: bool = False) -> tuple[str, str]:
    """SQLSTATE, or nothing, and what came. Nothing stays of what was written."""
    try:
        with session.transaction(force_rollback=True), session.cursor(binary=binary) as cursor:
            if sql.startswith("COPY"):
                with cursor.copy(sql.encode()) as copy:
                    return "", repr(b"".join(copy))
            return "", str(cursor.execute(sql.encode(), prepare=False).fetchall())
    except psycopg.Error as error:
        return error.sqlstate or "", str(error)


def both(session: psycopg.Connection, sql: str, binary: bool = False) -> tuple[str, str]:
    """What the statement comes to, which is the same over either table."""
    outcomes = [outcome(session, sql.replace("{}", name), binary) for name in ("sendable", "other")]
    shown = [(state, text.replace("sendable", "other")) for state, text in outcomes]
    assert shown[0] == shown[1]
    return shown[0]


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("sql", SERVED)
def test_what_cannot_be_sent_is_masked_before(
    session: psycopg.Connection, sql: str, binary: bool
) -> None:
    state, text = both(session, sql, binary)
    assert not state, text


@pytest.mark.parametrize("sql", REFUSED)
def test_where_no_mask_can_stand_it_is_not_sent(session: psycopg.Connection, sql: str) -> None:
    """A server in LATIN1 can send everything."""
    encoding = session.execute("SHOW server_encoding").fetchone()
    state, text = both(session, sql)
    assert state == ("" if encoding == ("LATIN1",) else "0A000"), text
