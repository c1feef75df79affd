"""Statements that sessions are found by: written in batches, read with LIKE, bounded.

The recordings are the truth and hold everything; this holds :mod:`sallyport.audit.texts`' choice of
it. When there are more than ``MOST`` rows, those of the sessions that began first go, and these
sessions say so (``searchable`` ""): whoever searches reads their recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    delete,
    func,
    or_,
    select,
    tuple_,
    update,
)

from sallyport.audit.ports import LIVE, SessionQuery, StatementText, folded, one_line
from sallyport.store.dialect import INSERTS, alone
from sallyport.store.tables import sessions, statements
from sallyport.store.writer import Writer

#: Rows altogether; how many are left when the oldest have gone; how many are added between two
#: looks.
MOST: Final = 500_000
_KEPT: Final = 0.9
_BETWEEN: Final = 10_000
#: Rows that may wait for a database that does not answer.
_WAITING: Final = 20_000

_INSERTS: Final = {
    name: insert(statements).on_conflict_do_nothing() for name, insert in INSERTS.items()
}


class StatementIndex:
    """``writer`` None: it only reads."""

    def __init__(
        self, engine: Engine, writer: Writer | None = None, *, maximum: int = MOST
    ) -> None:
        self._engine, self._writer, self._most = engine, writer, maximum
        self._insert = _INSERTS[engine.dialect.name]
        self._added = 0
        if writer is not None:
            writer.chores.append(self._tidy)

    def add(self, session_id: str, statements: Sequence[StatementText]) -> bool:
        """Queue rows. Never blocks, never raises; False when too many wait already."""
        writer = self._writer
        if writer is None or writer.queued(self._insert) + len(statements) > _WAITING:
            return False
        writer.put_all(
            self._insert,
            {
                f"{session_id}/{statement.number}": _values(session_id, statement)
                for statement in statements
            },
        )
        self._added += len(statements)
        return True

    def insert(
        self, connection: Connection, session_id: str, statements: Sequence[StatementText]
    ) -> None:
        """Write rows now, in the caller's transaction."""
        if statements:
            connection.execute(
                self._insert, [_values(session_id, statement) for statement in statements]
            )
        self._added += len(statements)

    def delete(self, connection: Connection, ids: Sequence[str]) -> int:
        """Delete the rows of these sessions, at most 500, in the caller's transaction. How many
        there were.
        """
        query = delete(statements).where(statements.c.session.in_(ids))
        return connection.execute(query).rowcount

    def matching(self, ids: Sequence[str], asked: SessionQuery) -> dict[str, StatementText]:
        """Of these sessions, those with a statement like that: the first of each."""
        c = statements.c
        query = (
            select(c.session, func.min(c.number))
            .where(c.session.in_(ids), _like(asked))
            .group_by(c.session)
        )
        with self._engine.connect() as connection:
            firsts = [(str(session), int(number)) for session, number in connection.execute(query)]
            rows = connection.execute(
                select(statements).where(tuple_(c.session, c.number).in_(firsts))
            )
            return {
                row.session: StatementText(
                    row.number, row.outcome, row.sql, tuple(row.relations.split("\n")[1:-1])
                )
                for row in rows
            }

    def _tidy(self) -> None:
        if self._added >= _BETWEEN:
            self.trim()
            self._added = 0

    def trim(self) -> int:
        """Let the oldest go when there are too many; how many sessions that were."""
        c, gone = statements.c, []
        with self._engine.begin() as connection:
            if not alone(connection, "statements of sessions"):
                return 0
            count = connection.execute(select(func.count()).select_from(statements)).scalar_one()
            if count <= self._most:
                return 0
            oldest = (
                select(c.session, func.count())
                .join(sessions, sessions.c.id == c.session)
                .where(sessions.c.status != LIVE)
                .group_by(c.session, sessions.c.started)
                .order_by(sessions.c.started)
            )
            for session, rows in connection.execute(oldest):
                if count <= self._most * _KEPT:
                    break
                gone.append(session)
                count -= rows
            for start in range(0, len(gone), 500):
                some = gone[start : start + 500]
                connection.execute(
                    update(sessions).where(sessions.c.id.in_(some)).values(searchable="")
                )
                connection.execute(delete(statements).where(c.session.in_(some)))
        return len(gone)


def _values(session_id: str, statement: StatementText) -> dict[str, object]:
    return {
        "session": session_id,
        "number": statement.number,
        "outcome": statement.outcome,
        "sql": statement.sql,
        "relations": _lines(statement.relations),
    }


@lru_cache(maxsize=1024)
def _lines(relations: tuple[str, ...]) -> str:
    return "\n" + "".join(f"{folded(one_line(name))}\n" for name in relations)


def _like(query: SessionQuery) -> ColumnElement[bool]:
    """As :meth:`SessionQuery.has`."""
    c, conditions = statements.c, []
    if query.verdict:
        conditions.append(c.outcome == query.verdict)
    if query.text:
        conditions.append(c.sql.icontains(one_line(query.text), autoescape=True))
    if query.relation:
        name = folded(one_line(query.relation))
        ends = [c.relations.contains(f"{mark}{name}\n", autoescape=True) for mark in ("\n", ".")]
        conditions.append(or_(*ends))
    return and_(True, *conditions)
