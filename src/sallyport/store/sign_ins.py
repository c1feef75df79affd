"""Sign-ins of consoles in a store that gateways share: implements
:class:`sallyport.web.auth.shared_signins.SignInStore`.
"""

from __future__ import annotations

from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from sallyport.core.errors import RefusedError, refuse
from sallyport.store.durable import DurableWrites
from sallyport.store.tables import console_sign_ins


class SqlSignInStore:
    """For one event loop; any thread may :meth:`get`. Raises RefusedError (SP1801, SP1807)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = DurableWrites(engine, "a sign-in")

    def add(self, id_: str, body: bytes, seen: float, until: float) -> None:
        """Deletes those that have run out, by ``seen``."""
        row = {"id": id_, "body": body, "seen": seen, "until": until}
        with self._writes.transaction() as connection:
            connection.execute(delete(console_sign_ins).where(console_sign_ins.c.until < seen))
            connection.execute(insert(console_sign_ins), [row])

    def get(self, id_: str) -> tuple[bytes, float] | None:
        """The body, and when its person was last seen."""
        table = console_sign_ins.c
        query = select(table.body, table.seen).where(table.id == id_)
        try:
            with self._engine.connect() as connection:
                row = connection.execute(query).first()
        except SQLAlchemyError:  # not logged: pages that refresh themselves ask all the time
            raise RefusedError(
                refuse(
                    "SP1807",
                    "the gateway's store cannot be reached, so the sign-in cannot be checked",
                    hint="Try again in a moment. Other gateways may still reach it.",
                )
            ) from None
        return None if row is None else (row.body, row.seen)

    def touch(self, id_: str, seen: float, until: float) -> None:
        """Its person was there."""
        row = update(console_sign_ins).where(console_sign_ins.c.id == id_)
        with self._writes.transaction() as connection:
            connection.execute(row.values(seen=seen, until=until))

    def remove(self, id_: str) -> None:
        """Its person is signed out."""
        with self._writes.transaction() as connection:
            connection.execute(delete(console_sign_ins).where(console_sign_ins.c.id == id_))
