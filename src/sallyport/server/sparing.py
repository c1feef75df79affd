"""A log for what strangers cause: so many lines a minute, and then one that says how many there
were.

Whoever can reach the port can break off a TLS handshake or name a wrong cancel key as often as they
like; that must not fill the disk, or hide what else the log says.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import structlog

log = structlog.get_logger("sallyport.strangers")

#: Lines a minute, of all events together.
LINES: Final = 60
_SECONDS: Final = 60.0


class SparingLog:
    """``clock``: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._until = 0.0
        self._lines = self._left_out = 0

    def info(self, event: str, **values: Any) -> None:
        """Log it, unless this minute has had enough."""
        now = self._clock()
        if now >= self._until:
            if self._left_out:
                log.info("lines about strangers that were left out", count=self._left_out)
            self._until, self._lines, self._left_out = now + _SECONDS, 0, 0
        if self._lines >= LINES:
            self._left_out += 1
            return
        self._lines += 1
        log.info(event, **values)
