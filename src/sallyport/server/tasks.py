"""Tasks beside the sessions: each is kept while it runs; what it raises is logged and counted.

What has to go on for ever (watching catalogs, the policy file, deadlines) is a step that
:meth:`Tasks.repeat` makes again and again. Whatever a step raises, the next one is made: a watch
that ends silently would leave sessions to a catalog or policy that is not the present one.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final

import structlog

from sallyport.core.errors import SallyportError

log = structlog.get_logger("sallyport.tasks")

#: Before a step that failed is made again.
AGAIN_SECONDS: Final = 1.0


class Tasks:
    """``failures``: of steps and tasks, by name."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self._running: set[asyncio.Task[Any]] = set()

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return iter(list(self._running))

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run something once; it is kept, and what it raises is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures[task.get_name()] += 1
            log.error("task failed", task=task.get_name(), error=repr(error), exc_info=error)

    async def repeat(
        self,
        step: Callable[[], Awaitable[None]],
        name: str,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make ``step``, which waits by itself until it is due, until it ``is_over``: for ever."""
        while not is_over():
            try:
                await step()
            except Exception as error:  # noqa: BLE001  logged and counted; a watch must never end
                self.note(name, error)
                await asyncio.sleep(AGAIN_SECONDS)

    def attempt(self, step: Callable[[], object], name: str) -> None:
        """Make ``step``; what it raises must not keep others from being made."""
        try:
            step()
        except Exception as error:  # noqa: BLE001  logged and counted; it is due again in a moment
            self.note(name, error)

    def note(self, name: str, error: Exception) -> None:
        """Count and log, in one line, what will be tried again."""
        self.failures[name] += 1
        log.error("failed, and will be tried again", task=name, reason=described(error))


class Coalesced:
    """Work that may be asked for again while it is done: it is then done once more, for all who
    asked, and never twice at a time. ``work`` is given their names. For one event loop.
    """

    def __init__(self, tasks: Tasks, work: Callable[[str], Awaitable[None]], name: str) -> None:
        self._tasks, self._work, self._name = tasks, work, name
        self._askers: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None

    def ask(self, asker: str) -> None:
        """Do it, or once more. Returns at once."""
        self._askers[asker] = None
        if self._task is None or self._task.done():
            self._task = self._tasks.spawn(self._run(), self._name)

    async def _run(self) -> None:
        while self._askers:
            askers, self._askers = self._askers, {}
            await self._work("; ".join(askers))


def described(error: Exception) -> str:
    """An error made for people as it is; any other with its type and where it was raised."""
    if isinstance(error, SallyportError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
