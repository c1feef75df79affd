"""Statements that call a volatile function, which may tell in which order rows were visited."""

from __future__ import annotations

import pytest

from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import analyze
from tests.sql.rendering import CONTEXT


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("delete from users where age = 1", False),
        ("delete from users where born < now() and lower(name) = 'x'", False),
        ("delete from users where age = 1 and clock_timestamp() < now()", True),
        ("delete from users u using (select random() as r) x where u.age > x.r", True),
        ("with x as (select nextval('seq') n) delete from users using x where age > n", True),
        ("delete from users using turns t where age > t.turn", True),
        ("delete from users using over_turns t where age > t.turn", True),
        ("delete from users where (select max(turn) from turns) > age", True),
    ],
)
def test_volatile_calls_are_noted(sql: str, expected: bool, catalog: CatalogSnapshot) -> None:
    (facts,) = analyze(sql.encode(), catalog, CONTEXT)
    assert facts.unknowns == ()
    assert facts.calls_volatile is expected
