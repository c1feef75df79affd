"""Judging stays near linear: statements that once took minutes. The bound is far above what they
take, so that a busy machine passes.
"""

from __future__ import annotations

import time

import pytest

from sallyport.core.errors import RefusedError
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import analyze
from tests.sql.rendering import CONTEXT

_SECONDS = 10
STATEMENTS = {
    "CASE of risky branches": "select case "
    + " ".join(f"when ssn = '{n}' then 1 / id" for n in range(8000))
    + " end from users",
    "COALESCE": "select coalesce(" + ", ".join(["ssn", "(1 / id)::text"] * 8000) + ") from users",
    "AND": "select id from users where " + " and ".join(["1 / id > 0"] * 20000),
    "names that do not exist": "select "
    + ", ".join(f"nam{n}" for n in range(20000))
    + " from users",
    "rows": f"select ({', '.join(['ssn'] * 1600)}) = ({', '.join(['1 / id'] * 1600)}) from users",
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_near_linear(name: str, catalog: CatalogSnapshot) -> None:
    started = time.process_time()
    try:
        analyze(STATEMENTS[name].encode(), catalog, CONTEXT)
    except RefusedError as refused:
        assert refused.refusal.code.id == "SP1105"
    assert time.process_time() - started < _SECONDS
