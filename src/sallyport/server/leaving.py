"""How a session that ended lets go of its target: nobody reads an answer any more.

PostgreSQL notices a client that is gone when it next reads or writes. A schema change that runs
ends first, and may commit after the catalog was read for whoever logged in meanwhile. So where such
a change may run, the connection is closed in one direction only: the server closes the other when
its process ends, and the catalog is read again then.
"""

from __future__ import annotations

from sallyport.server.cancelling import cancel_abandoned
from sallyport.server.databases import Database
from sallyport.server.gateway import CANCEL, Gateway
from sallyport.server.upstream import UpstreamLink
from sallyport.wire import frontend


def leave_target(
    gateway: Gateway, database: Database, link: UpstreamLink, *, cancels: bool, changes: bool
) -> None:
    """End the session's connection. ``cancels``: what still runs. ``changes``: what still runs may
    change the schema.
    """
    if cancels:
        work = cancel_abandoned(database, link.backend.pid, link.backend.key)
        gateway.spawn(work, CANCEL)
    link.on_data = link.on_lost = link.on_pause = None
    link.write(frontend.terminate())
    if changes:
        link.close_after_server(database.schema_changed)
    else:
        link.close()
