"""The store in PostgreSQL, which several gateways may share.

:func:`open_postgres` brings the schema to :data:`~sallyport.store.database.HEAD` under an advisory
lock, so that gateways which start at once migrate one after the other. Every wait is bounded: the
socket has a timeout, and the server one for statements and locks; a store that does not answer is
an error after some seconds, never a thread that hangs.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError

from sallyport.core.secret import Secret
from sallyport.store import postgresdialect
from sallyport.store.database import HEAD, StoreError, is_usable, migrate, revision_of
from sallyport.store.dialect import lock_key, reason_of
from sallyport.store.timeline import CURRENT, READ_ONLY, Timeline

#: Seconds that one answer may take: usually, where the event loop waits for it, and for a
#: migration.
PATIENT: Final = 15.0
PROMPT: Final = 2.0
_MIGRATING: Final = 600.0
_POOL: Final = 4
#: What a kept connection is known by.
_TIMELINE: Final = "timeline"
#: The oldest server: 14 is the oldest that PostgreSQL's project supports in 2026.
_OLDEST: Final = 140000


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the store is, and who comes. ``context`` None: without TLS. ``connect_seconds``: for a
    connection to be made. ``standbys``: other servers, of which one may be the primary now.
    ``timeline``: the newest one that was used.
    """

    host: str
    port: int
    database: str
    user: str
    password: Secret | None = field(default=None, repr=False)
    context: ssl.SSLContext | None = None
    connect_seconds: float = 5.0
    standbys: tuple[tuple[str, int], ...] = ()
    timeline: Timeline = field(default_factory=Timeline, repr=False, compare=False)

    @property
    def servers(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each, in the order in which they are tried."""
        return ((self.host, self.port), *self.standbys)

    def __str__(self) -> str:
        servers = " or ".join(f"{host}:{port}" for host, port in self.servers)
        return f"the store {self.database} at {servers}"


def engine_of(
    address: StoreAddress, seconds: float = PATIENT, refuse: Callable[..., None] | None = None
) -> Engine:
    """Connections are made when they are needed. ``seconds``: that an answer may take. ``refuse``:
    called before each is made; it raises what keeps it from being made. Raises StoreError when the
    extra is not installed.
    """
    milliseconds = str(int(seconds * 1000))
    arguments: dict[str, Any] = {
        "password": address.password.reveal() if address.password is not None else None,
        "ssl_context": address.context or False,
        "timeout": max(seconds, 0.1),
        "application_name": "sallyport",
        "startup_params": {
            "statement_timeout": milliseconds,
            "lock_timeout": milliseconds,
            "idle_in_transaction_session_timeout": "60000",
        },
    }
    url = URL.create(
        postgresdialect.SCHEME,
        username=address.user,
        host=address.host,
        port=address.port,
        database=address.database,
    )
    try:
        engine = create_engine(
            url,
            connect_args=arguments,
            pool_size=_POOL,
            max_overflow=_POOL,
            pool_timeout=seconds,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    except ImportError:
        raise StoreError(
            "a store in PostgreSQL needs drivers: pip install 'sallyport[postgres]', or remove"
            " 'store'"
        ) from None
    if refuse is not None:  # first: the next one connects
        event.listen(engine, "do_connect", refuse)
    event.listen(engine, "do_connect", partial(_connect_to_primary, address))
    event.listen(engine, "checkout", partial(_check_timeline, address.timeline))
    return engine


def _connect_to_primary(
    address: StoreAddress, dialect: Any, record: Any, arguments: Any, options: dict[str, Any]
) -> Any:
    """Connect to the first server that can be written (libpq: target_session_attrs=read-write) and
    is no old primary. Raises the driver's error of the last one that was refused, else of the last
    one.
    """
    refusal: Exception | None = None
    problem: Exception | None = None
    for host, port in address.servers:
        try:
            connection = dialect.connect(*arguments, **{**options, "host": host, "port": port})
        except dialect.loaded_dbapi.Error as error:
            problem = error
            continue
        try:
            number = timeline_of(connection)
        except (dialect.loaded_dbapi.Error, OSError) as error:
            problem = error
        else:
            refused = address.timeline.refuses(number) if number else "it cannot be written"
            if not refused:
                if record is not None:
                    record.info[_TIMELINE] = number
                return connection
            refusal = dialect.loaded_dbapi.OperationalError(f"{host}:{port}: {refused}")
        dialect.do_close(connection)
    raise refusal or problem or ValueError("an address has a server")


def timeline_of(connection: Any) -> int:
    """Of the server of a driver's connection; 0 for one that cannot be written. Raises the driver's
    error.
    """
    cursor = connection.cursor()
    cursor.execute(READ_ONLY)
    (read_only,) = cursor.fetchone()
    number = 0
    if read_only == "off":
        cursor.execute(CURRENT)
        (number,) = cursor.fetchone()
    connection.rollback()
    return int(number)


def _check_timeline(timeline: Timeline, connection: object, record: Any, proxy: object) -> None:
    """A connection that the pool has kept may be one to the primary of before."""
    if timeline.is_old(record.info[_TIMELINE]):
        raise DisconnectionError("it leads to an old primary")


def open_postgres(address: StoreAddress) -> Engine:
    """Open for reading and writing, migrating as needed. Raises StoreError."""
    _survey(address)
    migrating = engine_of(address, _MIGRATING)
    try:
        with migrating.begin() as connection:
            _check_server(connection, address)
            # Only one of those that start at once migrates; the others find nothing to do.
            key = {"key": lock_key("migrations")}
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), key)
            migrate(connection, str(address))
    except SQLAlchemyError as error:
        raise _unusable(address, error) from None
    finally:
        migrating.dispose()
    return engine_of(address)


def _survey(address: StoreAddress) -> None:
    """Ask every server for its timeline, so that an old primary is none for who has not seen the
    new one. Those that do not answer may be away.
    """
    for server in address.servers if address.standbys else ():
        alone = replace(address, host=server[0], port=server[1], standbys=())
        engine = engine_of(alone, PROMPT)
        with suppress(SQLAlchemyError), engine.connect():
            pass
        engine.dispose()


def open_postgres_readonly(address: StoreAddress) -> Engine:
    """For commands beside gateways, which migrate nothing. Raises StoreError, also for a schema of
    another version.
    """
    _survey(address)
    engine = engine_of(address)
    try:
        with engine.connect() as connection:
            usable, revision = is_usable(connection), revision_of(connection)
    except SQLAlchemyError as error:
        engine.dispose()
        raise _unusable(address, error) from None
    if not usable:
        engine.dispose()
        raise StoreError(
            f"{address} has schema {revision or 'none'}, this version of Sallyport reads {HEAD}: "
            "start a gateway of this version once, it migrates"
        )
    return engine


def _check_server(connection: Connection, address: StoreAddress) -> None:
    number = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    if number < _OLDEST:
        raise StoreError(f"{address} is PostgreSQL {number // 10000}; it has to be 14 or newer")
    if connection.execute(text("SHOW server_encoding")).scalar_one() != "UTF8":
        raise StoreError(f"{address} does not have the encoding UTF8. Make one that has")
    if connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one():
        raise StoreError(f"{address} is a standby, which cannot be written. Name the primary")


def _unusable(address: StoreAddress, error: SQLAlchemyError) -> StoreError:
    reason = reason_of(error) if isinstance(error, DBAPIError) else type(error).__name__
    return StoreError(f"{address} cannot be used: {reason}")
