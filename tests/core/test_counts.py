"""Counts in shared memory: one writer per cell, bounds that hold, keys that come and go."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sallyport.core.counts import KEPT, WAYS, Cell, Counts, CountsFullError, shared_memory
from sallyport.policy.allowance import HourlyUse


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_bound_holds_over_all_processes() -> None:
    memory = shared_memory(2)
    first, second = Counts(0, 2, memory), Counts(1, 2, memory)
    bounds = {"all": 10, "dana": 3}
    assert [first.take(bounds), second.take(bounds), first.take(bounds)] == [None] * 3
    assert second.take(bounds) == "dana" and first.full(bounds) == "dana"
    assert first.total("all").sessions == 3, "nothing is counted when one bound is reached"
    second.give_back(bounds)
    second.give_back(bounds)  # nothing of its own is left
    assert first.total("dana").sessions == 2
    os.close(memory)


def test_sums_outlive_their_process_and_sessions_do_not() -> None:
    clock, memory = Clock(), shared_memory(2)
    first, second = (Counts(n, 2, memory, now=clock) for n in (0, 1))
    first.put("read", 5, 50, int(clock()))
    second.put("read", 7, 70, int(clock()))
    second.take({"dana": 9})
    again = Counts(1, 2, memory, now=clock)
    assert again.own("read")[1:3] == (7, 70) and first.total("read")[1:3] == (12, 120)
    assert first.total("dana").sessions == 0
    clock.seconds += KEPT + 1
    assert first.total("read")[1:3] == (0, 0)
    os.close(memory)


def test_other_processes_see_it() -> None:
    memory = shared_memory(2)
    program = (
        "from sallyport.core.counts import Counts; import sys, time\n"
        "c = Counts(1, 2, int(sys.argv[1]))\n"
        "for _ in range(500): c.take({'k': 10**6})\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", program, str(memory)], pass_fds=(memory,), text=True
    )
    own = Counts(0, 2, memory)
    for _ in range(500):
        own.take({"k": 10**6})
    assert running.wait(120) == 0
    assert own.total("k").sessions == 1000
    os.close(memory)


def test_a_full_table_lets_nothing_more_happen_until_keys_are_forgotten() -> None:
    clock = Clock()
    counts = Counts(slots=1, now=clock)
    for number in range(WAYS):
        counts.put(f"key {number}", 1, 1, int(clock()))
    with pytest.raises(CountsFullError):
        counts.put("one more", 1, 1, int(clock()))
    with pytest.raises(CountsFullError):
        counts.take({"one more": 5})
    clock.seconds += KEPT + 1
    counts.put("one more", 4, 4, int(clock()))
    assert counts.total("one more")[1:3] == (4, 4)
    assert counts.take({"a": 1, "b": 1}) is None, "two new keys never share a place"
    assert counts.total("a").sessions == counts.total("b").sessions == 1


def test_what_other_gateways_count_is_added_up() -> None:  # long: one exchange after the other
    clock = Clock()
    counts = Counts(now=clock)
    counts.take({"subject\0dana": 9})
    assert counts.take_changed() == {} and not counts.is_stale, "nobody else counts"
    counts.share(3600.0)
    assert counts.is_stale, "until the others were heard"
    counts.hear([], everything=True)
    counts.take({"subject\0dana": 9, "sessions": 9})
    counts.put("read\0shop", 5, 50, int(clock()))
    told = counts.take_changed()
    assert sorted(cell[:3] for cell in told.values()) == [(0, 5, 50), (2, 0, 0)]
    assert counts.take_changed() == {}
    counts.tell_again(counts.unchanged({}))
    assert counts.take_changed() == told
    (dana,) = (digest for digest, cell in told.items() if cell.sessions)
    (read,) = (digest for digest, cell in told.items() if cell.first)
    now = int(clock())
    counts.hear(
        [
            (dana, "there-0", Cell(3)),
            (read, "there-0", Cell(0, 7, 70, now)),
            (read, "there-1", Cell(0, 1, 10, now - KEPT - 1)),
        ],
        everything=False,
    )
    assert counts.total("subject\0dana").sessions == 5
    assert counts.total("read\0shop")[1:3] == (12, 120), "what is too old counts no longer"
    assert counts.take({"subject\0dana": 5}) == "subject\0dana"
    assert counts.full({"subject\0dana": 5}) == "subject\0dana"
    counts.hear([(dana, "there-0", Cell())], everything=False)
    assert counts.take({"subject\0dana": 5}) is None
    counts.hear([], everything=True)
    assert counts.total("read\0shop")[1:3] == (5, 50)


def test_without_word_of_the_others_nothing_may_be_read() -> None:
    clock = Clock()
    counts = Counts(now=clock)
    use = HourlyUse(clock, counts, "read\0shop")
    assert use.used() == (0, 0)
    counts.share(0.0)
    counts.hear([], everything=True)
    assert counts.is_stale and min(use.used()) > 1 << 60
