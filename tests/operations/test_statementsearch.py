"""What people write in a search, and what is wrong with it."""

from __future__ import annotations

import pytest

from sallyport.operations.statementsearch import read_query, share_beside, state_text
from sallyport.sql.text.fingerprint import fingerprint_of_text, query_fingerprint
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


def test_a_busy_gateway_leaves_little_to_the_indexer() -> None:
    assert share_beside(0.0) == 0.3
    assert 0.01 < share_beside(0.05) < 0.3
    assert share_beside(0.1) == share_beside(0.9) == 0.01


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            "SELECT a FROM t WHERE b = 1 AND c = 'x'",
            "SELECT a FROM t WHERE b = 2.5 AND c = 'it''s'",
        ),
        ("INSERT INTO t VALUES (1, 'a'), (2, 'b')", "INSERT INTO t VALUES (3, 'c'), (4, '')"),
        ("select date '2020-01-01' limit 5", "select date '1999-12-31' limit 77"),
        ("UPDATE t SET a = -1 WHERE b IN (1, 2)", "UPDATE t SET a = -22 WHERE b IN (7, 8)"),
    ],
)
def test_constants_are_nothing_to_a_fingerprint(first: str, second: str) -> None:
    assert query_fingerprint(first) == query_fingerprint(second) == of_library(first) != ""
    assert of_library(first) == of_library(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("FETCH 5 FROM c", "FETCH 6 FROM c"),
        ("SELECT a::float(24) FROM t", "SELECT a::float(25) FROM t"),
    ],
)
def test_constants_that_are_something(first: str, second: str) -> None:
    assert query_fingerprint(first) == of_library(first) != ""
    assert query_fingerprint(second) == of_library(second) != query_fingerprint(first)


def of_library(sql: str) -> str:
    """What libpg_query says of the text itself."""
    return fingerprint_of_text(sql.encode())


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
