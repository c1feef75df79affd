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
from sqlalchemy import Engine, select, text

from sallyport.store.database import FILE, StoreError, open_database, refuse_copied, set_aside
from sallyport.store.dialect import INSERTS, is_postgresql
from sallyport.store.postgres import StoreAddress, open_postgres
from sallyport.store.tables import store_facts

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
    also for a database that is damaged or was copied to a shared store, unless the loss is
    accepted: then a damaged one is set aside.
    """
    if not accept_lost_state:
        refuse_copied(data)  # before it counts as lost: it is not, for who opens the shared one
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
    return _compared(engine, mark, problem, accept_lost_state)


def open_shared_store(
    data: Path, lock: IO[bytes], address: StoreAddress, *, accept_lost_state: bool
) -> OpenedStore:
    """As :func:`open_store`, of a store that gateways share. Raises StoreError."""
    if accept_lost_state:
        try:
            address.timeline.forget()
        except OSError as error:
            raise StoreError(f"{data} cannot be written: {error.strerror}") from None
    mark = StoreMark(lock, data, str(address))
    problem = mark.missing(data)
    return _compared(open_postgres(address), mark, problem, accept_lost_state)


def _compared(
    engine: Engine, mark: StoreMark, problem: str, accept_lost_state: bool
) -> OpenedStore:
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

    def __init__(self, lock: IO[bytes], data: Path, shared: str = "") -> None:
        """``shared``: the name of a store that is no file of the data directory."""
        self._lock = lock
        self._path = data / FILE
        self._shared = shared
        self._file: tuple[int, int] | None = None  # device and inode, at the first check

    def missing(self, recordings: Path) -> str:
        """Before the database is opened (and made): why state was lost; "" when nothing says so."""
        mark = self._read()
        if mark == _LOST:
            return "the gateway's state was lost before the last start"
        if self._shared:
            return ""
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
        number = identity_of(engine)
        if mark and mark != str(number).encode():
            name = self._shared or self._path
            return f"{name} is not the database that the gateway kept its state in"
        return ""

    def take(self, engine: Engine, *, reindexed: bool = False) -> bool:
        """This database is the directory's from now on. Whether ``audit reindex`` made it since the
        last start.

        Raises StoreError.
        """
        number = identity_of(engine)
        if not number:
            number = secrets.randbelow(2**31 - 1) + 1
            number = _set_number(engine, number)
        before = self._read().endswith(_REINDEXED)
        self._write(str(number).encode() + (_REINDEXED if reindexed else b""))
        return before

    def lose(self) -> None:
        """State was lost, and nobody has accepted that yet. Raises StoreError."""
        self._write(_LOST)

    def check(self) -> str:
        """While the gateway runs: why the database is not the one that it opened; "" when it is."""
        if self._shared:
            return ""  # its connection asks
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


def identity_of(engine: Engine) -> int:
    """The number that tells this store from others; 0 while it has none."""
    with engine.connect() as connection:
        if is_postgresql(engine):
            return int(connection.execute(_IDENTITY).scalar() or 0)
        return int(connection.execute(text("PRAGMA user_version")).scalar() or 0)


_IDENTITY: Final = select(store_facts.c.value).where(store_facts.c.name == "identity")


def _set_number(engine: Engine, number: int) -> int:
    """The number that it has from now on: another gateway may have been faster."""
    with engine.begin() as connection:
        if not is_postgresql(engine):
            connection.execute(text(f"PRAGMA user_version = {number}"))
            return number
        fact = INSERTS["postgresql"](store_facts).values(name="identity", value=str(number))
        connection.execute(fact.on_conflict_do_nothing())
    return identity_of(engine)
