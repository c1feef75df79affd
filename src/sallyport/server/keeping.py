"""Stores who became contained before what they read can reach them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sallyport.core.errors import RefusedError
from sallyport.judge import Containments
from sallyport.policy.containment import Containment
from sallyport.server.gateway import Gateway
from sallyport.server.upstream import UpstreamLink
from sallyport.session.machine import Session


def keep_containments(
    gateway: Gateway, session: Session, link: UpstreamLink, on_failed: Callable[[], None]
) -> None:
    """Store the session's unkept containments. Until they are stored, what is written to the target
    waits; where they cannot be, it is never sent and ``on_failed`` ends the session.
    """
    unkept, session.unkept = session.unkept, []
    if gateway.containments.store is None:
        return
    if link.gate is not None:
        link.gate.hold()
    gateway.spawn(_keep(gateway.containments, unkept, link, on_failed), "keep containment")


async def store_left(containments: Containments) -> None:
    """Store those in force that could not be stored before, or that another process could not
    store. Raises RefusedError (SP1801).
    """
    await _store(containments, containments.unstored())


async def _keep(
    containments: Containments,
    unkept: Sequence[Containment],
    link: UpstreamLink,
    on_failed: Callable[[], None],
) -> None:
    gate = link.gate
    fail = gate.fail_waiting if gate is not None else on_failed
    try:
        await _store(containments, unkept)
    except RefusedError:
        fail()
    except BaseException:
        fail()
        raise
    else:
        if gate is not None:
            gate.let_go()


async def _store(containments: Containments, unkept: Sequence[Containment]) -> None:
    store = containments.store
    if store is None:
        return
    for containment in unkept:
        await asyncio.to_thread(store.keep, containment)
        containments.stored(containment)
