"""Starts the workers of a gateway, starts again what dies, kills what hangs, and ends them
(docs/adr/0013-workers.md).

It holds the data directory, the port and the shared memory, relays messages
(:mod:`sallyport.workers.hub`), and sees neither clients nor databases nor secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import structlog

from sallyport.config import Config
from sallyport.core.address import Address
from sallyport.core.counts import Counts, shared_memory
from sallyport.core.data_directory import hold_directory
from sallyport.core.errors import ConfigError
from sallyport.core.worker import Crew
from sallyport.workers.hub import Hub
from sallyport.workers.start import Start, send_start

log = structlog.get_logger("sallyport.workers")

T = TypeVar("T")

#: Before a worker that died is started again (seconds): the first time, and at most. One that lived
#: for _STEADY begins anew.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 15.0
_STEADY: Final = 60.0
#: Seconds without a sign of life of a worker's event loop until it is killed, while it serves and
#: while it starts, and between looks. Longer than all that may keep it busy: a store that gives no
#: answer does for some seconds.
HANG_SECONDS: Final = 20.0
START_SECONDS: Final = 60.0
_LOOK: Final = 1.0
#: Seconds that workers get beyond ``shutdown.drain_seconds`` before they are killed.
_LAST_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Place:
    """What serves as one worker; ``process`` None: nothing does now. ``is_ready``: one has been
    ready before. ``serves``: this one is. ``hung``: this one was killed for it.
    """

    number: int
    process: asyncio.subprocess.Process | None = None
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    pause: float = FIRST_PAUSE
    serves: bool = False
    hung: bool = False


class Supervisor:
    """``ready``: told the address once every worker takes clients. ``command``: starts a worker,
    given the descriptor of its socket and its name.
    """

    def __init__(
        self,
        config: Config,
        config_file: Path,
        ready: Callable[[str, int], None],
        command: Sequence[str],
        *,
        accept_lost_state: bool = False,
    ) -> None:
        self._config, self._config_file = config, config_file
        self._ready, self._command = ready, tuple(command)
        self._accept_lost_state = accept_lost_state
        self._places = [_Place(number) for number in range(config.worker_count)]
        self._hub = Hub(self._is_ready)
        self._lock, self._counts, self._port = -1, -1, 0
        self._stopping = False
        self._address = b""
        self._memory_id = secrets.token_hex(8)
        self._restarts = {"died": 0, "hung": 0}

    async def run(self) -> int:
        """Until it is told to stop; the exit status. Raises ConfigError."""
        address = self._config.address
        with contextlib.ExitStack() as stack:
            lock = hold_directory(self._config.data_directory)
            stack.callback(lock.close)
            self._lock = lock.fileno()
            reserved = reserve(address)
            for each in reserved:
                stack.callback(each.close)
            self._port = reserved[0].getsockname()[1]
            self._counts = shared_memory(len(self._places))
            stack.callback(os.close, self._counts)
            self._listen_to_signals()
            return await self._serve()

    async def _serve(self) -> int:
        first, *following = self._places
        self._tell_crew()
        watching = _spawn(self._watch(), "watch workers")
        tending = [_spawn(self._tend(first), "worker 0")]
        if await self._came_up(first, tending):
            tending += [_spawn(self._tend(p), f"worker {p.number}") for p in following]
            up = [await self._came_up(place, tending) for place in following]
            if all(up):
                host, port = msgspec.json.decode(self._address, type=tuple[str, int])
                log.info("workers listen", address=f"{host}:{port}", workers=len(self._places))
                self._ready(host, port)
        statuses = await asyncio.gather(*tending)
        watching.cancel()
        return max(statuses)

    async def _came_up(self, place: _Place, tending: Sequence[asyncio.Task[int]]) -> bool:
        """Whether the worker serves; False: one ended before."""
        waiting = _spawn(place.is_ready.wait(), "start")
        await asyncio.wait({waiting, *tending}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if place.is_ready.is_set():
            return True
        self._stop(signal.SIGTERM)
        return False

    async def _tend(self, place: _Place) -> int:
        """Keep one worker running until the end; its last exit status."""
        while True:
            began = time.monotonic()
            status = await self._live(place)
            if self._stopping:
                return max(status, 0) if place.is_ready.is_set() else 0
            # The first one that gave up said why, and so would the next; one that was killed
            # (status < 0) says nothing about the next. Where the first one serves, the others'
            # start fails for what passes, such as a store that is away.
            if place.number == 0 and not place.is_ready.is_set() and status >= 0:
                return status
            if time.monotonic() - began > _STEADY:
                place.pause = FIRST_PAUSE
            self._restarts["hung" if place.hung else "died"] += 1
            log.error(
                "a worker died; it is started again",
                worker=place.number,
                status=status,
                seconds=place.pause,
                restarts=sum(self._restarts.values()),
            )
            self._tell_crew()
            await asyncio.sleep(place.pause)
            place.pause = min(2 * place.pause, LONGEST_PAUSE)
            if self._stopping:
                return 0

    async def _live(self, place: _Place) -> int:
        """One life of a worker, from its start to its exit status."""
        own, theirs = socket.socketpair()
        place.hung = False
        try:
            place.process = await asyncio.create_subprocess_exec(
                *self._command,
                str(theirs.fileno()),
                f"worker-{place.number}",  # for who looks at a list of processes
                pass_fds=(theirs.fileno(), self._counts, self._lock),
                stdin=asyncio.subprocess.DEVNULL,
                process_group=0,  # a Ctrl-C is for the supervisor, which passes it on once
            )
        except OSError as error:
            own.close()
            log.error("a worker cannot be started", worker=place.number, reason=error.strerror)
            return 1
        finally:
            theirs.close()
        with contextlib.suppress(OSError):  # it has died already
            await asyncio.to_thread(send_start, own, self._start(place))
        own.setblocking(False)
        await self._hub.add(place.number, own)
        status = await place.process.wait()
        place.process, place.serves = None, False
        self._hub.remove(place.number)
        # Whoever was connected to it is not any more; what they read counts on.
        Counts(place.number, len(self._places), self._counts)
        return status

    def _start(self, place: _Place) -> Start:
        accept = self._accept_lost_state and not place.is_ready.is_set() and place.number == 0
        return Start(
            place.number,
            len(self._places),
            self._counts,
            self._lock,
            self._port,
            self._config,
            str(self._config_file.absolute()),
            self._memory_id,
            accept,
        )

    def _is_ready(self, number: int, address: bytes) -> None:
        self._address = address
        self._places[number].is_ready.set()
        self._places[number].serves = True
        self._tell_crew()

    def _tell_crew(self) -> None:
        serving = sum(place.serves for place in self._places)
        self._hub.tell_crew(Crew(len(self._places), serving, self._restarts))

    async def _watch(self) -> None:
        """Kill workers whose event loop stands still, which serve nobody and say no more."""
        looked = time.monotonic()
        while not self._stopping:  # then all are killed after a while
            await asyncio.sleep(_LOOK)
            before, looked = looked, time.monotonic()
            if looked - before > 2 * _LOOK:
                self._hub.forgive_silence()
            for place in self._places:
                seconds = self._hub.silent_seconds(place.number)
                bound = HANG_SECONDS if place.serves else START_SECONDS
                if seconds > bound and place.process is not None and not place.hung:
                    log.error("a worker hangs; it is killed", worker=place.number,
                              silent_seconds=round(seconds))  # fmt: skip
                    place.hung = True
                    with contextlib.suppress(ProcessLookupError):
                        place.process.kill()

    # -- signals -----------------------------------------------------------------------------------

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, signal.SIGTERM)
        loop.add_signal_handler(signal.SIGHUP, self._send, signal.SIGHUP)

    def _stop(self, number: signal.Signals) -> None:
        """The first time workers drain, the second time that is cut short: as for one process."""
        if not self._stopping:
            log.info("stopping", workers=len(self._places))
            patience = self._config.shutdown.drain_seconds + _LAST_SECONDS
            asyncio.get_running_loop().call_later(patience, self._send, signal.SIGKILL)
        self._stopping = True
        self._send(number)

    def _send(self, number: signal.Signals) -> None:
        for place in self._places:
            if place.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    place.process.send_signal(number)


def _spawn(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """The caller keeps and awaits it."""
    return asyncio.get_running_loop().create_task(work, name=name)


def reserve(address: Address) -> list[socket.socket]:
    """Sockets that keep the port for the workers, who bind it as well; they do not listen. Raises
    ConfigError when somebody has it.
    """
    reserved: list[socket.socket] = []
    port = address.port
    try:
        places = socket.getaddrinfo(
            address.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, place in places:
            with socket.socket(family, kind, protocol) as trial:
                # Without SO_REUSEPORT: another gateway of this user has it with that.
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind((place[0], port, *place[2:]))
                trial.listen(1)
            keeper = socket.socket(family, kind, protocol)
            reserved.append(keeper)
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                keeper.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            keeper.bind((place[0], port, *place[2:]))
            port = port or keeper.getsockname()[1]
    except OSError as error:
        for each in reserved:
            each.close()
        reason = error.strerror or os.strerror(error.errno or errno.EINVAL)
        raise ConfigError(
            f"cannot listen on {address}: {reason}. Is another gateway running there? "
            "Change 'listen' in the configuration."
        ) from None
    return reserved


def supervise(
    config: Config,
    config_file: Path,
    ready: Callable[[str, int], None],
    *,
    accept_lost_state: bool = False,
) -> int:
    """Run workers until told to stop; the exit status. Blocks. Raises ConfigError."""
    command = (sys.executable, "-P", "-m", "sallyport.cli.worker")
    supervisor = Supervisor(
        config, config_file, ready, command, accept_lost_state=accept_lost_state
    )
    return asyncio.run(supervisor.run())
