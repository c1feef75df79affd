"""docs/guarantees.md: every statement does what the document says, under the document's own
policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.core.errors import CODES
from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server

TEXT = (Path(__file__).parents[2] / "docs" / "guarantees.md").read_text()


def examples() -> list[tuple[str, str]]:
    """(passes, a refusal's code or a SQLSTATE; statement)"""
    blocks = "".join(re.findall(r"^```sql\n(.*?)^```", TEXT, re.M | re.S))
    return re.findall(r"^-- (\w+)\n(.*?);\n", blocks, re.M | re.S)


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    block = re.search(r"^```yaml\n(.*?)^```", TEXT, re.M | re.S)
    assert block is not None
    keys = {"mask_keys": {"cities": {"env": "SHOP_PASSWORD"}}}
    running = Gateway(issuer, {"shop": postgres}, policy=block[1], extra=keys).start()
    yield running
    running.stop()


@pytest.fixture
def agent(gateway: Gateway) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(gateway.dsn()) as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize(("outcome", "sql"), examples(), ids=[sql[:60] for _, sql in examples()])
def test_statements_of_the_document(agent: psycopg.Connection[Any], outcome: str, sql: str) -> None:
    if outcome == "passes":
        agent.execute(sql)  # type: ignore[call-overload]
        return
    with pytest.raises(psycopg.Error) as refused:
        agent.execute(sql)  # type: ignore[call-overload]
    assert refused.value.sqlstate == (CODES[outcome].sqlstate if outcome in CODES else outcome)
    assert outcome not in CODES or f"[{outcome}]" in str(refused.value)


def test_there_are_statements() -> None:
    assert len(examples()) >= 25


def both(
    agent: psycopg.Connection[Any], postgres: Server, columns: str
) -> Iterator[tuple[Any, Any]]:
    """Each row as the agent sees it, and as it is."""
    sql = f"SELECT {columns} FROM customers ORDER BY id LIMIT 300"
    with psycopg.connect(postgres.superuser_dsn) as direct:
        yield from zip(agent.execute(sql).fetchall(), direct.execute(sql).fetchall(), strict=True)


def test_partial_shows_length_and_end(agent: psycopg.Connection[Any], postgres: Server) -> None:
    for (seen,), (real,) in both(agent, postgres, "ssn"):
        assert seen == "*" * (len(real) - 4) + real[-4:]


def test_equal_tokens_for_equal_values(agent: psycopg.Connection[Any], postgres: Server) -> None:
    pairs = {(seen, real) for (seen,), (real,) in both(agent, postgres, "city")}
    assert len(pairs) == len({seen for seen, _ in pairs}) == len({real for _, real in pairs}) > 1


def test_redact_hides_null_and_others_show_it(
    agent: psycopg.Connection[Any], postgres: Server
) -> None:
    rows = list(both(agent, postgres, "phone, notes"))
    assert any(None in real for _, real in rows)
    assert {seen for seen, _ in rows} == {("[redacted]", "[redacted]")}


def test_the_timeout_comes_with_the_session(agent: psycopg.Connection[Any]) -> None:
    assert agent.execute("SHOW statement_timeout").fetchone() == ("30s",)


def test_the_text_of_an_error_over_masked_columns_is_withheld(
    agent: psycopg.Connection[Any],
) -> None:
    with pytest.raises(psycopg.Error) as failed:
        agent.execute("UPDATE products SET price = -1 WHERE id = 1")
    assert failed.value.sqlstate == "23514"
    assert "The values are withheld." in str(failed.value)
    assert "-1" not in str(failed.value)
