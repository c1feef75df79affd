"""Locks in the store: implements :class:`sallyport.identity.locks.LockStore`.

As with approvals, each call is one small transaction that is on the disk when it returns (``synchronous = FULL``): a lock that was
confirmed survives a crash.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import structlog
from sqlalchemy import Connection, Engine, Select, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from sallyport.core.errors import RefusedError, refuse
from sallyport.identity.locks import Lock
from sallyport.store.tables import locks

_log = structlog.get_logger("sallyport.store")


class SqlLockStore:
    """Used by one thread at a time. Raises RefusedError (SP1801) for what cannot be written."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()

    def add(self, lock: Lock) -> None:
        table = locks.c
        before = (
            update(locks)
            .where(table.kind == lock.kind, table.name == lock.name, table.issuer == lock.issuer)
            .where(table.released_at.is_(None))
            .values(released_at=lock.created, released_by=lock.by)
        )
        with self._writing() as connection:
            connection.execute(before)
            connection.execute(insert(locks), [asdict(lock)])

    def release(self, lock: Lock) -> None:
        with self._writing() as connection:
            connection.execute(
                update(locks)
                .where(locks.c.id == lock.id)
                .values(released_at=lock.released_at, released_by=lock.released_by)
            )

    def restore(self, recorded: Iterable[Lock]) -> int:
        """Add those that are not stored. How many; what is stored stays as it is."""
        with self._writing() as connection:
            present = set(connection.execute(select(locks.c.id)).scalars())
            missing = [asdict(lock) for lock in recorded if lock.id not in present]
            if missing:
                connection.execute(insert(locks), missing)
        return len(missing)

    def unreleased(self) -> list[Lock]:
        return self._read(select(locks).where(locks.c.released_at.is_(None)).order_by(locks.c.created))

    def recent(self, limit: int) -> list[Lock]:
        return self._read(select(locks).order_by(locks.c.created.desc(), locks.c.id.desc()).limit(limit))

    def _read(self, query: Select[tuple[object, ...]]) -> list[Lock]:
        with self._engine.connect() as connection:
            return [Lock(**row._mapping) for row in connection.execute(query)]

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._lock:
            try:
                with self._engine.connect() as connection:
                    connection.execute(text("PRAGMA synchronous = FULL"))
                    connection.commit()
                    with connection.begin():
                        yield connection
                    connection.execute(text("PRAGMA synchronous = NORMAL"))
            except SQLAlchemyError as error:
                _log.error("a lock cannot be stored", error=str(getattr(error, "orig", error)))
                raise RefusedError(
                    refuse(
                        "SP1801",
                        "the lock cannot be stored",
                        "The gateway's database could not be written.",
                        "Free space or mend the data directory, then do it again.",
                    )
                ) from None
