"""A client of the gateway: one session over the PostgreSQL wire protocol (protocol section 54.2),
one statement at a time, with results that are bounded while they are read.

The only way of the MCP entrance to a database. It knows nothing of policy, and nothing it sends is
treated otherwise than what psql sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sallyport.core.errors import ProtocolError, SallyportError
from sallyport.core.secret import Secret
from sallyport.wire import backend, frontend
from sallyport.wire.fields import read_values

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
#: Opens one connection to the gateway. Raises OSError, SallyportError.
Dial = Callable[[], Awaitable[Streams]]

_LOGIN_SECONDS: Final = 90.0
#: A longer message is skipped while it is read: a row that no model wants.
_LONGEST: Final = 4 << 20
_PIECE: Final = 1 << 16
_MOST_NOTICES: Final = 20
#: Characters of a message, a detail or a hint: a model needs no more.
_LONGEST_TEXT: Final = 4000
#: Characters that a value takes beside its own.
_PER_VALUE: Final = 4
_AWAITS_PASSWORD, _LOGGED_IN = 3, 0
_HELD: Final = re.compile(r"this .{1,100} (?:still )?waits for approval (\w{1,64}) until")
_CODE: Final = re.compile(r"\[(SP\d{4})\] ")


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """An error or notice, as its sender worded it. ``is_own``: it is the gateway's, which lets no
    server claim that; what the database says can have any words. ``code``: of the gateway's
    refusals (SPnnnn); "" for others.
    """

    severity: str
    sqlstate: str
    message: str
    detail: str = ""
    hint: str = ""
    is_own: bool = False

    @classmethod
    def of(cls, body: bytes) -> Diagnostic:
        """``body``: of an ErrorResponse or NoticeResponse. Raises ProtocolError."""
        fields = backend.parse_error_fields(body)
        severity = fields.get("V", fields.get("S", ""))
        code, message, detail, hint = (fields.get(name, "")[:_LONGEST_TEXT] for name in "CMDH")
        is_own = fields.get("R") == backend.ORIGIN
        return cls(severity, code, message, detail, hint, is_own)

    @property
    def code(self) -> str:
        match = _CODE.match(self.message) if self.is_own else None
        return match.group(1) if match else ""

    @property
    def is_fatal(self) -> bool:
        """The session is over."""
        return self.severity in ("FATAL", "PANIC")


class SessionEndedError(SallyportError):
    """The gateway ended the session, refused the login, or cannot be reached. ``diagnostic``: its
    last one; None: there was none.
    """

    def __init__(self, text: str, diagnostic: Diagnostic | None = None) -> None:
        super().__init__(text)
        self.diagnostic = diagnostic


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one result: rows, and characters of their values."""

    rows: int
    size: int


@dataclass(slots=True)
class Answer:
    """What came of a statement so far. ``rows``: values in PostgreSQL's text format, None for NULL.
    ``types``: OIDs. ``is_cut``: there is more than was kept.
    """

    columns: list[str] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)
    tag: str = ""
    error: Diagnostic | None = None
    notices: list[Diagnostic] = field(default_factory=list)
    is_cut: bool = False
    approval: str = ""  # the statement waits, or waited, for it
    held: Diagnostic | None = None  # the first notice about it
    _size: int = 0

    def add_row(self, values: list[str | None], bounds: Bounds) -> None:
        """Keep it, if it is within the bounds."""
        self._size += sum(len(value or "") + _PER_VALUE for value in values)
        if self.is_cut or len(self.rows) >= bounds.rows or self._size > bounds.size:
            self.is_cut = True
        else:
            self.rows.append(values)


