"""What the gateway adds to the way of a statement: how long it keeps what it has read before it
hands it on, each direction for itself.

One of ``SAMPLE_EVERY`` pieces (what one read from a socket brought) is measured, so that the
measuring costs nothing; waiting for people, for judging on another thread and for slow peers is not
in it. Counts are of measured pieces.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

#: Odd, so that questions and answers in turn are both measured.
SAMPLE_EVERY: Final = 17
BOUNDS: Final = (
    0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25,
    math.inf,
)  # fmt: skip


@dataclass(slots=True)
class Histogram:
    """``buckets``: upper bound in seconds -> count (not cumulative)."""

    seconds: float = 0.0
    buckets: dict[float, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        self.seconds += seconds
        bound = BOUNDS[bisect_left(BOUNDS, seconds)]
        self.buckets[bound] = self.buckets.get(bound, 0) + 1


class LatencyHistograms:
    """Of all sessions; used on the event loop. ``left``: pieces until one is measured."""

    __slots__ = ("left", "to_client", "to_server")

    def __init__(self) -> None:
        self.left = SAMPLE_EVERY
        self.to_server, self.to_client = Histogram(), Histogram()
