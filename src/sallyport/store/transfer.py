"""Moves a store from SQLite into PostgreSQL: every table, in one transaction, counted.

What approvals hold is sealed and stays so: the shared store's key has to be the one that the
gateway sealed with. The index of statements is not moved; the gateway makes it from its recordings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from sallyport.store.database import StoreError, open_readonly, set_aside
from sallyport.store.dialect import reason_of
from sallyport.store.mark import identity_of
from sallyport.store.postgres import PATIENT, StoreAddress, engine_of, open_postgres
from sallyport.store.sealing import FILE as KEY_FILE
from sallyport.store.tables import approvals, metadata, policy_versions, sessions, store_facts

_BATCH: Final = 500
#: Seconds that one statement of the move may take.
_MOVING: Final = 40 * PATIENT


def move_to_postgres(data: Path, address: StoreAddress, gateway: str, key: bytes) -> dict[str, int]:
    """Rows moved, by table. ``data``: of the gateway, which does not run, and whose name is
    ``gateway``. ``key``: of the shared store. The file is set aside then: with its tokens but
    without later locks it must not serve again. Raises StoreError; then the target is as it was,
    unless only the file could not be renamed.
    """
    source = open_readonly(data)
    open_postgres(address).dispose()
    target = engine_of(address, _MOVING)
    try:
        _check_key(source, data, key)
        with source.connect() as reading, target.begin() as writing:
            _refuse_rows(writing, address)
            counts = {
                table.name: _copy(reading, writing, table, gateway)
                for table in metadata.sorted_tables
                if table is not store_facts
            }
            _finish(writing, identity_of(source))
            _compare(writing, counts)
    except SQLAlchemyError as error:
        raise StoreError(f"the store could not be moved: {reason_of(error)}") from None
    finally:
        source.dispose()
        target.dispose()
    set_aside(data, "migrated")
    return counts


def _check_key(source: Engine, data: Path, key: bytes) -> None:
    with source.connect() as connection:
        if not connection.execute(select(func.count()).select_from(approvals)).scalar():
            return
    try:
        sealed_with = (data / KEY_FILE).read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {data / KEY_FILE}: {error.strerror}") from None
    if sealed_with != key:
        raise StoreError(
            f"store.key is another key than {data / KEY_FILE}, with which approvals are sealed. "
            f"Use that one: od -An -vtx1 {data / KEY_FILE} | tr -d ' \\n'"
        )


def _refuse_rows(connection: Connection, address: StoreAddress) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(0)"))
    for table in metadata.sorted_tables:
        rows = select(func.count()).select_from(table)
        if table is store_facts:  # what migrations say there is in an empty store, too
            rows = rows.where(store_facts.c.name != "usable_from")
        if connection.execute(rows).scalar():
            raise StoreError(
                f"{address} has rows in {table.name} already: a store is moved into an empty one"
            )


def _copy(reading: Connection, writing: Connection, table: Table, gateway: str) -> int:
    count = 0
    rows: Sequence[Mapping[str, Any]]
    result = reading.execute(select(table))
    while rows := [dict(row._mapping) for row in result.fetchmany(_BATCH)]:
        if table is sessions:
            rows = [{**row, "gateway": row["gateway"] or gateway} for row in rows]
        writing.execute(insert(table), rows)
        count += len(rows)
    return count


def _finish(connection: Connection, identity: int) -> None:
    """Numbers go on behind those that were copied, and it is the same store as before."""
    newest = connection.execute(select(func.max(policy_versions.c.id))).scalar()
    if newest is not None:
        sequence = text("SELECT setval(pg_get_serial_sequence('policy_versions', 'id'), :newest)")
        connection.execute(sequence, {"newest": newest})
    if identity:
        fact = {"name": "identity", "value": str(identity)}
        connection.execute(insert(store_facts), [fact])


def _compare(connection: Connection, counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        table = metadata.tables[name]
        stored = connection.execute(select(func.count()).select_from(table)).scalar()
        if stored != count:
            raise StoreError(f"{name}: {count} rows were read and {stored} are in the target")
