"""Runs a gateway until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from sallyport.app.gateway import gateway_running, say_goodbye
from sallyport.app.gateway_log import configure_logging, keep_memory_private
from sallyport.app.identity_providers import issuer_names
from sallyport.config import Config
from sallyport.operations.issuers import reread_issuers
from sallyport.policy.versions import SIGNAL
from sallyport.server.gateway import Gateway
from sallyport.store.database import StoreError
from sallyport.store.dialect import reason_of
from sallyport.workers.place import WorkerPlace

log = structlog.get_logger("sallyport")

T = TypeVar("T")


async def serve_async(
    config: Config,
    ready: Callable[[str, int], None],
    *,
    accept_lost_state: bool = False,
    reread: Callable[[], Config],
    place: WorkerPlace | None = None,
) -> None:
    """Run until SIGINT or SIGTERM, then drain; a second one cuts that short. ``ready`` is told the
    address once clients can connect. ``reread``: the configuration, for SIGHUP. ``place``: as one
    worker of several; when its supervisor is gone, that is as SIGTERM.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    if place is not None:
        place.on_lost(stop.set)
        place.begin()

    def end() -> None:
        (hurry if stop.is_set() else stop).set()

    def hang_up(gateway: Gateway) -> None:
        gateway.reload_policy(SIGNAL)
        gateway.spawn(reread_issuers(gateway, lambda: issuer_names(reread())), "reread issuers")

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    running = gateway_running(config, accept_lost_state=accept_lost_state, place=place)
    async with contextlib.AsyncExitStack() as stack:
        gateway, (host, port) = await _started(stack, running)
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(signal.SIGHUP, hang_up, gateway)
        log.info("listening", address=f"{host}:{port}", targets=sorted(config.targets))
        ready(host, port)
        await stop.wait()
        seconds = config.shutdown.drain_seconds
        log.info("stopping", sessions=gateway.sessions, drain_seconds=seconds)
        await gateway.drain(seconds, say_goodbye, hurry)
        log.info("drained", sessions_left=gateway.sessions)


async def _started(
    stack: contextlib.AsyncExitStack, running: contextlib.AbstractAsyncContextManager[T]
) -> T:
    """Enter ``running``. Raises StoreError for what the database said meanwhile, without the row
    that it was about.
    """
    try:
        return await stack.enter_async_context(running)
    except SQLAlchemyError as error:
        raise StoreError(
            f"the gateway cannot start: its store cannot be used: {reason_of(error)}"
        ) from None


def serve(
    config: Config,
    ready: Callable[[str, int], None],
    *,
    accept_lost_state: bool = False,
    reread: Callable[[], Config],
    place: WorkerPlace | None = None,
) -> None:
    """:func:`serve_async` on uvloop where it is there. Blocks. Raises ConfigError."""
    configure_logging(config, None if place is None else place.worker.number)
    keep_memory_private()
    # Messages make and drop many small tuples; the default thresholds would scan them all again and
    # again.
    gc.set_threshold(20_000, 20, 50)
    try:
        import uvloop
    except ImportError:
        run = asyncio.run
    else:
        run = uvloop.run
    serving = serve_async(
        config, ready, accept_lost_state=accept_lost_state, reread=reread, place=place
    )
    run(serving)
