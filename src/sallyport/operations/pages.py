"""Pages of a recording: so that nobody has to read a large session whole.

:meth:`Pager.page` gives the items from a position on, and where the next page begins. The iterator
behind a page is kept, so that going forward costs what the page costs; going elsewhere reads from
the beginning again and throws away what is before. At most ``kept`` iterators (open files) are
kept. Safe to call from several threads: an iterator in use is nobody else's.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from sallyport.audit import replay as rp

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """``start``: position of the first item. ``next``: where the next page begins, None when this
    was the last there is now.
    """

    items: tuple[T, ...]
    start: int
    next: int | None


class Pager:
    """``kept``: iterators that wait for their next page."""

    def __init__(self, kept: int = 32) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._waiting: OrderedDict[Hashable, Iterator[Any]] = OrderedDict()

    def page(
        self,
        key: Hashable,
        make: Callable[[], Iterable[T]],
        start: int,
        size: int,
        *,
        weigh: Callable[[T], int] | None = None,
        maximum: int = 0,
    ) -> Page[T]:
        """At most ``size`` items from ``start`` on; with ``weigh``, a page also ends once its items
        weigh ``maximum``.

        ``key``: which sequence it is, and for whom. ``make`` begins it. Raises what the iterator
        raises.
        """
        with self._lock:
            source = self._waiting.pop((key, start), None)
        if source is None:
            source = iter(make())
            skipped = sum(1 for _ in islice(source, start))
            if skipped < start:
                return Page((), start, None)
        items: list[T] = []
        weight = 0
        for item in source:
            items.append(item)
            weight += weigh(item) if weigh else 0
            if len(items) >= size or (maximum and weight >= maximum):
                break
        else:
            _close(source)
            return Page(tuple(items), start, None)
        following = start + len(items)
        self._keep((key, following), source)
        return Page(tuple(items), start, following)

    def _keep(self, key: Hashable, source: Iterator[Any]) -> None:
        dropped: list[Iterator[Any]] = []
        with self._lock:
            if key in self._waiting:
                dropped.append(self._waiting.pop(key))
            self._waiting[key] = source
            while len(self._waiting) > self._kept:
                dropped.append(self._waiting.popitem(last=False)[1])
        for iterator in dropped:
            _close(iterator)

    def close(self) -> None:
        """Let every iterator go."""
        with self._lock:
            waiting, self._waiting = self._waiting, OrderedDict()
        for iterator in waiting.values():
            _close(iterator)


def _close(source: Iterator[Any]) -> None:
    if isinstance(source, Generator):
        source.close()


def step_weight(step: rp.Step) -> int:
    """About how many characters a step shows."""
    match step:
        case rp.ResultRow():
            return sum(min(len(value or ""), 400) + 20 for value in step.values)
        case rp.Asked():
            return len(step.statement.sql) + 100
        case rp.Copied():
            return min(len(step.data), 2000) + 50
        case _:
            return 100
