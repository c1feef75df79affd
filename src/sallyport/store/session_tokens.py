"""Session tokens in the store: implements :class:`sallyport.identity.session_tokens.SessionTokenStore`.

Each call is one small transaction that is on the disk when it returns: a token that was revoked stays so after a
crash. The text of a token is never here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, delete, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from sallyport.core.errors import RefusedError, refuse
from sallyport.core.subject import Subject
from sallyport.identity.session_tokens import SessionToken
from sallyport.store.tables import session_tokens

_log = structlog.get_logger("sallyport.store")


class SqlSessionTokenStore:
    """Used by one thread at a time. Raises RefusedError (SP1801) for what cannot be written."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()

    def add(self, token: SessionToken) -> None:
        subject = asdict(token.subject)
        row = {
            "id": token.id,
            "digest": token.digest,
            "subject": subject | {"groups": sorted(token.subject.groups)},
            "target": token.target,
            "networks": list(token.networks),
            "created": token.created,
            "expires_at": token.subject.expires_at,
            "address": token.address,
            "revoked_at": token.revoked_at,
            "revoked_by": token.revoked_by,
        }
        with self._writing() as connection:
            connection.execute(insert(session_tokens), [row])

    def revoke(self, token: SessionToken) -> None:
        values = {"revoked_at": token.revoked_at, "revoked_by": token.revoked_by}
        with self._writing() as connection:
            connection.execute(update(session_tokens).where(session_tokens.c.id == token.id).values(**values))

    def valid(self, now: float) -> list[SessionToken]:
        table = session_tokens.c
        query = select(session_tokens).where(table.revoked_at.is_(None), table.expires_at > now)
        with self._engine.connect() as connection:
            return [_token(row._mapping) for row in connection.execute(query)]

    def forget(self, before: float) -> None:
        with self._writing() as connection:
            connection.execute(delete(session_tokens).where(session_tokens.c.expires_at < before))

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._lock:
            try:
                with self._engine.connect() as connection:
                    connection.execute(text("PRAGMA synchronous = FULL"))
                    connection.commit()
                    with connection.begin():
                        yield connection
                    connection.execute(text("PRAGMA synchronous = NORMAL"))
            except SQLAlchemyError as error:
                # Not the error itself: it quotes the row.
                _log.error("a session token cannot be stored", error=type(error).__name__)
                raise RefusedError(
                    refuse(
                        "SP1801",
                        "the session token cannot be stored",
                        "The gateway's database could not be written.",
                        "Free space or mend the data directory, then do it again.",
                    )
                ) from None


def _token(row: Any) -> SessionToken:
    fields = dict(row)
    del fields["expires_at"]
    subject = fields["subject"]
    listed = {"groups": frozenset(subject["groups"]), "actors": tuple(subject.get("actors", ()))}
    fields["subject"] = Subject(**{**subject, **listed})
    fields["networks"] = tuple(fields["networks"])
    return SessionToken(**fields)
