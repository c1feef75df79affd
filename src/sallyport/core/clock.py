"""Time, in one place, so that tests can move it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> float:
        """Wall clock, Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards; for durations and deadlines."""
        ...


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


@dataclass
class ManualClock:
    """A clock that stands still until told; for tests."""

    time: float = 1_700_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


def rfc3339(seconds: float) -> str:
    """Unix seconds in UTC with milliseconds (RFC 3339 section 5.6); "" for what no calendar has."""
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_seconds(text: str) -> float:
    """Unix seconds of an RFC 3339 time. Raises ValueError, also for a time without an offset."""
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.timestamp()
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{text!r} is not a time like 2026-11-29T08:00:00Z")


def with_times(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """``values`` for JSON: those named are Unix seconds (or None) and become RFC 3339."""
    times = {name: values[name] for name in names}
    return {**values, **{name: at if at is None else rfc3339(at) for name, at in times.items()}}
