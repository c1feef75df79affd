"""Which of several functions a call means is told by the types of its arguments: the gateway must
mean the same one as the server.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.gateway import Gateway
from tests.support.postgres import Server

TYPES = ("integer", "bigint", "numeric")


@pytest.fixture(scope="module")
def functions(postgres: Server) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Of each pair of types, one function that is read and one that is not; gives a session past
    the gateway.
    """
    pairs = [(a, b) for a in (*TYPES, "double precision", "text") for b in TYPES if a != b]
    names = {(a, b): f"public.takes_{a[:4]}_{b[:4]}" for a, b in pairs}
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as db:
        for (a, b), name in names.items():
            db.execute(
                f"CREATE FUNCTION {name}({a}) RETURNS text LANGUAGE sql AS $$ SELECT"
                " 'read'::text $$"
            )
            body = "BEGIN RETURN (SELECT 'not read: ' || ssn FROM public.customers LIMIT 1); END"
            db.execute(f"CREATE FUNCTION {name}({b}) RETURNS text LANGUAGE plpgsql AS $$ {body} $$")
        yield db
        for (a, b), name in names.items():
            db.execute(f"DROP FUNCTION {name}({a}), {name}({b})")


@pytest.mark.parametrize(
    "number",
    [
        *(
            "1",
            "-1",
            "2147483647",
            "2147483648",
            "-2147483648",
            "-2147483649",
            "-(2147483648)",
            "- 3000000000",
        ),
        *(
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
        ),
        *(
            "1.5",
            "-1.0",
            "1e3",
            ".5",
            "1.",
            "0x1F",
            "0x80000000",
            "-0x80000000",
            "0xFFFFFFFFFFFFFFFFFF",
            "1_000",
        ),
        *(
            "3_000_000_000",
            "0b11",
            "0o17",
            "007",
            "00000000000000000003",
            "-(-3000000000)",
            "COALESCE(-2147483648)",
        ),
        (
            "(SELECT x FROM (VALUES (-2147483648), (-2147483648), (-2147483648), (-3000000000)) AS"
            " v(x) LIMIT 1)"
        ),
        "(SELECT x FROM (VALUES (1), (1), (1), (-2147483648)) AS v(x) LIMIT 1)",
        "(ARRAY[-2147483648, -2147483648, -2147483648, -2147483649])[1]",
        (
            "(ARRAY[9223372036854775807, 9223372036854775807, 9223372036854775807,"
            " 9223372036854775808])[1]"
        ),
    ],
)
def test_numbers_have_the_servers_type(
    gateway: Gateway, functions: psycopg.Connection[tuple[object, ...]], number: str
) -> None:
    names = functions.execute(
        "SELECT DISTINCT proname FROM pg_proc WHERE proname LIKE 'takes\\_%'"
    ).fetchall()
    wrong = []
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        for (name,) in names:
            call = f"SELECT public.{name}({number})"
            try:
                meant = str((functions.execute(call).fetchone() or [""])[0])
            except psycopg.Error:
                continue  # several could be meant, or none
            try:
                (got,) = db.execute(call).fetchone() or ("",)
            except psycopg.Error as error:
                got = str(error)
            if (got != "read") if meant == "read" else ("SP1103" not in str(got)):
                wrong.append((call, meant, got))
    assert wrong == []


#: The type that reads and the one that does not, and what has the latter although a part of it has
#: the former.
OVERLOADS = [
    ("integer", "numeric", "nullif(1, 1.5)"),
    ("varchar", "text", "nullif('a'::varchar, 'b')"),
    ("text", "integer", "nullif(NULL, 1)"),
    ("integer[]", "numeric[]", "1.5 || '{1,2}'::int[]"),
    ("integer[]", "numeric[]", "'{1,2}'::int[] || '{1.5}'::numeric[]"),
    ("json", "jsonb", "json_object('a': '[1]'::jsonb)"),
    ("json", "jsonb", "json_array('[1]'::jsonb)"),
    ("json", "jsonb", "json_array(SELECT '[1]'::jsonb)"),
    ("json", "jsonb", "(SELECT json_objectagg('a': '[1]'::jsonb))"),
]


@pytest.mark.parametrize(("read", "overload", "value"), OVERLOADS)
def test_what_is_computed_has_the_servers_type(
    gateway: Gateway, postgres: Server, read: str, overload: str, value: str
) -> None:
    # which the gateway has not heard of
    name = f"public.takes_{OVERLOADS.index((read, overload, value))}"
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as db:
        db.execute(
            f"CREATE FUNCTION {name}({read}) RETURNS text LANGUAGE sql AS $$ SELECT 'read'::text $$"
        )
        db.execute(
            f"CREATE FUNCTION {name}({overload}) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN"
            " 'ran'; END $$"
        )
        try:
            assert db.execute(f"SELECT {name}({value})").fetchone() == ("ran",)
            with (
                psycopg.connect(gateway.dsn()) as agent,
                pytest.raises(psycopg.Error, match="SP1103"),
            ):
                agent.execute(f"SELECT {name}({value})")
        finally:
            db.execute(f"DROP FUNCTION {name}({read}), {name}({overload})")
