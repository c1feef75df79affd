"""What was used and counts once, in the store: implements
:class:`sallyport.identity.replay.UsedMessageStore`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine, delete

from sallyport.store.dialect import INSERTS
from sallyport.store.durable import DurableWrites
from sallyport.store.tables import used_assertions

#: Seconds that the clocks of gateways may be apart.
_CLOCKS_APART: Final = 3600.0


class SqlUsedMessageStore:
    """Any thread may call it. Raises RefusedError (SP1801)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = DurableWrites(engine, "a used message")

    def use(self, id_: str, until: float, now: float) -> bool:
        """Whether nobody has used it; it is used then. Deletes those that have run out."""
        table = used_assertions.c
        new = INSERTS[self._engine.dialect.name](used_assertions).values(id=id_, until=until)
        with self._writes.transaction() as connection:
            connection.execute(delete(used_assertions).where(table.until < now - _CLOCKS_APART))
            added = connection.execute(new.on_conflict_do_nothing(index_elements=[table.id]))
            return added.rowcount == 1
