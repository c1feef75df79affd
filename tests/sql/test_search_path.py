"""search_path as text, and compared with what a real server makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.sql.names.search_path import format_search_path, split_search_path


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("public", ("public",)),
        ("App, Public", ("app", "public")),
        ('"App",public', ("App", "public")),
        ('"$user", public', ("$user", "public")),
        ("$user,public", ("$user", "public")),
        ('"a""b"', ('a"b',)),
        ('a"b', ('a"b',)),
        ("Ä,b", ("Ä", "b")),
        ("a\u00a0b", ("a\u00a0b",)),
        ("\fa\v,\r\nb\t", ("a", "b")),
        ("", ()),
        ("  ", ()),
        ('""', ("",)),
        ("x" * 70, ("x" * 63,)),
        ("ä" * 40, ("ä" * 31,)),
        ("a,", None),
        (",a", None),
        ("a b", None),
        ('"a', None),
        ('"a" b', None),
    ],
)
def test_it_is_split_as_postgresql_does(text: str, names: tuple[str, ...] | None) -> None:
    assert split_search_path(text) == names


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=15), max_size=4
    )
)
def test_what_is_written_is_read_back(names: list[str]) -> None:
    assert split_search_path(format_search_path(tuple(names))) == tuple(names)
