"""What the gateways of one store count together: each process writes its cells of
:mod:`sallyport.core.counts`, and reads those of other gateways.

A row is one cell. Once a second a process writes the cells that changed and reads what others wrote
since the last time, with some seconds' overlap for transactions that take long to commit; once a
minute, and when messages may have been lost, it reads everything. What is only told again, after an
outage, keeps its age by the gateway's clock, so it counts for no more than its hour. A row of a
process that died keeps its sums for as long as they count; its sessions are over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Engine, Update, delete, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from sallyport.core.counts import KEPT, Cell, Counts
from sallyport.store.dialect import INSERTS, SERVER_CLOCK, alone, reason_of
from sallyport.store.tables import owners, shared_counts

#: Seconds between two exchanges, and between two that read everything.
EVERY: Final = 1.0
FULL: Final = 60.0
#: Seconds by which readings overlap: longer than a statement may wait.
_OVERLAP: Final = 10.0
_DAY: Final = 86_400.0

_log = structlog.get_logger("sallyport.store")


class SqlSharedCounts:
    """``counts``: of this process, which is ``worker`` of ``gateway`` and known as ``owner``.
    ``is_dead``: whether an owner serves no more. In PostgreSQL only.
    """

    def __init__(
        self,
        engine: Engine,
        counts: Counts,
        worker: int,
        owner: str,
        gateway: str,
        is_dead: Callable[[str], bool],
    ) -> None:
        self._engine, self._counts = engine, counts
        self._worker, self._owner, self._gateway = worker, owner, gateway
        self._is_dead = is_dead
        self._read_until = 0.0  # by the database's clock
        self._full_at = float("-inf")
        self._outages = self._outages_over = 0
        self._failing = False

    def begin(self) -> None:
        """At the start: sessions of those that were here before are over, and what others counted
        is read. Raises SQLAlchemyError.
        """
        table = shared_counts.c
        is_before = (table.memory != self._counts.memory_id) | (table.worker == self._worker)
        over = (
            update(shared_counts)
            .where(table.gateway == self._gateway, is_before, table.sessions != 0)
            .values(sessions=0, changed=SERVER_CLOCK)
        )
        with self._engine.begin() as connection:
            connection.execute(over)
        self.exchange()

    def begin_again(self) -> None:
        """The store was away, or is another server now: tell and read everything. Any thread."""
        self._outages += 1  # an exchange that runs now may be with the server of before

    def exchange(self) -> None:
        """Write what changed here, and read what changed elsewhere. Blocks. Raises SQLAlchemyError;
        what was not written is written the next time.
        """
        outages, changed = self._outages, self._counts.take_changed()
        is_anew = outages != self._outages_over
        repeated = self._counts.unchanged(changed) if is_anew else {}
        is_full = is_anew or time.monotonic() > self._full_at + FULL
        try:
            with self._engine.begin() as connection:
                # Lost with a crash of the store, they are told again: see begin_again.
                connection.execute(text("SET LOCAL synchronous_commit = off"))
                if is_anew:  # that some of them ended may be lost
                    connection.execute(self._without_sessions())
                self._write(connection, {**changed, **repeated}, repeated)
                if is_full:
                    self._tidy(connection)
            with self._engine.connect() as connection:
                cells, newest = self._read(connection, 0.0 if is_full else self._read_until)
        except SQLAlchemyError:
            self._counts.tell_again(changed)
            raise
        self._counts.hear(self._of_the_living(cells), everything=is_full)
        # Not compared with the one before: another server's clock may be behind.
        self._read_until = newest - _OVERLAP
        self._outages_over = outages
        if is_full:
            self._full_at = time.monotonic()

    def step(self) -> None:
        """As :meth:`exchange`; what fails is logged once."""
        try:
            self.exchange()
        except SQLAlchemyError as error:
            if not self._failing:
                reason = reason_of(error)
                _log.error("what other gateways count cannot be read", reason=reason)
            self._failing = True
            return
        self._failing = False

    def end(self) -> None:
        """This process serves no more."""
        try:
            with self._engine.begin() as connection:
                connection.execute(self._without_sessions())
        except SQLAlchemyError as error:
            _log.warning("what was counted here could not be written", reason=reason_of(error))

    def _without_sessions(self) -> Update:
        """What this process told, without sessions."""
        table = shared_counts.c
        mine = update(shared_counts).where(table.owner == self._owner, table.sessions != 0)
        return mine.values(sessions=0, changed=SERVER_CLOCK)

    def _write(
        self, connection: Connection, cells: Mapping[bytes, Cell], repeated: Mapping[bytes, Cell]
    ) -> None:
        """``repeated``: those that have not changed since they were told."""
        if not cells:
            return
        new = INSERTS[connection.dialect.name](shared_counts)
        names = ("owner", "gateway", "sessions", "rows", "bytes", "changed")
        statement = new.on_conflict_do_update(
            index_elements=list(shared_counts.primary_key.columns),
            set_={name: new.excluded[name] for name in names},
        )
        moment, now = connection.execute(select(SERVER_CLOCK)).scalar_one(), time.time()
        rows: list[dict[str, Any]] = [
            {
                "key": digest.hex(),
                "memory": self._counts.memory_id,
                "worker": self._worker,
                "owner": self._owner,
                "gateway": self._gateway,
                "sessions": cell.sessions,
                "rows": cell.first,
                "bytes": cell.second,
                "changed": moment - (_age(cell, now) if digest in repeated else 0.0),
            }
            for digest, cell in cells.items()
        ]
        connection.execute(statement, rows)

    def _read(self, connection: Connection, since: float) -> tuple[list[Any], float]:
        """Rows of other memories, with their ages, and the database's time before."""
        moment = float(connection.execute(select(SERVER_CLOCK)).scalar_one())
        query = select(shared_counts, (moment - shared_counts.c.changed).label("age")).where(
            shared_counts.c.memory != self._counts.memory_id, shared_counts.c.changed >= since
        )
        return list(connection.execute(query)), moment

    def _of_the_living(self, rows: list[Any]) -> Iterator[tuple[bytes, str, Cell]]:
        """Cells, without the sessions of owners that are dead."""
        dead: dict[str, bool] = {}
        now = time.time()
        for row in rows:
            sessions = row.sessions
            if sessions:
                if row.owner not in dead:
                    dead[row.owner] = self._is_dead(row.owner)
                sessions = 0 if dead[row.owner] else sessions
            # Aged by the database's clock: those of two machines may differ.
            cell = Cell(sessions, row.rows, row.bytes, int(now - max(row.age, 0.0)))
            yield bytes.fromhex(row.key), f"{row.memory}-{row.worker}", cell

    def _tidy(self, connection: Connection) -> None:
        """Rows that count no longer, by one of all processes."""
        if not alone(connection, "counts"):
            return
        table = shared_counts.c
        connection.execute(
            delete(shared_counts).where(
                ((table.sessions == 0) & (table.changed < SERVER_CLOCK - 2 * KEPT))
                | ((table.changed < SERVER_CLOCK - _DAY) & table.owner.not_in(select(owners.c.id)))
            )
        )


def _age(cell: Cell, now: float) -> float:
    """Seconds since the newest part of its sums was counted; 0.0 for one without sums."""
    return max(0.0, now - cell.at) if cell.first or cell.second else 0.0
