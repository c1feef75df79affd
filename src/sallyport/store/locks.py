"""Locks in the store: implements :class:`sallyport.identity.locks.LockStore`.

As with approvals, each call is one small transaction that is on the disk when it returns:
a lock that was confirmed survives a crash.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict

from sqlalchemy import Engine, Select, select, update

from sallyport.identity.locks import Lock
from sallyport.store.dialect import INSERTS
from sallyport.store.durable import DurableWrites
from sallyport.store.tables import locks


class SqlLockStore:
    """Used by one thread at a time. Raises RefusedError (SP1801) for what cannot be written."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = DurableWrites(engine, "a lock")

    def add(self, lock: Lock) -> bool:
        table = locks.c
        before = (
            update(locks)
            .where(table.kind == lock.kind, table.name == lock.name, table.issuer == lock.issuer)
            .where(table.released_at.is_(None), table.created <= lock.created, table.id != lock.id)
            .values(released_at=lock.created, released_by=lock.by)
        )
        new = INSERTS[self._engine.dialect.name](locks).values(asdict(lock))
        with self._writes.transaction() as connection:
            inserted = connection.execute(new.on_conflict_do_nothing(index_elements=[table.id]))
            is_new = inserted.rowcount == 1
            if is_new:
                connection.execute(before)
        return is_new

    def release(self, lock: Lock) -> None:
        with self._writes.transaction() as connection:
            connection.execute(
                update(locks)
                .where(locks.c.id == lock.id)
                .values(released_at=lock.released_at, released_by=lock.released_by)
            )

    def restore(self, recorded: Iterable[Lock]) -> int:
        """Add those that are not stored. How many; what is stored stays as it is."""
        with self._writes.transaction() as connection:
            present = set(connection.execute(select(locks.c.id)).scalars())
            missing = [asdict(lock) for lock in recorded if lock.id not in present]
            if missing:  # several gateways may restore at once
                new = INSERTS[self._engine.dialect.name](locks)
                connection.execute(new.on_conflict_do_nothing(index_elements=[locks.c.id]), missing)
        return len(missing)

    def unreleased(self) -> list[Lock]:
        return self._read(
            select(locks).where(locks.c.released_at.is_(None)).order_by(locks.c.created)
        )

    def stored(self, ids: Collection[str]) -> set[str]:
        with self._engine.connect() as connection:
            return set(connection.execute(select(locks.c.id).where(locks.c.id.in_(ids))).scalars())

    def recent(self, limit: int) -> list[Lock]:
        return self._read(
            select(locks).order_by(locks.c.created.desc(), locks.c.id.desc()).limit(limit)
        )

    def _read(self, query: Select[tuple[object, ...]]) -> list[Lock]:
        with self._engine.connect() as connection:
            return [Lock(**row._mapping) for row in connection.execute(query)]
