"""When a session behind the local port is between two statements."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from sallyport.cli.relay import Progress, Relay, Side
from sallyport.core.errors import ProtocolError
from sallyport.core.secret import Secret
from sallyport.identity.oidc.client import Grant
from sallyport.wire import backend, frontend

IDLE, OPEN, FAILED = (backend.ready_for_query(status) for status in (b"I", b"T", b"E"))
ROW = b"D\0\0\0\x0a\0\x01\0\0\0\0"
ASKED = frontend.parse(b"", b"SELECT 1") + frontend.bind(b"", b"", (), [], ())
COPY_IN = b"G\0\0\0\x07\0\0\0"
#: ">" the client sends, "<" the server answers; then whether the session is idle.
TRANSCRIPTS: dict[str, list[tuple[str, bytes, bool]]] = {
    "a simple query": [
        (">", frontend.query(b"SELECT 1"), False),
        ("<", ROW, False),
        ("<", IDLE, True),
    ],
    "in a transaction": [(">", frontend.query(b"BEGIN"), False), ("<", OPEN, True)],
    "in a failed one": [
        (">", frontend.query(b"BEGIN; SELECT 1/0"), False),
        ("<", FAILED, False),
        (">", frontend.query(b"ROLLBACK"), False),
        ("<", IDLE, True),
    ],
    "two in a row": [
        (">", frontend.query(b"SELECT 1") * 2, False),
        ("<", IDLE, False),
        ("<", IDLE, True),
    ],
    "an extended query without Sync": [
        (">", ASKED + frontend.flush(), False),
        ("<", b"1\0\0\0\x04", False),
        (">", frontend.sync(), False),
        ("<", IDLE, True),
    ],
    "COPY FROM, simple": [
        (">", frontend.query(b"COPY t FROM STDIN"), False),
        ("<", COPY_IN, False),
        (">", frontend.copy_data(b"1\n") + b"c\0\0\0\x04", False),
        ("<", IDLE, True),
    ],
    "COPY FROM, extended: the first Sync is ignored": [
        (">", ASKED + frontend.execute() + frontend.sync(), False),
        ("<", COPY_IN, False),
        (">", frontend.copy_data(b"1\n") + b"c\0\0\0\x04", False),
        (">", frontend.sync(), False),
        ("<", IDLE, True),
    ],
    "an asynchronous message": [("<", backend.parameter_status("a", "b"), True)],
}


@pytest.mark.parametrize("name", TRANSCRIPTS)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_idle_between_statements_only(name: str, size: int) -> None:
    progress = Progress()
    assert progress.is_idle
    for side, data, is_idle in TRANSCRIPTS[name]:
        feed = progress.sent if side == ">" else progress.received
        for start in range(0, len(data), size):
            feed(data[start : start + size])
            if start + size < len(data):
                assert not progress.is_idle, "in the middle of a message"
        assert progress.is_idle is is_idle, (name, side, data)


def test_a_session_that_ends_while_its_token_is_renewed() -> None:
    """Its client reads why, and so does who runs the proxy."""
    end = backend.error_response("FATAL", "57P01", "the token has expired")
    warnings: list[str] = []

    async def fresh() -> Grant:
        return Grant(Secret("second"), time.time() + 60)

    async def run() -> bytes:
        client, near = [Side(*await asyncio.open_connection(sock=s)) for s in socket.socketpair()]
        gateway, far = [Side(*await asyncio.open_connection(sock=s)) for s in socket.socketpair()]
        relay = Relay(near, far, fresh, warnings.append)
        async with asyncio.TaskGroup() as group:
            group.create_task(relay.run(Grant(Secret("first"), time.time() + 1.5)))
            gateway.writer.write(IDLE)
            assert await client.reader.readexactly(len(IDLE)) == IDLE
            await gateway.reader.readuntil(b"SET sallyport.token = 'second'\0")
            gateway.writer.write(end)
            gateway.writer.close()
        near.writer.close()
        return await client.reader.read()

    assert asyncio.run(run()) == end
    assert warnings == ["the session ended while its token was renewed: the token has expired"]


def test_a_length_that_cannot_be() -> None:
    with pytest.raises(ProtocolError):
        Progress().received(b"Z\0\0\0\x03")
