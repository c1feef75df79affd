"""What the gateway did in the last hour, minute by minute: counters, sampled every few seconds, in
memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from sallyport.core.clock import Clock
from sallyport.operations.ports import GatewayMetrics

VERDICTS = ("allow", "hold", "deny")
MINUTES = 60
_SAMPLE_SECONDS = 5.0


@dataclass(slots=True)
class Minute:
    """``number``: Unix minutes. ``counts``: statements by verdict. ``refusals``: by code.
    ``masked``: rows by masked column. ``latency``: pieces by upper bound of what the gateway added
    (seconds), both directions together.
    """

    number: int
    counts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    latency: Counter[float] = field(default_factory=Counter)

    def add(self, more: Minute) -> None:
        self.counts.update(more.counts)
        self.refusals.update(more.refusals)
        self.masked.update(more.masked)
        self.latency.update(more.latency)


def total(minutes: Iterable[Minute]) -> Minute:
    """All of them as one."""
    made = Minute(0)
    for minute in minutes:
        made.add(minute)
    return made


def _counters(metrics: GatewayMetrics) -> Minute:
    latency: Counter[float] = Counter()
    for buckets in metrics.latency.values():
        latency.update(buckets)
    return Minute(
        0, Counter(metrics.statements), Counter(metrics.refusals), Counter(metrics.masked), latency
    )


class Activity:
    """``metrics`` gives the counters now."""

    def __init__(self, metrics: Callable[[], GatewayMetrics], clock: Clock) -> None:
        self._metrics, self._clock = metrics, clock
        self._minutes: deque[Minute] = deque(maxlen=MINUTES)
        self._before = Minute(0)

    def sample(self) -> None:
        """Take the difference to the sample before; a counter that went back (its target's catalog
        is new) counts nothing.
        """
        number, now, before = int(self._clock.now() // 60), _counters(self._metrics()), self._before
        if not self._minutes or self._minutes[-1].number != number:
            self._minutes.append(Minute(number))
        # Counter subtraction keeps what is above nothing.
        self._minutes[-1].add(
            Minute(
                0,
                now.counts - before.counts,
                now.refusals - before.refusals,
                now.masked - before.masked,
                now.latency - before.latency,
            )
        )
        self._before = now

    def hour(self) -> list[Minute]:
        """Sixty minutes up to this one, quiet ones included, oldest first."""
        self.sample()
        last = self._minutes[-1].number
        by_number = {minute.number: minute for minute in self._minutes}
        return [by_number.get(n) or Minute(n) for n in range(last - MINUTES + 1, last + 1)]

    async def run(self) -> None:
        """Sample for ever."""
        while True:
            self.sample()
            await asyncio.sleep(_SAMPLE_SECONDS)


def percentile(buckets: Mapping[float, int], part: float) -> float | None:
    """Upper bound of the bucket in which the ``part`` (0 to 1) lies; None when nothing was
    counted.
    """
    count = sum(buckets.values())
    if not count:
        return None
    seen = 0
    for bound in sorted(buckets):
        seen += buckets[bound]
        if seen >= part * count:
            return bound
    return None
