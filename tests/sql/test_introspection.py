"""What psql and drivers ask the catalog must be understood and harmless, or nobody can connect."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sallyport.sql.catalog.functions import FIRST_USER_OID
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import analyze
from tests.sql.conftest import blocks
from tests.sql.rendering import CONTEXT

QUERIES = [(label, query) for file in ("psql.sql", "drivers.sql") for label, query in blocks(file)]


def test_there_are_queries() -> None:
    assert len(QUERIES) > 120


@pytest.fixture(scope="module")
def ordinary(catalog: CatalogSnapshot) -> CatalogSnapshot:
    """Without casts that users made to text and from integers: where such are, parameters that
    stand in two places are refused.
    """
    return replace(
        catalog, casts=tuple(cast for cast in catalog.casts if cast.function < FIRST_USER_OID)
    )


@pytest.mark.parametrize(("label", "query"), QUERIES)
def test_understood(label: str, query: str, ordinary: CatalogSnapshot) -> None:
    for facts in analyze(query.encode(), ordinary, CONTEXT):
        assert facts.unknowns == ()
        assert facts.functions == ()
