"""Statements of every depth, through a gateway: each is a result or a refusal, and the session
lives on.
"""

from __future__ import annotations

import psycopg
import pytest

from tests.support.gateway import Gateway

#: What opens a level, what stands in the middle, what closes a level. ``{n}``: the level.
SHAPES = {
    "left operators": ("", "select 1", " + 1"),
    "right operators": ("1 + (", "1", ")"),
    "parentheses": ("(", "1", ")"),
    "calls": ("abs(", "1", ")"),
    "two-argument calls": ("coalesce(1, ", "1", ")"),
    "casts": ("", "select 1", "::int"),
    "cast()": ("cast(", "1", " as int)"),
    "not": ("not ", "true", ""),
    "not in parentheses": ("not (", "true", ")"),
    "minus": ("- ", "1", ""),
    "is null": ("(", "1", ") is null"),
    "collate": ("(", "'a'", ') collate "C"'),
    "subqueries": ("(select ", "1", ")"),
    "exists": ("exists (select ", "1", ")"),
    "in subquery": ("1 in (select ", "1", ")"),
    "any": ("1 = any (array(select ", "1", "))"),
    "arrays": ("array[", "1", "]"),
    "rows": ("row(", "1", ")"),
    "json_object": ("json_object('a': ", "1", ")"),
    "json_build_object": ("json_build_object('a', ", "1", ")"),
    "json_array": ("json_array(", "1", ")"),
    "case then": ("case when true then ", "1", " end"),
    "case when": ("case when ", "true", " then true end"),
    "case else": ("case 1 when 2 then 3 else ", "1", " end"),
    "and over or": ("", "select true", " and true or false"),
    "or in and": ("true and (false or ", "true", ")"),
    "between": ("1 between 0 and (", "1", ")::int"),
    "in list": ("1 in (", "1", ")"),
    "nullif": ("nullif(2, ", "1", ")"),
    "from": ("* from (select ", "1", ") a{n}"),
    "lateral": ("1 from (select 1) a{n}, lateral (select ", "1", ") b{n}"),
    "unions": ("", "select 1", " union select 1"),
    "unions to the right": ("select 1 union (", "select 1", ")"),
    "intersect": ("", "select 1", " intersect select 1"),
    "with": ("with c{n} as (", "select 1", ") select 1"),
    "with that is read": ("with c{n} as (", "select 1", ") select * from c{n}"),
    "joins": ("", "select count(*) from public.orders o", " cross join (select 1) j{n}"),
    "array literals": ("(array[", "1", "])[1]"),
    "filter": ("count(*) filter (where ", "true", " )= 1"),
    "from a relation": ("id from public.orders where id in (select ", "1", ")"),
}
DEPTHS = (50, 80, 120, 160, 240, 500, 2000)


def statement(shape: str, depth: int) -> str:
    start, middle, end = SHAPES[shape]
    levels = range(depth)
    text = "".join(start.replace("{n}", str(n)) for n in levels) + middle
    text += "".join(end.replace("{n}", str(n)) for n in reversed(levels))
    return text if text.startswith(("select", "with")) else f"select {text}"


@pytest.fixture(scope="module")
def session(gateway: Gateway) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(gateway.dsn(), autocommit=True, prepare_threshold=None)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_depth_is_answered(
    session: psycopg.Connection[tuple[object, ...]], shape: str
) -> None:
    judged = 0
    for depth in DEPTHS:
        for binds in (None, ()):  # simple and extended protocol
            text = statement(shape, depth) + ("" if binds is None else " ")
            try:
                session.execute(text.encode(), binds)
                judged += 1
            except psycopg.Error as error:
                message = str(error)
                assert "SP1804" not in message
                assert error.sqlstate is not None, message
                judged += "SP1105" not in message
            assert session.execute("select 41 + 1").fetchone() == (42,)
    assert judged


def test_a_deep_statement_is_judged_by_its_bound(
    session: psycopg.Connection[tuple[object, ...]],
) -> None:
    """Below the bound of parse.MAX_DEPTH statements run; beyond it they are refused as what they
    are.
    """
    assert session.execute(statement("left operators", 230).encode()).fetchone() == (231,)
    assert session.execute(statement("calls", 150).encode()).fetchone() == (1,)
    assert session.execute(statement("not", 150).encode()).fetchone() == (True,)
    assert session.execute(statement("casts", 230).encode()).fetchone() == (1,)
    assert session.execute(statement("subqueries", 60).encode()).fetchone() == (1,)
    with pytest.raises(psycopg.errors.Error, match="nested too deeply"):
        session.execute(statement("left operators", 300).encode())
