"""Streaming sketches of bounded size that forget exponentially. No clocks: moments are arguments.

:class:`Decayed`: weights of keys, halved every half-life; the lightest keys go when there are too
many. :class:`Peaks`: the largest value of each of the last weeks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import exp2
from struct import Struct
from struct import error as StructError
from typing import Any, Final

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


class Weeks(bytes):
    """Five numbers of 64 bits, that of the latest week first: a third of what a list of them takes.
    Stored as a list.
    """

    __slots__ = ()


class Days(bytes):
    """Day (since the epoch), statements, refused and rows of each of the latest days with work, the
    oldest first: a tenth of what tuples take. Stored as a list of lists.
    """

    __slots__ = ()

    def rows(self) -> list[tuple[int, int, int, int]]:
        """One of each day."""
        return list(_DAY.iter_unpack(self))


_WEEKS: Final = Struct(f"<{WEEKS}d")
_DAY: Final = Struct("<4Q")
_NONE: Final = Weeks(bytes(_WEEKS.size))


def days_of(rows: Iterable[Sequence[int]]) -> Days:
    """As they are kept."""
    return Days(b"".join(_DAY.pack(*row) for row in rows))


def stored(value: object) -> object:
    """What stands for a value in the store (msgspec's ``enc_hook``)."""
    if isinstance(value, Weeks):
        return _WEEKS.unpack(value)
    if isinstance(value, Days):
        return value.rows()
    raise NotImplementedError(type(value).__name__)


def restored(kind: type, value: Any) -> object:
    """The value that this stands for (msgspec's ``dec_hook``). Raises ValueError for what does not
    stand for any.
    """
    try:
        if kind is Weeks:
            return Weeks(_WEEKS.pack(*[*value, *[0.0] * WEEKS][:WEEKS]))
        if kind is Days:
            return days_of(value)
    except (StructError, TypeError) as error:
        raise ValueError(str(error)) from error
    raise NotImplementedError(kind.__name__)


class Peaks(msgspec.Struct, array_like=True):
    """The largest value of each of the last weeks, the current one first."""

    week: int = 0
    values: Weeks = _NONE

    def add(self, value: float, moment: float) -> None:
        """As it is."""
        latest, *before = self._turned(moment)
        if value > latest:
            self.values = Weeks(_WEEKS.pack(value, *before))

    def add_unusual(self, value: float, moment: float, least: float) -> None:
        """Count it as twice the largest one so far at most; the first one as ``least``."""
        self.add(min(value, 2.0 * self.largest(moment) or least), moment)

    def add_usual(self, value: float, moment: float, least: float) -> None:
        """Count it as twice the largest one of the weeks before at most; where there are none, as
        ``least``: so that what is never unusual does not grow by leaps.
        """
        self.add(min(value, 2.0 * max(self._turned(moment)[1:]) or least), moment)

    def largest(self, moment: float) -> float:
        """Of the last weeks; 0 when there is nothing."""
        return max(self._turned(moment))

    def _turned(self, moment: float) -> tuple[float, ...]:
        """The values, once weeks have begun that had not."""
        values: tuple[float, ...] = _WEEKS.unpack(self.values)
        if moment >= (self.week + 1) * WEEK:
            week = int(moment // WEEK)
            values = ((0.0,) * min(WEEKS, week - self.week) + values)[:WEEKS]
            self.week, self.values = week, Weeks(_WEEKS.pack(*values))
        return values
