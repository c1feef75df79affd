"""``($1).field`` and ``($1).*``: of the type that Parse or PREPARE declares, and PostgreSQL's own
error where that has no fields.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.gateway import Gateway
from tests.support.postgres import Server

_MADE = """
CREATE TYPE public.pair AS (a integer, b text);
CREATE DOMAIN public.paired AS public.pair;
CREATE FUNCTION public.unread(public.pair) RETURNS text LANGUAGE plpgsql AS 'begin return 1; end';
"""


@pytest.fixture(scope="module")
def types(postgres: Server) -> Iterator[dict[str, int]]:
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as db:
        db.execute(_MADE)
        names = "SELECT typname, oid::int FROM pg_type WHERE typname IN ('pair', 'paired', 'text')"
        yield dict(db.execute(names).fetchall())
        db.execute("DROP FUNCTION public.unread; DROP DOMAIN public.paired; DROP TYPE public.pair")


def _run(dsn: str, sql: str, types: list[int]) -> tuple[str, list[str], str]:
    """SQLSTATE, the first row, and the error of a statement that is prepared and run twice."""
    with psycopg.connect(dsn, autocommit=True) as db:
        last: tuple[str, list[str], str] = ("", [], "")
        parsed = db.pgconn.prepare(b"s", sql.encode(), types)
        runs = [parsed] if parsed.error_message else []
        for _ in range(0 if runs else 2):
            runs.append(db.pgconn.exec_prepared(b"s", [b"(1,x)"]))
        for done in runs:
            state = (done.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b"").decode()
            message = (done.error_field(psycopg.pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode()
            row = [(done.get_value(0, n) or b"").decode() for n in range(done.nfields)]
            last = state, row if done.ntuples else [], message.partition("] ")[2] or message
        return last


@pytest.mark.parametrize(
    ("sql", "declared"),
    [
        ("SELECT ($1).b", ["pair"]),
        ("SELECT ($1).*", ["pair"]),
        ("SELECT ($1).b, ($1).a", ["paired"]),
        ("SELECT ROW(($1).*), (1, $1)", ["pair"]),
        ("SELECT ($1).nothing", ["pair"]),
        ("SELECT ($1).b", ["text"]),
        ("SELECT ($1).*", ["text"]),
        ("SELECT ($1).b", []),
        ("SELECT ($1).*", []),
        ("SELECT ('x').b, $1::text", []),
    ],
)
def test_it_is_as_directly(
    gateway: Gateway, postgres: Server, types: dict[str, int], sql: str, declared: list[str]
) -> None:
    oids = [types[name] for name in declared]
    assert _run(gateway.dsn(), sql, oids) == _run(postgres.superuser_dsn, sql, oids)


def test_a_function_that_is_called_as_a_field_is_judged(
    gateway: Gateway, types: dict[str, int]
) -> None:
    state, _, message = _run(gateway.dsn(), "SELECT ($1).unread", [types["pair"]])
    assert (state, "unread" in message) == ("42501", True)


def test_prepare_declares_types_as_well(gateway: Gateway, types: dict[str, int]) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.execute("PREPARE reads (public.pair) AS SELECT ($1).b, ($1).*")
        assert db.execute("EXECUTE reads('(2,y)')").fetchall() == [("y", 2, "y")]
        with pytest.raises(psycopg.errors.WrongObjectType):
            db.execute("PREPARE other (text) AS SELECT ($1).b")


def test_a_type_that_another_place_could_give_is_not_guessed(gateway: Gateway) -> None:
    state, _, message = _run(gateway.dsn(), "SELECT $1::public.pair, ($1).b", [])
    assert (state, "cannot determine" in message) == ("42501", True)
