"""Texts with parameters for their literals."""

from __future__ import annotations

import pytest

from sallyport.sql.rewrite.cuts import Cut, Rewritten
from sallyport.sql.text import template

TEXTS = {
    "select 1": "select $1",
    "select 'a', 2.5,x from t where a='it''s'": "select $1, $2,x from t where a=$3",
    """select "it's", "1" from t1 where b2 = '1'""": """select "it's", "1" from t1 where b2 = $1""",
    "select ''": "select $1",
    "select a[1], -3 limit 10": "select a[$1], -$2 limit $3",
    "select now()": "select now()",
}


@pytest.mark.parametrize("sql", TEXTS)
def test_literals_become_parameters(sql: str) -> None:
    key = template.key(sql.encode())
    assert key is not None
    assert template.with_parameters(key).decode() == TEXTS[sql]


@pytest.mark.parametrize(
    "sql", ["select $1", 'select "$"', "select 'a\\'", "select E'a'", "select 1 -- 2"]
)
def test_a_text_that_is_not_plain_has_no_key(sql: str) -> None:
    assert template.key(sql.encode()) is None


def test_dollar_signs_of_a_mask_are_no_parameters() -> None:
    original = b"select $1, email from t where id=$2"
    email, end = original.index(b"email"), len(original)
    cuts = [
        Cut(email, email + 5, b"""(case when "a$1" = '$2' then $2 end)"""),
        Cut(end, end, b" limit 1"),
    ]
    parts = template.pieces(Rewritten(original, cuts))
    assert parts == (
        b"select ", 0, b""", (case when "a$1" = '$2' then """, 1, b" end) from t where id=", 1,
        b" limit 1",
    )  # fmt: skip
    assert (
        template.filled(parts, b"select 'x', email from t where id=7")
        == b"""select 'x', (case when "a$1" = '$2' then 7 end) from t where id=7 limit 1"""
    )
