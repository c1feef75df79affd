"""Failed logins by address, at every entrance together.

A valid token always passes: somebody else behind the same address must not be able to keep its
owner out. What the bound takes away is the rest: whoever goes on sending bad tokens learns nothing
from the answers and fills no log.
"""

from __future__ import annotations

import hashlib
from typing import Final

import structlog

from sallyport.core.address import network_of
from sallyport.core.clock import Clock
from sallyport.core.counts import Counts, CountsFullError
from sallyport.core.errors import Refusal, refuse

log = structlog.get_logger("sallyport.identity")

_SECONDS: Final = 60
#: All addresses together may fail so many times as often as one.
_ALL: Final = 20
#: Addresses are counted in so many groups, so that nobody fills the memory with new ones.
_GROUPS: Final = 4096
_TOGETHER: Final = "failed"


class FailedLogins:
    """At most ``maximum`` in a minute for one address (IPv6: one /64 network), and twenty times as
    many for all. ``counts``: of all processes of the gateway.
    """

    def __init__(self, clock: Clock, maximum: int, counts: Counts) -> None:
        self._clock, self._maximum, self._counts = clock, maximum, counts
        self._suppressed, self._until = 0, 0.0

    def exceeded(self, address: str) -> bool:
        """Whether this address has failed too often in this minute."""
        self._roll()
        since = int(self._clock.now()) - _SECONDS + 1
        return (
            self._counts.total(_group(address), since).first >= self._maximum
            or self._counts.total(_TOGETHER, since).first >= self._maximum * _ALL
        )

    def count(self, address: str) -> None:
        """A login from there has failed."""
        self._roll()
        try:
            if not self.exceeded(address):
                self._add(_group(address))
                self._add(_TOGETHER)
                return
        except CountsFullError:  # nobody is told then, and nothing is logged
            pass
        self._suppressed += 1
        if self._suppressed == 1:
            network = network_of(address)
            log.warning("too many failed logins; more of them are not logged", address=network)
            self._until = self._clock.monotonic() + _SECONDS

    def refusal(self) -> Refusal:
        return refuse(
            "SP1607",
            "too many failed logins from your address",
            "The token is not valid here.",
            "Wait a minute, then connect with a valid token.",
        )

    def _add(self, key: str) -> None:
        """Raises CountsFullError."""
        now, own = int(self._clock.now()), self._counts.own(key)
        if own.at <= now - _SECONDS:
            self._counts.put(key, 1, 0, now)
        else:
            self._counts.put(key, own.first + 1, 0, own.at)

    def _roll(self) -> None:
        if self._suppressed and self._clock.monotonic() >= self._until:
            log.warning("failed logins that were not logged", count=self._suppressed)
            self._suppressed = 0


def _group(address: str) -> str:
    digest = hashlib.blake2b(network_of(address).encode(), digest_size=4).digest()
    return f"{_TOGETHER} {int.from_bytes(digest, 'big') % _GROUPS}"
