"""How SQLAlchemy speaks to a store in PostgreSQL: its pg8000 dialect, made to mean the same as
SQLite does by the same tables and migrations.

- ``Integer`` is 64 bits wide, ``String(n)`` is ``text``: SQLite bounds no length. ``JSON`` is
  ``text`` as well, so that it comes back as it was: ``jsonb`` knows no U+0000 and no infinity.
- Zero bytes, which PostgreSQL has in no text, become U+FFFD. One such name in a token must not keep
  every later row from being written.
- pg8000 lets some errors of the network pass as OSError; callers expect errors of the database.
- A COMMIT that ends with a warning is an error. PostgreSQL warns, and reports success, when a
  wait for the synchronous standby is cancelled (SyncRepWaitForLSN in
  ``src/backend/replication/syncrep.c``): the transaction may then be lost with the primary.
  ``statement_timeout`` is not what cancels it: it is switched off before a commit
  (``finish_xact_command`` in ``src/backend/tcop/postgres.c``), but ``pg_cancel_backend`` does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql import base, pg8000
from sqlalchemy.types import JSON, Integer, String

#: The scheme of engines' URLs.
SCHEME: Final = "postgresql+sallyport"
#: SQLSTATEs after which the connection is gone: admin_shutdown, crash_shutdown,
#: cannot_connect_now, idle_session_timeout, and read_only_sql_transaction, of a server that is a
#: standby now (PostgreSQL, appendix A).
_GONE: Final = frozenset({"57P01", "57P02", "57P03", "57P05", "25006"})
#: Warnings of a COMMIT that say nothing of what was written: there was no transaction.
_HARMLESS: Final = b"25P01"


class _Types(base.PGTypeCompiler):
    """Names of types in DDL and in casts of parameters."""

    def visit_INTEGER(self, type_: Any, **kw: Any) -> str:
        return "BIGINT"

    def visit_VARCHAR(self, type_: Any, **kw: Any) -> str:
        return "TEXT"

    def visit_JSON(self, type_: Any, **kw: Any) -> str:
        return "TEXT"


class _Text(String):
    """Any text, without zero bytes."""

    render_bind_cast = True
    cache_ok = True

    def bind_processor(self, dialect: Any) -> Any:
        def process(value: str | None) -> str | None:
            return value if value is None else _without_zero(value)

        return process


class _Json(JSON):
    """JSON in a column of type ``text``."""

    render_bind_cast = True


class _Number(Integer):
    """As wide as the value is: pg8000 says its type, and a cast would bound it."""

    render_bind_cast = False


class StoreDialect(pg8000.PGDialect_pg8000):
    """See the module."""

    supports_statement_cache = True
    supports_native_json_deserialization = False  # to the driver it is text
    type_compiler_cls = _Types
    colspecs = {**pg8000.PGDialect_pg8000.colspecs, String: _Text, Integer: _Number, JSON: _Json}
    #: Many rows in one statement: pg8000 would wait for the answer to each.
    use_insertmanyvalues_wo_returning = True

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        if self._untyped.is_disconnect(e, connection, cursor):
            return True
        return sqlstate_of(e) in _GONE

    def do_execute(self, cursor: Any, statement: Any, parameters: Any, context: Any = None) -> None:
        with self._network():
            self._untyped.do_execute(cursor, statement, parameters, context)

    def do_executemany(
        self, cursor: Any, statement: Any, parameters: Any, context: Any = None
    ) -> None:
        with self._network():
            self._untyped.do_executemany(cursor, statement, parameters, context)

    def do_commit(self, dbapi_connection: Any) -> None:
        dbapi_connection.notices.clear()
        with self._network():
            self._untyped.do_commit(dbapi_connection)
        for notice in dbapi_connection.notices:
            if notice.get(b"V") == b"WARNING" and notice.get(b"C") != _HARMLESS:
                raise self.loaded_dbapi.OperationalError(
                    {"C": notice.get(b"C", b"").decode(), "M": _of_commit(notice.get(b"M", b""))}
                )

    def do_rollback(self, dbapi_connection: Any) -> None:
        with self._network():
            self._untyped.do_rollback(dbapi_connection)

    def do_ping(self, dbapi_connection: Any) -> bool:
        with self._network():
            return bool(super().do_ping(dbapi_connection))

    def do_close(self, dbapi_connection: Any) -> None:
        # pg8000 says goodbye first, which a connection that broke does not take.
        with suppress(OSError, self.loaded_dbapi.Error):
            self._untyped.do_close(dbapi_connection)

    def connect(self, *cargs: Any, **cparams: Any) -> Any:
        with self._network():
            return super().connect(*cargs, **cparams)

    @property
    def _untyped(self) -> Any:
        return super()

    @contextmanager
    def _network(self) -> Iterator[None]:
        """OSError, and what pg8000 makes of a broken answer, as pg8000's own error."""
        try:
            yield
        except (OSError, struct.error) as error:
            text = "network error: " + (getattr(error, "strerror", None) or str(error))
            raise self.loaded_dbapi.InterfaceError(text) from error


def _of_commit(warning: bytes) -> str:
    return f"a commit may not be durable: {warning.decode(errors='replace')}"


def _without_zero(text: str) -> str:
    return text.replace("\0", "\ufffd") if "\0" in text else text


def sqlstate_of(error: Any) -> str:
    """Of an error of pg8000, "" when the server did not say one."""
    fields = error.args[0] if getattr(error, "args", None) else None
    return str(fields.get("C", "")) if isinstance(fields, dict) else ""


registry.register(SCHEME.replace("+", "."), __name__, StoreDialect.__name__)
