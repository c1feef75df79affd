"""What the gateway did in the last hour, minute by minute: counters, sampled every few seconds, in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sallyport.core.clock import Clock
from sallyport.operations.ports import GatewayMetrics

VERDICTS = ("allow", "hold", "deny")
MINUTES = 60
_SAMPLE_SECONDS = 5.0


@dataclass(slots=True)
class Minute:
    """``number``: Unix minutes. ``counts``: statements by verdict."""

    number: int
    counts: dict[str, int] = field(default_factory=dict)


class Activity:
    """``metrics`` gives the counters now."""

    def __init__(self, metrics: Callable[[], GatewayMetrics], clock: Clock) -> None:
        self._metrics, self._clock = metrics, clock
        self._minutes: deque[Minute] = deque(maxlen=MINUTES)
        self._before: dict[str, int] = {}

    def sample(self) -> None:
        """Take the difference to the sample before."""
        now, counts = int(self._clock.now() // 60), dict(self._metrics().statements)
        if not self._minutes or self._minutes[-1].number != now:
            self._minutes.append(Minute(now))
        minute = self._minutes[-1]
        for verdict, count in counts.items():
            more = count - self._before.get(verdict, 0)
            if more > 0:
                minute.counts[verdict] = minute.counts.get(verdict, 0) + more
        self._before = counts

    def hour(self) -> list[Minute]:
        """Sixty minutes up to this one, quiet ones included, oldest first."""
        self.sample()
        last = self._minutes[-1].number
        known = {minute.number: minute for minute in self._minutes}
        return [known.get(n) or Minute(n) for n in range(last - MINUTES + 1, last + 1)]

    async def run(self) -> None:
        """Sample for ever."""
        while True:
            self.sample()
            await asyncio.sleep(_SAMPLE_SECONDS)
