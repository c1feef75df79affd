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
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sallyport.core.errors import ProtocolError, SallyportError
from sallyport.core.secret import Secret
from sallyport.mcp.wire_session import Answer, Bounds, Dial, SessionEndedError, WireSession

#: Asks for a gateway session of its own, which is kept.
NEW: Final = "new"
_SWEEP_SECONDS: Final = 5.0
_TELL_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """``idle_seconds``: until an unused session is ended; it rolls back what is open in it.
    ``sessions``: of one caller at once. ``size``: bytes of one result's values.
    """

    idle_seconds: float = 900.0
    sessions: int = 16
    size: int = 60_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call. ``owner``: the token's issuer and subject; "" where the process is theirs
    alone. ``key``: of the MCP session; "" without one. ``startup``: parameters of new sessions,
    without the target. ``targets``: that may be named; the only one need not be.
    """

    owner: str
    key: str
    token: Secret
    dial: Dial
    startup: Mapping[str, str]
    targets: tuple[str, ...]
    who: Mapping[str, object] = field(default_factory=dict)


class SessionProblemError(SallyportError):
    """The call cannot be served as it is; ``hint`` says what to do."""

    def __init__(self, text: str, hint: str) -> None:
        super().__init__(text)
        self.hint = hint


@dataclass(slots=True)
class Running:
    """One statement: it waits for those before it, runs, and is done. ``failure``: the session
    ended under it.
    """

    answer: Answer
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    has_begun: bool = False
    failure: SessionEndedError | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def is_done(self) -> bool:
        return self.task is not None and self.task.done()


@dataclass(slots=True)
class Slot:
    """A gateway session, opened when it is first used. ``is_kept``: for later calls, whatever it
    holds.
    """

    owner: str
    key: str
    target: str
    is_kept: bool
    handle: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wire: WireSession | None = None
    last: Running | None = None
    used: float = field(default_factory=time.monotonic)
    lost: str = ""  # why an open transaction is gone, until somebody was told

    @property
    def in_transaction(self) -> bool:
        return self.wire is not None and not self.wire.is_closed and self.wire.status != b"I"

    @property
    def is_busy(self) -> bool:
        return self.last is not None and not self.last.is_done


class SessionBook:
    """All sessions of one MCP server. Belongs to one event loop; :meth:`run` ends what is idle."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._slots: dict[str, Slot] = {}  # by handle
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
                if (slot.owner, slot.key, slot.target) == (caller.owner, caller.key, name):
                    return slot
        if sum(slot.owner == caller.owner for slot in self._slots.values()) >= self.limits.sessions:
            raise SessionProblemError(
                f"you already have {self.limits.sessions} open sessions",
                "End one: COMMIT or ROLLBACK in it, or wait for what runs in it.",
            )
        # a session that was asked for by "new" is found by its handle alone
        key = caller.key if handle != NEW else ""
        slot = Slot(caller.owner, key, name, is_kept=bool(key) or handle == NEW)
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
        running = slot.last = Running(Answer())
        bounds = Bounds(rows, self.limits.size)
        work = self._run(slot, caller, running, (sql, parameters, bounds))
        running.task = self._spawn(work, "mcp statement")
        return running

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
                wire = await self._opened(slot, caller)
                await wire.run(*statement, running.answer, running.changed.set)
        except SessionEndedError as error:
            running.failure = error
        except ProtocolError as error:  # nothing that follows can be told apart
            if slot.wire is not None:
                await slot.wire.close()
            running.failure = SessionEndedError(f"the gateway's answer cannot be read: {error}")
        finally:
            slot.used = time.monotonic()
            running.changed.set()

    async def _opened(self, slot: Slot, caller: Caller) -> WireSession:
        """Raises SessionEndedError."""
        if slot.lost:
            reason, slot.lost = slot.lost, ""
            raise SessionEndedError(reason)
        wire = slot.wire
        if wire is not None and not wire.is_closed:
            await wire.renew(caller.token)
            return wire
        startup = {**caller.startup, "database": slot.target}
        slot.wire = await WireSession.open(caller.dial, caller.token, startup)
        return slot.wire

    async def wait(
        self, running: Running, seconds: float, tell: Callable[[], Awaitable[None]]
    ) -> bool:
        """Whether it is done within ``seconds``. ``tell`` is called meanwhile, when something
        changed and every few seconds.
        """
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

    async def cancel(self, slot: Slot, running: Running) -> None:
        """Cancel a statement: withdraw what waits, ask the database to stop what runs."""
        if running.is_done or running.task is None:
            return
        if running.has_begun and slot.wire is not None:
            await slot.wire.cancel()
        else:
            running.task.cancel()

    def give_up(self, slot: Slot, running: Running) -> None:
        """As :meth:`cancel`, for a call that is itself being cancelled and can wait for nothing."""

        async def work() -> None:
            await self.cancel(slot, running)
            if running.task is not None:
                await asyncio.wait({running.task})
            await self.settle(slot)

        self._spawn(work(), "mcp cancel")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settle(self, slot: Slot) -> None:
        """End a session that no later call needs."""
        if slot.wire is not None and slot.wire.is_closed:
            slot.wire = None
        if not (slot.is_kept or slot.is_busy or slot.in_transaction):
            await self._drop(slot)

    async def end(self, owner: str, key: str) -> None:
        """An MCP session is over."""
        for slot in list(self._slots.values()):
            if key and (slot.owner, slot.key) == (owner, key):
                await self._drop(slot)

    async def _sweep(self, now: float) -> None:
        for slot in list(self._slots.values()):
            if slot.is_busy or now - slot.used < self.limits.idle_seconds:
                continue
            words = f"the session was ended after {self.limits.idle_seconds:g} seconds without use"
            if slot.in_transaction and slot.key:
                slot.lost = f"{words}, and its transaction rolled back"
                await self._close(slot)
            else:
                await self._drop(slot)

    async def _drop(self, slot: Slot) -> None:
        self._slots.pop(slot.handle, None)
        await self._close(slot)

    async def _close(self, slot: Slot) -> None:
        if slot.last is not None and slot.last.task is not None and not slot.last.is_done:
            slot.last.task.cancel()
        if slot.wire is not None:
            with contextlib.suppress(SessionEndedError):
                await slot.wire.close()
            slot.wire = None
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
