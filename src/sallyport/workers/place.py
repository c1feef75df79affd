"""A worker's place among the others, from what the supervisor gave it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import IO, Final, Protocol

import msgspec
import structlog

from sallyport.core.counts import Counts
from sallyport.core.data_directory import hold_directory, use_directory
from sallyport.core.worker import Worker
from sallyport.workers.link import Link
from sallyport.workers.start import Start

log = structlog.get_logger("sallyport.workers")

#: Seconds that the first worker waits for the others to write what they have.
_LAST_SECONDS: Final = 30.0
_POLL: Final = 0.05


class Place(Protocol):
    """Where a process serves. ``port``: that all workers share, 0 for the configuration's."""

    @property
    def worker(self) -> Worker: ...

    @property
    def port(self) -> int: ...

    def take_directory(self, data: Path) -> IO[bytes]:
        """The data directory's lock file. Raises ConfigError."""

    async def open(self) -> None:
        """Once everybody has subscribed: take part."""

    async def others_are_gone(self) -> None:
        """In the first worker, when it ends: wait until the others, which end as well, have written
        what they have.
        """


class LonePlace:
    """Of the only process."""

    def __init__(self) -> None:
        self.worker, self.port = Worker(), 0

    def take_directory(self, data: Path) -> IO[bytes]:
        """See :class:`Place`."""
        return hold_directory(data)

    async def open(self) -> None:
        """See :class:`Place`."""

    async def others_are_gone(self) -> None:
        """See :class:`Place`."""


class WorkerPlace:
    """One of several. ``end``: this worker's end of the pair."""

    def __init__(self, start: Start, end: socket.socket) -> None:
        self.port = start.port
        self._end, self._link = end, Link(start.number)
        self._lost: list[Callable[[], None]] = []
        self._link.on_lost = self._supervisor_is_gone
        self._is_orphan = False
        memory, processes = start.counts, start.processes
        counts = Counts(start.number, processes, memory, memory_id=start.memory_id)
        self.worker = Worker(start.number, start.processes, self._link, self._link, counts)

    def take_directory(self, data: Path) -> IO[bytes]:
        """See :class:`Place`; the supervisor holds it."""
        return use_directory(data)

    def begin(self) -> None:
        """The event loop runs; the supervisor is told so from now on."""
        self._link.begin(self._end)

    async def open(self) -> None:
        """See :class:`Place`."""
        await self._link.open(self._end)

    def ready(self, host: str, port: int) -> None:
        """Clients can connect."""
        self._link.ready(msgspec.json.encode((host, port)))

    def on_lost(self, lost: Callable[[], None]) -> None:
        """Call ``lost`` in the event loop when the supervisor is gone: nobody starts this process
        again.
        """
        self._lost.append(lost)

    async def others_are_gone(self) -> None:
        """See :class:`Place`."""
        deadline = monotonic() + _LAST_SECONDS
        while self._link.others and not self._is_orphan:
            if monotonic() > deadline:
                log.warning("other workers have not ended", workers=sorted(self._link.others))
                return
            await asyncio.sleep(_POLL)

    def _supervisor_is_gone(self) -> None:
        self._is_orphan = True
        log.error("the supervisor is gone; this worker ends")
        for lost in self._lost:
            lost()
