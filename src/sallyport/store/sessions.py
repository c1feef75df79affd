"""The session index: implements :class:`sallyport.audit.ports.SessionIndex`, and answers questions
about sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    and_,
    delete,
    func,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from sallyport.audit.ports import (
    ACTIONS,
    ACTIONS_PREFIX,
    INTERRUPTED,
    LIVE,
    WHOLE,
    IndexUnreadableError,
    SessionQuery,
    SessionRow,
    StatementText,
)
from sallyport.audit.recovery import ONLY_MARKED
from sallyport.core.errors import SallyportError
from sallyport.store.dialect import INSERTS, is_postgresql, reason_of
from sallyport.store.statements import StatementIndex
from sallyport.store.tables import sessions
from sallyport.store.writer import Writer


def _upsert(insert: Any) -> Any:
    new = insert(sessions)
    values = {column.name: new.excluded[column.name] for column in sessions.c}
    del values["id"]
    return new.on_conflict_do_update(index_elements=[sessions.c.id], set_=values)


_UPSERTS: Final = {name: _upsert(insert) for name, insert in INSERTS.items()}


class SqlSessionIndex:
    """Rows go through the store's writer thread; without a writer the index only reads.
    ``gateway``: whose recordings the rows are of, where gateways share the store; only its rows are
    listed then. "": those of all.
    """

    def __init__(
        self,
        engine: Engine,
        writer: Writer | None = None,
        is_dead: Callable[[str], bool] = lambda owner: True,
        *,
        gateway: str = "",
    ) -> None:
        """``is_dead``: whether the owner of a session serves no more."""
        self._engine, self._writer, self._gateway = engine, writer, gateway
        self._upsert = _UPSERTS[engine.dialect.name]
        self.is_dead = is_dead
        self._statements = StatementIndex(engine, writer)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """Raises IndexUnreadableError for a database that is away or damaged, or values that cannot
        be read.
        """
        try:
            with self._engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, ValueError, TypeError) as error:
            raise IndexUnreadableError(
                f"the index cannot be read: {reason_of(error)}. "
                "If it stays so, stop the gateway and run 'sallyport audit reindex'"
            ) from error

    def statements(self, session_id: str, statements: Sequence[StatementText]) -> bool:
        """Queue what the session is found by. Never blocks, never raises; False: not taken."""
        return self._statements.add(session_id, statements)

    def matching(self, ids: Sequence[str], query: SessionQuery) -> dict[str, StatementText]:
        """Of these sessions, those that the index knows to have a statement like that: the first of
        each.
        """
        return self._statements.matching(ids, query)

    def save(self, row: SessionRow) -> None:
        """Queue the row as it is now. Never blocks on the database, never raises."""
        if self._writer is not None:
            self._writer.put(self._upsert, row.id, self._values(row))

    def save_all(self, rows: Sequence[SessionRow]) -> None:
        """As :meth:`save`, of many."""
        if self._writer is not None:
            self._writer.put_all(self._upsert, {row.id: self._values(row) for row in rows})

    def unfinished(self) -> list[SessionRow]:
        """What is live, and what an older version only marked as interrupted."""
        c = sessions.c
        query = select(sessions).where(
            self._own(),
            or_(c.status == LIVE, and_(c.status == INTERRUPTED, c.reason == ONLY_MARKED)),
        )
        with self._reading() as connection:
            return [_row(row) for row in connection.execute(query)]

    def newest_start(self) -> float:
        """When the session that began last did, in Unix seconds; 0.0 when there is none."""
        with self._reading() as connection:
            query = select(func.max(sessions.c.started)).where(self._own())
            return float(connection.execute(query).scalar() or 0.0)

    def unknown(self, ids: Sequence[str]) -> list[str]:
        """Which of these sessions have no row."""
        indexed: set[str] = set()
        with self._reading() as connection:
            for start in range(0, len(ids), 500):
                query = select(sessions.c.id).where(sessions.c.id.in_(ids[start : start + 500]))
                indexed.update(connection.execute(query).scalars())
        return [id_ for id_ in ids if id_ not in indexed]

    def restore(self, rows: Sequence[tuple[SessionRow, Sequence[StatementText]]]) -> None:
        """Write rows and their statements at once, not through the writer."""
        with self._engine.begin() as connection:
            for row, statements in rows:
                connection.execute(self._upsert, self._values(row))
                self._statements.insert(connection, row.id, statements)

    def forget(self, session_id: str, reason: str) -> int:
        """Delete what the index has of a session's statements, overwritten where it stood, and
        write ``reason`` into its row: the session was shredded. How many statements that were.
        """
        c = sessions.c
        with self._engine.connect() as connection:
            if not is_postgresql(connection):
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
                connection.commit()
            with connection.begin():
                count = self._statements.delete(connection, [session_id])
                # There is nothing left to search, so its recording need not be read for it.
                changes = {"reason": reason, "searchable": WHOLE}
                connection.execute(update(sessions).where(c.id == session_id).values(changes))
            if not is_postgresql(connection):
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return count

    def delete(self, ids: Sequence[str]) -> None:
        """Delete rows, at most 500, and what is known of their statements, at once. Raises
        SallyportError.
        """
        try:
            with self._engine.begin() as connection:
                self._statements.delete(connection, ids)
                connection.execute(delete(sessions).where(sessions.c.id.in_(ids)))
        except SQLAlchemyError as error:
            raise SallyportError(
                f"rows of sessions cannot be deleted: {type(error).__name__}"
            ) from error

    def recent(
        self,
        *,
        limit: int | None = 50,
        status: str = "",
        subject: str = "",
        target: str = "",
        kind: str = "",
    ) -> list[SessionRow]:
        """Newest first; "" means any, limit None means all."""
        query = select(sessions).where(self._own())
        query = query.order_by(sessions.c.started.desc(), sessions.c.id.desc())
        for column, value in (
            (sessions.c.status, status),
            (sessions.c.subject, subject),
            (sessions.c.target, target),
        ):
            if value:
                query = query.where(column == value)
        if kind:
            query = query.where(of_kind(kind))
        if limit is not None:
            query = query.limit(limit)
        with self._reading() as connection:
            return [_row(row) for row in connection.execute(query)]

    def search(self, asked: SessionQuery) -> list[SessionRow]:
        """One page of sessions, newest first unless ``oldest_first``."""
        c = sessions.c
        order = (c.started, c.id) if asked.oldest_first else (c.started.desc(), c.id.desc())
        query = select(sessions).where(self._own()).order_by(*order).limit(asked.limit)
        if asked.subject:
            query = query.where(
                or_(
                    *(
                        column.icontains(asked.subject, autoescape=True)
                        for column in (c.subject, c.label, c.agent)
                    )
                )
            )
        for column, value in ((c.target, asked.target), (c.status, asked.status)):
            if value:
                query = query.where(column == value)
        if asked.kind:
            query = query.where(of_kind(asked.kind))
        if asked.since is not None:
            query = query.where(c.started >= asked.since)
        if asked.until is not None:
            query = query.where(c.started < asked.until)
        if asked.refused:
            query = query.where(c.refused > 0)
        if asked.running_since is not None:
            query = query.where(or_(c.ended.is_(None), c.ended >= asked.running_since))
        if asked.after is not None:
            place = tuple_(c.started, c.id)
            query = query.where(place > asked.after if asked.oldest_first else place < asked.after)
        with self._reading() as connection:
            return [_row(row) for row in connection.execute(query)]

    def get(self, session_id: str) -> SessionRow | None:
        with self._reading() as connection:
            row = connection.execute(select(sessions).where(sessions.c.id == session_id)).first()
        return None if row is None else _row(row)

    def ids_beginning(self, prefix: str, limit: int = 10) -> list[str]:
        """Ids that begin with ``prefix``, taken literally, newest first."""
        query = (
            select(sessions.c.id)
            .where(func.substr(sessions.c.id, 1, len(prefix)) == prefix)
            .order_by(sessions.c.started.desc())
            .limit(limit)
        )
        with self._reading() as connection:
            return [str(session_id) for session_id in connection.execute(query).scalars()]

    def _own(self) -> ColumnElement[bool]:
        return sessions.c.gateway == self._gateway if self._gateway else true()

    def _values(self, row: SessionRow) -> dict[str, object]:
        values: dict[str, object] = {field.name: getattr(row, field.name) for field in fields(row)}
        lists = {"groups": list(row.groups), "actors": list(row.actors)}
        return values | lists | {"gateway": row.gateway or self._gateway}


def presented_groups(engine: Engine) -> frozenset[str]:
    """Every group that the token of a recorded session carried."""
    with engine.connect() as connection:
        rows = connection.execute(select(sessions.c.groups).distinct())
        return frozenset(group for (groups,) in rows for group in groups)


def of_kind(kind: str) -> ColumnElement[bool]:
    """As :func:`sallyport.audit.ports.kind_of`."""
    actions = sessions.c.id.startswith(f"{ACTIONS_PREFIX}_", autoescape=True)
    return actions if kind == ACTIONS else ~actions


def _row(row: Row[tuple[object, ...]]) -> SessionRow:
    values = dict(row._mapping)
    values["groups"], values["actors"] = tuple(values["groups"]), tuple(values["actors"])
    return SessionRow(**values)
