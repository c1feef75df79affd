"""The supervisor's end: relays what workers say to the others, and what is for the first one to it.

The newest report of every worker that lives is kept, for a first worker that starts again; likewise
the last one of each that died, since its counters still count. A worker that does not read does not
fill the supervisor's memory: what it misses it reads in the store, when it is told to resume.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Final, cast

import msgspec
import structlog

from sallyport.core.worker import Crew
from sallyport.workers import frames
from sallyport.workers.frames import Frame, Frames
from sallyport.workers.link import LAST_REPORT, REPORT

log = structlog.get_logger("sallyport.workers")

#: Bytes that wait for one worker at most, and reports of dead ones.
_MOST_WAITING: Final = 16 << 20
_MOST_DEAD: Final = 1000


class Hub:
    """``on_ready``: called with a worker's number and the address that it listens on."""

    def __init__(self, on_ready: Callable[[int, bytes], None]) -> None:
        self._on_ready = on_ready
        self._ends: dict[int, _End] = {}
        self._reports: dict[int, bytes] = {}
        self._dead: list[tuple[int, bytes]] = []
        self._heard: dict[int, float] = {}  # monotonic seconds
        self._crew = b""

    async def add(self, number: int, end: socket.socket) -> None:
        """A worker has started; ``end``: the hub's of its pair."""
        made = _End(number, self)
        await asyncio.get_running_loop().create_unix_connection(lambda: made, sock=end)
        self._ends[number] = made
        self._heard[number] = time.monotonic()
        if number == 0:
            for dead, payload in self._dead:
                made.send(Frame(frames.TELL, dead, LAST_REPORT, payload))
            for living, payload in self._reports.items():
                made.send(Frame(frames.TELL, living, REPORT, payload))
            made.send(Frame(frames.CREW, 0, "", self._crew))

    def remove(self, number: int) -> None:
        """The worker has died."""
        self._heard.pop(number, None)
        end = self._ends.pop(number, None)
        if end is not None:
            end.close()
        report = self._reports.pop(number, None)
        if report is not None:
            self._dead = [*self._dead, (number, report)][-_MOST_DEAD:]
        first = self._ends.get(0)
        if first is not None:
            first.send(Frame(frames.GONE, number))
            if report is not None:
                first.send(Frame(frames.TELL, number, LAST_REPORT, report))

    def tell_crew(self, crew: Crew) -> None:
        """For the first worker, also for one that starts later."""
        self._crew = msgspec.json.encode(crew)
        first = self._ends.get(0)
        if first is not None:
            first.send(Frame(frames.CREW, 0, "", self._crew))

    def silent_seconds(self, number: int) -> float:
        """Since a worker was started or gave the last sign of life; 0.0 without one."""
        heard = self._heard.get(number)
        return 0.0 if heard is None else time.monotonic() - heard

    def forgive_silence(self) -> None:
        """The supervisor itself stood still, so it cannot tell whether they did."""
        self._heard = dict.fromkeys(self._heard, time.monotonic())

    def take(self, frame: Frame) -> None:
        """Pass on what a worker sent."""
        self._heard[frame.number] = time.monotonic()
        if frame.kind == frames.READY:
            self._on_ready(frame.number, frame.payload)
        elif frame.kind == frames.SAY:
            for number, end in self._ends.items():
                if number != frame.number:
                    end.send(frame)
        elif frame.kind == frames.TELL:
            if frame.name == REPORT:
                self._reports[frame.number] = frame.payload
            first = self._ends.get(0)
            if first is not None and frame.number:
                first.send(frame)


class _End(asyncio.Protocol):
    def __init__(self, number: int, hub: Hub) -> None:
        self._number, self._hub = number, hub
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._missed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(high=_MOST_WAITING)

    def data_received(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            if frame.number == self._number:
                self._hub.take(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def pause_writing(self) -> None:
        self._missed = True
        log.error("a worker does not read what the others say", worker=self._number)

    def resume_writing(self) -> None:
        self._missed = False
        self.send(Frame(frames.RESUME, self._number))

    def send(self, frame: Frame) -> None:
        if self._transport is not None and not self._missed:
            self._transport.write(frame.encode())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
