"""One process's connection to the store that it shares: messages by LISTEN and NOTIFY, whether the
store is there, and the lock of the gateway's name.

Implements :class:`sallyport.core.announcements.Announcements` with asyncpg, on the event loop. The
connection is asked every second; one that does not answer in time is given up and made again, with
growing pauses. What this process publishes meanwhile is sent when the store is back, but for cancel
requests, which would hit a later statement; what others published is lost, so
:meth:`StoreLink.on_resume` tells every subscriber to read the store again.

The lock belongs to the connection: PostgreSQL gives it back when the process dies, and within some
seconds of its host's end, by TCP keepalives. A second gateway of the same name does not get it.
Each worker of a gateway has a connection, and a lock of the name and its number. What workers of
one gateway say they hear from each other through their supervisor, not here.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import structlog

from sallyport.core.announcements import MAXIMUM_BODY, Topic
from sallyport.store.database import StoreError
from sallyport.store.dialect import lock_key
from sallyport.store.postgres import StoreAddress
from sallyport.store.timeline import CURRENT, READ_ONLY

#: What processes listen on: gateway\ntopic\nbody; no gateway: a command.
CHANNEL: Final = "sallyport"
#: What stands for a topic when messages had to be dropped: the others read the store again.
_DROPPED: Final = "resume"
#: Seconds between questions, and for one answer.
_EVERY: Final = 1.0
_ANSWER: Final = 2.0
#: Seconds between attempts to connect, shortest and longest.
_PAUSES: Final = (0.25, 5.0)
#: Messages that wait for a store that is away.
_WAITING: Final = 1000
#: Seconds that a start waits for its name: until PostgreSQL has noticed that a host is gone.
_NAME_WAIT: Final = 30.0
#: Writes to the WAL and nowhere else: a message of logical decoding, which nobody reads.
_WRITE: Final = "SELECT pg_logical_emit_message(true, 'sallyport', '')"
#: How PostgreSQL notices it: within 11 seconds.
_KEEPALIVES: Final = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

_log = structlog.get_logger("sallyport.store")


class _NameTakenError(StoreError):
    """Another connection has the lock of the gateway's name."""


