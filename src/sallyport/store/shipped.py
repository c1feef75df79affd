"""Which recordings are in the archive, and which local copies went: ``<data>/archive.db``."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sallyport.audit.ports import ACTIONS_PREFIX
from sallyport.core.errors import SallyportError

FILE: Final = "archive.db"
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS shipped (
  session TEXT PRIMARY KEY, file TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL,
  ended REAL NOT NULL, shipped REAL NOT NULL, deleted REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS local ON shipped (ended) WHERE deleted IS NULL;
CREATE TABLE IF NOT EXISTS progress (mark REAL NOT NULL);
"""


#: Of local copies.
_MAY_GO: Final = f"deleted IS NULL AND session NOT GLOB '{ACTIONS_PREFIX}_*'"


class ShippedError(SallyportError):
    """The file cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """Times are Unix seconds. ``deleted``: when the local copy was; None while it is there."""

    session: str
    file: str
    size: int
    sha256: str
    ended: float
    shipped: float
    deleted: float | None = None


class ShippedRecordings:
    """Used by one thread at a time. Every call raises ShippedError for what SQLite says."""

    def __init__(self, data: Path) -> None:
        self._path = data / FILE
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with self._connection() as connection:
            connection.executescript(_TABLES)

    def mark(self) -> float:
        """Of the sessions that began before this, all are in the archive (Unix seconds)."""
        with self._connection() as connection:
            row = connection.execute("SELECT max(mark) FROM progress").fetchone()
            return float(row[0] or 0.0)

    def set_mark(self, mark: float) -> None:
        """As :meth:`mark` will say."""
        with self._connection() as connection:
            connection.execute("DELETE FROM progress")
            connection.execute("INSERT INTO progress VALUES (?)", (mark,))

    def has(self, session: str) -> bool:
        """Whether the session's recording is in the archive."""
        with self._connection() as connection:
            query = "SELECT 1 FROM shipped WHERE session = ?"
            return connection.execute(query, (session,)).fetchone() is not None

    def add(self, recording: Shipped) -> None:
        """It is in the archive now."""
        values = (
            recording.session,
            recording.file,
            recording.size,
            recording.sha256,
            recording.ended,
            recording.shipped,
            recording.deleted,
        )
        with self._connection() as connection:
            marks = ", ".join("?" * len(values))
            connection.execute(f"INSERT OR REPLACE INTO shipped VALUES ({marks})", values)

    def local(self, limit: int) -> list[Shipped]:
        """Those whose local copies are still there, longest over first. What people did is not
        among them: those recordings stay, since locks are made anew from them.
        """
        query = f"SELECT * FROM shipped WHERE {_MAY_GO} ORDER BY ended LIMIT ?"
        with self._connection() as connection:
            return [Shipped(*row) for row in connection.execute(query, (limit,))]

    def local_bytes(self) -> int:
        """What those take."""
        query = f"SELECT sum(size) FROM shipped WHERE {_MAY_GO}"
        with self._connection() as connection:
            return int(connection.execute(query).fetchone()[0] or 0)

    def set_deleted(self, session: str, at: float) -> None:
        """The local copy is to be deleted; written before it is."""
        with self._connection() as connection:
            query = "UPDATE shipped SET deleted = ? WHERE session = ?"
            connection.execute(query, (at, session))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self._path, timeout=10.0)
            try:
                with connection:
                    yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise ShippedError(
                f"{self._path} cannot be used: {error}. Delete it, with the gateway stopped: "
                "recordings that are in the archive are then compared with it again"
            ) from error


def archived_sessions(data: Path) -> frozenset[str]:
    """Whose local copies were deleted. Raises ShippedError."""
    if not (data / FILE).exists():
        return frozenset()
    try:
        connection = sqlite3.connect(data / FILE)
        try:
            rows = connection.execute("SELECT session FROM shipped WHERE deleted IS NOT NULL")
            return frozenset(session for (session,) in rows)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise ShippedError(f"{data / FILE} cannot be read: {error}") from error
