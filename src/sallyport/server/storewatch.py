"""What a gateway does while the store that it shares cannot be reached.

Locks, kills and decisions of other gateways do not arrive then, and nothing new can be written
down: nobody logs in, nothing new is held, and sessions that run go on for a bounded time only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from sallyport.core.errors import RefusedError, refuse
from sallyport.server.ports import Closable

log = structlog.get_logger("sallyport")


class StoreWatch:
    """``lost_seconds``: for how long the store cannot be reached, 0.0 while it can. ``grace``:
    seconds that running sessions go on for.
    """

    def __init__(self, lost_seconds: Callable[[], float], grace: float) -> None:
        self.lost_seconds, self.grace = lost_seconds, grace
        self._was_lost = False

    def check(self, *, are_counts_stale: bool = False) -> None:
        """Raises RefusedError (SP1807) while nobody may log in. ``are_counts_stale``: it has not
        been known for too long what other gateways count.
        """
        if self.lost_seconds():
            raise RefusedError(
                refuse(
                    "SP1807",
                    "the gateway's store cannot be reached, so no session can start",
                    hint="Try again in a moment. Other gateways may still reach it.",
                )
            )

        if are_counts_stale:
            raise RefusedError(
                refuse(
                    "SP1807",
                    "what other gateways count cannot be read from the store, so no session can"
                    " start",
                    hint="Try again in a moment. If that fails too, tell the gateway's operator.",
                )
            )

    def look(self, sessions: Iterable[Closable]) -> None:
        """Every second: end sessions when the time is over."""
        seconds = self.lost_seconds()
        if self._was_lost and not seconds:
            log.warning("the store can be reached again")
        self._was_lost = bool(seconds)
        if seconds <= self.grace:
            return
        reason = refuse(
            "SP1807",
            f"the gateway's store could not be reached for {self.grace:g} seconds",
            "Locks could not reach this session, so it ends.",
            "Connect again once the store is back.",
        )
        for session in sessions:
            session.shut(reason, "the store could not be reached")
