"""Stores who became contained before what they read can reach them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sallyport.core.errors import RefusedError
from sallyport.judge import ContainmentStore
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
    containments, session.unkept = session.unkept, []
    store = gateway.containments.store
    if store is None:
        return
    if link.gate is not None:
        link.gate.hold()
    gateway.spawn(_keep(store, containments, link, on_failed), "keep containment")


async def _keep(
    store: ContainmentStore,
    containments: Sequence[Containment],
    link: UpstreamLink,
    on_failed: Callable[[], None],
) -> None:
    gate = link.gate
    fail = gate.fail_waiting if gate is not None else on_failed
    try:
        for containment in containments:
            await asyncio.to_thread(store.keep, containment)
    except RefusedError:
        fail()
    except BaseException:
        fail()
        raise
    else:
        if gate is not None:
            gate.let_go()
