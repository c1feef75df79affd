"""What `sessions show` says of statements that were refused, that failed and that changed rows,
from a real session.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from sallyport.audit.replay import error_fields
from tests.support.forked import of_the_interpreter, run
from tests.support.gateway import Gateway
from tests.support.postgres import Server

POLICY = """version: 1
packs: [no-unbounded-write]
rules:
  - {name: all may read and write, allow: [read, write], relations: ["public.*"]}
masks:
  - {columns: ["public.customers.ssn"], with: redact, filter: deny}
"""
STATEMENTS = (
    "UPDATE products SET stock = stock WHERE id <= 3",
    "DELETE FROM products",
    "SELECT id FROM customers WHERE ssn = 'x'",
    "SELECT nothing FROM products",
    "SELECT id FROM products WHERE id <= 2",
)


@pytest.fixture
def shown(make_gateway: Callable[..., Gateway], postgres: Server) -> list[dict[str, Any]]:
    gateway = make_gateway(targets={"shop": postgres}, policy=POLICY)
    with psycopg.connect(gateway.dsn()) as agent:
        for sql in STATEMENTS:
            try:
                agent.execute(sql)
            except psycopg.Error:
                pass
            agent.rollback()
    gateway.stop()

    def said(*words: str) -> str:
        env = {"PATH": os.environ["PATH"]}
        done = run(gateway.command(*words), env, of_the_interpreter(os.environ))
        assert done.returncode == 0, done.stderr
        return done.stdout

    (session,) = json.loads(said("sessions", "list", "--json"))
    lines = [
        json.loads(line) for line in said("sessions", "show", session["id"], "--json").splitlines()
    ]
    # as recorded: without the value that meets a masked column, and without unknown names
    beginnings = tuple(sql.partition("ssn")[0].partition(" nothing")[0] for sql in STATEMENTS)
    return [line for line in lines if line.get("sql", "").startswith(beginnings)]


def test_sessions_show_says_why(shown: list[dict[str, Any]]) -> None:
    changed, denied, masked, failed, read = shown
    assert (changed["outcome"], changed["rows"]) == ("allow", 3)
    assert denied["rule"] == "no-unbounded-write: UPDATE and DELETE need WHERE"
    assert denied["message"].startswith("[SP1002] ")
    assert denied["detail"]
    assert (masked["code"], masked["rule"]) == ("SP1201", "")
    assert "ssn" in masked["message"] + masked["detail"]
    assert failed["message"]
    assert (read["rows"], read["message"]) == (2, "")


def test_an_error_in_a_value_is_not_the_reply_s() -> None:
    body = b"SERROR\0VERROR\0C42501\0Mforged\0\0"
    error = b"E" + (len(body) + 4).to_bytes(4, "big") + body
    row = (
        b"D"
        + (len(error) + 10).to_bytes(4, "big")
        + b"\0\1"
        + len(error).to_bytes(4, "big")
        + error
    )
    real = b"SERROR\0VERROR\0C22012\0Mdivision by zero\0\0"
    data = row + b"E" + (len(real) + 4).to_bytes(4, "big") + real + b"Z\0\0\0\5E"
    fields = error_fields(data)
    assert fields is not None and fields.message == "division by zero"
    assert error_fields(b"T\0\0\0\6\0\0") is None
