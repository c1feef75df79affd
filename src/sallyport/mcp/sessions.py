"""Which gateway session an MCP call uses, how long it lives, and the statement that runs in it.

An MCP session (a stdio process, or an ``Mcp-Session-Id``) has one gateway session for each target,
so BEGIN, SET and temporary tables work across its calls. A call without an MCP session (the
stateless protocol of 2026-07-28) gets a gateway session of its own, which ends with the call unless
it leaves a transaction open or a statement waiting; then its handle is in the answer. A handle
serves nobody but the token's subject who got it. Whatever is idle is ended here; expiry, limits,
kill and lock are the gateway's, as on the wire.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sallyport.core.errors import ProtocolError, SallyportError
from sallyport.core.secret import Secret
from sallyport.mcp.wire_session import Answer, Bounds, Dial, SessionEndedError, WireSession

#: Asks for a gateway session of its own, which is kept.
NEW: Final = "new"
_SWEEP_SECONDS: Final = 5.0
_TELL_SECONDS: Final = 5.0
_CANCEL_AGAIN_SECONDS: Final = 1.0
#: How long it is remembered that something was lost, where nobody asks.
_LOST_SECONDS: Final = 24 * 3600.0
#: Statements of one session that wait for each other.
_MOST_WAITING: Final = 16
#: How long a request that comes again does not run again; and how long a client whose connections
#: broke has to come back for what runs or waits.
_REPEATED_SECONDS: Final = 60.0
#: Why a gateway session may end between two statements so that a new one can take its place: its
#: token expired or was not renewed, its longest lifetime was reached.
_REPLACED: Final = frozenset(("SP1609", "SP1611", "SP1701"))
#: Command tags of what leaves nothing in a session but, perhaps, a transaction.
_READING: Final = ("SELECT", "SHOW", "EXPLAIN", "COPY", "FETCH")
_WRITING: Final = ("INSERT", "UPDATE", "DELETE", "MERGE")
_BLOCKS: Final = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")
_PASSING: Final = frozenset((*_READING, *_WRITING, *_BLOCKS))
_LEAVES: Final = re.compile(r"set_config|temp|advisory|setseed", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """``idle_seconds``: until an unused session is ended; it rolls back what is open in it.
    ``sessions``: of one caller at once. ``size``: characters of one result's values.
    """

    idle_seconds: float = 900.0
    sessions: int = 16
    size: int = 60_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call. ``owner``: the token's issuer and subject; "" where the process is theirs
    alone. ``key``: of the MCP session; "" without one. ``startup``: parameters of new sessions,
    without the target. ``targets``: that may be named; the only one need not be. ``request``: the
    JSON-RPC id, which a client uses once in an MCP session; "" without one.
    """

    owner: str
    key: str
    token: Secret
    dial: Dial
    startup: Mapping[str, str]
    targets: tuple[str, ...]
    who: Mapping[str, object] = field(default_factory=dict)
    request: str = ""


class SessionProblemError(SallyportError):
    """The call cannot be served as it is; ``hint`` says what to do."""

    def __init__(self, text: str, hint: str) -> None:
        super().__init__(text)
        self.hint = hint


@dataclass(slots=True)
class Running:
    """One statement: it waits for those before it, runs, and is done. ``failure``: the session
    ended under it. ``is_cancelled``: nobody wants it; it does not run if it has not begun.
    """

    answer: Answer
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    has_begun: bool = False
    is_cancelled: bool = False
    failure: SessionEndedError | None = None
    ended: float = math.inf

    @property
    def is_done(self) -> bool:
        return self.task is not None and self.task.done()


@dataclass(slots=True)
class Slot:
    """A gateway session, opened when it is first used. ``key``: of the MCP session that it belongs
    to, and ends with. ``is_default``: calls of that MCP session use it unnamed. ``is_kept``: for
    later calls, whatever it holds. ``has_settings``: something beside a transaction may be in it.
    ``calls``: that wait for what runs in it.
    """

    owner: str
    key: str
    target: str
    is_default: bool
    is_kept: bool
    handle: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wire: WireSession | None = None
    last: Running | None = None
    used: float = field(default_factory=time.monotonic)
    has_settings: bool = False
    is_over: bool = False
    waiting: int = 0
    calls: int = 0
    recent: dict[int, Running] = field(default_factory=dict)  # by request
    lost: str = ""  # why what was in it is gone, until somebody was told

    @property
    def in_transaction(self) -> bool:
        return self.wire is not None and not self.wire.is_closed and self.wire.status != b"I"

    @property
    def is_busy(self) -> bool:
        return self.last is not None and not self.last.is_done


