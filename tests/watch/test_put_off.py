"""Looks at a session that goes on as before: a few statements wait, what may matter does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sallyport.server.watch_access import WatchAccess
from sallyport.session.activity import Activity
from tests.watch.test_detectors import ITEMS, ORDERS
from tests.watch.test_detectors import shape as shape_of


def verdict(shape: Any) -> Any:
    return SimpleNamespace(records={"watch": shape})


USUAL, RARE = verdict(ORDERS), verdict(ITEMS)
PERIOD = 600.0


@pytest.fixture
def access() -> WatchAccess:
    """Of a session that ran one statement, which was looked at."""
    policy = SimpleNamespace(masks=())
    judge = SimpleNamespace(catalog=None, subject_policy=policy)
    session: Any = SimpleNamespace(
        names=SimpleNamespace(subject_judge=judge), pipeline=SimpleNamespace(entries=[])
    )
    row: Any = SimpleNamespace(client="10.0.2.1:5", application="psql")
    access = WatchAccess(session, None, None, lambda: None, row)
    run(access, USUAL)
    assert taken(access) == 1
    return access


def run(access: WatchAccess, seen: Any, rows: int = 1, failed: bool = False) -> None:
    activity: Activity = access._session.activity  # type: ignore[assignment]
    activity.completed(seen, 1, rows, 80, failed, 7)


def taken(access: WatchAccess, now: float = 1.0, *, everything: bool = False) -> int:
    observations, _ = access.take(now, everything=everything)
    return sum(seen.count for seen in observations)


def test_a_few_statements_wait_and_are_taken_together(access: WatchAccess) -> None:
    for _ in range(3):
        run(access, USUAL)
        assert taken(access) == 0
    run(access, USUAL)
    assert taken(access) == 4
    assert taken(access) == 0


def test_what_waits_is_taken_in_half_a_minute_and_at_the_end(access: WatchAccess) -> None:
    run(access, USUAL)
    looks = 1
    while taken(access) == 0:
        looks += 1
    assert looks == 60
    run(access, USUAL)
    assert taken(access) == 0
    assert taken(access, everything=True) == 1


def test_nothing_that_may_matter_waits(access: WatchAccess) -> None:
    run(access, RARE)
    assert taken(access) == 1, "a statement that the session never ran"
    run(access, USUAL, failed=True)
    assert taken(access) == 1
    run(access, USUAL, rows=60)
    assert taken(access) == 0
    run(access, USUAL, rows=60)
    assert taken(access) == 2, "rows that come to a hundred"
    run(access, USUAL)
    activity: Activity = access._session.activity  # type: ignore[assignment]
    activity.refused(5, "SP1001", (), b"SELECT 1")
    assert taken(access) == 2


def test_rows_are_few_by_what_the_session_reads(access: WatchAccess) -> None:
    run(access, USUAL, rows=16_000)
    assert taken(access) == 1
    run(access, USUAL, rows=900)
    assert taken(access) == 0
    run(access, USUAL, rows=200)
    assert taken(access) == 2
    run(access, USUAL, rows=150)
    assert taken(access, now=2.0 + PERIOD, everything=True) == 1
    run(access, USUAL, rows=150)
    assert taken(access, now=3.0 + PERIOD) == 1, "it read much, but long ago"


def test_statements_that_page_are_taken_before_they_are_told_late(access: WatchAccess) -> None:
    pages = verdict(shape_of("pages", pages=True, searches=True))
    waiting = most = 0
    for _ in range(20):
        run(access, pages, rows=1)
        waiting = 0 if taken(access) else waiting + 1
        most = max(most, waiting)
    assert most == 3
