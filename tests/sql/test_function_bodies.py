"""Which bodies of user-made SQL functions are followed, and under which names."""

from __future__ import annotations

import psycopg
import pytest
from msgspec.structs import replace

from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import analyze
from sallyport.sql.facts import Dependence
from tests.sql.rendering import CONTEXT
from tests.targets.query import catalog_of


def test_bodies_of_sql_functions_are_loaded_with_what_changes_their_meaning(
    catalog: CatalogSnapshot,
) -> None:
    bodies = {f.name: f for f in catalog.functions.values() if f.body}
    assert not bodies.keys() & {"hook", "coded"}
    assert bodies["pathed"].path == ("fx",) and not bodies["pathed"].has_settings
    assert (
        bodies["owned_fixed"].path == ("pg_catalog", "pg_temp")
        and bodies["owned_fixed"].security_definer
    )
    assert bodies["with_settings"].has_settings and bodies["one_ssn"].path is None
    assert bodies["three"].defaults == "'x'::text, (1 + 2)" and bodies["one_ssn"].defaults == ""
    assert not any(f.schema == "pg_catalog" for f in bodies.values())
    assert bodies["one_ssn"].arg_names == ("wanted",) and not bodies["one_ssn"].body_bound
    assert bodies["shout"].body_bound and bodies["by_ssn"].body_bound


def test_what_a_body_reads_is_read_by_the_caller(catalog: CatalogSnapshot) -> None:
    """Nobody was granted the function, so the tables under it must be: an indirect access needs no
    grant.
    """
    (facts,) = analyze(b"select one_ssn(1)", catalog, CONTEXT)
    users = catalog.relation_by_name["fx", "users"].oid
    assert [(a.relation, a.indirect) for a in facts.accesses] == [(users, False)]


def test_a_trusted_function_is_not_followed(catalog: CatalogSnapshot) -> None:
    (facts,) = analyze(
        b"select one_ssn(1)", catalog, replace(CONTEXT, trusted_functions=lambda f: True)
    )
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


def test_only_text_that_the_session_gives_its_path_is_late(catalog: CatalogSnapshot) -> None:
    late = {
        "select one_ssn(1)": True,
        "select deep(1)": True,  # bound, but calls text
        "select s from vf": True,
        "select id from vlate": True,
        "select shout('x')": False,
        "select pathed(1)": False,
        "select owned_bound(1)": False,
        "select owned_fixed(1)": False,
        "select s from mvf": False,
        "select id from users": False,
    }
    for sql, expected in late.items():
        (facts,) = analyze(sql.encode(), catalog, CONTEXT)
        assert not facts.unknowns, sql
        assert facts.resolves_names_at_run_time is expected, sql


def test_what_a_function_of_a_view_reads_is_read_by_the_caller(catalog: CatalogSnapshot) -> None:
    """As PostgreSQL has it: functions in a view run with the rights of whoever reads the view."""
    (facts,) = analyze(b"select s from vf", catalog, CONTEXT)
    users = catalog.relation_by_name["fx", "users"].oid
    assert {a.indirect for a in facts.accesses if a.relation == users} == {False, True}
    (stored,) = analyze(b"select s from mvf", catalog, CONTEXT)
    assert {a.indirect for a in stored.accesses if a.relation == users} == {True}


def test_which_bodies_were_followed(catalog: CatalogSnapshot) -> None:
    names = {
        "select deep(1)": {"deep", "shout", "one_ssn"},
        "select s from vf": {"one_ssn", "shout"},
    }
    for sql, expected in names.items():
        (facts,) = analyze(sql.encode(), catalog, CONTEXT)
        assert {catalog.functions[oid].name for oid in facts.followed} == expected


def test_a_trusted_function_inside_a_body_is_a_call(catalog: CatalogSnapshot) -> None:
    trusting = replace(CONTEXT, trusted_functions=lambda f: f.name == "coded")
    for sql in (b"select over_coded('x')", b"select c from vcoded"):
        (facts,) = analyze(sql, catalog, trusting)
        assert not facts.unknowns
        assert [f.name for f in facts.functions] == ["coded"]
        assert facts.columns is not None and facts.columns[0].dependence is Dependence.OPAQUE


def test_trust_is_not_taken_over_from_another_subject(catalog: CatalogSnapshot) -> None:
    """What is kept of views and bodies is kept for those who trust the same functions."""
    trusting = replace(CONTEXT, trusted_functions=lambda f: f.name == "one_ssn")
    for context, called in ((trusting, ["one_ssn"]), (CONTEXT, []), (trusting, ["one_ssn"])):
        (facts,) = analyze(b"select s from vf", catalog, context)
        assert [f.name for f in facts.functions] == called
        assert not facts.unknowns


@pytest.mark.parametrize(
    ("body", "sources"),
    [
        ("select u.ssn", {"users.ssn"}),
        ("select rows_of.u.ssn", {"users.ssn"}),
        ("select (u).ssn", {"users.ssn"}),
        ("select upper(u.ssn) from fx.orders", {"users.ssn"}),
        (
            "select max(u.name) from fx.orders o where o.id = u.id",
            {"users.name", "users.id", "orders.id"},
        ),
    ],
)
def test_fields_of_a_composite_parameter(facts_dsn: str, body: str, sources: set[str]) -> None:
    with psycopg.connect(facts_dsn) as connection:
        connection.execute(
            f"create function fx.rows_of(u fx.users) returns text language sql as '{body}'"
        )  # type: ignore[arg-type]
        connection.commit()
        try:
            catalog = catalog_of(facts_dsn)
            (facts,) = analyze(b"select rows_of(t) from users t", catalog, CONTEXT)
            columns = {c.name for c in facts.columns or ()}
            touched = {catalog.column_name(c).removeprefix("fx.") for c in facts.mentioned_columns}
        finally:
            connection.execute("drop function fx.rows_of")
            connection.commit()
    assert not facts.unknowns
    assert columns == {"rows_of"}
    assert sources <= touched
