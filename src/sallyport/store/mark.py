"""Does the data directory still have the store that it had? A mark beside the database answers.

The database carries a random number (SQLite's ``user_version``), and the gateway's lock file holds
the same. Sessions can be read from the recordings again; locks, approvals and policy versions are
in the database alone. A database that is missing or another one therefore means that state was
lost, and stays so until ``sallyport audit reindex`` or an operator says to go on.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import structlog
from sqlalchemy import Engine, text

from sallyport.store.database import FILE, StoreError, open_database, set_aside

_LOST: Final = b"lost"
_REINDEXED: Final = b" reindexed"
#: What to do about lost state.
WAY_OUT: Final = (
    "Restore it from a backup, or stop the gateway and run 'sallyport audit reindex', "
    "or start with 'sallyport serve --accept-lost-state'"
)


_log = structlog.get_logger("sallyport.store")


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """``problem``: why state was lost, which nobody has accepted; nobody may log in until then.
    ``accepted``: what an operator accepted at this start, or since the last one by ``audit
    reindex``; "" when nothing.
    """

    engine: Engine
    mark: StoreMark
    problem: str = ""
    accepted: str = ""


def open_store(
    data: Path, recordings: Path, lock: IO[bytes], *, accept_lost_state: bool
) -> OpenedStore:
    """Open the data directory's store, and compare it with the mark in ``lock``. Raises StoreError,
    also for a database that is damaged, unless the loss is accepted: then it is set aside.
    """
    mark = StoreMark(lock, data)
    problem = mark.missing(recordings)
    try:
        engine = open_database(data)
    except StoreError as error:
        if not accept_lost_state or not (data / FILE).is_file():
            raise StoreError(f"{error}. {WAY_OUT}") from None
        problem = f"{error}; it was set aside as {set_aside(data).name}"
        engine = open_database(data)
    mark.check()  # from now on, this very file
    problem = problem or mark.differs(engine)
    if problem and not accept_lost_state:
        mark.lose()
        _log.error(
            "the gateway's state was lost; nobody can log in", reason=problem, way_out=WAY_OUT
        )
        return OpenedStore(engine, mark, problem)
    reindexed = mark.take(engine)
    if problem:
        _log.warning("lost state was accepted", reason=problem, user=os.getuid())
        return OpenedStore(
            engine, mark, accepted=f"user {os.getuid()} accepted lost state: {problem}"
        )
    return OpenedStore(
        engine, mark, accepted="the index was rebuilt by audit reindex" if reindexed else ""
    )


class StoreMark:
    """``lock``: the gateway's lock file, open for reading and writing, held by this process."""

    def __init__(self, lock: IO[bytes], data: Path) -> None:
        self._lock = lock
        self._path = data / FILE
        self._file: tuple[int, int] | None = None  # device and inode, at the first check

    def missing(self, recordings: Path) -> str:
        """Before the database is opened (and made): why state was lost; "" when nothing says so."""
        mark = self._read()
        if mark == _LOST:
            return "the gateway's state was lost before the last start"
        try:
            exists = self._path.stat().st_size > 0
        except OSError:
            exists = False
        if not exists and (mark or any(recordings.glob("????/??/??/*"))):
            return f"{self._path} is missing, and a gateway has kept its state there"
        return ""

    def differs(self, engine: Engine) -> str:
        """Why the database is not the one that this directory had; "" when it is."""
        mark = self._read().removesuffix(_REINDEXED)
        number = _number(engine)
        if mark and mark != str(number).encode():
            return f"{self._path} is not the database that the gateway kept its state in"
        return ""

    def take(self, engine: Engine, *, reindexed: bool = False) -> bool:
        """This database is the directory's from now on. Whether ``audit reindex`` made it since the
        last start.

        Raises StoreError.
        """
        number = _number(engine)
        if not number:
            number = secrets.randbelow(2**31 - 1) + 1
            with engine.begin() as connection:
                connection.execute(text(f"PRAGMA user_version = {number}"))
        before = self._read().endswith(_REINDEXED)
        self._write(str(number).encode() + (_REINDEXED if reindexed else b""))
        return before

    def lose(self) -> None:
        """State was lost, and nobody has accepted that yet. Raises StoreError."""
        self._write(_LOST)

    def check(self) -> str:
        """While the gateway runs: why the database is not the one that it opened; "" when it is."""
        try:
            status = os.stat(self._path)
        except OSError:
            return f"{self._path} was deleted while the gateway was running"
        file = (status.st_dev, status.st_ino)
        self._file = self._file or file
        return (
            "" if file == self._file else f"{self._path} was replaced while the gateway was running"
        )

    def _read(self) -> bytes:
        self._lock.seek(0)
        return self._lock.read(100).strip()

    def _write(self, mark: bytes) -> None:
        try:
            self._lock.seek(0)
            self._lock.truncate(0)
            self._lock.write(mark)
            self._lock.flush()
            os.fsync(self._lock.fileno())
        except OSError as error:
            raise StoreError(
                f"cannot write {self._path.parent / 'gateway.lock'}: {error.strerror}"
            ) from None


def _number(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("PRAGMA user_version")).scalar() or 0)
