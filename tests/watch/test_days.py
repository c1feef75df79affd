"""A day of an agent that is let go and comes back."""

from __future__ import annotations

import pytest

from sallyport.watch.baseline import DAY, Baseline
from sallyport.watch.intake import Observation
from sallyport.watch.merging import decoded
from tests.watch.test_detectors import ITEMS, KEY, ORDERS, World


@pytest.fixture
def world() -> World:
    learned = World()
    learned.learn()
    return learned


def test_a_day_goes_on_after_a_break(world: World) -> None:
    told = []
    for _ in range(7):
        told += world.run(ITEMS, 9, rows=100)
        for _ in range(4):
            world.now += 1800.0
            world.watcher.tick(world.now)
        assert KEY not in world.watcher.present()
    assert told.count("volume") == 1
    summary = world.watcher.summary(KEY, world.now)
    assert summary is not None and summary.recent is not None
    assert summary.recent.day.rows == 6300
    world.now += 2 * 3600.0
    world.watcher.tick(world.now)
    (day,) = [
        day for day in baseline_of(world).history.rows() if day[0] == int(world.now // DAY) - 1
    ]
    assert day[1:] == (63, 0, 6300)
    largest = baseline_of(world).peak("day public.order_items", world.now)
    assert largest == 2 * 400, "as it was told, it counts as twice the largest"


@pytest.mark.parametrize("ends", ["comes back", "close"])
def test_the_day_of_who_was_let_go_is_learned(world: World, ends: str) -> None:
    world.run(ITEMS, 7, rows=100)
    for _ in range(4):
        world.now += 1800.0
        world.watcher.tick(world.now)
    if ends == "close":
        world.watcher.close(world.now)
    else:
        world.now += DAY
        world.do(Observation(ORDERS, 1))
    assert baseline_of(world).history.rows()[-1][1:] == (7, 0, 700)
    assert baseline_of(world).peak("day public.order_items", world.now) == 700.0


def baseline_of(world: World) -> Baseline:
    """As it is stored."""
    baseline = decoded(world.saved[KEY])
    assert baseline is not None
    return baseline