@contextlib.asynccontextmanager
async def _all_or_nothing(slot: Slot) -> AsyncIterator[None]:
    """Ends a connection whose exchange was broken off: what the gateway still answers would pass
    for the answer to the next statement.
    """
    try:
        yield
    except BaseException:
        if slot.wire is not None:
            await slot.wire.close()
        raise


class SessionBook:
    """All sessions of one MCP server. Belongs to one event loop; :meth:`run` ends what is idle."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._slots: dict[str, Slot] = {}  # by handle
        self._left: dict[tuple[str, str], float] = {}  # by owner and key: when the client went
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled; then every session is ended."""
        try:
            while True:
                await asyncio.sleep(min(_SWEEP_SECONDS, self.limits.idle_seconds / 2))
                await self._sweep(time.monotonic())
        finally:
            for slot in list(self._slots.values()):
                await self._drop(slot)

    def slot(self, caller: Caller, target: str, handle: str) -> Slot:
        """The session that a call uses. Raises SessionProblemError."""
        if handle and handle != NEW:
            return self.held(caller, handle)
        name = self._target(caller, target)
        if caller.key and handle != NEW:
            for slot in self._slots.values():
                mine = (slot.owner, slot.key, slot.target) == (caller.owner, caller.key, name)
                if mine and slot.is_default:
                    slot.used = time.monotonic()
                    return slot
        if sum(not slot.lost for slot in self.of(caller)) >= self.limits.sessions:
            raise SessionProblemError(
                f"you already have {self.limits.sessions} open sessions",
                "End one: COMMIT or ROLLBACK in it, or wait for what runs in it.",
            )
        is_default = bool(caller.key) and handle != NEW
        is_kept = is_default or handle == NEW
        slot = Slot(caller.owner, caller.key, name, is_default=is_default, is_kept=is_kept)
        self._slots[slot.handle] = slot
        return slot

    def held(self, caller: Caller, handle: str) -> Slot:
        """The caller's session with that handle. Raises SessionProblemError."""
        slot = self._slots.get(handle)
        if slot is None or slot.owner != caller.owner:
            raise SessionProblemError(
                "there is no such session: it ended, and what was open in it was rolled back",
                "Call query without session.",
            )
        slot.used = time.monotonic()
        return slot

    def of(self, caller: Caller) -> list[Slot]:
        """The caller's sessions."""
        return [slot for slot in self._slots.values() if slot.owner == caller.owner]

    def start(
        self, slot: Slot, caller: Caller, sql: str, parameters: Sequence[str | None], rows: int
    ) -> Running:
        """Have a statement run once those before it are done. Raises SessionProblemError."""
        last = slot.last
        if last is not None and not last.is_done and last.answer.approval:
            raise SessionProblemError(
                f"this session waits for approval {last.answer.approval}",
                f'Call status with session "{slot.handle}" for its outcome, or query with session'
                f' "{NEW}" for other statements.',
            )
        if slot.waiting >= _MOST_WAITING:
            raise SessionProblemError(
                f"{slot.waiting} statements wait in this session already",
                f'Wait for them, or call query with session "{NEW}".',
            )
        running = Running(Answer())
        self._note_request(slot, running, (caller.request, sql, *parameters))
        slot.last = running
        slot.waiting += 1

        def done(task: asyncio.Task[None]) -> None:
            slot.waiting -= 1
            running.ended = time.monotonic()
            if not task.cancelled():
                task.exception()  # whoever waits for it raises it

        work = self._run(slot, caller, running, (sql, parameters, Bounds(rows, self.limits.size)))
        running.task = self._spawn(work, "mcp statement")
        running.task.add_done_callback(done)
        return running

    @staticmethod
    def _note_request(slot: Slot, running: Running, request: tuple[str | None, ...]) -> None:
        """A client, or a proxy, that lost the connection may send its request again: the statement
        does not run twice. Raises SessionProblemError.
        """
        oldest = time.monotonic() - _REPEATED_SECONDS
        slot.recent = {key: last for key, last in slot.recent.items() if last.ended > oldest}
        if not request[0]:
            return
        if hash(request) in slot.recent:
            raise SessionProblemError(
                "this request was sent before in this MCP session, and does not run again",
                f'Call status with session "{slot.handle}" for the outcome of the last one; for'
                " another run send it as a request with an id of its own.",
            )
        slot.recent[hash(request)] = running

    async def _run(
        self,
        slot: Slot,
        caller: Caller,
        running: Running,
        statement: tuple[str, Sequence[str | None], Bounds],
    ) -> None:
        try:
            async with slot.lock:
                running.has_begun = True
                slot.used = time.monotonic()
                await self._run_alone(slot, caller, running, statement)
        except SessionEndedError as error:
            running.failure = error
        except ProtocolError as error:
            running.failure = SessionEndedError(f"the gateway's answer cannot be read: {error}")
        finally:
            slot.used = time.monotonic()
            running.changed.set()

    async def _run_alone(
        self,
        slot: Slot,
        caller: Caller,
        running: Running,
        statement: tuple[str, Sequence[str | None], Bounds],
    ) -> None:
        """Raises SessionEndedError, ProtocolError, CancelledError."""
        async with _all_or_nothing(slot):
            if not slot.is_over:
                wire = await self._opened(slot, caller)
            if slot.is_over:  # perhaps meanwhile
                raise SessionEndedError("the session has ended, and this did not run")
        if running.is_cancelled:
            raise asyncio.CancelledError
        answer = running.answer
        async with _all_or_nothing(slot):
            await wire.run(*statement, answer, running.changed.set)
        is_passing = answer.tag.split(" ", 1)[0] in _PASSING and not _LEAVES.search(statement[0])
        if answer.error is None and not is_passing:
            slot.has_settings = True

    async def _opened(self, slot: Slot, caller: Caller) -> WireSession:
        """Raises SessionEndedError: once, where something was in a session that is gone."""
        if slot.lost:
            reason, slot.lost = slot.lost, ""
            raise SessionEndedError(reason)
        wire = slot.wire
        if wire is not None and not wire.is_closed:
            had_state = slot.in_transaction or slot.has_settings
            try:
                await wire.look()
                await wire.renew(caller.token)
            except SessionEndedError as error:
                code = error.diagnostic.code if error.diagnostic is not None else ""
                slot.has_settings = False
                if had_state or (error.diagnostic is not None and code not in _REPLACED):
                    raise
            else:
                return wire
        slot.has_settings = False
        startup = {**caller.startup, "database": slot.target}
        slot.wire = await WireSession.open(caller.dial, caller.token, startup)
        return slot.wire

    async def wait(
        self, slot: Slot, running: Running, seconds: float, tell: Callable[[], Awaitable[None]]
    ) -> bool:
        """Whether it is done within ``seconds``. ``tell`` is called meanwhile, when something
        changed and every few seconds.
        """
        slot.calls += 1
        try:
            return await self._done_within(running, seconds, tell)
        finally:
            slot.calls -= 1
            slot.used = time.monotonic()

    @staticmethod
    async def _done_within(
        running: Running, seconds: float, tell: Callable[[], Awaitable[None]]
    ) -> bool:
        ends = time.monotonic() + seconds
        loop = asyncio.get_running_loop()
        while running.task is not None and not running.is_done:
            left = ends - time.monotonic()
            if left <= 0:
                return False
            running.changed.clear()
            news = loop.create_task(running.changed.wait(), name="mcp news")
            await asyncio.wait(
                {running.task, news},
                timeout=min(left, _TELL_SECONDS),
                return_when=asyncio.FIRST_COMPLETED,
            )
            news.cancel()
            if not running.is_done:
                await tell()
        return running.is_done

    def cancel(self, slot: Slot, running: Running) -> None:
        """Cancel a statement: withdraw what waits, ask the database to stop what runs. One that
        has not begun does not run.
        """
        if running.is_done or running.is_cancelled or running.task is None:
            return
        running.is_cancelled = True
        if running.has_begun:
            self._spawn(self._stop(slot, running, running.task), "mcp cancel")
        else:
            running.task.cancel()

    @staticmethod
    async def _stop(slot: Slot, running: Running, task: asyncio.Task[None]) -> None:
        """Until it is done, as a request that comes before its statement cancels nothing."""
        while not running.is_done:
            if slot.wire is not None:
                await slot.wire.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_AGAIN_SECONDS)

    def give_up(self, slot: Slot, running: Running) -> None:
        """As :meth:`cancel`, for a call that is itself being cancelled and can wait for nothing;
        then nobody asks for its session either.
        """

        async def work(task: asyncio.Task[None]) -> None:
            await asyncio.wait({task})
            await self.settle(slot)

        self.cancel(slot, running)
        if running.task is not None:
            self._spawn(work(running.task), "mcp given up")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settle(self, slot: Slot) -> None:
        """End a session that no later call needs."""
        if slot.wire is not None and slot.wire.is_closed:
            slot.wire, slot.has_settings = None, False
        if not (slot.is_kept or slot.is_busy or slot.in_transaction):
            await self._drop(slot)

    async def end(self, owner: str, key: str) -> None:
        """An MCP session is over."""
        self._left.pop((owner, key), None)
        for slot in list(self._slots.values()):
            if key and (slot.owner, slot.key) == (owner, key):
                await self._drop(slot)

    def leave(self, owner: str, key: str) -> None:
        """The connection of a client broke, and it has no other for that MCP session. That cancels
        nothing by itself (MCP 2025-06-18, "Sending Messages to the Server"): it may come back.
        """
        if key:
            self._left[owner, key] = time.monotonic()

    def come(self, owner: str, key: str) -> None:
        """A request of that MCP session is there."""
        self._left.pop((owner, key), None)

    async def _sweep(self, now: float) -> None:
        """End what nobody uses, and what runs or waits for a client that is gone."""
        idle = self.limits.idle_seconds
        for slot in list(self._slots.values()):
            if slot.is_busy:
                reason = self._deserted(slot, now)
            elif now - slot.used >= (_LOST_SECONDS if slot.lost else idle):
                reason = f"the session was ended after {idle:g} seconds without use"
            else:
                reason = ""
            if not reason:
                continue
            if slot.is_default and (slot.is_busy or slot.in_transaction or slot.has_settings):
                slot.lost = f"{reason}: its transaction, settings and temporary tables are gone"
                await self._close(slot)
            else:
                await self._drop(slot)
        busy = {(slot.owner, slot.key) for slot in self._slots.values() if slot.is_busy}
        self._left = {place: at for place, at in self._left.items() if place in busy}

    def _deserted(self, slot: Slot, now: float) -> str:
        """Why nobody wants what runs or waits in a busy session any more; "" while somebody may."""
        left = self._left.get((slot.owner, slot.key))
        if left is not None and now - left >= _REPEATED_SECONDS:
            return f"the client was gone for {_REPEATED_SECONDS:g} seconds, and what ran was ended"
        idle = self.limits.idle_seconds
        if slot.calls or now - slot.used < idle:
            return ""
        return f"nobody asked for {idle:g} seconds what became of a statement, and it was ended"

    async def _drop(self, slot: Slot) -> None:
        self._slots.pop(slot.handle, None)
        slot.is_over = True
        await self._close(slot)

    async def _close(self, slot: Slot) -> None:
        if slot.last is not None and slot.last.task is not None and not slot.last.is_done:
            slot.last.task.cancel()
        if slot.wire is not None:
            with contextlib.suppress(SessionEndedError):
                await slot.wire.close()
            slot.wire = None
        slot.has_settings = False
        slot.used = time.monotonic()

    @staticmethod
    def _target(caller: Caller, target: str) -> str:
        if target:
            return target
        if len(caller.targets) == 1:
            return caller.targets[0]
        names = ", ".join(caller.targets[:20])
        raise SessionProblemError(
            "which target?" if names else "no target is open to you",
            f"Set target to one of: {names}." if names else "Ask who runs the gateway.",
        )
