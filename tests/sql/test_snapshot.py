"""A catalog snapshot as a value."""

from __future__ import annotations

from sallyport.sql.catalog.snapshot import CatalogSnapshot


def test_its_repr_does_not_name_all_that_is_in_it(catalog: CatalogSnapshot) -> None:
    """Messages and tests say what they were given; thousands of functions are megabytes."""
    text = repr(catalog)
    assert catalog.epoch in text and catalog.database in text
    assert len(text) < 10_000
