"""The session index: implements :class:`sallyport.audit.ports.SessionIndex`, and answers questions about
sessions.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, Row, func, or_, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert

from sallyport.audit.ports import INTERRUPTED, LIVE, PART, SessionQuery, SessionRow, StatementText
from sallyport.store.statements import StatementIndex
from sallyport.store.tables import sessions
from sallyport.store.writer import Writer

_insert = insert(sessions)
_upsert = _insert.on_conflict_do_update(
    index_elements=[sessions.c.id],
    set_={column.name: _insert.excluded[column.name] for column in sessions.c if column.name != "id"},
)


class SqlSessionIndex:
    """Rows go through the store's writer thread; without a writer the index only reads."""

    def __init__(self, engine: Engine, writer: Writer | None = None) -> None:
        self._engine = engine
        self._writer = writer
        self._statements = StatementIndex(engine, writer)

    def statements(self, session_id: str, found: Sequence[StatementText]) -> bool:
        """Queue what the session is found by. Never blocks, never raises; False: not taken."""
        return self._statements.add(session_id, found)

    def matching(self, ids: Sequence[str], wanted: SessionQuery) -> dict[str, StatementText]:
        """Of these sessions, those that the index knows to have a statement like that: the first of each."""
        return self._statements.matching(ids, wanted)

    def save(self, row: SessionRow) -> None:
        """Queue the row as it is now. Never blocks on the database, never raises."""
        if self._writer is not None:
            self._writer.put(_upsert, row.id, _values(row))

    def mark_interrupted(self) -> int:
        """At start, before any session: what is still live was left by a gateway that died. How many there
        were.
        """
        with self._engine.begin() as connection:
            result = connection.execute(
                update(sessions)
                .where(sessions.c.status == LIVE)
                .values(
                    status=INTERRUPTED,
                    reason="the gateway stopped without ending the session",
                    searchable=PART,  # the last of what was recorded may not have come here
                )
            )
            return result.rowcount

    def recent(
        self, *, limit: int | None = 50, status: str = "", subject: str = "", target: str = ""
    ) -> list[SessionRow]:
        """Newest first; "" means any, limit None means all."""
        query = select(sessions).order_by(sessions.c.started.desc(), sessions.c.id.desc())
        for column, wanted in (
            (sessions.c.status, status),
            (sessions.c.subject, subject),
            (sessions.c.target, target),
        ):
            if wanted:
                query = query.where(column == wanted)
        if limit is not None:
            query = query.limit(limit)
        with self._engine.connect() as connection:
            return [_row(found) for found in connection.execute(query)]

    def search(self, wanted: SessionQuery) -> list[SessionRow]:
        """One page of sessions, newest first."""
        c = sessions.c
        query = select(sessions).order_by(c.started.desc(), c.id.desc()).limit(wanted.limit)
        if wanted.subject:
            query = query.where(
                or_(
                    *(
                        column.icontains(wanted.subject, autoescape=True)
                        for column in (c.subject, c.label, c.agent)
                    )
                )
            )
        for column, value in ((c.target, wanted.target), (c.status, wanted.status)):
            if value:
                query = query.where(column == value)
        if wanted.since is not None:
            query = query.where(c.started >= wanted.since)
        if wanted.until is not None:
            query = query.where(c.started < wanted.until)
        if wanted.refused:
            query = query.where(c.refused > 0)
        if wanted.after is not None:
            query = query.where(tuple_(c.started, c.id) < wanted.after)
        with self._engine.connect() as connection:
            return [_row(found) for found in connection.execute(query)]

    def get(self, session_id: str) -> SessionRow | None:
        with self._engine.connect() as connection:
            found = connection.execute(select(sessions).where(sessions.c.id == session_id)).first()
        return None if found is None else _row(found)

    def ids_beginning(self, prefix: str, limit: int = 10) -> list[str]:
        """Ids that begin with ``prefix``, taken literally, newest first."""
        query = (
            select(sessions.c.id)
            .where(func.substr(sessions.c.id, 1, len(prefix)) == prefix)
            .order_by(sessions.c.started.desc())
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [str(found) for found in connection.execute(query).scalars()]


def _values(row: SessionRow) -> dict[str, object]:
    return {
        "id": row.id,
        "subject": row.subject,
        "issuer": row.issuer,
        "groups": list(row.groups),
        "agent": row.agent,
        "label": row.label,
        "target": row.target,
        "client": row.client,
        "application": row.application,
        "started": row.started,
        "ended": row.ended,
        "reason": row.reason,
        "statements": row.statements,
        "refused": row.refused,
        "rows": row.rows,
        "bytes": row.bytes,
        "file": row.file,
        "last_hash": row.last_hash,
        "status": row.status,
        "searchable": row.searchable,
    }


def _row(found: Row[tuple[object, ...]]) -> SessionRow:
    fields = dict(found._mapping)
    fields["groups"] = tuple(fields["groups"])
    return SessionRow(**fields)
