"""Fingerprints and what is known of a statement: by PostgreSQL's own scanner, never a literal."""

from __future__ import annotations

import pytest

from sallyport.server.watch_access import program_of
from sallyport.watch.shapes import (
    _conjuncts,
    _looks_like_credential,
    _words,
    fingerprint,
    refused_shape,
    told_name,
    without_literals,
)

CANARY = "canary-4711"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("SELECT * FROM t WHERE a = 1", "select *  from t\nwhere a = 22"),
        ("SELECT 'x'", "SELECT 'y' -- why"),
        ("SELECT 'x'", "SELECT $1"),
        ("SELECT E'a\\'b'", "SELECT $tag$ 'c' $tag$"),
        ("SELECT a FROM t WHERE a IN (1, 2)", "SELECT a FROM t WHERE a IN (1, 2, 3, 4)"),
        ("SELECT .5", "SELECT 1e10"),
        ("SELECT B'01'", "SELECT X'1F'"),
    ],
)
def test_literals_and_layout_make_no_difference(first: str, second: str) -> None:
    assert without_literals(first.encode()) == without_literals(second.encode())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("SELECT a FROM t", "SELECT b FROM t"),
        ("SELECT s.a FROM t", "SELECT a FROM t"),
        ("SELECT a FROM t WHERE a < 1", "SELECT a FROM t WHERE a > 1"),
        ("SELECT a1 FROM t", "SELECT a2 FROM t"),
    ],
)
def test_names_and_operators_do(first: str, second: str) -> None:
    left, right = (fingerprint(without_literals(sql.encode())) for sql in (first, second))
    assert left != right


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT '{CANARY}'",
        f"SELECT $${CANARY}$$",
        f"SELECT E'{CANARY}', U&'{CANARY}', N'{CANARY}' -- {CANARY}",
        f"SELECT 1 /* {CANARY} */",
        f"SELECT 'unterminated {CANARY}",
    ],
)
def test_no_literal_stays(sql: str) -> None:
    assert "canary" not in without_literals(sql.encode())


@pytest.mark.parametrize(
    "name",
    ["public.users.password_hash", "auth.tokens", "public.app.api_key", "public.t.refresh_token"],
)
def test_credentials_by_name(name: str) -> None:
    assert _looks_like_credential(name)


@pytest.mark.parametrize(
    "name",
    ["public.orders.tokenized_at", "pg_catalog.pg_authid.rolpassword", "public.trees.saltwater"],
)
def test_names_that_only_look_alike(name: str) -> None:
    assert not _looks_like_credential(name)


@pytest.mark.parametrize(
    ("sql", "conditions"),
    [
        ("SELECT count(*) FROM t", []),
        ("SELECT count(*) FROM t WHERE a = 1 AND b <> 'x' ORDER BY 1", ["a = ?", "b <> ?"]),
        ("SELECT 1 FROM t WHERE a BETWEEN 1 AND 2 AND b", ["a between ? and ?", "b"]),
        ("SELECT 1 FROM t WHERE (a = 1 AND b = 2) AND c", ["( a = ? and b = ? )", "c"]),
        ("SELECT count(*) FROM (SELECT 1 FROM t WHERE a AND NOT b) x, y", ["a", "not b"]),
        ("SELECT count(*) FILTER (WHERE a) FROM t", ["a"]),
        ("SELECT count(*) FROM t WHERE a; SELECT 2", ["a"]),
    ],
)
def test_conjuncts(sql: str, conditions: list[str]) -> None:
    assert [" ".join(words) for words in _conjuncts(_words(sql.encode()))] == conditions


def test_conjuncts_are_bounded() -> None:
    sql = "SELECT count(*) FROM t WHERE " + " AND ".join(f"c{n} = {n}" for n in range(5000))
    assert len(_conjuncts(_words(sql.encode()))) <= 16


@pytest.mark.parametrize(
    ("application", "program"),
    [
        ("psql", "psql"),
        ("DBeaver 23.1.0 - SQLEditor <Script-1.sql>", "dbeaver"),
        ("my_tool[4711]", "my_tool"),
        ("", ""),
        ("4711 'x", ""),
        ("x" * 400, "x" * 40),
    ],
)
def test_programs_without_versions(application: str, program: str) -> None:
    assert program_of(application) == program


@pytest.mark.parametrize(
    ("sql", "label"),
    [
        ("SELECT 1 FORM t", "select"),
        (f'"{CANARY}" is not SQL', "statement"),
        ("ssn123456789 and so on", "statement"),
        (f"'{CANARY}'", "statement"),
        (f"SELECT 'unterminated {CANARY}", "statement"),
        ("", "statement"),
    ],
)
def test_a_refused_text_is_not_in_its_label(sql: str, label: str) -> None:
    """Evidence shows labels: of a text that was refused only a known word is in it."""
    assert refused_shape(sql.encode(), ()).label == label


def test_no_digest_tells_which_of_many_values_a_name_is() -> None:
    """Who gets a finding could try all that there are."""
    values = [f"{n:09}" for n in range(123450000, 123453000)]
    names = {told_name(f"public.{value}") for value in values}
    texts = (f'CREATE TABLE "{value}" (n int)' for value in values)
    assert len(names) <= 256
    assert len({refused_shape(text.encode(), ()).fingerprint for text in texts}) <= 256


@pytest.mark.parametrize(
    "name", ["public.orders", "public.Order Details", "müll.größe", "p.events_20261201", "a-b.c$d"]
)
def test_plain_names_are_told(name: str) -> None:
    assert told_name(name) == name


@pytest.mark.parametrize(
    "data", ["ada@example.com", "4111111111111111", "n4111 1111 1111 1111", "sk_live/x=1", "+49 30"]
)
def test_data_in_a_name_is_not(data: str) -> None:
    told = told_name(f"public.{data}")
    assert data not in told and told.startswith("public.(name ")
    assert told == told_name(f"public.{data}") != told_name(f"public.{data}7")
