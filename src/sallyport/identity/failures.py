"""Failed logins by address, at every entrance together.

A valid token always passes: somebody else behind the same address must not be able to keep its
owner out. What the bound takes away is the rest: whoever goes on sending bad tokens learns nothing
from the answers and fills no log.
"""

from __future__ import annotations

import structlog

from sallyport.core.address import network_of
from sallyport.core.clock import Clock
from sallyport.core.errors import Refusal, refuse

log = structlog.get_logger("sallyport.identity")

_SECONDS = 60.0
#: All addresses together may fail so many times as often as one.
_ALL = 20


class FailedLogins:
    """At most ``maximum`` in a minute for one address (IPv6: one /64 network), and twenty times as
    many for all.
    """

    def __init__(self, clock: Clock, maximum: int) -> None:
        self._clock, self._maximum = clock, maximum
        self._counts: dict[str, int] = {}
        self._total = self._suppressed = 0
        self._until = 0.0

    def exceeded(self, address: str) -> bool:
        """Whether this address has failed too often in this minute."""
        self._roll()
        return (
            self._counts.get(network_of(address), 0) >= self._maximum
            or self._total >= self._maximum * _ALL
        )

    def count(self, address: str) -> None:
        self._roll()
        network = network_of(address)
        if self.exceeded(address):
            self._suppressed += 1
            if self._suppressed == 1:
                log.warning("too many failed logins; more of them are not logged", address=network)
            return
        self._counts[network] = self._counts.get(network, 0) + 1
        self._total += 1

    def refusal(self) -> Refusal:
        return refuse(
            "SP1607",
            "too many failed logins from your address",
            "The token is not valid here.",
            "Wait a minute, then connect with a valid token.",
        )

    def _roll(self) -> None:
        now = self._clock.monotonic()
        if now < self._until:
            return
        if self._suppressed:
            log.warning("failed logins that were not logged", count=self._suppressed)
        self._counts, self._total, self._suppressed = {}, 0, 0
        self._until = now + _SECONDS
