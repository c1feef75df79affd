"""Addresses to listen on: ``host:port``, and whether they can be reached from outside this
machine.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec


class Address(msgspec.Struct, frozen=True):
    """A host (name or address, no brackets) and a TCP port (0: any free one)."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """``host:port`` or ``[v6]:port``. ValueError when it is neither."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(
            f"{text!r} is ambiguous; an IPv6 address is written in brackets, like [::1]:6432"
        )
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not an address")
    return Address(host, int(port))


def is_loopback(host: str) -> bool:
    """Whether a host can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def network_of(host: str) -> str:
    """What a peer's address counts under where there is a bound per address: itself, or its /64
    network in IPv6.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))


class Networks:
    """Addresses and networks (CIDR) of proxies that are believed. ValueError for what is
    neither.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(text, strict=False) for text in texts]

    def __contains__(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def forwarded_address(peer: str, values: Iterable[str], proxies: Networks) -> str:
    """Who a request comes from. ``values``: of its forwarding header, each a list, the nearest
    last.

    Only what believed proxies wrote counts: from the right, up to the first address that is none of
    them.
    """
    address = peer
    names = [name.strip() for value in values for name in value.split(",")]
    while address in proxies and names:
        name = names.pop().strip("[]")
        try:
            address = str(ipaddress.ip_address(name))
        except ValueError:
            break
    return address
