"""``f($1)`` calls ``f()`` when ``$1`` is of type void (parse_func.c): the gateway must mean the
same function as the server.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.gateway import Gateway
from tests.support.postgres import Server

VOID = 2278
_FUNCTIONS = """
CREATE FUNCTION public.held_back() RETURNS text LANGUAGE sql STABLE
  AS 'SELECT ssn FROM public.customers ORDER BY id LIMIT 1';
CREATE FUNCTION public.held_back(x text) RETURNS text LANGUAGE sql STABLE
  AS $$ SELECT 'nothing'::text $$;
CREATE FUNCTION public.plain_total(x integer) RETURNS integer LANGUAGE sql STABLE AS 'SELECT x + 1';
"""


@pytest.fixture(scope="module")
def functions(postgres: Server) -> Iterator[str]:
    """The SSN that must not leave."""
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as db:
        db.execute(_FUNCTIONS)
        (secret,) = db.execute("SELECT public.held_back()").fetchone() or ("",)
        yield secret
        db.execute(
            "DROP FUNCTION public.held_back(), public.held_back(text), public.plain_total(integer)"
        )


def _run(gateway: Gateway, sql: str, types: list[int], values: list[bytes | None]) -> list[str]:
    """What came back in a fresh session: the first column of each row, or the error."""
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        out = []
        parsed = db.pgconn.prepare(b"s", sql.encode(), types)
        out.append(parsed.error_message.decode())
        for _ in range(2):
            done = db.pgconn.exec_prepared(b"s", values)
            out += [(done.get_value(row, 0) or b"").decode() for row in range(done.ntuples)]
            out.append(done.error_message.decode())
        return [text for text in out if text]


def test_a_declared_parameter_of_type_void_is_no_argument(gateway: Gateway, functions: str) -> None:
    assert _run(gateway, "SELECT public.held_back($1)", [25], [b"x"]) == ["nothing", "nothing"]
    assert _run(gateway, "SELECT public.held_back($1)", [0], [b"x"]) == ["nothing", "nothing"]
    # the function without arguments reads a masked column, so it is not run
    refused = _run(gateway, "SELECT public.held_back($1)", [VOID], [None])
    assert "[SP1103]" in refused[0]
    assert functions not in "".join(refused)
    # as JDBC calls a function: the first parameter stands for what it gives back
    called = "SELECT * FROM public.plain_total($1, $2) AS result"
    assert _run(gateway, called, [VOID, 23], [None, b"41"]) == ["42", "42"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT public.held_back($1::void)",
        "SELECT public.held_back(CAST($1 AS pg_catalog.void))",
        "SELECT $1::void, public.held_back($1)",
        "SELECT public.held_back($1) FROM (SELECT $1::void) AS first",
        "SELECT public.held_back($1) FROM pg_catalog.void_out($1) AS first",
        "SELECT COALESCE($1, pg_advisory_xact_lock(1)), public.held_back($1)",
        (
            "WITH w AS (SELECT COALESCE($1, pg_advisory_xact_lock(1))) SELECT public.held_back($1)"
            " FROM w"
        ),
        (
            "SELECT held FROM (SELECT pg_advisory_xact_lock(1) UNION ALL SELECT $1) AS a(v),"
            " LATERAL public.held_back($1) AS held"
        ),
    ],
)
def test_a_parameter_that_the_server_infers_to_be_void_leads_nowhere(
    gateway: Gateway, functions: str, sql: str
) -> None:
    assert functions not in "".join(_run(gateway, sql, [], [None]))


def _first(dsn: str, sql: str, types: list[int]) -> list[object]:
    """How Parse and Execute of an empty parameter end, and the first value."""
    with psycopg.connect(dsn, autocommit=True) as db:
        parsed = db.pgconn.prepare(b"s", sql.encode(), types)
        done = db.pgconn.exec_prepared(b"s", [b""])
        return [parsed.status, done.status, done.get_value(0, 0) if done.ntuples else None]


def test_a_parameter_that_is_cast_to_void_is_no_argument(
    gateway: Gateway, postgres: Server
) -> None:
    for sql in ("SELECT now($1::void) = now()", "SELECT pg_backend_pid(CAST($1 AS void)) > 0"):
        for types in ([], [0], [VOID]):
            direct = _first(postgres.superuser_dsn, sql, types)
            assert direct[-1] == b"t"
            assert _first(gateway.dsn(), sql, types) == direct


def test_a_cast_to_void_hides_no_call_with_an_argument(gateway: Gateway, postgres: Server) -> None:
    """A parameter that is declared as text is converted: PostgreSQL calls the function that takes
    anything, of which the gateway may not have heard.
    """
    makes_it = (
        "CREATE FUNCTION public.pi(x anyelement) RETURNS text LANGUAGE sql STABLE"
        " AS 'SELECT ssn FROM public.customers ORDER BY id LIMIT 1'"
    )
    sql = "SELECT pi($1::void)"
    assert _run(gateway, sql, [], [b""]) == ["3.141592653589793"] * 2
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as db:
        db.execute(makes_it)
        try:
            (secret,) = _first(postgres.superuser_dsn, sql, [25])[2:]
            assert secret == db.execute("SELECT public.pi(1)").fetchone()[0].encode()
            said = _run(gateway, sql, [25], [b""])
            with (
                psycopg.connect(gateway.dsn(), autocommit=True) as agent,
                pytest.raises(psycopg.Error, match="SP110"),
            ):
                agent.execute("PREPARE q (text) AS SELECT pi($1::void)")
        finally:
            db.execute("DROP FUNCTION public.pi(anyelement)")
    assert "SP1103" in said[0]
    assert secret.decode() not in "".join(said)


def test_prepare_takes_no_void(gateway: Gateway, functions: str) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        with pytest.raises(psycopg.Error, match="SP1102"):
            db.execute("PREPARE q (void) AS SELECT public.held_back($1)")
        db.execute("PREPARE q (text) AS SELECT public.held_back($1)")
        assert db.execute("EXECUTE q ('x')").fetchone() == ("nothing",)


def test_a_parameter_may_be_used_twice(gateway: Gateway, functions: str) -> None:
    used_twice = "SELECT lower($1) || upper($1) || public.order_total(1)"
    assert _run(gateway, used_twice, [25], [b"x"])[0].startswith("xX")
    with (
        psycopg.connect(gateway.dsn(), autocommit=True) as db,
        pytest.raises(psycopg.Error, match="SP1102"),
    ):
        db.execute("SELECT public.held_back(%(a)s), %(a)s", {"a": "x"}, prepare=True)
