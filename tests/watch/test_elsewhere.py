"""What people said to another process of the store about an agent."""

from __future__ import annotations

from sallyport.watch.finding import Finding
from sallyport.watch.intake import Observation
from tests.watch.test_detectors import ITEMS, KEY, World, often


def dump(world: World, rows: int) -> list[Finding]:
    told = world.do(Observation(ITEMS, 1, rows, rows, rows))
    return [finding for finding in told if finding.detector == "bulk"]


def test_sizes_of_what_is_expected_come_from_who_knows_them() -> None:
    raised, asked = often(), often()
    (finding,) = dump(raised, 5000)
    assert asked.watcher.expect(finding, asked.now) == {}
    sizes = raised.watcher.hear_expected(finding, {}, raised.now)
    assert sizes and set(sizes.values()) == {5000.0}
    asked.watcher.hear_expected(finding, sizes, asked.now)
    for world in (raised, asked):
        world.now += 2 * 3600
        assert dump(world, 5000) == []
        world.now += 2 * 3600
        assert dump(world, 40_000) != [], "more is not expected"


def test_of_an_agent_that_does_not_work_here_nothing_is_learned() -> None:
    raised, quiet = often(), World()
    (finding,) = dump(raised, 5000)
    assert quiet.watcher.hear_expected(finding, {"rows x": 1.0}, quiet.now) == {}
    quiet.watcher.hear_reset(KEY, quiet.now)
    assert quiet.watcher.present() == []


def test_a_reset_elsewhere_is_one_here_and_an_old_one_is_none() -> None:
    world = often()
    world.watcher.hear_reset(KEY, world.now)
    assert dump(world, 5000) == []
    summary = world.watcher.summary(KEY, world.now)
    assert summary is not None and summary.progress < 1.0
    seen = summary.baseline
    world.watcher.hear_reset(KEY, world.now - 60)
    again = world.watcher.summary(KEY, world.now)
    assert again is not None and again.baseline is seen
