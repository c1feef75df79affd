"""``sallyport audit reindex``: makes the index anew from the recordings, and keeps what can be read
of the rest.

Rows that agree with their recordings stay, and so do rows that show what was done to a recording
(their last hash is the only witness). Rows that only say something else than a sound recording are
made anew, as are those that are missing. Locks and containments are in the recordings of actions:
those that the database lacks are made anew, so that a lost index lets nobody go. Nothing
of approvals and policy versions is there: they are copied from a damaged database as far as it can
be read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine, Table
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from sallyport.audit.actions import CONTAIN, LOCK, RELEASE_CONTAINMENT, RELEASE_LOCK
from sallyport.audit.archive import RecordingError, find_recordings, recording_path
from sallyport.audit.keyfiles import KeyNotListedError, ShreddedError
from sallyport.audit.keys import NO_KEYS, KeyRing
from sallyport.audit.ports import LIVE, IndexUnreadableError, SessionRow, StatementText
from sallyport.audit.recovery import Recovered, rebuild, recover
from sallyport.audit.verify import INDEX, verify
from sallyport.store.actionrecord import done_actions
from sallyport.store.containmentrecord import recorded_containments
from sallyport.store.containments import SqlContainmentStore
from sallyport.store.database import FILE, StoreError, open_database, set_aside
from sallyport.store.dialect import reason_of
from sallyport.store.lockrecord import recorded_locks
from sallyport.store.locks import SqlLockStore
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.shipped import archived_sessions
from sallyport.store.tables import metadata, sessions, statements

_BATCH = 100
#: Actions from which locks and containments are made anew.
_RESTORED = frozenset({LOCK, RELEASE_LOCK, CONTAIN, RELEASE_CONTAINMENT})


@dataclass(slots=True)
class Reindexed:
    """``kept``, ``rebuilt``: sessions. ``unreadable``: files without a login event. ``suspicious``:
    sessions whose recordings are not what the index remembers. ``set_aside``: the damaged database.
    ``lost``: tables of which not everything could be copied from it. ``locks``, ``containments``:
    made anew, those that are over included. ``doubtful``: recordings of actions that cannot be read
    to their end: locks and containments may be missing. ``shredded``: sessions that the index
    did not know, of which nothing is left to make a row of. ``locked``: why recordings could not be
    decrypted that have to be read; what the index had of them stays.
    """

    kept: int = 0
    rebuilt: int = 0
    unreadable: list[Path] = field(default_factory=list)
    suspicious: list[str] = field(default_factory=list)
    set_aside: Path | None = None
    lost: list[str] = field(default_factory=list)
    locks: int = 0
    containments: int = 0
    doubtful: list[str] = field(default_factory=list)
    shredded: list[str] = field(default_factory=list)
    locked: list[str] = field(default_factory=list)


def reindex(data: Path, recordings: Path, keys: KeyRing = NO_KEYS) -> tuple[Engine, Reindexed]:
    """``keys`` decrypt recordings. The caller holds the data directory's lock and disposes of the
    engine. Raises StoreError.
    """
    result = Reindexed()
    try:
        engine = open_database(data)
        _rows(SqlSessionIndex(engine))
    except (StoreError, IndexUnreadableError):
        engine = _replace(data, result)
    _fill(engine, SqlSessionIndex(engine), data, recordings, keys, result)
    return engine, result


def reindex_shared(
    engine: Engine, gateway: str, data: Path, recordings: Path, keys: KeyRing = NO_KEYS
) -> Reindexed:
    """As :func:`reindex`, of a store that gateways share: what is missing of ``gateway``, whose
    data directory this is. What others recorded, they add. Raises StoreError.
    """
    result = Reindexed()
    try:
        index = SqlSessionIndex(engine, gateway=gateway)
        _fill(engine, index, data, recordings, keys, result)
    except (SQLAlchemyError, IndexUnreadableError) as error:
        raise StoreError(f"the shared store cannot be used: {reason_of(error)}") from error
    return result


def _fill(
    engine: Engine,
    index: SqlSessionIndex,
    data: Path,
    recordings: Path,
    keys: KeyRing,
    result: Reindexed,
) -> None:
    """Add to a store that can be read what the recordings have."""
    rows = _rows(index)
    batch: list[tuple[SessionRow, Sequence[StatementText]]] = []
    archived = archived_sessions(data)
    for recovered in _restored(recordings, rows, result, keys, archived):
        batch.append((recovered.row, recovered.statements))
        if len(batch) == _BATCH:
            index.restore(batch)
            batch.clear()
    index.restore(batch)
    actions = list(done_actions(recordings, _RESTORED, result.doubtful, keys))
    result.locks = SqlLockStore(engine).restore(recorded_locks(actions))
    contained = recorded_containments(actions, result.doubtful)
    result.containments = SqlContainmentStore(engine).restore(contained)


def _rows(index: SqlSessionIndex) -> dict[str, SessionRow]:
    return {row.id: row for row in index.recent(limit=None)}


def _restored(
    directory: Path,
    rows: dict[str, SessionRow],
    result: Reindexed,
    keys: KeyRing,
    archived: Collection[str],
) -> Iterator[Recovered]:
    """The rows that are to be written."""
    for id_, row in rows.items():
        try:
            if row.status == LIVE:
                recovered: Recovered | None = recover(directory, row, keys)
            elif id_ in archived and not (directory / row.file).exists():
                result.kept += 1  # only the archive has its recording
                continue
            else:
                recovered = _corrected(directory, id_, row, result, keys)
        except KeyNotListedError as error:
            result.locked.append(str(error))
            continue
        if recovered is not None:
            result.rebuilt += 1
            yield recovered
        else:
            result.kept += 1
    for id_, path in find_recordings(directory).items():
        if id_ not in rows and (recovered := _rebuilt(directory, path, result, keys)) is not None:
            result.rebuilt += 1
            if recovered.problem:
                result.suspicious.append(id_)
            yield recovered


def _rebuilt(directory: Path, path: Path, result: Reindexed, keys: KeyRing) -> Recovered | None:
    """The row of a recording that the index does not know."""
    try:
        recovered = rebuild(path, directory, keys)
    except ShreddedError:
        result.shredded.append(path.stem)
        return None
    except KeyNotListedError as error:
        result.locked.append(str(error))
        return None
    if recovered is None:
        result.unreadable.append(path)
    return recovered


def _corrected(
    directory: Path, id_: str, row: SessionRow, result: Reindexed, keys: KeyRing
) -> Recovered | None:
    """The row anew, when it says something else than a sound recording; None: it stays as it is."""
    try:
        path = recording_path(directory, id_, row.file)
        problems = verify(path, row, keys).problems
    except RecordingError:
        if row.last_hash:
            result.suspicious.append(id_)
        return None
    if not problems:
        return None
    result.suspicious.append(id_)
    if any(problem.kind != INDEX for problem in problems):
        return None
    return rebuild(path, directory, keys)


def _replace(data: Path, result: Reindexed) -> Engine:
    """Set a damaged database aside and copy what it still gives into a new one. Raises
    StoreError.
    """
    path = data / FILE
    result.set_aside = set_aside(data)
    engine = open_database(data)
    try:
        damaged = sqlite3.connect(f"{result.set_aside.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise StoreError(f"cannot read {path}: {error}") from None
    try:
        for table in metadata.sorted_tables:
            if not _copy(damaged, engine, table) and table not in (sessions, statements):
                result.lost.append(table.name)
    finally:
        damaged.close()
    return engine


def _copy(damaged: sqlite3.Connection, engine: Engine, table: Table) -> bool:
    """Copy a table's rows, one by one, as far as they can be read. Whether that was all of them."""
    names = [column.name for column in table.columns]
    quoted = ", ".join(f'"{name}"' for name in names)
    complete = True
    rows: list[tuple[object, ...]] = []
    try:
        for row in damaged.execute(f'SELECT {quoted} FROM "{table.name}"'):
            rows.append(row)
    except (sqlite3.Error, ValueError):
        complete = False
    marks = ", ".join("?" for _ in names)
    with engine.begin() as connection:
        for row in rows:
            try:
                connection.exec_driver_sql(
                    f'INSERT OR IGNORE INTO "{table.name}" ({quoted}) VALUES ({marks})', row
                )
            except DatabaseError:
                complete = False
    return complete
