"""What the gateway's grammar has, and an older server's does not: there a construct may be the call
of a function that somebody made.
"""

from __future__ import annotations

import dataclasses

import psycopg
import pytest
from msgspec.structs import replace

from sallyport.core.errors import RefusedError
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import analyze
from tests.sql.conftest import fixture_database
from tests.sql.rendering import CONTEXT
from tests.support.postgres import Server
from tests.targets.query import catalog_of

_ARGUMENTS = {"": "", "int": "1", "text": "'{}'", "text, text": "'{}', '$.a'"}


def _special_words(dsn: str) -> set[tuple[str, str]]:
    """Keywords that are not simply names, with what they are instead."""
    with psycopg.connect(dsn) as connection:
        return set(
            connection.execute(
                "select word, catcode::text from pg_get_keywords() where catcode <> 'U'"
            ).fetchall()
        )


def test_no_function_runs_as_a_construct(postgres: Server, postgres_tls: Server) -> None:
    """A function for each word that is a keyword of the newest grammar only."""
    newest, older = (_special_words(s.superuser_dsn) for s in (postgres, postgres_tls))
    words = sorted(word for word, _ in newest - older)
    assert "json_value" in words and "merge_action" in words
    with fixture_database(postgres_tls.superuser_dsn, "older") as dsn:
        with psycopg.connect(dsn, autocommit=True) as connection:
            for word in words:
                for types in _ARGUMENTS:
                    connection.execute(
                        f"create function public.{word}({types}) returns text language plpgsql as"
                        " 'begin return 1; end'".encode()
                    )
        catalog = catalog_of(dsn)
        for word in words:
            for call in (word, *(f"{word}({arguments})" for arguments in _ARGUMENTS.values())):
                for sql in (f"select {call}", f"select * from {call} as x"):
                    assert _refused(sql, catalog), sql


def _refused(sql: str, catalog: CatalogSnapshot) -> bool:
    try:
        (facts,) = analyze(
            sql.encode(), catalog, replace(CONTEXT, search_path=("public",), max_length=10_000)
        )
    except RefusedError:  # no syntax of the newest grammar either
        return True
    # a bare word may still be a relation's name, of which there is none, or a column's
    return bool(facts.unknowns)


@pytest.mark.parametrize(
    ("sql", "since"),
    [
        ("select json_value('{}', '$.a')", 17),
        ("select json_array(1)", 16),
        ("select * from json_table('{}', '$' columns (a int path '$.a')) t", 17),
        ("select json_object('{a,b}'), json '{}', json_array_length('[]')", 14),
    ],
)
def test_a_construct_is_for_servers_that_have_it(
    catalog: CatalogSnapshot, sql: str, since: int
) -> None:
    for version in (14, 15, 16, 17, 18):
        (facts,) = analyze(
            sql.encode(), dataclasses.replace(catalog, server_version=version * 10_000), CONTEXT
        )
        codes = [unknown.code for unknown in facts.unknowns]
        assert codes == ([] if version >= since else ["SP1102"]), version
