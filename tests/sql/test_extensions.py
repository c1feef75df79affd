"""extensions.tsv against the extensions of a server, and what statements that use them mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from sallyport.sql.catalog.extensions import listed
from sallyport.sql.catalog.functions import _INTERNAL_TYPES, classify, is_known, type_names
from sallyport.sql.catalog.snapshot import Cast, CatalogSnapshot, Function
from sallyport.sql.extract import Context, analyze
from sallyport.sql.facts import Dependence, StatementFacts
from sallyport.sql.values.types import TEXT
from tests.support.postgres import Server
from tests.targets.query import catalog_of

#: Not in the embedded server: declared here as their scripts do, so that the names and types
#: resolve.
_DECLARED = {
    "pgcrypto": ["crypt(text, text) returns text", "digest(text, text) returns bytea"],
    "uuid-ossp": ["uuid_generate_v4() returns uuid"],
}


@pytest.fixture(scope="module")
def catalog(postgres: Server) -> Iterator[CatalogSnapshot]:
    """A database with every extension that the server has."""
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as connection:
        connection.execute("drop database if exists extensions with (force)")
        connection.execute("create database extensions")
        dsn = postgres.superuser_dsn.rpartition("/")[0] + "/extensions"
        try:
            with psycopg.connect(dsn, autocommit=True) as inside:
                for (name,) in inside.execute(
                    "select name from pg_available_extensions"
                ).fetchall():
                    inside.execute(f'create extension if not exists "{name}" cascade'.encode())
                inside.execute("create table people (id int, name text, nick citext, tags hstore)")
                inside.execute("create schema mine")
                for function in (f for functions in _DECLARED.values() for f in functions):
                    internal = "textin" if "(text" in function else "gen_random_uuid"
                    inside.execute(
                        f"create function {function} language internal as '{internal}'".encode()
                    )
                inside.execute(
                    "create function mine.soundex(text) returns text language plpgsql as 'begin"
                    " return $1; end'"
                )
                inside.execute(
                    "create operator mine.-> (function = fetchval, leftarg = hstore, rightarg ="
                    " text)"
                )
                inside.execute("create view seen as select query from pg_stat_statements")
            yield catalog_of(dsn)
        finally:
            connection.execute("drop database if exists extensions with (force)")


@pytest.fixture(scope="module")
def declared(catalog: CatalogSnapshot) -> CatalogSnapshot:
    """The snapshot with :data:`_DECLARED` as members of their extensions."""
    owner = {function.partition("(")[0]: name for name, fs in _DECLARED.items() for function in fs}
    functions = tuple(
        replace(f, extension=owner[f.name], language="c") if f.name in owner else f
        for f in catalog.functions.values()
    )
    return _with(catalog, functions=functions)


def _with(catalog: CatalogSnapshot, **changes: Any) -> CatalogSnapshot:
    """The snapshot with some of its parts replaced."""
    plain = [
        "server_version",
        "epoch",
        "database",
        "role",
        "default_search_path",
        "schemas",
        "operators",
        "casts",
    ]
    parts = {name: getattr(catalog, name) for name in plain}
    for name in ("relations", "types", "functions"):
        parts[name] = tuple(getattr(catalog, name).values())
    return CatalogSnapshot.make(**parts | changes)


def _arguments(function: Function) -> tuple[str, ...]:
    names = type_names()
    return tuple(names.get(oid, "") for oid in function.arg_types)


def _facts(
    sql: str, catalog: CatalogSnapshot, path: tuple[str, ...] = ("public",)
) -> StatementFacts:
    (facts,) = analyze(sql.encode(), catalog, Context(search_path=path))
    return facts


def test_every_function_in_c_is_listed(catalog: CatalogSnapshot) -> None:
    names = type_names()
    members = [
        f
        for f in catalog.functions.values()
        if f.extension not in ("", "plpgsql")
        and f.language in ("c", "internal")
        and _INTERNAL_TYPES.isdisjoint((*_arguments(f), names.get(f.return_type, "")))
    ]
    assert len(members) > 600
    assert [(f.extension, f.name) for f in members if listed(f, _arguments(f)) is None] == []


@pytest.mark.parametrize(
    "sql",
    [
        "select similarity(name, 'Ada') from people",
        "select name % 'Ada', name <-> 'Ada' from people",
        "select id from people where nick = 'ada'",
        "select id from people where nick = $1",
        "select 'ada'::citext = name::citext, nick::text from people",
        "select tags -> 'a' from people where tags ? 'b'",
        "select 'a=>1'::hstore -> 'a'",
        "select crypt(name, 'x'), digest(name, 'sha256') from people",
        "select uuid_generate_v4()",
        "select '[1,2]'::vector <=> '[2,3]'::vector",
        "select 'a.b'::ltree <@ 'a'::ltree",
        "select levenshtein(name, 'Ada'), soundex(name), unaccent(name) from people",
        "select * from each('a=>1'::hstore)",
    ],
)
def test_is_like_postgresqls_own(sql: str, declared: CatalogSnapshot) -> None:
    facts = _facts(sql, declared)
    assert facts.unknowns == ()
    assert facts.functions == ()
    assert all(c.dependence is not Dependence.OPAQUE for c in facts.columns or ())


@pytest.mark.parametrize(
    ("sql", "code", "words"),
    [
        ("select dblink_connect('host=x')", "SP1103", "sends data elsewhere"),
        (
            "select * from dblink('host=x', 'select 1') as t(a int)",
            "SP1103",
            "sends data elsewhere",
        ),
        ("select * from crosstab('select 1') as t(a text, b int)", "SP1103", "runs SQL text"),
        ("select * from connectby('t', 'a', 'b', '1', 0) as t(a text)", "SP1103", "runs SQL text"),
        ("select get_raw_page('people', 0)", "SP1103", "internal"),
        ("select set_limit(0.5)", "SP1103", "session state"),
        ("select * from postgres_fdw_get_connections()", "SP1103", "sends data elsewhere"),
        ("select pg_stat_statements_reset()", "SP1103", "statistics"),
        ("select query from pg_stat_statements", "SP1104", "other people's statements"),
        ("select query from seen", "SP1104", "other people's statements"),
        ("select * from pg_buffercache", "SP1104", "server's memory"),
    ],
)
def test_is_refused_whatever_is_trusted(
    sql: str, code: str, words: str, catalog: CatalogSnapshot
) -> None:
    context = Context(search_path=("public",), trusted_functions=lambda function: True)
    (facts,) = analyze(sql.encode(), catalog, context)
    assert [u for u in facts.unknowns if u.code == code and words in u.what]


def test_what_users_made_stays_unknown(catalog: CatalogSnapshot) -> None:
    for sql in (
        "select mine.soundex(name) from people",
        "select tags operator(mine.->) 'a' from people",
        "select crypt(name, 'x') from people",  # not a member of pgcrypto here
    ):
        facts = _facts(sql, catalog)
        assert len(facts.functions) == 1, (sql, facts.unknowns)
        assert [u.code for u in facts.unknowns] == ["SP1103"], sql
    assert _facts("select soundex(name) from people", catalog, ("mine", "public")).functions != ()


def test_a_member_counts_only_as_shipped(catalog: CatalogSnapshot) -> None:
    (similarity,) = catalog.functions_by_name["similarity"]
    assert is_known(similarity) and classify(similarity).safe
    for change in (
        {"extension": ""},
        {"extension": "citext"},
        {"language": "sql"},
        {"security_definer": True},
        {"name": "similarities"},
    ):
        changed = replace(similarity, **change)
        assert not is_known(changed) and not classify(changed).safe, change


def test_text_is_not_read_as_a_type_that_is_not_known(catalog: CatalogSnapshot) -> None:
    """Not even where somebody made a cast that does nothing else."""
    key = catalog.type_by_name["public", "gbtreekey4"]
    through_text = Cast(TEXT, key.oid, 0, "i")
    for snapshot in (catalog, _with(catalog, casts=(*catalog.casts, through_text))):
        for sql in (
            "select '1'::gbtreekey4",
            "select name::gbtreekey4 from people",
            "select $1::gbtreekey4",
        ):
            assert [u.code for u in _facts(sql, snapshot).unknowns] == ["SP1103"], sql
