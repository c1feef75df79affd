"""Small transactions that are on the disk when they return, for what must survive a power cut."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from sallyport.core.errors import RefusedError, refuse
from sallyport.store.dialect import flushed, reason_of

_log = structlog.get_logger("sallyport.store")


class DurableWrites:
    """Used by one thread at a time. ``subject``: what is stored, with its article, for errors."""

    def __init__(self, engine: Engine, subject: str) -> None:
        self._engine, self._subject = engine, subject
        self._lock = threading.Lock()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction, flushed to the disk. Raises RefusedError (SP1801)."""
        with self._lock:
            try:
                with self._engine.connect() as connection, flushed(connection):
                    yield connection
            except SQLAlchemyError as error:
                raise self._failed("stored", "written", error) from None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for queries. Raises RefusedError (SP1801)."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._failed("looked up", "read", error) from None

    def _failed(self, what: str, how: str, error: SQLAlchemyError) -> RefusedError:
        # Not the error itself: it quotes the row.
        _log.error(f"{self._subject} cannot be {what}", error=reason_of(error))
        return RefusedError(
            refuse(
                "SP1801",
                f"the {self._subject.partition(' ')[2]} cannot be {what}",
                f"The gateway's database could not be {how}.",
                "Mend the gateway's database or its disk, then do it again.",
            )
        )
