"""What psql and drivers ask the catalog must be understood and harmless, or nobody can connect."""

from __future__ import annotations

import pytest

from sallyport.sql.catalog import CatalogSnapshot
from sallyport.sql.extract import analyze
from tests.sql.conftest import blocks
from tests.sql.rendering import CONTEXT

QUERIES = [(label, query) for file in ("psql.sql", "drivers.sql") for label, query in blocks(file)]


def test_there_are_queries() -> None:
    assert len(QUERIES) > 120


@pytest.mark.parametrize(("label", "query"), QUERIES)
def test_understood(label: str, query: str, catalog: CatalogSnapshot) -> None:
    for facts in analyze(query.encode(), catalog, CONTEXT):
        assert facts.unknowns == ()
        assert facts.functions == ()
