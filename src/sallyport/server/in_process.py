"""Connections of clients that run in this process: over a pair of sockets to the gateway's own
accept path, so that nothing of what holds on the wire can be missing.
"""

from __future__ import annotations

import asyncio
import socket

from sallyport.server.connection import ClientConnection, Origin
from sallyport.server.gateway import Gateway


async def connect(
    gateway: Gateway, origin: Origin
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The client's end. Raises OSError where there is no descriptor left."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    try:
        theirs.setblocking(False)
        await loop.connect_accepted_socket(lambda: ClientConnection(gateway, origin), theirs)
    except BaseException:
        ours.close()
        theirs.close()
        raise
    try:
        return await asyncio.open_unix_connection(sock=ours)
    except BaseException:
        ours.close()
        raise
