"""Rows as values through a gateway: fields of them, and casts to the type of a parent."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server

POLICY = """version: 1
rules:
  - {name: reads, allow: [read], relations: ["kin.*"]}
masks:
  - {columns: ["kin.elder.pin"], with: redact}
"""
SCHEMA = """
create schema kin;
create table kin.elder (id int, pin text);
create table kin.younger (more int) inherits (kin.elder);
create domain kin.checked as kin.elder check ((value).id > 0);
insert into kin.younger values (1, 'canary', 2);
"""


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, any_postgres: Server) -> Iterator[Gateway]:
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute(SCHEMA)
        admin.execute(f"grant usage on schema kin to {any_postgres.user}")
        admin.execute(f"grant select on all tables in schema kin to {any_postgres.user}")
        running = Gateway(issuer, {"shop": any_postgres}, policy=POLICY).start()
        try:
            yield running
        finally:
            running.stop()
            admin.execute("set client_min_messages = error; drop schema kin cascade")


def test_a_row_cast_to_its_parent_keeps_the_masks(gateway: Gateway) -> None:
    """In what is shown and in what is computed: the database casts what the masks show."""
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        row = db.execute(
            "SELECT (y::kin.elder).id, (y::kin.elder).pin, length((y::kin.elder).pin),"
            " y::kin.elder::text, to_json(y::kin.elder)::text FROM kin.younger y"
            " WHERE (y::kin.elder).pin NOT LIKE 'canary%'"
        ).fetchone()
        assert row is not None and row[0] == 1
        assert "redacted" in row[1] and "canary" not in str(row)
        assert row[2] == len(row[1])


@pytest.mark.parametrize(
    "sql", ["(e::kin.younger) FROM kin.elder", "(e::kin.checked) FROM kin.younger"]
)
def test_no_other_row_is_cast(gateway: Gateway, sql: str) -> None:
    """A domain over the parent has a check of its own, and PostgreSQL takes no child for it."""
    with (
        psycopg.connect(gateway.dsn(), autocommit=True) as db,
        pytest.raises(psycopg.errors.CannotCoerce, match="SP1114"),
    ):
        db.execute(f"SELECT {sql} e".encode())


def test_a_field_of_a_parameter_needs_its_type(gateway: Gateway) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        assert db.execute("SELECT (%s::kin.elder).id", ["(7,x)"]).fetchone() == (7,)
        with pytest.raises(psycopg.errors.WrongObjectType, match="SP1117"):
            db.execute("SELECT (%s).id", ["(7,x)"])
