"""Who is told when a request changes, each on their own event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

from sallyport.approvals.states import Request

Callback = Callable[[Request], None]


@dataclass(eq=False, slots=True)
class _Watcher:
    callback: Callback
    loop: asyncio.AbstractEventLoop | None
    active: bool = True

    def tell(self, request: Request) -> None:
        if self.loop is None:
            self._run(request)
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._run, request)

    def _run(self, request: Request) -> None:
        if self.active:
            self.callback(request)


class Watchers:
    """By request id; "" is told of every request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watchers: dict[str, list[_Watcher]] = {}

    def add(self, request_id: str, callback: Callback) -> Callable[[], None]:
        """The result stops it at once: what was not delivered by then is not."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        watcher = _Watcher(callback, loop)
        with self._lock:
            self._watchers.setdefault(request_id, []).append(watcher)

        def stop() -> None:
            watcher.active = False
            with self._lock:
                left = [w for w in self._watchers.pop(request_id, ()) if w is not watcher]
                if left:
                    self._watchers[request_id] = left

        return stop

    def tell(self, request: Request) -> None:
        with self._lock:
            watchers = [*self._watchers.get(request.id, ()), *self._watchers.get("", ())]
        for watcher in watchers:
            watcher.tell(request)