class WireSession:
    """One session at the gateway; see the module docstring. :meth:`run` is not re-entrant."""

    def __init__(self, streams: Streams, dial: Dial) -> None:
        self._reader, self._writer = streams
        self._dial = dial
        self._key: backend.BackendKeyData | None = None
        #: of the transaction: I (none), T (open), E (failed)
        self.status = b"I"
        self.is_closed = False
        self._token: Secret | None = None

    @classmethod
    async def open(cls, dial: Dial, token: Secret, startup: Mapping[str, str]) -> WireSession:
        """Log in. ``startup``: the parameters of the StartupMessage. Raises SessionEndedError."""
        try:
            session = cls(await dial(), dial)
        except OSError as error:
            raise SessionEndedError(
                f"the gateway cannot be reached ({type(error).__name__})"
            ) from None
        except SallyportError as error:
            raise SessionEndedError(str(error)) from None
        try:
            async with asyncio.timeout(_LOGIN_SECONDS):
                await session._log_in(token, startup)
        except TimeoutError:
            await session.close()
            raise SessionEndedError("the gateway did not answer the login in time") from None
        except BaseException:
            await session.close()
            raise
        return session

    async def _log_in(self, token: Secret, startup: Mapping[str, str]) -> None:
        self._send(frontend.startup_message(startup))
        while True:
            kind, body = await self._message()
            if kind == backend.AUTHENTICATION:
                code = backend.parse_authentication(body).code
                if code == _AWAITS_PASSWORD:
                    self._send(frontend.password(token))
                elif code != _LOGGED_IN:
                    raise SessionEndedError("the gateway asked for another login than a password")
            elif kind == backend.BACKEND_KEY_DATA:
                self._key = backend.parse_backend_key_data(body)
            elif kind == backend.ERROR_RESPONSE:
                diagnostic = Diagnostic.of(body)
                raise SessionEndedError(diagnostic.message, diagnostic)
            elif kind == backend.READY_FOR_QUERY:
                self._token = token
                return

    async def look(self) -> None:
        """Read what came since the last answer. Raises SessionEndedError when the session ended
        meanwhile, with its last diagnostic.
        """
        while not self.is_closed:
            try:
                async with asyncio.timeout(0):
                    head = await self._reader.readexactly(5)
            except TimeoutError:
                return  # nothing is there: a head that is not complete stays in the reader
            except (OSError, asyncio.IncompleteReadError):
                raise await self._lost() from None
            kind, body = await self._rest(head)
            if kind == backend.ERROR_RESPONSE:
                diagnostic = Diagnostic.of(body)
                await self.close()
                raise SessionEndedError(diagnostic.message, diagnostic)

    async def renew(self, token: Secret) -> None:
        """Go on with a fresh token, if it is another one. Raises SessionEndedError when the gateway
        does not take it; a failed transaction keeps the old one.
        """
        if self._token is not None and token.reveal() == self._token.reveal():
            return
        if self.status == b"E":
            return
        answer = Answer()
        self._send(
            frontend.query("SET sallyport.token = '" + token.reveal().replace("'", "''") + "'")
        )
        await self._read_answer(answer, Bounds(0, 0), lambda: None)
        if answer.error is not None:
            await self.close()
            raise SessionEndedError(answer.error.message, answer.error)
        self._token = token

    async def run(
        self,
        sql: str,
        parameters: Sequence[str | None],
        bounds: Bounds,
        answer: Answer,
        changed: Callable[[], None],
    ) -> None:
        """Run one statement by the extended query protocol, and fill ``answer``. ``changed``: it
        was told something. More rows than ``bounds`` are not fetched.

        Raises SessionEndedError, ProtocolError (a NUL in a text).
        """
        values = [None if value is None else value.encode() for value in parameters]
        self._send(
            frontend.parse("", sql)
            + frontend.bind("", "", values)
            + frontend.describe(b"P", "")
            + frontend.execute("", bounds.rows + 1)
            + frontend.sync()
        )
        await self._read_answer(answer, bounds, changed)

    async def cancel(self) -> None:
        """Ask the gateway to cancel what runs or waits."""
        if self._key is None or self.is_closed:
            return
        with contextlib.suppress(OSError, SallyportError):
            _, writer = await self._dial()
            writer.write(frontend.cancel_request(self._key.pid, self._key.key))
            with contextlib.suppress(OSError):
                await writer.drain()
            writer.close()

    async def close(self) -> None:
        """End the session. Again is allowed."""
        if not self.is_closed:
            self.is_closed = True
            if not self._writer.is_closing():
                self._writer.write(frontend.terminate())
                self._writer.close()

    def _send(self, data: bytes) -> None:
        if self.is_closed or self._writer.is_closing():
            raise SessionEndedError("the session is over")
        self._writer.write(data)

    async def _read_answer(
        self, answer: Answer, bounds: Bounds, changed: Callable[[], None]
    ) -> None:
        while True:
            kind, body = await self._message()
            if kind == backend.READY_FOR_QUERY:
                self.status = backend.parse_ready(body)
                return
            self._take(kind, body, answer, bounds)
            if answer.error is not None and answer.error.is_fatal:
                await self.close()
                raise SessionEndedError(answer.error.message, answer.error)
            if kind == backend.NOTICE_RESPONSE:
                changed()

    def _take(self, kind: int, body: bytes, answer: Answer, bounds: Bounds) -> None:
        if kind == backend.DATA_ROW:
            if body:
                answer.add_row(_values(body), bounds)
            else:
                answer.is_cut = True
        elif kind == backend.COPY_DATA:
            answer.columns = ["copy"]
            answer.types = [25]
            answer.add_row([body.decode("utf-8", "replace").rstrip("\n")], bounds)
        elif kind == backend.ROW_DESCRIPTION:
            columns = backend.parse_row_description(body)
            answer.columns = [column.name for column in columns]
            answer.types = [column.type_oid for column in columns]
        elif kind == backend.COMMAND_COMPLETE:
            answer.tag = backend.parse_command_complete(body).tag
        elif kind == backend.PORTAL_SUSPENDED:
            answer.is_cut = True
        elif kind == backend.COPY_IN_RESPONSE:
            # COPY has read, and ignored, the Sync behind Execute (protocol section 54.2.6).
            nothing = frontend.copy_fail("there is no data for COPY FROM STDIN over MCP")
            self._send(nothing + frontend.sync())
        elif kind == backend.ERROR_RESPONSE:
            answer.error = Diagnostic.of(body)
        elif kind == backend.NOTICE_RESPONSE:
            self._notice(Diagnostic.of(body), answer)

    def _notice(self, diagnostic: Diagnostic, answer: Answer) -> None:
        held = _HELD.match(diagnostic.message) if diagnostic.is_own else None
        if held is not None:
            answer.approval = held.group(1)
            answer.held = answer.held or diagnostic
        if len(answer.notices) < _MOST_NOTICES:
            answer.notices.append(diagnostic)

    async def _message(self) -> tuple[int, bytes]:
        """Kind and body; the body is empty where it was too long to be kept."""
        try:
            head = await self._reader.readexactly(5)
        except (OSError, asyncio.IncompleteReadError):
            raise await self._lost() from None
        return await self._rest(head)

    async def _rest(self, head: bytes) -> tuple[int, bytes]:
        length = int.from_bytes(head[1:], "big") - 4
        if length < 0:
            raise ProtocolError("a message with an impossible length")
        try:
            if length <= _LONGEST:
                return head[0], await self._reader.readexactly(length)
            while length:
                length -= len(await self._reader.readexactly(min(length, _PIECE)))
        except (OSError, asyncio.IncompleteReadError):
            raise await self._lost() from None
        return head[0], b""

    async def _lost(self) -> SessionEndedError:
        await self.close()
        return SessionEndedError("the connection to the gateway was lost")


def _values(body: bytes) -> list[str | None]:
    """The values of a DataRow in text format. Raises ProtocolError."""
    values, _ = read_values(body, 0, "DataRow")
    return [None if value is None else value.decode("utf-8", "replace") for value in values]
