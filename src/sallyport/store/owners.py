"""Who serves, in the store: implements the heartbeat of :mod:`sallyport.core.owners` for processes
of other machines.
"""

from __future__ import annotations

import time
from typing import Any, Final

from sqlalchemy import Engine, delete, select
from sqlalchemy.exc import SQLAlchemyError

from sallyport.core.owners import Owners, gateway_of
from sallyport.store.dialect import INSERTS, is_postgresql
from sallyport.store.tables import owners
from sallyport.store.writer import Writer

#: Seconds between two heartbeats, and without one until an owner of another gateway counts as dead.
BEAT: Final = 5.0
DEAD: Final = 60.0
_KEPT: Final = 86_400.0


def _upsert(insert: Any) -> Any:
    new = insert(owners)
    return new.on_conflict_do_update(index_elements=[owners.c.id], set_={"beat": new.excluded.beat})


_UPSERTS: Final = {name: _upsert(insert) for name, insert in INSERTS.items()}


class SqlOwners:
    """``own``: this process, and its neighbours by their locks."""

    def __init__(self, engine: Engine, writer: Writer, own: Owners) -> None:
        self._engine, self._writer, self._own = engine, writer, own
        self._started = time.time()
        with engine.begin() as connection:
            oldest = self._started - _KEPT
            connection.execute(delete(owners).where(owners.c.beat < oldest))

    @property
    def owner(self) -> str:
        """This process."""
        return self._own.owner

    def beat(self) -> None:
        """Say that this process lives: queued, never raises."""
        values = {
            "id": self.owner,
            "gateway": self._own.gateway,
            "started": self._started,
            "beat": time.time(),
        }
        self._writer.put(_UPSERTS[self._engine.dialect.name], self.owner, values)

    def is_dead(self, owner: str) -> bool:
        """Whether an owner serves no more. False too where that cannot be told."""
        is_shared = is_postgresql(self._engine)  # else all are of this data directory
        if not is_shared or gateway_of(owner) in ("", self._own.gateway):
            return self._own.is_dead(owner)
        try:
            with self._engine.connect() as connection:
                row = connection.execute(select(owners.c.beat).where(owners.c.id == owner)).first()
        except SQLAlchemyError:
            return False
        return row is None or row.beat < time.time() - DEAD
