"""A worker's end: :class:`~sallyport.core.announcements.Announcements` through the supervisor, and
what is for the first worker alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final, cast

import structlog

from sallyport.core.announcements import MAXIMUM_BODY, Topic
from sallyport.workers import frames
from sallyport.workers.frames import Frame, Frames

log = structlog.get_logger("sallyport.workers")

#: The name of what workers report (see :mod:`sallyport.operations.siblings`), and of the last one
#: of a worker that died.
REPORT: Final = "report"
LAST_REPORT: Final = "last report"


class Link(asyncio.Protocol):
    """``number``: of this worker. ``on_lost``: called in the event loop when the supervisor is
    gone. What others say before :meth:`open` waits in the socket.
    """

    def __init__(self, number: int, on_lost: Callable[[], None] = lambda: None) -> None:
        self.number, self.on_lost = number, on_lost
        self._topics: dict[str, list[Callable[[str], None]]] = {}
        self._hearers: dict[str, Callable[[int, bytes], None]] = {}
        self._resumes: list[Callable[[], None]] = []
        self._losses: list[Callable[[int], None]] = []
        self.others: set[int] = set()  # in the first worker: who has told something, and lives
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._early: list[bytes] = []
        self._end: socket.socket | None = None  # until there is a transport

    def begin(self, end: socket.socket) -> None:
        """Give signs of life from now on, long before :meth:`open`. In the event loop."""
        self._end = end
        self._beat()

    async def open(self, end: socket.socket) -> None:
        """Once everybody has subscribed: send and receive from now on."""
        self._end = None
        self._loop = asyncio.get_running_loop()
        await self._loop.create_unix_connection(lambda: self, sock=end)

    # -- Announcements -----------------------------------------------------------------------------

    def publish(self, topic: Topic, body: str) -> None:
        """See :class:`~sallyport.core.announcements.Announcements`; any thread."""
        payload = body.encode()
        if len(payload) > MAXIMUM_BODY:
            raise ValueError(f"a message of {len(payload)} bytes")
        self._send(Frame(frames.SAY, self.number, topic.value, payload))

    def subscribe(self, topic: Topic, receive: Callable[[str], None]) -> None:
        """See :class:`~sallyport.core.announcements.Announcements`."""
        self._topics.setdefault(topic.value, []).append(receive)

    def on_resume(self, reload: Callable[[], None]) -> None:
        """See :class:`~sallyport.core.announcements.Announcements`."""
        self._resumes.append(reload)

    # -- the first worker --------------------------------------------------------------------------

    def tell_first(self, name: str, payload: bytes) -> None:
        """Send something to the first worker. At most once; any thread."""
        self._send(Frame(frames.TELL, self.number, name, payload))

    def hear(self, name: str, receive: Callable[[int, bytes], None]) -> None:
        """In the first worker: call ``receive`` with the sender's number and what it sent."""
        self._hearers[name] = receive

    def on_gone(self, gone: Callable[[int], None]) -> None:
        """In the first worker: call ``gone`` with the number of a worker that has died."""
        self._losses.append(gone)

    def ready(self, address: bytes) -> None:
        """Tell the supervisor that clients can connect."""
        self._send(Frame(frames.READY, self.number, "", address))

    # -- asyncio.Protocol --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        early, self._early = self._early, []
        for data in early:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        for frame in self._frames.feed(data):
            try:
                self._take(frame)
            except Exception:
                # What one of them makes of a message must not keep the others from theirs.
                log.exception(
                    "a message of another worker failed", kind=frame.kind, name=frame.name
                )

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = None
        self.on_lost()

    def _take(self, frame: Frame) -> None:
        if frame.kind == frames.SAY:
            for receive in self._topics.get(frame.name, ()):
                receive(frame.payload.decode())
        elif frame.kind == frames.TELL and frame.name in self._hearers:
            if frame.name != LAST_REPORT:
                self.others.add(frame.number)
            self._hearers[frame.name](frame.number, frame.payload)
        elif frame.kind == frames.CREW and frame.kind in self._hearers:
            self._hearers[frame.kind](frame.number, frame.payload)
        elif frame.kind == frames.GONE:
            self.others.discard(frame.number)
            for gone in self._losses:
                gone(frame.number)
        elif frame.kind == frames.RESUME:
            for reload in self._resumes:
                reload()

    def _send(self, frame: Frame) -> None:
        data, loop = frame.encode(), self._loop
        if loop is None:
            self._early.append(data)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(self._write, data)

    def _beat(self) -> None:
        """In the event loop alone, so that it tells whether that goes on."""
        data = Frame(frames.BEAT, self.number).encode()
        if self._transport is not None:
            self._transport.write(data)
        elif self._end is not None:
            with contextlib.suppress(OSError):  # the supervisor is gone, or does not read now
                self._end.send(data)  # too short to be sent in part
        asyncio.get_running_loop().call_later(frames.BEAT_SECONDS, self._beat)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
