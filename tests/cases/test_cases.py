"""Statements that ordinary tools send and agents write, over tables with masks: each gives its
rows, and no masked value.

A file in ``sql/`` is one case: what it is, how many rows it gives (``any``: some) or what the HINT
of its refusal says, the statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server

FILES = Path(__file__).with_name("sql")
POLICY = """\
version: 1
rules:
  - {name: r, subjects: {groups: [claude-postgres]}, allow: [read, listen], relations: ["*.*"]}
masks:
  - {columns: ["public.users.email", "public.accounts.email"], with: email, filter: equality}
  - {columns: ["public.users.phone"], with: redact}
"""
OPTIONS = {
    "startup_read_only": "-c default_transaction_read_only=on",
    "startup_search_path_public": "-csearch_path=public",
}
_RAW = re.compile(r"user\d+@example|\+1555|^1555\d{7}")


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as connection:
        connection.execute("drop database if exists cases with (force)")
        connection.execute("create database cases")
        server = replace(postgres, database="cases")
        with psycopg.connect(server.superuser_dsn, autocommit=True) as inside:
            inside.execute(FILES.joinpath("00_schema.sql").read_bytes())
        running = Gateway(issuer, {"shop": server}, policy=POLICY).start()
        try:
            yield running
        finally:
            running.stop()
            connection.execute("drop database cases with (force)")


def _cases() -> Iterator[Any]:
    for file in sorted(FILES.glob("[a-z]*.sql")):
        yield pytest.param(file.stem, id=file.stem)


@pytest.mark.parametrize("name", list(_cases()))
def test_case(gateway: Gateway, name: str) -> None:
    text = FILES.joinpath(f"{name}.sql").read_text(encoding="utf-8")
    refused = re.search(r"^-- hint: (.+)$", text, re.M)
    if refused is not None:
        with (
            psycopg.connect(gateway.dsn(), autocommit=True) as db,
            pytest.raises(psycopg.Error) as failure,
        ):
            db.execute(text.encode())
        assert refused[1] in (failure.value.diag.message_hint or "")
        return
    expected = re.search(r"^-- rows: (any|\d+)$", text, re.M)
    assert expected is not None
    parameters = None
    if ":list" in text:
        text, parameters = text.replace(":list", ", ".join(["%s"] * 8000)), list(range(8000))
    options = OPTIONS.get(name, "")
    with psycopg.connect(gateway.dsn(), autocommit=True, options=options or None) as connection:
        cursor = connection.execute(text.encode(), parameters)
        rows = cursor.fetchall() if cursor.description else []
    if expected[1] == "any":
        assert rows
    else:
        assert len(rows) == int(expected[1])
    assert not [value for row in rows for value in row if _RAW.search(str(value))]
