"""What people write in a search, and what is wrong with it."""

from __future__ import annotations

import pytest

from sallyport.operations.statementsearch import read_query, state_text
from sallyport.sql.text.fingerprint import query_fingerprint
from sallyport.store.statementindex import IndexState, SearchError


@pytest.mark.parametrize(
    ("text", "terms", "phrases"),
    [
        ("", (), ()),
        ("drop  table", (), ("drop", "table")),
        ('"drop table" xy*', (), ("drop table", "xy*")),
        (
            "verdict:deny Relation:public.orders",
            (("verdict", "deny"), ("relation", "public.orders")),
            (),
        ),
        ('subject:"dana x" orders', (("subject", "dana x"),), ("orders",)),
        ('"verdict:deny"', (), ("verdict:deny",)),
        ("a::text = 4", (), ("a::text", "4")),
        ("12:30", (), ("12:30",)),
    ],
)
def test_what_is_meant(
    text: str,
    terms: tuple[tuple[str, str], ...],
    phrases: tuple[str, ...],
) -> None:
    query = read_query(text)
    assert (query.terms, query.phrases) == (terms, phrases)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("flavour:x", r"no filter 'flavour'. There are: subject, .* quote it: \"flavour:x\""),
        ("verdict:refused", "verdict: takes allow, hold, deny"),
        ('"drop table', "quotation mark"),
        ('dr"op', "quotation mark"),
        ("column:", "the filter column needs a value"),
        ('rule:""', "the filter rule needs a value"),
        ("=", "no word to search for in '='"),
        ("a*", "at least 2 characters"),
        ("x" * 1001, "1000 are accepted"),
        ("a " * 31, "more than 30"),
    ],
)
def test_what_is_wrong(text: str, error: str) -> None:
    with pytest.raises(SearchError, match=error):
        read_query(text)


@pytest.mark.parametrize("after", ["x", "-1", "1 OR 1=1", "9" * 20, "١"])
def test_a_place_that_is_none(after: str) -> None:
    with pytest.raises(SearchError, match="give the 'next'"):
        read_query("", after=after)


def test_what_was_not_searched_is_said() -> None:
    assert state_text(IndexState(5, 1.0, "", 1000.0, 0), 1030.0) == ""
    assert "after 1970-01-01 00:16 UTC" in state_text(IndexState(5, 1.0, "", 1000.0, 0), 1100.0)
    full = IndexState(5, 130.0, "", 1000.0, 9)
    assert "before 1970-01-01 00:02 UTC have left" in state_text(full, 1030.0)


def test_fingerprints() -> None:
    assert query_fingerprint("SELECT a FROM t WHERE b = 1") == query_fingerprint(
        "select a from t /* x */ where b = 2"
    )
    assert query_fingerprint("SELECT a FROM t") != query_fingerprint("SELECT b FROM t")
    assert query_fingerprint("SELEC") == query_fingerprint("SELECT '" + "x" * 9000 + "'") == ""
    assert query_fingerprint("SELECT " + "(" * 4000 + "1" + ")" * 4000) in (
        "",
        query_fingerprint("SELECT 1"),
    )
    assert query_fingerprint("SELECT 1" + "+1" * 4000) != "crash"
