"""Cuts against a naive model that keeps, for each byte of the new text, where it came from."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.sql.rewrite.cuts import Cut, Rewritten

#: One to four bytes each in UTF-8.
CHARACTERS = st.sampled_from("ab '\"\n;éß€漢😀")
TEXT = st.text(CHARACTERS, max_size=40)


class Made(NamedTuple):
    """A text, cuts in it that do not overlap, in any order."""

    text: str
    cuts: tuple[Cut, ...]


@st.composite
def made(draw: st.DrawFn) -> Made:
    text = draw(TEXT)
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    offsets = [len(text[:place].encode()) for place in places]
    cuts = []
    for start, end in list(pairwise(offsets))[::2]:
        new = draw(st.text(CHARACTERS, max_size=6)).encode()
        cuts.append(Cut(start, end, new, draw(st.sampled_from([b"", b"(SELECT)"]))))
    # of two cuts at one place an insertion comes first
    kept = [cut for n, cut in enumerate(cuts) if not any(c[:2] == cut[:2] for c in cuts[:n])]
    return Made(text, tuple(draw(st.permutations(kept))))


def origins(source: Made) -> list[tuple[int, int, bool]]:
    """(byte, offset in the original, made by a cut) of each byte of the new text."""
    original = source.text.encode()
    bytes_with_origin: list[tuple[int, int, bool]] = []
    position = 0
    for cut in sorted(source.cuts, key=lambda cut: cut[:2]):
        bytes_with_origin += [(original[n], n, False) for n in range(position, cut.start)]
        bytes_with_origin += [(byte, cut.start, True) for byte in cut.text]
        position = cut.end
    return bytes_with_origin + [(original[n], n, False) for n in range(position, len(original))]


@given(made())
def test_every_byte_is_where_it_belongs(source: Made) -> None:
    rewritten = Rewritten(source.text.encode(), source.cuts)
    model = origins(source)
    assert rewritten.text == bytes(byte for byte, _, _ in model)
    for offset, (_, origin, is_made) in enumerate(model):
        assert rewritten.is_made(offset) is is_made
        assert rewritten.before(offset) == origin
    assert not rewritten.is_made(len(model))
    assert rewritten.before(len(model)) == len(source.text.encode())


@given(made())
def test_what_stands_before_a_place(source: Made) -> None:
    original = source.text.encode()
    rewritten = Rewritten(original, source.cuts)
    for offset in range(len(original) + 1):
        if any(cut.start < offset < cut.end for cut in source.cuts):
            continue
        behind = [cut for cut in source.cuts if cut.start < offset]
        assert rewritten.until(offset) == Rewritten(original[:offset], behind).text
        assert rewritten.text.startswith(rewritten.until(offset))


@given(made())
def test_positions_of_errors_are_characters_of_the_original(source: Made) -> None:
    rewritten = Rewritten(source.text.encode(), source.cuts)
    model = origins(source)
    offset = 0
    for number, character in enumerate(rewritten.text.decode(), 1):
        place = len(source.text.encode()[: model[offset][1]].decode()) + 1
        assert rewritten.character(number) == place
        assert 1 <= place <= len(source.text) + 1
        offset += len(character.encode())
    assert rewritten.character(0) == rewritten.character(1)
    assert rewritten.character(len(rewritten.text) + 99) == len(source.text) + 1


@given(made())
def test_the_skeleton_differs_in_the_texts_of_its_cuts_alone(source: Made) -> None:
    skeleton = Rewritten(source.text.encode(), source.cuts).skeleton()
    plain = [Cut(cut.start, cut.end, cut.skeleton or cut.text) for cut in source.cuts]
    assert skeleton.text == Rewritten(source.text.encode(), plain).text
    assert [cut[:2] for cut in skeleton.cuts] == sorted(cut[:2] for cut in source.cuts)


@given(made(), st.integers(0, 80), st.integers(0, 80))
def test_whether_a_part_was_changed(source: Made, first: int, second: int) -> None:
    rewritten = Rewritten(source.text.encode(), source.cuts)
    start, end = sorted((first, second))
    length = 0
    places = []
    position = 0
    for cut in rewritten.cuts:
        length += cut.start - position
        places.append(length)
        length += len(cut.text)
        position = cut.end
    assert rewritten.is_changed(start, end) is any(start <= place <= end for place in places)


@given(made())
def test_without_cuts_nothing_changes(source: Made) -> None:
    rewritten = Rewritten(source.text.encode(), ())
    assert rewritten.text == rewritten.until(len(source.text.encode())) == source.text.encode()
    assert not rewritten.is_made(0)
    assert not rewritten.is_changed(0, 1 << 20)
    assert [rewritten.before(n) for n in range(9)] == list(range(9))


@pytest.mark.parametrize(
    "cuts",
    [
        [Cut(0, 3, b"x"), Cut(2, 4, b"y")],
        [Cut(2, 4, b"y"), Cut(0, 3, b"x")],
        [Cut(0, 5, b"x"), Cut(1, 2, b"y")],
        [Cut(0, 5, b""), Cut(1, 1, b"y")],
        [Cut(0, 2, b"x"), Cut(0, 2, b"y")],
    ],
)
def test_cuts_that_overlap(cuts: list[Cut]) -> None:
    with pytest.raises(ValueError, match="overlap"):
        Rewritten(b"abcdef", cuts)


def test_cuts_that_touch() -> None:
    rewritten = Rewritten(
        b"abcdef", [Cut(3, 3, b"-"), Cut(0, 3, b"x"), Cut(3, 4, b"y"), Cut(4, 6, b"")]
    )
    assert rewritten.text == b"x-y"
    assert [rewritten.before(n) for n in range(4)] == [0, 3, 3, 6]
