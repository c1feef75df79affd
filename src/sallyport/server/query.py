"""The gateway's own questions to a target (catalog, previews), over the simple query protocol with
text results.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping

from sallyport.core.errors import SallyportError
from sallyport.server.upstream import Dialer, UpstreamLink
from sallyport.wire import backend, frontend
from sallyport.wire.frames import split

_MAX_MESSAGE = 256 << 20
#: Bytes of an answer that are not rows.
_OVERHEAD = 64 << 10
#: How many values a DataRow has, and the bytes of the next; -1 for NULL (protocol, DataRow).
_COUNT, _SIZE = struct.Struct("!h"), struct.Struct("!i")


class QueryError(SallyportError):
    """One of the gateway's own questions has no answer. ``sqlstate``: of the target's error; ""
    where the gateway itself stopped asking, whose words quote nothing.
    """

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class QueryClient:
    """One connection, opened when first needed and again after it was lost; one question at
    a time.
    """

    def __init__(
        self, dialer: Dialer, seconds: float, settings: Mapping[str, str] | None = None
    ) -> None:
        """``settings``: more of those that the connection starts with. They may be secret."""
        self._dialer = dialer
        self._seconds = seconds
        self._settings = {
            "application_name": "sallyport",
            "client_encoding": "UTF8",
            # a message is parsed as a whole, before a SET in it counts
            "standard_conforming_strings": "on",
            **(settings or {}),
        }
        self._link: UpstreamLink | None = None
        self._lock = asyncio.Lock()
        self._input = bytearray()
        self._rows: list[list[str | None]] = []
        self._description = b""
        self._raw = bytearray()
        self._most = 0  # bytes of rows; 0: no bound, and rows are decoded
        self._error: QueryError | None = None
        self._answer: asyncio.Future[None] | None = None
        self._is_idle = True  # no transaction is open

    async def query(self, sql: str, seconds: float = 0.0) -> list[list[str | None]]:
        """Rows as text. ``seconds``: how long it may take; 0: as long as any. Raises QueryError,
        RefusedError (SP1604) when the target cannot be reached.
        """
        async with self._lock:
            await self._ask(sql, 0, seconds)
            return self._rows

    async def fetch(self, sql: str, maximum: int) -> tuple[bytes, bytes]:
        """The body of RowDescription and the DataRow messages as they came: of the one statement in
        ``sql`` that gives rows.

        Raises as :meth:`query`; QueryError as well when they have more than ``maximum`` bytes. Then
        the connection is given up, so that they are not read.
        """
        async with self._lock:
            await self._ask(sql, maximum)
            return self._description, bytes(self._raw)

    async def _ask(self, sql: str, maximum: int, seconds: float = 0.0) -> None:
        # A role that is leased is dropped at the lease's end, and its connections stay.
        if self._link is not None and self._is_idle and not self._link.serves():
            self._drop()
        if self._link is None:
            self._is_idle = True
            self._link = await self._dialer.open(self._settings)
            self._link.attach(self._data, self._lost)
            if self._link is None:
                raise QueryError("the connection to the target was lost", "08006")
        self._rows, self._error = [], None
        self._description, self._raw, self._most = b"", bytearray(), maximum
        self._answer = asyncio.get_running_loop().create_future()
        self._link.write(frontend.query(sql))
        try:
            async with asyncio.timeout(seconds or self._seconds):
                await self._answer
        except TimeoutError:
            self._drop()
            raise QueryError("the catalog query took too long", "57014") from None
        except asyncio.CancelledError:
            self._drop()  # its answer would be taken for that of the next question
            raise
        if self._error is not None:
            raise self._error

    def _data(self, data: bytes) -> None:
        self._input += data
        if self._most and len(self._input) + len(self._raw) > self._most + _OVERHEAD:
            self._error = self._error or QueryError("the rows are too large to be shown", "")
            self._drop()
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(None)
            return
        spans, rest = split(self._input, 0, _MAX_MESSAGE, False)
        for kind, start, end, _ in spans:
            if kind == 0x44 and self._most:
                self._raw += memoryview(self._input)[start:end]
            elif kind == 0x44:
                self._rows.append(row_values(self._input, start, end))
            elif kind == 0x54 and self._most:
                self._description = bytes(self._input[start + 5 : end])
            elif kind == 0x45:
                fields = backend.parse_error_fields(bytes(self._input[start + 5 : end]))
                self._error = self._error or QueryError(
                    fields.get("M", "error"), fields.get("C", "")
                )
            elif kind == 0x5A:
                self._is_idle = self._input[start + 5] == 0x49  # I: protocol, ReadyForQuery
                if self._answer is not None and not self._answer.done():
                    self._answer.set_result(None)
        del self._input[:rest]

    def _lost(self) -> None:
        self._link = None
        self._input.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(
                self._error or QueryError("the connection to the target was lost", "08006")
            )

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.on_data = link.on_lost = None
            link.abort()
            self._input.clear()

    async def close(self) -> None:
        if self._link is not None:
            self._link.write(frontend.terminate())
            self._link.close()


def row_values(buffer: bytearray, start: int, end: int) -> list[str | None]:
    """The values of a DataRow in text format."""
    (count,) = _COUNT.unpack_from(buffer, start + 5)
    position = start + 7
    values: list[str | None] = []
    for _ in range(count):
        (size,) = _SIZE.unpack_from(buffer, position)
        position += 4
        if size < 0:
            values.append(None)
            continue
        values.append(buffer[position : position + size].decode())
        position += size
    return values
