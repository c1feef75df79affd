"""What the overview shows of the past: counted once, kept over restarts, for all processes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select

from sallyport.core.clock import ManualClock
from sallyport.operations.history import SPANS, History, Past, percentile, total
from sallyport.operations.ports import GatewayMetrics
from sallyport.store.activity import HOUR, MINUTE, REST, Bucket, SqlActivity
from sallyport.store.database import open_database
from sallyport.store.tables import activity_buckets, approval_decisions, approvals
from sallyport.store.writer import Writer

DAY = 86_400
#: A minute, an hour and a day begin.
MIDNIGHT = 1_767_571_200.0


@dataclass
class Process:
    """One that counts, and its history."""

    engine: Engine
    name: str = "aa-1"
    clock: ManualClock = field(default_factory=lambda: ManualClock(MIDNIGHT + 10 * HOUR))
    counts: dict[str, int] = field(default_factory=dict)
    latency: dict[float, int] = field(default_factory=dict)
    masked: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.writer = Writer(self.engine, interval=0.01)
        self.history = History(
            self.metrics, SqlActivity(self.engine, self.writer, self.name), self.clock
        )
        self.history.restore()

    def metrics(self) -> GatewayMetrics:
        return GatewayMetrics(
            statements=dict(self.counts),
            refusals={"SP1001": self.counts.get("deny", 0)},
            logins={"accepted": self.counts.get("allow", 0) // 5},
            masked=dict(self.masked),
            latency={"to_server": dict(self.latency), "to_client": {0.1: 1}},
        )

    def did(self, **counts: int) -> None:
        for verdict, count in counts.items():
            self.counts[verdict] = self.counts.get(verdict, 0) + count
        self.history.sample()

    def past(self, span: str = "1h") -> Past:
        return asyncio.run(self.history.past(SPANS[span]))

    def allowed(self, span: str = "1h") -> int:
        return total(self.past(span).buckets).statements["allow"]

    def restarted(self) -> Process:
        """Ended in order; the next one counts from nothing."""
        self.history.sample()
        self.writer.close()
        return Process(self.engine, self.name, self.clock)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_database(tmp_path)
    yield made
    made.dispose()


def test_differences_are_counted_by_the_minute(engine: Engine) -> None:
    process = Process(engine, latency={0.001: 3})
    process.did(allow=10)
    process.latency[0.002] = 4
    process.clock.advance(120)
    process.did(allow=5)
    buckets = process.past().buckets
    assert len(buckets) == 60
    assert [bucket.statements.total() for bucket in buckets[-3:]] == [10, 0, 5]
    assert [dict(b.latency) for b in buckets[-3:]] == [{0.001: 3, 0.1: 1}, {}, {0.002: 4}]
    assert [bucket.logins["accepted"] for bucket in buckets[-3:]] == [2, 0, 1]
    process.counts["allow"] = 1  # a counter that began again
    process.history.sample()
    process.did(allow=1)
    assert process.past().buckets[-1].statements["allow"] == 6


def test_nothing_is_lost_or_counted_twice_at_a_restart(engine: Engine) -> None:
    process = Process(engine)
    process.did(allow=10, deny=2)
    for _ in range(3):  # in the same minute
        process = process.restarted()
        process.did(allow=1)
    for span in SPANS:
        assert process.allowed(span) == 13, span
    assert total(process.past("90d").buckets).refusals == {"SP1001": 2}
    process.writer.flush()
    rows = select(func.count()).select_from(activity_buckets)
    with engine.connect() as connection:
        assert connection.execute(rows).scalar() == 2, "one minute and one hour, and no more"


def test_processes_are_added_up(engine: Engine) -> None:
    first, second = Process(engine, "aa-1"), Process(engine, "bb-1")
    first.did(allow=10)
    second.did(allow=7)
    assert first.allowed() == 10
    for process in (first, second):
        process.writer.flush()
    assert first.allowed() == second.allowed() == 17
    first.did(allow=1)  # its own are there before they are written
    assert first.allowed("7d") == 18


def test_hours_are_kept_for_ninety_days_and_minutes_for_one(engine: Engine) -> None:
    process = Process(engine)
    process.did(allow=1)
    for _ in range(95):
        process.clock.advance(DAY)
        process.did(allow=1)
        process.writer.flush()
    kept = select(activity_buckets.c.seconds, func.count()).group_by(activity_buckets.c.seconds)
    with engine.connect() as connection:
        counts = {seconds: count for seconds, count in connection.execute(kept)}
    assert counts == {MINUTE: 2, HOUR: 91}
    process = process.restarted()
    buckets = process.past("90d").buckets
    assert len(buckets) == 90
    assert [bucket.statements["allow"] for bucket in buckets] == [1] * 90
    assert process.allowed("30d") == 30
    assert process.allowed("7d") == 7


def test_a_quiet_process_writes_nothing(engine: Engine) -> None:
    process = Process(engine)
    process.did(allow=1)
    for _ in range(50):
        process.clock.advance(MINUTE)
        process.history.sample()
    process.writer.flush()
    with engine.connect() as connection:
        rows = connection.execute(select(func.count()).select_from(activity_buckets)).scalar()
    assert rows == 2


def test_names_of_a_row_are_bounded(engine: Engine) -> None:
    process = Process(engine)
    process.masked = {f"public.t.c{number}": number for number in range(1, 301)}
    process.did()
    process = process.restarted()
    masked = total(process.past().buckets).masked
    assert len(masked) == 65
    assert masked["public.t.c300"] == 300
    assert masked[REST] == sum(range(1, 237))


def test_what_the_store_cannot_tell_is_said(engine: Engine, tmp_path: Path) -> None:
    process = Process(engine)
    process.did(allow=4)
    activity_buckets.drop(engine)
    past = process.past()
    assert past.is_partial
    assert total(past.buckets).statements["allow"] == 4
    activity_buckets.create(engine)
    assert process.writer.flush(), "it is tried again"
    assert process.restarted().allowed() == 4


def test_how_long_people_took(engine: Engine) -> None:
    process = Process(engine)
    now = process.clock.now()
    with engine.begin() as connection:
        for number, (asked, decided, status) in enumerate(
            [
                (now - 30, now - 20, "approved"),
                (now - 200, now - 80, "used"),
                (now - 300, now - 299, "denied"),
                (now - 300, None, "expired"),
                (now - 2 * DAY, now - DAY, "denied"),
            ]
        ):
            connection.execute(insert(approvals), [_request(number, asked, status)])
            if decided is not None:
                connection.execute(insert(approval_decisions), [_decision(number, 0, asked + 0.5)])
                connection.execute(insert(approval_decisions), [_decision(number, 1, decided)])
    hour = [delay for delays in process.past().delays.values() for delay in delays]
    assert sorted(hour) == [1.0, 10.0, 120.0], "of a quorum, the last decision counts"
    week = [delay for delays in process.past("7d").delays.values() for delay in delays]
    assert max(week) == DAY
    assert percentile(week, 0.5) == 120.0
    assert percentile([], 0.5) is None


def _request(number: int, asked: float, status: str) -> dict[str, Any]:
    empty: dict[str, Any] = {
        column.name: [] for column in approvals.c if str(column.type) == "JSON"
    }
    texts = dict.fromkeys(("digest", "rule", "kind", "mode", "void_reason", "grant_id"), "")
    return {
        **empty,
        **texts,
        "id": f"apr_{number}",
        "status": status,
        "binding": b"",
        "quorum": 1,
        "created": asked,
        "expires_at": asked + 900,
        "in_transaction": False,
    }


def _decision(number: int, place: int, at: float) -> dict[str, Any]:
    texts = dict.fromkeys(("reviewer", "issuer", "email", "reason", "channel", "address"), "")
    return {
        **texts, "approval": f"apr_{number}", "number": place, "approve": True, "at": at,
        "links": [],
    }  # fmt: skip


def test_a_bucket_with_nothing_is_false() -> None:
    assert not Bucket(60, 0)
    assert Bucket(60, 0, logins=Counter(SP1601=1))
