"""The catalog as a session's open transaction sees it, asked over the session's own connection.

The session waits meanwhile and nothing of it is outstanding, so every answer that comes is ours.
What the server says by itself in between (notices, notifications, settings) is given to the session
afterwards; but not the settings that reading the catalog changes and puts back. Everything happens
inside a savepoint that is rolled back: whether it works or not, the transaction is as it was, or
the server says that it failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from sallyport.core.errors import ProtocolError, SallyportError
from sallyport.server.query import QueryError, row_values
from sallyport.server.upstream import UpstreamLink
from sallyport.sql.catalog.snapshot import CatalogSnapshot, TemporaryObjects
from sallyport.targets.catalog_loader import LoadedCatalog, Query, load_session, load_temporary
from sallyport.wire import backend, frontend
from sallyport.wire.frames import split

log = structlog.get_logger("sallyport.own_catalog")

_T = TypeVar("_T")
_SECONDS = 30.0
_MAX_MESSAGE = 256 << 20
_DATA, _ERROR, _READY, _STATUS = 0x44, 0x45, 0x5A, 0x53
#: Messages that nobody asked for: NoticeResponse, NotificationResponse, ParameterStatus.
_BY_ITSELF = frozenset({0x4E, 0x41, _STATUS})
#: Changed and put back while the catalog is read.
_OURS = (b"search_path\0", b"DateStyle\0", b"IntervalStyle\0", b"extra_float_digits\0")


async def own_catalog(
    link: UpstreamLink, before: LoadedCatalog, temporary: bool = False
) -> tuple[CatalogSnapshot, TemporaryObjects | None] | None:
    """The catalog, read as what changed since ``before``, or None when it could not be read; the
    connection is the session's again in any case. ``temporary``: and all that the session has in
    its temporary schema.
    """
    return await _asked(link, lambda query: load_session(query, before, temporary))


async def own_temporary(link: UpstreamLink, inside: bool) -> TemporaryObjects | None:
    """All that the session has in its temporary schema, or None; ``inside``: of an open
    transaction.
    """
    return await _asked(link, lambda query: load_temporary(query, inside))


async def _asked(link: UpstreamLink, load: Callable[[Query], Awaitable[_T]]) -> _T | None:
    borrowed = _Borrowed(link)
    try:
        async with asyncio.timeout(_SECONDS):
            return await load(borrowed.query)
    except TimeoutError:
        link.abort()  # an answer may still come, and would be taken for another's
    except (SallyportError, ProtocolError) as error:
        log.warning("the catalog of an open transaction could not be read", reason=str(error))
    finally:
        borrowed.give_back()
    return None


class _Borrowed:
    """A connection between two statements of its session."""

    def __init__(self, link: UpstreamLink) -> None:
        self._link = link
        self._theirs = (link.on_data, link.on_lost)
        self._input = bytearray()
        self._kept = bytearray()
        self._rows: list[list[str | None]] = []
        self._error: QueryError | None = None
        self._answer: asyncio.Future[None] | None = None
        self._over = False
        link.on_data, link.on_lost = self._data, self._lost

    async def query(self, sql: str) -> list[list[str | None]]:
        if self._over:
            raise QueryError("the connection to the target was lost", "08006")
        self._rows, self._error = [], None
        self._answer = asyncio.get_running_loop().create_future()
        self._link.write(frontend.query(sql))
        await self._answer
        if self._error is not None:
            raise self._error
        return self._rows

    def give_back(self) -> None:
        """What came by itself meanwhile goes to the session, and so does the end of the
        connection.
        """
        on_data, on_lost = self._theirs
        if self._link.on_data is None and not self._over:
            return  # the session has ended and let go of the connection
        self._link.on_data, self._link.on_lost = on_data, on_lost
        if self._kept and on_data is not None:
            on_data(bytes(self._kept))
        if self._over and on_lost is not None:
            on_lost()

    def _data(self, data: bytes) -> None:
        self._input += data
        spans, rest = split(self._input, 0, _MAX_MESSAGE, False)
        for kind, start, end, _ in spans:
            if kind == _DATA:
                self._rows.append(row_values(self._input, start, end))
            elif kind == _ERROR:
                fields = backend.parse_error_fields(bytes(self._input[start + 5 : end]))
                self._error = self._error or QueryError(
                    fields.get("M", "error"), fields.get("C", "")
                )
            elif kind == _READY and self._answer is not None and not self._answer.done():
                self._answer.set_result(None)
            elif kind in _BY_ITSELF and not (
                kind == _STATUS and self._input[start + 5 : end].startswith(_OURS)
            ):
                self._kept += self._input[start:end]
        del self._input[:rest]

    def _lost(self) -> None:
        self._over = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(QueryError("the connection to the target was lost", "08006"))
