"""The PROXY protocol, version 2: what a balancer says of its client before the first byte of the
connection.

Source: HAProxy's "The PROXY protocol", section 2.2. Only TCP; version 1 (text) is not spoken. TLVs
behind the addresses are skipped.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from sallyport.core.errors import ProtocolError

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
#: Longest header without its first 16 bytes: addresses and TLVs.
MAXIMUM_BODY = 4096
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED = 0x00
#: TCP over IPv4 and IPv6: bytes of one address.
_ADDRESS_BYTES = {0x11: 4, 0x21: 16}


class ProxyHeader(NamedTuple):
    """``address`` "": the balancer speaks for itself (a health check). ``size``: bytes of the
    header.
    """

    address: str
    port: int
    size: int


def parse_proxy_header(buffer: bytes | bytearray) -> ProxyHeader | None:
    """The header at the beginning of ``buffer``; None while it is incomplete. Raises ProtocolError
    when there is none.
    """
    head = bytes(buffer[:16])
    if not SIGNATURE.startswith(head[:12]):
        raise ProtocolError("a PROXY protocol header (version 2) was expected")
    if len(head) < 16:
        return None
    command, family, length = head[12], head[13], int.from_bytes(head[14:16], "big")
    if command not in (_LOCAL, _PROXY) or length > MAXIMUM_BODY:
        raise ProtocolError("a PROXY protocol header of version 2 was expected")
    if len(buffer) < 16 + length:
        return None
    if command == _LOCAL or family == _UNSPECIFIED:
        return ProxyHeader("", 0, 16 + length)
    size = _ADDRESS_BYTES.get(family)
    if size is None or length < 2 * size + 4:
        raise ProtocolError("the PROXY protocol header has no TCP address")
    port = 16 + 2 * size
    return ProxyHeader(
        str(ipaddress.ip_address(bytes(buffer[16 : 16 + size]))),
        int.from_bytes(buffer[port : port + 2], "big"),
        16 + length,
    )
