"""Reads the catalog because a session asks for it, which goes on afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from sallyport.core.interpreter import compute_beside
from sallyport.server.databases import Database
from sallyport.server.gateway import Gateway
from sallyport.server.own_catalog import own_catalog, own_temporary
from sallyport.server.upstream import UpstreamLink
from sallyport.session.commands import RefreshCatalog
from sallyport.session.machine import Session
from sallyport.session.states import ClientState

#: Name of the task.
REFRESH: Final = "refresh catalog"
#: Seconds that a client waits to hear that its schema change is done. What keeps the catalog from
#: being read may be the lock of another connection of the same client, which it only gives up when
#: it has heard.
LONGEST_HOLD: Final = 3.0


class CatalogReading:
    """Of one session. ``flush``: carry out what it wants now."""

    __slots__ = ("_database", "_flush", "_gateway", "_link", "_session")

    def __init__(
        self,
        gateway: Gateway,
        database: Database,
        session: Session,
        link: UpstreamLink,
        flush: Callable[[], None],
    ) -> None:
        self._gateway, self._database = gateway, database
        self._session, self._link, self._flush = session, link, flush

    @property
    def _is_over(self) -> bool:
        return self._session.client_state is ClientState.CLOSED

    async def carry_out(self, command: RefreshCatalog) -> None:
        """Read what is asked for, and let the session go on; its answer goes out before when that
        takes long.
        """
        release = asyncio.get_running_loop().call_later(LONGEST_HOLD, self._release_answer)
        try:
            refreshed = await self._read(command)
        finally:
            release.cancel()
        self._session.resume(refreshed=refreshed)
        self._flush()

    def _release_answer(self) -> None:
        self._session.release_answer()
        self._flush()

    async def _read(self, command: RefreshCatalog) -> bool:
        """Whether it could be read."""
        database, session = self._database, self._session
        before = database.catalog
        if command.own and not self._is_over and before is not None:
            read = await own_catalog(self._link, before, session.names.temporary.is_read)
            if read is None:
                return False
            catalog = session.names.temporary.added_to(*read)
            session.use_transaction_catalog(
                await compute_beside(session.names.judge.beside, catalog)
            )
            self._gateway.collecting.replaced()
            return True
        if command.relation and not await database.may_have(command.relation):
            return False
        await database.refresh(force=command.force)
        if database.readable and session.names.temporary.is_read and not command.relation:
            return await self._read_temporary()
        return database.readable

    async def _read_temporary(self) -> bool:
        """Ask the session's own connection for its temporary objects. Whether it could be asked."""
        session = self._session
        if self._is_over or not session.may_read_temporary:
            return False
        temporary = await own_temporary(self._link, inside=session.transaction_status == b"T")
        if temporary is not None:
            session.use_temporary(temporary)
        return temporary is not None
