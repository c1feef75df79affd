"""Detectors, baselines and the documentation have the same thresholds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sallyport.watch import detectors, thresholds
from sallyport.watch.detectors import DETECTORS
from sallyport.watch.recent import Day, Episode
from sallyport.watch.shapes import Shape
from sallyport.watch.thresholds import LEAST

WATCHING = (Path(__file__).parents[2] / "docs" / "watching.md").read_text("utf-8")


def test_every_peak_has_a_least_value() -> None:
    total = Shape(
        "f1", "select", "select public.t", ("public.t",), masked=("public.t.c",), pages=True,
        aggregates=True, conditions=frozenset({"a"}),
    )  # fmt: skip
    by_person = Shape(
        "f2", "select", "select public.t", ("public.t",), masked=("public.t.c",),
        aggregates=True, conditions=frozenset({"a", "b"}), singling=frozenset({"b"}),
    )  # fmt: skip
    third = Shape("f3", "select", "select public.t", ("public.t",), masked=("public.t.c",))
    episode, day = Episode(0.0), Day(0)
    for shape in (total, by_person, third):
        use = episode.use(shape)
        assert use is not None
        use.count = 20
        episode.count_result(use, 9000)
        if use.differs:
            episode.count_difference(use, 20)
    episode.rows_of["public.t"] = day.rows_of["public.t"] = 9000
    kinds = {name.partition(" ")[0] for name, _ in (*episode.peaks(), *day.peaks())}
    assert kinds == set(LEAST)


@pytest.mark.parametrize(
    ("detector", "words"),
    [
        ("bulk", f"max({thresholds.ROWS:.0f}, 5 p)"),
        ("volume", f"max({thresholds.DAY_ROWS:.0f}, 4 p of days)"),
        ("paging", f"n ≥ {thresholds.PAGES} and"),
        ("search", f"n ≥ {thresholds.SEARCHES} and"),
        ("new-statement", f"n ≥ {thresholds.FORMS} and"),
        ("enumeration", f"n ≥ {thresholds.RELATIONS} and"),
        ("enumeration", f"n ≥ {thresholds.RELATIONS_EVER} "),
        ("differencing", f"n ≥ {thresholds.DIFFERENCES} and"),
        ("masked", f"n ≥ {thresholds.MASKED} and"),
        ("networks", f"n ≥ {thresholds.NETWORKS}, or sessions n ≥ {thresholds.SESSIONS} "),
        ("session-length", f"max({thresholds.SESSION_SECONDS / 3600:.0f}, 4 p)"),
    ],
)
def test_the_documentation_has_the_same(detector: str, words: str) -> None:
    row = re.search(rf"^\| `{detector}` .*$", WATCHING, re.M)
    assert row is not None and words in row[0]


def test_every_detector_is_documented() -> None:
    for name, detector in DETECTORS.items():
        assert f"| `{name}` |" in WATCHING
        assert detector.__doc__
    assert detectors.QUIET.keys() <= DETECTORS.keys()
