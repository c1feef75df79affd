"""Ended sessions of SAML providers in the store: implements
:class:`sallyport.identity.single_logout.EndedSessionStore`.

A process that was away when a logout was announced reads it here; so does the next one.
"""

from __future__ import annotations

import hashlib

import msgspec
from sqlalchemy import Engine, delete, select

from sallyport.identity.single_logout import EndedSession
from sallyport.store.dialect import INSERTS
from sallyport.store.durable import DurableWrites
from sallyport.store.tables import ended_sessions


class SqlEndedSessionStore:
    """Any thread may call it. Raises RefusedError (SP1801)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = DurableWrites(engine, "an ended session")

    def add(self, ended: EndedSession, now: float) -> None:
        """Once, however often it is called."""
        values = msgspec.structs.asdict(ended) | {"indexes": list(ended.indexes), "kept": now}
        values["id"] = hashlib.sha256(msgspec.json.encode(ended)).hexdigest()
        new = INSERTS[self._engine.dialect.name](ended_sessions).values(values)
        with self._writes.transaction() as connection:
            connection.execute(new.on_conflict_do_nothing(index_elements=[ended_sessions.c.id]))

    def kept_since(self, since: float, now: float) -> list[tuple[float, EndedSession]]:
        """Those that still count, oldest first, each with when it was kept."""
        table = ended_sessions.c
        query = (
            select(ended_sessions)
            .where(table.kept >= since, table.until > now)
            .order_by(table.kept, table.id)
        )
        with self._writes.reading() as connection:
            rows = connection.execute(query).all()
        return [
            (
                row.kept,
                EndedSession(row.issuer, row.name, tuple(row.indexes), row.at, row.until),
            )
            for row in rows
        ]

    def forget(self, before: float) -> None:
        """Delete those that count no more since then (Unix seconds)."""
        with self._writes.transaction() as connection:
            connection.execute(delete(ended_sessions).where(ended_sessions.c.until < before))
