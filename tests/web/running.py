"""The console as it is served: on a port, by uvicorn, in an event loop of its own thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from sallyport.web.serve import serve
from tests.web.world import World, world


@contextmanager
def running(directory: Path, issuer: DevIssuer) -> Iterator[tuple[World, str]]:
    """The world and its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with world(directory, issuer, url) as place:
        listening = threading.Event()
        loop = asyncio.new_event_loop()
        task = loop.create_task(
            serve(place.app, "127.0.0.1", port, ready=lambda host, port: listening.set())
        )

        def run() -> None:
            asyncio.set_event_loop(loop)
            try:
                loop.run_until_complete(task)
            except asyncio.CancelledError:
                pass
            finally:
                left = asyncio.all_tasks(loop)
                for remaining in left:
                    remaining.cancel()
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
                loop.close()

        thread = threading.Thread(target=run, name="console")
        thread.start()
        assert listening.wait(10)
        try:
            yield place, url
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(10)
            assert not thread.is_alive(), "the console stops when it is told to"
