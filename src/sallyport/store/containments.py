"""Containments in the store: implements :class:`sallyport.judge.ContainmentStore`.

As with locks, each call is one small transaction that is on the disk when it returns: a subject
that was contained stays so after a crash.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, select

from sallyport.policy.containment import Containment
from sallyport.store.dialect import INSERTS, greatest
from sallyport.store.durable import DurableWrites
from sallyport.store.tables import containments


class SqlContainmentStore:
    """Any thread may call it. Raises RefusedError (SP1801) for what cannot be written."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = DurableWrites(engine, "a containment")

    def keep(self, containment: Containment) -> None:
        """As it is now. What was released stays released, and no end comes earlier, in whatever
        order calls arrive.
        """
        with self._writes.transaction() as connection:
            self._keep(connection, containment)

    def restore(self, recorded: Iterable[Containment]) -> int:
        """Add those that are not stored, and what is not known of the others: a later end, a
        release. How many were added.
        """
        with self._writes.transaction() as connection:
            present = set(connection.execute(select(containments.c.id)).scalars())
            missing = 0
            for containment in recorded:
                self._keep(connection, containment)
                missing += containment.id not in present
        return missing

    def _keep(self, connection: Connection, containment: Containment) -> None:
        table, values = containments.c, asdict(containment)
        values["agents"] = list(containment.agents)
        new = INSERTS[self._engine.dialect.name](containments).values(values)
        later = {
            "until": greatest(self._engine, table.until, new.excluded.until),
            "released_at": func.coalesce(table.released_at, new.excluded.released_at),
            "released_by": greatest(self._engine, table.released_by, new.excluded.released_by),
        }
        connection.execute(new.on_conflict_do_update(index_elements=[table.id], set_=later))

    def unreleased(self) -> list[Containment]:
        query = select(containments).where(containments.c.released_at.is_(None))
        return self._read(query.order_by(containments.c.read_at))

    def recent(self, limit: int) -> list[Containment]:
        newest = containments.c.read_at.desc(), containments.c.id.desc()
        return self._read(select(containments).order_by(*newest).limit(limit))

    def _read(self, query: Select[Any]) -> list[Containment]:
        with self._engine.connect() as connection:
            rows = [dict(row._mapping) for row in connection.execute(query)]
        return [Containment(**{**row, "agents": tuple(row["agents"])}) for row in rows]
