"""Work that goes on as before: detectors look at it now and then, and miss nothing by it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from sallyport.watch import watcher
from sallyport.watch.baseline import DAY, Baseline, Drift, Lesson
from sallyport.watch.detectors import Detector, Sighting
from sallyport.watch.intake import Observation
from sallyport.watch.merging import LessonBatch, decoded, merged
from sallyport.watch.recent import Recent
from tests.watch.test_detectors import ITEMS, MONDAY, ORDERS, World, shape


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the detectors that were asked, in order."""
    names: list[str] = []

    def counted(name: str, detector: Detector) -> Detector:
        def look(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
            names.append(name)
            return detector(baseline, recent, now)

        return look

    detectors = {name: counted(name, each) for name, each in watcher.DETECTORS.items()}
    monkeypatch.setattr(watcher, "DETECTORS", detectors)
    return names


def test_usual_statements_are_looked_at_by_the_handful(asked: list[str]) -> None:
    world = World()
    world.learn()
    assert world.run(ORDERS, 4, rows=1) == []
    asked.clear()
    assert world.run(ORDERS, 40, rows=1) == []
    assert asked == ["bulk", "volume", "drift"] * 10


def test_small_results_of_a_usual_statement_add_up() -> None:
    world = World()
    world.learn()
    told, runs = list[str](), 0
    while "bulk" not in told and runs < 60:
        told += world.run(ITEMS, 1, rows=50)
        runs += 1
    assert "bulk" in told
    assert 40 < runs <= 43, "2000 rows are five times the largest; a sixteenth later at most"


def test_a_sum_is_told_whatever_comes_between() -> None:
    """Rows of one relation are compared also when the statement that is looked at has others."""
    world = World()
    world.learn()
    told: list[str] = []
    for _ in range(60):
        told += world.run(ITEMS, 1, rows=45)
        told += world.run(ORDERS, 1, rows=1)
    assert "bulk" in told


def test_what_an_episode_left_is_looked_at_in_the_next() -> None:
    """A little of one relation behind other work, in each episode: a day's sum all the same."""
    world = World()
    world.learn()
    told, rows = list[str](), 0
    while "volume" not in told and rows < 6300:
        told += world.run(ORDERS, 1, rows=1)
        told += world.run(ITEMS, 1, rows=90)
        rows += 90
        world.now += 660.0
    assert "volume" in told
    assert 5000 < rows <= 5000 + 90 + 90, "in the episode behind the one that passed the bound"


def test_drift_among_usual_statements() -> None:
    world = World()
    rare = shape("rare", "public.coupons")
    world.learn(42, [Observation(rare, 1, 1, 80, 1)])
    assert "drift" in world.run(rare, 24, rows=1)


def test_refusals_and_failures_are_looked_at_at_once(asked: list[str]) -> None:
    world = World()
    world.learn()
    world.run(ORDERS, 4, rows=1)
    asked.clear()
    world.run(ORDERS, 1, failed=1)
    assert "stuck" in asked
    asked.clear()
    world.do(Observation(ORDERS, 1, code="SP1001", variant=1))
    assert "probing" in asked and "refusals" in asked


def test_what_is_stored_reads_as_before() -> None:
    """In memory weeks and days are packed; earlier versions read lists, and wrote them."""
    lesson = Lesson(MONDAY, peaks=[("rows public.orders", 7.0, False)], day=(20_000, 5, 1, 70))
    lesson.is_free = True
    data = merged(None, LessonBatch("lsn_1", 0.0, MONDAY, 30 * DAY, [lesson]))
    plain = msgspec.msgpack.decode(data)
    assert plain["peaks"]["rows public.orders"][1] == [7.0, 0.0, 0.0, 0.0, 0.0]
    assert plain["history"] == [[20_000, 5, 1, 70]]
    plain["peaks"]["rows public.orders"][1] = [7.0, 9.0]
    baseline = decoded(msgspec.msgpack.encode(plain))
    assert baseline is not None and baseline.history.rows() == [(20_000, 5, 1, 70)]
    assert baseline.peak("rows public.orders", MONDAY) == 9.0
    for broken in ([["x"]], [[1, 2]], 3):
        assert decoded(msgspec.msgpack.encode(plain | {"history": broken})) is None


def test_the_bound_of_a_mix_that_varies() -> None:
    """Nothing that 16 statements can do is far above 0.8 where an agent's work is ever other."""
    drift = Drift()
    for _ in range(100):
        drift.add(0.55)
        drift.add(0.65)
    assert drift.bound() == pytest.approx(0.8, abs=0.01)
