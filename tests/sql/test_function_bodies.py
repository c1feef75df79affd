"""Which bodies of user-made SQL functions are followed, and under which names."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from sallyport.sql.catalog import CatalogSnapshot
from sallyport.sql.extract import analyze
from tests.sql.rendering import CONTEXT
from tests.targets.query import catalog_of


def test_only_bodies_with_the_callers_rights_and_settings_are_loaded(catalog: CatalogSnapshot) -> None:
    bodies = {f.name: f for f in catalog.functions.values() if f.body}
    assert not bodies.keys() & {"owned", "pathed", "hook"}
    assert not any(f.schema == "pg_catalog" for f in bodies.values())
    assert bodies["one_ssn"].arg_names == ("wanted",) and not bodies["one_ssn"].body_bound
    assert bodies["shout"].body_bound and bodies["by_ssn"].body_bound


def test_what_a_body_reads_is_read_by_the_caller(catalog: CatalogSnapshot) -> None:
    """Nobody was granted the function, so the tables under it must be: an indirect access needs no grant."""
    (facts,) = analyze(b"select one_ssn(1)", catalog, CONTEXT)
    users = catalog.relation_by_name["fx", "users"].oid
    assert [(a.relation, a.indirect) for a in facts.accesses] == [(users, False)]


def test_a_trusted_function_is_not_followed(catalog: CatalogSnapshot) -> None:
    (facts,) = analyze(b"select one_ssn(1)", catalog, replace(CONTEXT, trusted_functions=lambda f: True))
    assert [f.name for f in facts.functions] == ["one_ssn"]
    assert not facts.accesses and not facts.unknowns


@pytest.mark.parametrize("path", [("public",), ("other", "fx")])
def test_text_means_what_the_callers_path_says(facts_dsn: str, path: tuple[str, ...]) -> None:
    with psycopg.connect(facts_dsn) as connection:
        connection.execute("create schema other; create table other.users (ssn int, id int)")
        connection.commit()
        try:
            catalog = catalog_of(facts_dsn)
        finally:
            connection.execute("drop schema other cascade")
            connection.commit()
    (facts,) = analyze(b"select fx.everyone()", catalog, replace(CONTEXT, search_path=path))
    assert facts.unknowns and [f.name for f in facts.functions] == ["everyone"]
    (bound,) = analyze(b"select fx.by_ssn('x')", catalog, replace(CONTEXT, search_path=path))
    assert not bound.unknowns
    assert {a.relation for a in bound.accesses} == {catalog.relation_by_name["fx", "users"].oid}
