"""Several gateways learn one agent: nothing is lost, nothing counts twice, memory is bounded."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field

import msgspec
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from sallyport.store.watching import SqlBaselineStore
from sallyport.store.writer import Writer
from sallyport.watch.baseline import DAY, Baseline, Learning, Lesson
from sallyport.watch.intake import Batch, Observation
from sallyport.watch.merging import LessonBatch, decoded, merged
from sallyport.watch.watcher import Watcher
from tests.store.conftest import engine, store
from tests.watch.test_detectors import ITEMS, KEY, MONDAY, ORDERS, shape

__all__ = ["engine", "store"]  # fixtures


@dataclass
class Shared:
    """A store and the gateways on it. is_late: what they save arrives when it is let in."""

    data: dict[str, bytes] = field(default_factory=dict)
    is_late: bool = False
    late: list[tuple[Watcher, LessonBatch]] = field(default_factory=list)

    def gateway(self) -> Watcher:
        def save(key: object, batch: LessonBatch, at: float) -> None:
            self.late.append((watcher, batch))
            if not self.is_late:
                self.let_in(at)

        watcher = Watcher(Learning(7.0, 100), lambda key: self.data.get("row"), save)
        return watcher

    def let_in(self, now: float) -> None:
        for watcher, batch in self.late:
            self.data["row"] = merged(self.data.get("row"), batch)
            watcher.adopt(KEY, batch.id, self.data["row"], now)
        self.late.clear()

    @property
    def stored(self) -> Baseline:
        baseline = decoded(self.data["row"])
        assert baseline is not None
        return baseline


def work(gateway: Watcher, now: float, *seen: Observation) -> list[str]:
    batch = Batch(
        "ses_1", "10.1.2.0/24", seen or (Observation(ORDERS, 8, 8, 640, 1),), None, "psql"
    )
    return [finding.detector for finding in gateway.observe(KEY, batch, now)]


def episodes(gateway: Watcher, first: float, count: int) -> float:
    """So many, learned and saved; gives the moment behind them."""
    for number in range(count):
        work(gateway, first + number * 700.0)
        gateway.tick(first + number * 700.0 + 30)
    now = first + count * 700.0
    gateway.tick(now)
    return now


@pytest.mark.parametrize("is_late", [False, True])
def test_what_two_gateways_learn_is_learned_once(is_late: bool) -> None:
    shared = Shared(is_late=is_late)
    first, second = shared.gateway(), shared.gateway()
    for day in range(10):
        now = MONDAY + day * DAY
        episodes(first, now, 3)
        now = episodes(second, now + 1, 2)
        shared.let_in(now)
    first.close(now)
    second.close(now)
    shared.let_in(now)
    assert shared.stored.seen == 10 * 5 * 8
    assert shared.stored.active_days == 10
    assert [day[1] for day in shared.stored.history.rows()] == [40] * 10
    for gateway in (first, second, shared.gateway()):
        summary = gateway.summary(KEY, now)
        assert summary is not None
        assert summary.baseline.seen == 400, "warm after a restart, and with what the other learned"


def test_a_batch_that_comes_again_changes_nothing() -> None:
    batch = LessonBatch("lsn_1", 0.0, MONDAY, 30 * DAY, [Lesson(MONDAY, statements=5)])
    once = merged(None, batch)
    assert merged(once, batch) == once
    twice = decoded(merged(once, msgspec.structs.replace(batch, id="lsn_2")))
    assert twice is not None and twice.seen == 10


def test_what_one_gateway_knows_is_usual_at_the_other() -> None:
    shared = Shared()
    first, second = shared.gateway(), shared.gateway()
    now = MONDAY
    for day in range(21):
        now = MONDAY + day * DAY
        work(first, now, Observation(ITEMS, 4, 40_000, 9000, 10_000))
        work(second, now + 5)
        for gateway in (first, second):
            gateway.tick(now + 700.0)
            gateway.tick(now + 1400.0)
    now += DAY
    assert "bulk" not in work(second, now, Observation(ITEMS, 4, 40_000, 9000, 10_000))
    assert "bulk" in work(second, now, Observation(ITEMS, 4, 400_000, 9000, 10_000))


def test_a_reset_is_one_for_all_and_late_lessons_do_not_undo_it() -> None:
    shared = Shared()
    first, second = shared.gateway(), shared.gateway()
    episodes(first, MONDAY, 20)
    now = episodes(second, MONDAY, 20)
    shared.is_late = True
    episodes(second, now, 2)
    late, shared.late = shared.late, []
    assert late
    shared.is_late = False
    first.reset(KEY, now + 5000)
    shared.late = late
    shared.let_in(now + 5001)
    assert shared.stored.seen == 0
    summary = second.summary(KEY, now + 5001)
    assert summary is not None and summary.baseline.seen == 0 and summary.progress == 0.0
    episodes(second, now + 6000, 2)
    assert shared.stored.seen > 0


def test_a_store_that_is_away_bounds_what_waits() -> None:
    shared = Shared(is_late=True)
    gateway = shared.gateway()
    chance = random.Random(7)
    for number in range(2000):
        name = f"public.relation_{chance.randrange(500)}"
        seen = Observation(shape(f"form {number % 900}", name), 20, 50_000, 1, 3000)
        work(gateway, MONDAY + number * 700.0, seen)
        if number % 5 == 0:
            gateway.tick(MONDAY + number * 700.0)
    agent = gateway._agents[KEY]
    assert len(agent.sent) <= 8
    assert len(agent.lessons) <= 32


def test_the_store_merges_what_two_gateways_write_at_once(engine: Engine) -> None:
    told: list[str] = []
    stores = [SqlBaselineStore(engine, Writer(engine)) for _ in range(2)]
    for baselines in stores:
        baselines.on_merged = lambda key, batch_id, data: told.append(batch_id)

    def write(number: int) -> None:
        for at in range(20):
            lesson = Lesson(MONDAY, statements=1, counts={"labels": {f"{number} {at}": 1.0}})
            batch = LessonBatch(f"lsn_{number}_{at}", 0.0, MONDAY, DAY, [lesson])
            stores[number].save(KEY, batch, MONDAY)
            if at % 4 == 3:
                stores[number]._merge()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    baseline = decoded(stores[0].load(KEY))
    assert baseline is not None
    assert (baseline.seen, len(baseline.labels), len(told)) == (40, 40, 40)
    assert stores[0].keys() == [KEY]


def test_what_could_not_be_stored_waits_in_order(engine: Engine) -> None:
    baselines = SqlBaselineStore(engine, Writer(engine))
    batches = [
        LessonBatch(f"lsn_{number}", 0.0, MONDAY, DAY, [Lesson(MONDAY, statements=1)])
        for number in range(3)
    ]
    for batch in batches:
        baselines.save(KEY, batch, MONDAY)
    merge_one = baselines._merge_one
    baselines._merge_one = _fails  # type: ignore[method-assign]
    with pytest.raises(SQLAlchemyError):
        baselines._merge()
    assert [waiting.batch for waiting in baselines._waiting] == batches
    baselines._merge_one = merge_one  # type: ignore[method-assign]
    baselines._merge()
    baseline = decoded(baselines.load(KEY))
    assert baseline is not None and baseline.merged == ["lsn_0", "lsn_1", "lsn_2"]


def _fails(*words: object) -> bytes:
    raise SQLAlchemyError("the disk is full")
