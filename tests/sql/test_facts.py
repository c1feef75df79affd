"""Facts by example: the golden table ``facts.table``."""

from __future__ import annotations

import pytest

from sallyport.sql.catalog.snapshot import CatalogSnapshot
from tests.sql.rendering import cases, rendered

CASES = cases()


def test_the_table_has_cases() -> None:
    assert len(CASES) > 100


@pytest.mark.parametrize(
    ("section", "sql", "expected"), CASES, ids=[case[1][:60] for case in CASES]
)
def test_facts(section: str, sql: str, expected: list[str], catalog: CatalogSnapshot) -> None:
    assert rendered(sql, catalog) == expected
