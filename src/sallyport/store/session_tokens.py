"""Session tokens in the store: implements
:class:`sallyport.identity.session_tokens.SessionTokenStore`.

Each call is one small transaction that is on the disk when it returns: a token that was revoked
stays so after a crash. The text of a token is never here.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from sallyport.core.errors import RefusedError, refuse
from sallyport.core.subject import Subject
from sallyport.identity.session_tokens import SessionToken
from sallyport.store.durable import DurableWrites
from sallyport.store.tables import session_tokens


class SqlSessionTokenStore:
    """Changed by one thread at a time. Raises RefusedError (SP1801) for what cannot be written."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = DurableWrites(engine, "a session token")

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
        with self._writes.transaction() as connection:
            connection.execute(insert(session_tokens), [row])

    def revoke(self, token: SessionToken) -> None:
        values = {"revoked_at": token.revoked_at, "revoked_by": token.revoked_by}
        with self._writes.transaction() as connection:
            connection.execute(
                update(session_tokens).where(session_tokens.c.id == token.id).values(**values)
            )

    def valid(self, now: float) -> list[SessionToken]:
        table = session_tokens.c
        query = select(session_tokens).where(table.revoked_at.is_(None), table.expires_at > now)
        with self._writes.reading() as connection:
            return [_token(row._mapping) for row in connection.execute(query)]

    def get(self, digest: str) -> SessionToken | None:
        """See :class:`~sallyport.identity.session_tokens.SessionTokenStore`."""
        query = select(session_tokens).where(session_tokens.c.digest == digest)
        try:
            with self._engine.connect() as connection:
                row = connection.execute(query).first()
        except SQLAlchemyError:
            raise RefusedError(
                refuse(
                    "SP1807",
                    "the gateway's store cannot be reached, so the session token cannot be checked",
                    hint="Try again in a moment. Other gateways may still reach it.",
                )
            ) from None
        return None if row is None else _token(row._mapping)

    def forget(self, before: float) -> None:
        with self._writes.transaction() as connection:
            connection.execute(delete(session_tokens).where(session_tokens.c.expires_at < before))


def _token(row: Any) -> SessionToken:
    fields = dict(row)
    del fields["expires_at"]
    subject = fields["subject"]
    listed = {"groups": frozenset(subject["groups"]), "actors": tuple(subject.get("actors", ()))}
    fields["subject"] = Subject(**{**subject, **listed})
    fields["networks"] = tuple(fields["networks"])
    return SessionToken(**fields)
