"""The examples of docs/lineage.md: what the analysis says of each statement is what the document
shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sallyport.sql.catalog.snapshot import CatalogSnapshot
from tests.sql.conftest import fixture_database
from tests.sql.rendering import rendered
from tests.support.postgres import Server
from tests.targets.query import catalog_of

TEXT = (Path(__file__).parents[2] / "docs" / "lineage.md").read_text()


def examples() -> list[tuple[str, list[str]]]:
    blocks = "".join(re.findall(r"^```facts\n(.*?)^```", TEXT, re.M | re.S))
    parts = [part.rstrip().splitlines() for part in blocks.split(">> ")[1:]]
    return [(lines[0], [line for line in lines[1:] if line]) for lines in parts]


@pytest.fixture(scope="module")
def catalog(postgres: Server) -> Iterator[CatalogSnapshot]:
    with fixture_database(postgres.superuser_dsn, "lineage_document") as dsn:
        yield catalog_of(dsn)


def test_there_are_examples() -> None:
    assert len(examples()) >= 25


@pytest.mark.parametrize(("sql", "shown"), examples(), ids=[sql[:50] for sql, _ in examples()])
def test_examples_of_the_document(catalog: CatalogSnapshot, sql: str, shown: list[str]) -> None:
    assert rendered(sql, catalog) == shown
