"""What the gateways of a store did, over the last hour to the last ninety days.

One task of each process samples its own counters every few seconds and stores the differences
(:mod:`sallyport.store.activity`); nothing of this is on a statement's way. A restart goes on with
the minute and the hour that were begun. A process that is killed loses the last few seconds.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from sallyport.core.clock import Clock
from sallyport.operations.ports import GatewayMetrics
from sallyport.store.activity import HOUR, MINUTE, Bucket, Decided, SqlActivity

VERDICTS: Final = ("allow", "hold", "deny")
_SAMPLE_SECONDS: Final = 5.0
_DAY: Final = 24 * HOUR


class Span(NamedTuple):
    """What is looked at together. seconds: of all of it. step: seconds of one column of its plots.
    stored: of the buckets that it is made of.
    """

    title: str
    seconds: int
    step: int
    stored: int


#: By the name that addresses of pages have.
SPANS: Final = {
    "1h": Span("hour", HOUR, MINUTE, MINUTE),
    "6h": Span("6 hours", 6 * HOUR, 5 * MINUTE, MINUTE),
    "24h": Span("24 hours", _DAY, 20 * MINUTE, MINUTE),
    "7d": Span("7 days", 7 * _DAY, 2 * HOUR, HOUR),
    "30d": Span("30 days", 30 * _DAY, 12 * HOUR, HOUR),
    "90d": Span("90 days", 90 * _DAY, _DAY, HOUR),
}


@dataclass(frozen=True, slots=True)
class Past:
    """buckets: one for each column, quiet ones included, oldest first; the last one is not over.
    delays: seconds until each request for approval was decided, by the start of its column.
    is_partial: the store cannot be read, so this is what this process itself did lately.
    """

    span: Span
    buckets: list[Bucket]
    delays: dict[int, list[float]]
    is_partial: bool = False


def total(buckets: Iterable[Bucket]) -> Bucket:
    """All of them as one."""
    made = Bucket(0, 0)
    for bucket in buckets:
        made.add(bucket)
    return made


def percentile(values: list[float], part: float) -> float | None:
    """The value at ``part`` (0 to 1) of some; None when there are none."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[min(int(part * len(ranked)), len(ranked) - 1)]


def _counters(metrics: GatewayMetrics) -> Bucket:
    latency: Counter[float] = Counter()
    for buckets in metrics.latency.values():
        latency.update(buckets)
    return Bucket(
        0,
        0,
        Counter(metrics.statements),
        Counter(metrics.refusals),
        Counter(metrics.masked),
        Counter(metrics.logins),
        latency,
    )


class History:
    """metrics: gives the counters of this process now, without other workers'."""

    def __init__(
        self, metrics: Callable[[], GatewayMetrics], store: SqlActivity, clock: Clock
    ) -> None:
        self._metrics, self._store, self._clock = metrics, store, clock
        # Those that may not be written yet, the present one last.
        self._minutes: deque[Bucket] = deque(maxlen=60)
        self._hours: deque[Bucket] = deque(maxlen=2)
        self._before = Bucket(0, 0)

    def restore(self) -> None:
        """Go on with what this process stored of the present minute and hour before a restart.
        Raises SQLAlchemyError.
        """
        now = self._clock.now()
        for seconds, kept in ((MINUTE, self._minutes), (HOUR, self._hours)):
            kept.append(self._store.own(seconds, _start(now, seconds)))

    def sample(self) -> None:
        """Count the difference to the sample before. A counter that went back (its target's catalog
        is new) counts nothing.
        """
        current, before = _counters(self._metrics()), self._before
        self._before = current
        # Counter subtraction keeps what is above nothing.
        more = Bucket(
            0,
            0,
            current.statements - before.statements,
            current.refusals - before.refusals,
            current.masked - before.masked,
            current.logins - before.logins,
            current.latency - before.latency,
        )
        now = self._clock.now()
        for seconds, kept in ((MINUTE, self._minutes), (HOUR, self._hours)):
            start = _start(now, seconds)
            if not kept or kept[-1].start != start:
                kept.append(Bucket(seconds, start))
                if seconds == HOUR:
                    self._store.trim(now)
            kept[-1].add(more)
            if more:
                self._store.put(kept[-1])

    async def step(self) -> None:
        """Sample, and wait until it is time for the next one."""
        self.sample()
        await asyncio.sleep(_SAMPLE_SECONDS)

    async def past(self, span: Span) -> Past:
        """The last so many seconds, of all gateways; reads the store on another thread."""
        self.sample()
        last = _start(self._clock.now(), span.step)
        first = last - span.seconds + span.step
        own = [*(self._minutes if span.stored == MINUTE else self._hours)]
        decided: list[Decided] = []
        is_partial = False
        try:
            stored, decided = await asyncio.to_thread(self._read, span, first)
        except SQLAlchemyError:
            stored, is_partial = [], True
        mine, starts = self._store.process, {bucket.start for bucket in own}
        theirs = [b for whose, b in stored if whose != mine or b.start not in starts]
        columns = {n: Bucket(span.step, n) for n in range(first, last + 1, span.step)}
        for bucket in (*theirs, *own):
            column = columns.get(_start(bucket.start, span.step))
            if column is not None:
                column.add(bucket)
        delays: dict[int, list[float]] = {}
        for asked, delay in decided:
            delays.setdefault(_start(asked, span.step), []).append(delay)
        return Past(span, list(columns.values()), delays, is_partial)

    def _read(self, span: Span, first: int) -> tuple[list[tuple[str, Bucket]], list[Decided]]:
        return self._store.read(span.stored, first), self._store.decisions(first)


def _start(moment: float, seconds: int) -> int:
    return int(moment // seconds) * seconds
