"""The port of a TCP client on asyncio's own event loop, which is there where uvloop is not."""

from __future__ import annotations

import asyncio
import socket
import struct

from sallyport.server.peers import KeepAlive
from sallyport.server.tcp import TcpPort


def test_closing_a_connection_that_was_reset_is_no_error() -> None:
    """A gateway that stops closes its sessions one after the other: an exception would leave the
    rest.
    """

    async def scenario() -> None:
        reset, listening = socket.socket(), socket.socket()
        with reset, listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            reset.connect(listening.getsockname())
            accepted, _ = listening.accept()
            accepted.setblocking(False)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, accepted)
            port = TcpPort(transport, KeepAlive())
            port.is_hosted = True
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            reset.close()
            port.close()  # before the loop has seen the reset
            await asyncio.sleep(0)
            assert transport.is_closing()

    asyncio.run(scenario())
