"""The SQL examples of docs/refusals.md, run against a real gateway: each gets the code of its
section.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.core.errors import CODES
from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server

TEXT = (Path(__file__).parents[2] / "docs" / "refusals.md").read_text()


def examples() -> list[tuple[str, str]]:
    pairs = []
    for code, section in re.findall(r"^### (SP\d{4})\n(.*?)(?=^##|\Z)", TEXT, re.M | re.S):
        pairs += [(code, sql.strip()) for sql in re.findall(r"```sql\n(.*?)```", section, re.S)]
    return pairs


def policy() -> str:
    """The demo's, with what the document adds; the window is moved away from the present."""
    demo = resources.files("sallyport.demo").joinpath("policy.yaml").read_text()
    block = re.search(r"```yaml\n(.*?)```", TEXT, re.S)
    assert block is not None
    added = block[1].removeprefix("rules:\n")
    hour = (time.gmtime().tm_hour + 3) % 23
    window = f'window: {{from: "{hour:02}:00", to: "{hour + 1:02}:00"}}'
    added, moved = re.subn(r"window: \{.*?\]\}", window, added)
    assert moved == 1
    rules, limits = added.split("limits:")
    return demo.replace("rules:\n", f"rules:\n{rules}", 1) + f"\nlimits:{limits}"


@pytest.fixture(scope="module")
def documented(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    gateway = Gateway(issuer, {"shop": postgres}, policy=policy()).start()
    yield gateway
    gateway.stop()


@pytest.fixture
def connection(documented: Gateway) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(documented.dsn(), autocommit=True) as connection:
        yield connection


def by_simple_query(connection: psycopg.Connection[Any], sql: str) -> None:
    result = connection.pgconn.exec_(sql.encode())
    message = (result.error_message or b"").decode()
    state = (result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b"").decode()
    raise psycopg.errors.lookup(state)(message) if state else AssertionError(f"it ran: {sql}")


def by_extended_query(connection: psycopg.Connection[Any], sql: str) -> None:
    connection.execute(sql, prepare=True)  # type: ignore[call-overload]


@pytest.mark.parametrize("run", [by_simple_query, by_extended_query])
@pytest.mark.parametrize(("code", "sql"), examples())
def test_examples_get_their_code(
    connection: psycopg.Connection[Any],
    run: Callable[[psycopg.Connection[Any], str], None],
    code: str,
    sql: str,
) -> None:
    with pytest.raises(psycopg.Error) as refused:
        run(connection, sql)
    assert f"[{code}]" in str(refused.value)
    assert refused.value.sqlstate == CODES[code].sqlstate
    # A limit also cancels the statement, and that cancel may still be on its way to the next one.
    if code != "SP1701":
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_there_are_examples() -> None:
    assert len(examples()) >= 15