class StoreLink:
    """``name``: of the gateway. ``identity``: the number of the store that it knows (see
    :mod:`sallyport.store.mark`); another store in its place is none. ``worker``: the number of this
    process among those of the gateway.
    """

    def __init__(self, address: StoreAddress, name: str, identity: int, worker: int = 0) -> None:
        self._address, self._name, self._identity = address, name, identity
        self._worker = worker
        self._queue: deque[tuple[str, str]] = deque()
        self._receivers: dict[str, list[Callable[[str], None]]] = {}
        self._reloads: list[Callable[[], None]] = []
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Any = None
        self._lost_at: float | None = time.monotonic()
        self._is_suspected = False
        #: Why the store cannot be used, "" while it can.
        self.problem = "it was not connected yet"
        #: Called in the event loop when the store cannot be reached any more.
        self.on_lost: Callable[[], None] = lambda: None

    # -- announcements -----------------------------------------------------

    def publish(self, topic: Topic, body: str) -> None:
        """See :class:`~sallyport.core.announcements.Announcements`; any thread."""
        if len(body.encode()) > MAXIMUM_BODY or "\0" in body:
            raise ValueError(f"a message has at most {MAXIMUM_BODY} bytes, and no zero byte")
        if self._loop is None:
            self._put(topic, body)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, topic, body)

    def _put(self, topic: Topic, body: str) -> None:
        if topic is Topic.CANCEL and self.is_lost:
            return  # once the store is back, the session runs another statement
        if len(self._queue) >= _WAITING:
            self._queue.clear()
            self._queue.append((_DROPPED, ""))
        self._queue.append((topic.value, body))
        self._wake.set()

    def subscribe(self, topic: Topic, receive: Callable[[str], None]) -> None:
        """See :class:`~sallyport.core.announcements.Announcements`."""
        self._receivers.setdefault(topic.value, []).append(receive)

    def on_resume(self, reload: Callable[[], None]) -> None:
        """See :class:`~sallyport.core.announcements.Announcements`."""
        self._reloads.append(reload)

    # -- the connection ----------------------------------------------------

    @property
    def is_lost(self) -> bool:
        """Whether the store cannot be reached now."""
        return self._lost_at is not None

    def lost_seconds(self) -> float:
        """For how long it cannot be reached; 0.0 while it can."""
        return 0.0 if self._lost_at is None else time.monotonic() - self._lost_at

    def suspect(self) -> None:
        """A call of this process got no answer in time: the store counts as lost until it has
        answered here, so that no other call waits as well. Any thread.
        """
        if self._loop is None or self._loop.is_closed() or self.is_lost:
            return
        self._is_suspected = True
        self._note_lost("a call was not answered in time")
        self._loop.call_soon_threadsafe(self._wake.set)

    async def open(self) -> None:
        """The first connection. Waits for the name, which the connection of a host that died may
        have for some seconds. Raises StoreError.
        """
        self._loop = asyncio.get_running_loop()
        until = time.monotonic() + _NAME_WAIT
        while self._connection is None:
            try:
                await self._connect()
            except _errors() as error:
                await self._drop()
                if not isinstance(error, _NameTakenError) or time.monotonic() > until:
                    raise StoreError(f"{self._address} cannot be used: {_text(error)}") from None
                await asyncio.sleep(_EVERY)

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._ended.is_set()

    async def run(self) -> None:
        """Until :meth:`close`: answer, publish, and connect again. A task of the caller's. Whatever
        else ends it is raised: the store counts as lost then, until this is called again and has
        connected.
        """
        try:
            await self._run()
        except Exception as error:
            await self._drop(f"the link to it failed: {type(error).__name__}")
            raise

    async def _run(self) -> None:
        pause = _PAUSES[0]
        while not self._ended.is_set():
            try:
                if self._connection is None:
                    await self._connect()
                    pause = _PAUSES[0]
                    self._resume()
                await self._work()
            except _errors() as error:
                await self._drop(_text(error))
                # Not for what is published: a store that is away would be asked without a pause.
                seconds = pause * random.uniform(0.5, 1.0)  # noqa: S311  no secret
                await _wait(self._ended, seconds)
                pause = min(pause * 2, _PAUSES[1])

    async def close(self) -> None:
        """Give the name back. Ends :meth:`run` at its next step."""
        self._ended.set()
        self._wake.set()
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_errors()):
                await connection.close(timeout=_ANSWER)

    async def _connect(self) -> None:
        self._connection = connection = await self._connect_to_primary()
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", self._lock()):
            raise _NameTakenError(
                f"another gateway is called {self._name} and uses {self._address}: "
                "each has a name of its own, the file gateway.name in its data directory"
            )
        query = "SELECT value FROM store_facts WHERE name = 'identity'"
        if await connection.fetchval(query) != (str(self._identity) if self._identity else None):
            text = f"{self._address} is another database than the one that was opened"
            raise StoreError(text)
        await connection.add_listener(CHANNEL, self._received)
        connection.add_termination_listener(self._terminated)
        self._is_suspected, self._lost_at, self.problem = False, None, ""

    async def _connect_to_primary(self) -> Any:
        """To the server that can be written; of several to that of the newest timeline, for the
        others are old primaries. Raises what the last one ended with.
        """
        asked = (self._try(host, port) for host, port in self._address.servers)
        answers = await asyncio.gather(*asked)
        problems = [answer for answer in answers if isinstance(answer, BaseException)]
        usable = [answer for answer in answers if isinstance(answer, tuple)]
        chosen: Any = None
        for number, connection in sorted(usable, key=lambda each: each[0], reverse=True):
            refused = self._address.timeline.refuses(number) if chosen is None else "another one"
            if refused:
                connection.terminate()
                problems.append(StoreError(refused))
            else:
                chosen = connection
        if chosen is None:
            raise problems[-1]
        return chosen

    async def _try(self, host: str, port: int) -> tuple[int, Any] | BaseException:
        """A connection to a server that can be written, behind its timeline; or what keeps it from
        being used.
        """
        try:
            connection = await self._connect_to(host, port)
        except _errors() as error:
            return error
        try:
            if await self._can_be_written(connection, writing=self._is_suspected):
                return await connection.fetchval(CURRENT, timeout=_ANSWER), connection
        except _errors() as error:
            connection.terminate()
            return error
        connection.terminate()
        return StoreError(f"{host}:{port} is a standby, or does not answer")

    async def _can_be_written(self, connection: Any, *, writing: bool) -> bool:
        """``writing``: a call timed out. Ask for what it may have waited for: a transaction that is
        on the disk, and on that of a synchronous standby. A server can answer all else without it.
        """
        try:
            if await connection.fetchval(READ_ONLY, timeout=_ANSWER) != "off":
                return False
            if writing:
                await connection.fetchval(_WRITE, timeout=_ANSWER)
        except _errors():
            return False
        return True

    async def _connect_to(self, host: str, port: int) -> Any:
        import asyncpg

        address = self._address
        seconds = address.connect_seconds
        return await asyncpg.connect(
            host=host,
            port=port,
            user=address.user,
            password=None if address.password is None else address.password.reveal(),
            database=address.database,
            ssl=address.context or False,
            timeout=seconds,
            command_timeout=max(seconds, _ANSWER),
            server_settings={
                "application_name": f"sallyport {self._name}"[:63],
                "synchronous_commit": "on",
                **_KEEPALIVES,
            },
        )

    def _lock(self) -> int:
        worker = f" {self._worker}" if self._worker else ""
        return lock_key(f"gateway {self._name}{worker}")

    async def _work(self) -> None:
        """Send what waits; and a question, when nothing did."""
        if not self._queue:
            await _wait(self._wake, _EVERY)
        self._wake.clear()
        if self._connection is None or self._connection.is_closed():
            raise ConnectionResetError("the connection was closed")
        if not self._queue or self._is_suspected:
            if not await self._can_be_written(self._connection, writing=self._is_suspected):
                raise StoreError("the server does not answer in time, or is a standby now")
            # the connection held: no message was missed (another thread may suspect it right now)
            if self._lost_at is not None:
                self._is_suspected, self._lost_at, self.problem = False, None, ""
        while self._queue and self._connection is not None:
            topic, body = self._queue.popleft()  # first: meanwhile the queue may be replaced
            text = f"{self._name}\n{topic}\n{body}"
            query = f"SELECT pg_notify('{CHANNEL}', $1)"
            is_sent = False
            try:
                await self._connection.fetchval(query, text, timeout=_ANSWER)
                is_sent = True
            finally:
                if not is_sent:
                    self._queue.appendleft((topic, body))

    def _received(self, connection: object, pid: int, channel: str, payload: object) -> None:
        gateway, _, rest = str(payload).partition("\n")
        topic, _, body = rest.partition("\n")
        if gateway == self._name:
            return
        loop = asyncio.get_running_loop()
        if topic == _DROPPED:
            self._resume()
        for receive in self._receivers.get(topic, ()):
            loop.call_soon(receive, body)

    def _terminated(self, connection: object) -> None:
        if connection is self._connection and not self._ended.is_set():
            self._note_lost("the connection was closed")
            self._wake.set()

    def _resume(self) -> None:
        loop = asyncio.get_running_loop()
        for reload in self._reloads:
            loop.call_soon(reload)

    async def _drop(self, problem: str = "") -> None:
        if problem:
            self._note_lost(problem)
            self._queue = deque(m for m in self._queue if m[0] != Topic.CANCEL.value)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def _note_lost(self, problem: str) -> None:
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            _log.error("the store cannot be reached; nobody can log in", reason=problem)
            self.on_lost()
        self.problem = problem


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def _errors() -> tuple[type[BaseException], ...]:
    """What a connection may end with."""
    import asyncpg

    return (
        OSError,
        TimeoutError,
        StoreError,
        ValueError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,  # where a server dies within an answer
    )


def _text(error: BaseException) -> str:
    """In one line, without the DETAIL that PostgreSQL's errors may have."""
    return str(error).split("\n", 1)[0] or type(error).__name__
