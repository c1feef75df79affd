"""What every process of a gateway writes down of its counters, for the console's overview."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from sallyport.app.gateway_store import GatewayStore
from sallyport.core.clock import SystemClock
from sallyport.core.owners import Owners
from sallyport.operations.history import History
from sallyport.operations.live import RunningGateway
from sallyport.server.gateway import Gateway
from sallyport.store.activity import SqlActivity
from sallyport.store.writer import Writer


async def open_history(
    gateway: Gateway, store: GatewayStore, writer: Writer, owners: Owners, parts: AsyncExitStack
) -> History:
    """Samples from now on until ``parts`` ends, which is before the writer does; then for the last
    time.
    """
    process = owners.owner.rpartition("-")[0]  # the same after a restart
    buckets = SqlActivity(store.engine, writer, process)
    history = History(RunningGateway(gateway).metrics, buckets, SystemClock())
    await asyncio.to_thread(history.restore)
    parts.callback(history.sample)
    gateway.spawn(gateway.tasks.repeat(history.step, "history"), "history")
    return history
