"""Connections that have not logged in yet (or, at the console, wait for a request): how many there
may be, and which one makes room.

A connection costs its peer nothing, so there is a bound for all and one for each address. Where a
bound is reached, the oldest silent connection of the address that holds most of them ends, and the
new one takes its place. IPv6 peers count by /64 network, since whoever has an address there has all
of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Arrival(Protocol):
    """A connection. ``network``: what it counts under
    (:func:`sallyport.core.address.network_of`).
    """

    @property
    def network(self) -> str: ...

    @property
    def is_silent(self) -> bool:
        """Whether it waits for its peer to say something."""

    def evict(self) -> None:
        """End it, to make room."""


T = TypeVar("T", bound=Arrival)


class Arrivals(Generic[T]):
    """At most ``maximum`` connections, and ``per_address`` of one address."""

    def __init__(self, maximum: int, per_address: int) -> None:
        self._maximum, self._per_address = maximum, per_address
        self._by_network: dict[str, dict[T, None]] = {}
        self._network: dict[T, str] = {}  # under which each of them counts

    def admit(self, arrival: T) -> bool:
        """Count a new connection, if need be in place of a silent one. False when there is no room
        for it.
        """
        network = arrival.network
        peers = self._by_network.get(network, {})
        if len(peers) >= self._per_address and not self._evict_from(peers):
            return False
        if len(self._network) >= self._maximum and not self._evict_any():
            return False
        self._by_network.setdefault(network, {})[arrival] = None
        self._network[arrival] = network
        return True

    def discard(self, arrival: T) -> None:
        """It has logged in, or ended."""
        network = self._network.pop(arrival, None)
        if network is not None:
            peers = self._by_network[network]
            del peers[arrival]
            if not peers:
                del self._by_network[network]

    def _evict_any(self) -> bool:
        by_size = sorted(self._by_network.values(), key=len, reverse=True)
        return any(self._evict_from(peers) for peers in by_size)

    def _evict_from(self, peers: dict[T, None]) -> bool:
        silent = next((arrival for arrival in peers if arrival.is_silent), None)
        if silent is None:
            return False
        self.discard(silent)
        silent.evict()
        return True

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._network))

    def __len__(self) -> int:
        return len(self._network)
