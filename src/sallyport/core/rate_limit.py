"""A bound on how often something happens in a span of time."""

from __future__ import annotations

from sallyport.core.clock import Clock


class RateLimit:
    """At most ``maximum`` events in ``seconds`` for one key (an address), and ten times as many for
    all keys together.
    """

    def __init__(self, clock: Clock, maximum: int, seconds: float) -> None:
        self._clock, self._maximum, self._seconds = clock, maximum, seconds
        self._counts: dict[str, int] = {}
        self._total = 0
        self._until = 0.0

    def exceeded(self, key: str) -> bool:
        self._roll()
        return self._counts.get(key, 0) >= self._maximum or self._total >= self._maximum * 10

    def count(self, key: str) -> None:
        self._roll()
        self._counts[key] = self._counts.get(key, 0) + 1
        self._total += 1

    @property
    def retry_after(self) -> int:
        """Whole seconds until the count begins anew."""
        return max(1, int(self._until - self._clock.monotonic()) + 1)

    def _roll(self) -> None:
        now = self._clock.monotonic()
        if now >= self._until:
            self._counts, self._total, self._until = {}, 0, now + self._seconds
