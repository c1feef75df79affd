"""What the store says differently to SQLite and to PostgreSQL. Everything else is one SQL."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Float, cast, extract, func, literal, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError


class StoreLostError(SQLAlchemyError):
    """The shared store is known to be away, so nothing is tried; the text says why."""


#: INSERT with ON CONFLICT, by the dialect's name.
INSERTS: Final[Mapping[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def is_postgresql(engine: Engine | Connection) -> bool:
    """Whether the store is PostgreSQL, which several gateways may share."""
    return engine.dialect.name == "postgresql"


def greatest(engine: Engine | Connection, *values: ColumnElement[Any]) -> ColumnElement[Any]:
    """The greatest of some values, by the database."""
    return func.greatest(*values) if is_postgresql(engine) else func.max(*values)


#: Unix seconds by PostgreSQL's clock, which all gateways of a store have in common.
SERVER_CLOCK: Final[ColumnElement[float]] = cast(extract("epoch", func.clock_timestamp()), Float)


def clock(engine: Engine | Connection) -> ColumnElement[float]:
    """Unix seconds. Processes that share a file are on one machine."""
    return SERVER_CLOCK if is_postgresql(engine) else literal(time.time())


@contextmanager
def flushed(connection: Connection) -> Iterator[None]:
    """One transaction, which is on the disk once it is over, and on that of a synchronous standby
    (``synchronous_commit``; SQLite's ``synchronous = FULL``). An error leaves open whether it was
    committed.
    """
    if is_postgresql(connection):
        with connection.begin():
            connection.execute(text("SET LOCAL synchronous_commit = on"))
            yield
        return
    connection.execute(text("PRAGMA synchronous = FULL"))
    connection.commit()
    with connection.begin():
        yield
    connection.execute(text("PRAGMA synchronous = NORMAL"))
    connection.commit()


def reason_of(error: BaseException) -> str:
    """What the database said, in one line and without the row: SQLite's words do not quote it,
    PostgreSQL's DETAIL does.
    """
    if isinstance(error, StoreLostError):
        return str(error)
    original = getattr(error, "orig", None) or error
    fields = original.args[0] if original.args else None
    if isinstance(fields, dict):  # pg8000's error: the fields of an ErrorResponse
        return f"{fields.get('M', 'error')} (SQLSTATE {fields.get('C', '?')})"
    return str(original) if original is not error else type(error).__name__


def alone(connection: Connection, name: str) -> bool:
    """Whether nobody else does this now, until the transaction is over. What one of many gateways
    has to do asks first, and leaves it to the one that has the lock.
    """
    if not is_postgresql(connection):
        return True
    query = text("SELECT pg_try_advisory_xact_lock(:key)")
    return bool(connection.execute(query, {"key": lock_key(name)}).scalar())


def lock_key(name: str) -> int:
    """The advisory lock of a name: 64 bits, signed."""
    digest = hashlib.blake2b(f"sallyport {name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
