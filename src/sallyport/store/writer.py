"""The one thread that writes to the store, so that nothing ever waits for it on the event loop.

Rows are queued with :meth:`Writer.put` and written in one transaction every ``interval`` seconds; a
row that is put again before it was written replaces the first. What cannot be written is logged
once, kept and tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.dml import Insert

from sallyport.store.dialect import reason_of

#: Seconds between attempts while the database cannot be written.
RETRY: Final = 1.0

_log = structlog.get_logger("sallyport.store")

Values = Mapping[str, Any]


class Writer:
    """Queue and thread. ``failed``: the last transaction did not succeed."""

    def __init__(self, engine: Engine, *, interval: float = 0.5) -> None:
        self.failed = False
        self._engine = engine
        self._interval = interval
        self._lock = threading.Lock()
        self._queue: dict[Insert, dict[str, Values]] = {}
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._written = threading.Condition(self._lock)
        self._busy = False
        self._thread: threading.Thread | None = None
        #: Run by the writer's thread after what was queued is written; they may raise
        #: SQLAlchemyError.
        self.chores: list[Callable[[], None]] = []

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sallyport-store", daemon=True)
            self._thread.start()

    def put(self, statement: Insert, key: str, values: Values) -> None:
        """Queue a row for an (upserting) INSERT. Any thread; returns at once. ``key``: the row's
        identity.
        """
        self.put_all(statement, {key: values})

    def put_all(self, statement: Insert, rows: Mapping[str, Values]) -> None:
        """As :meth:`put`, of rows by their keys."""
        with self._lock:
            self._queue.setdefault(statement, {}).update(rows)
        self._wake.set()

    def wake(self) -> None:
        """Have the chores run soon."""
        self._wake.set()

    def queued(self, statement: Insert) -> int:
        """How many rows of this INSERT wait."""
        with self._lock:
            return len(self._queue.get(statement, ()))

    def flush(self, timeout: float = 10.0) -> bool:
        """Write what is queued now; False when it could not be written. For tests and shutdown, not
        the event loop.
        """
        if self._thread is None:
            return self._write()
        self._wake.set()
        with self._written:
            return self._written.wait_for(lambda: not self._queue and not self._busy, timeout)

    def close(self) -> None:
        """Write what is queued and stop."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if not self._write():
            _log.error("session index incomplete at shutdown")

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._stop.wait(RETRY if self.failed else self._interval)
            self._wake.clear()
            if not self._write():
                self._wake.set()

    def _write(self) -> bool:
        with self._lock:
            queue, self._queue = self._queue, {}
            self._busy = True
        try:
            with self._engine.begin() as connection:
                for statement, rows in queue.items():
                    connection.execute(statement, list(rows.values()))
        except SQLAlchemyError as error:
            self._keep(queue, error)
            return False
        self._tidy()
        with self._lock:
            self._busy = False
            self._written.notify_all()
        if self.failed:
            self.failed = False
            _log.warning("the store can be written again")
        return True

    def _tidy(self) -> None:
        """What is written is written, whatever becomes of the chores: they come again."""
        try:
            for chore in self.chores:
                chore()
        except SQLAlchemyError as error:
            _log.warning("the store could not be tidied", error=reason_of(error))

    def _keep(self, queue: dict[Insert, dict[str, Values]], error: SQLAlchemyError) -> None:
        with self._lock:
            self._busy = False
            for statement, rows in queue.items():
                self._queue[statement] = {**rows, **self._queue.get(statement, {})}
        if not self.failed:
            self.failed = True
            _log.error(
                "the store cannot be written; it is tried again",
                error=reason_of(error),
            )
