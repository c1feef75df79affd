"""Streaming sketches of bounded size that forget exponentially. No clocks: moments are arguments.

:class:`Decayed`: weights of keys, halved every half-life; the lightest keys go when there are too
many. :class:`Peaks`: the largest value of each of the last weeks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import exp2
from typing import Final

import msgspec

WEEK: Final = 7 * 86400.0
#: Weeks whose largest values are kept.
WEEKS: Final = 5
#: Weights are written down again, at a scale of 1, once the scale has grown to this.
_RESCALE: Final = 2.0**40


class Decayed(msgspec.Struct):
    """Weights by key. An event at moment t adds 2^((t - origin) / half_life), so that nothing has
    to be touched as time passes (forward decay, Cormode et al. 2009).

    limit: keys that are kept. half_life: seconds. origin: Unix seconds of scale 1.
    """

    limit: int
    half_life: float
    origin: float
    weights: dict[str, float] = {}
    total: float = 0.0

    def add(self, key: str, moment: float, count: float = 1.0) -> None:
        """Count ``count`` events of ``key`` at ``moment`` (Unix seconds)."""
        self.add_all({key: count}, moment)

    def add_all(self, counts: Mapping[str, float], moment: float) -> None:
        """As :meth:`add`, of events by their keys."""
        scale = exp2((moment - self.origin) / self.half_life)
        if scale > _RESCALE:
            self._rescale(moment, scale)
            scale = 1.0
        weights, limit = self.weights, self.limit
        for key, count in counts.items():
            weight = weights.get(key)
            if weight is None:
                if len(weights) >= limit:
                    self._drop_lightest()
                weight = 0.0
            weights[key] = weight + count * scale
            self.total += count * scale

    def __contains__(self, key: str) -> bool:
        return key in self.weights

    def __len__(self) -> int:
        return len(self.weights)

    def share(self, key: str) -> float:
        """Of all events, decayed: from 0 to 1."""
        return self.weights.get(key, 0.0) / self.total if self.total else 0.0

    def shares(self) -> Iterator[tuple[str, float]]:
        """Every kept key with its share."""
        total = self.total or 1.0
        return ((key, weight / total) for key, weight in self.weights.items())

    def count(self, key: str, moment: float) -> float:
        """Events of ``key``, those of long ago counting less."""
        return self.weights.get(key, 0.0) / exp2((moment - self.origin) / self.half_life)

    def _rescale(self, moment: float, scale: float) -> None:
        for key in self.weights:
            self.weights[key] /= scale
        self.total /= scale
        self.origin = moment

    def _drop_lightest(self) -> None:
        """An eighth of the keys. Their weight stays in the total: they were seen."""
        lightest = sorted(self.weights, key=self.weights.__getitem__)[: max(1, self.limit // 8)]
        for key in lightest:
            del self.weights[key]


class Peaks(msgspec.Struct, array_like=True):
    """The largest value of each of the last weeks, the current one first."""

    week: int = 0
    values: list[float] = []

    def add(self, value: float, moment: float) -> None:
        """As it is."""
        if self.week != moment // WEEK:
            self._turn(moment)
        if value > self.values[0]:
            self.values[0] = value

    def add_unusual(self, value: float, moment: float, least: float) -> None:
        """Count it as twice the largest one so far at most; the first one as ``least``."""
        self.add(min(value, 2.0 * self.largest(moment) or least), moment)

    def add_usual(self, value: float, moment: float, least: float) -> None:
        """Count it as twice the largest one of the weeks before at most; where there are none, as
        ``least``: so that what is never unusual does not grow by leaps.
        """
        if self.week != moment // WEEK:
            self._turn(moment)
        self.add(min(value, 2.0 * max(self.values[1:], default=0.0) or least), moment)

    def largest(self, moment: float) -> float:
        """Of the last weeks; 0 when there is nothing."""
        if self.week != moment // WEEK:
            self._turn(moment)
        return max(self.values)

    def _turn(self, moment: float) -> None:
        week = int(moment // WEEK)
        passed = min(WEEKS, week - self.week)
        if passed > 0 or not self.values:
            self.values = ([0.0] * max(passed, 1) + self.values)[:WEEKS]
            self.week = week
