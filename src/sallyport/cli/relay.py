"""A session behind the local port: bytes pass as they are, and between two statements the relay
renews the session's token with a statement of its own (``SET sallyport.token``), whose answer the
client does not see.

Both directions are followed from header to header, to know when the session is between statements:
nothing that was asked is unanswered, and no extended query is open (protocol section 54.2).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from sallyport.core.errors import ProtocolError, SallyportError
from sallyport.core.secret import Secret
from sallyport.identity.oidc.client import Grant
from sallyport.wire import backend, frontend

_PIECE: Final = 1 << 16
_MAX_ANSWER: Final = 1 << 20
_ANSWER_SECONDS: Final = 60.0
#: What the server sends of its own accord: it passes in the middle of a renewal, too.
_ASYNCHRONOUS: Final = frozenset(
    (backend.NOTICE_RESPONSE, backend.PARAMETER_STATUS, backend.NOTIFICATION_RESPONSE)
)
_ANSWERS: Final = frozenset((backend.COMMAND_COMPLETE, backend.ERROR_RESPONSE))
_EXTENDED: Final = frozenset(
    (
        frontend.PARSE,
        frontend.BIND,
        frontend.DESCRIBE,
        frontend.EXECUTE,
        frontend.CLOSE,
        frontend.FLUSH,
    )
)

Renew = Callable[[], Awaitable[Grant]]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two connections."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Boundaries:
    """Where the messages of one direction begin. Raises ProtocolError for an impossible length."""

    def __init__(self) -> None:
        self._head, self._left = bytearray(), 0
        self._begun: int | None = None  # type of a message of whose body nothing has come

    @property
    def is_between(self) -> bool:
        """Whether no message is incomplete."""
        return not self._head and not self._left

    def feed(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Type and first byte of the body (0 where it has none) of each message, as soon as both
        have come.
        """
        position, size = 0, len(data)
        while position < size:
            if self._left:
                if self._begun is not None:
                    yield self._begun, data[position]
                    self._begun = None
                passed = min(self._left, size - position)
                self._left -= passed
                position += passed
                continue
            missing = 5 - len(self._head)
            self._head += data[position : position + missing]
            position += missing
            if len(self._head) < 5:
                return
            length = int.from_bytes(self._head[1:], "big")
            if length < 4:
                raise ProtocolError("a message with an impossible length")
            self._begun, self._left = self._head[0], length - 4
            self._head.clear()
            if not self._left:
                yield self._begun, 0
                self._begun = None


class Progress:
    """What a session has open, by what its client sent and the server answered."""

    def __init__(self) -> None:
        self._sent, self._received = Boundaries(), Boundaries()
        self._unanswered = 0  # ReadyForQuery that are still to come
        self._is_unsynced = self._is_extended = self._has_failed = False

    @property
    def is_idle(self) -> bool:
        """Between two statements, and not in a failed transaction."""
        return (
            self._sent.is_between
            and self._received.is_between
            and not (self._unanswered or self._is_unsynced or self._has_failed)
        )

    def sent(self, data: bytes) -> None:
        """The client sent ``data``."""
        for kind, _ in self._sent.feed(data):
            if kind in (frontend.QUERY, frontend.FUNCTION_CALL):
                self._unanswered += 1
                self._is_extended = False
            elif kind == frontend.SYNC:
                self._unanswered += 1
                self._is_unsynced = False
            elif kind in _EXTENDED:
                self._is_unsynced = self._is_extended = True
            elif kind in (frontend.COPY_DONE, frontend.COPY_FAIL) and self._is_extended:
                # A Sync that comes before the end of COPY FROM is ignored (section 54.2.6).
                self._unanswered -= 1
                self._is_unsynced = True

    def received(self, data: bytes) -> None:
        """The server sent ``data``."""
        for kind, first in self._received.feed(data):
            if kind == backend.READY_FOR_QUERY:
                self._unanswered -= 1
                self._has_failed = first not in b"IT"


class Relay:
    """From the end of the login to the end of either connection. ``renew``: another token for the
    same identity. ``warn`` gets why a session cannot be renewed.
    """

    def __init__(
        self, client: Side, gateway: Side, renew: Renew, warn: Callable[[str], None]
    ) -> None:
        self._client, self._gateway, self._renew, self._warn = client, gateway, renew, warn
        self._progress = Progress()
        self._progress.sent(bytes((frontend.SYNC, 0, 0, 0, 4)))  # the login ends as a Sync does
        self._turn = asyncio.Lock()  # who writes to the gateway
        self._moved = asyncio.Event()
        self._answer: asyncio.Future[str] | None = None  # of our own statement: "" or an error
        self._kept = bytearray()

    async def run(self, grant: Grant) -> None:
        """Until either side ends. ``grant``: what the session was opened with."""
        try:
            async with asyncio.TaskGroup() as group:  # the end of one direction ends the other
                group.create_task(self._from_client())
                group.create_task(self._from_gateway())
                group.create_task(self._keep_fresh(grant))
        except* (EOFError, OSError, ProtocolError, TimeoutError):
            pass  # either side went away, or cannot be understood any more

    async def _from_client(self) -> None:
        while data := await self._client.reader.read(_PIECE):
            async with self._turn:
                self._progress.sent(data)
                self._gateway.writer.write(data)
                await self._gateway.writer.drain()
        raise EOFError

    async def _from_gateway(self) -> None:
        while data := await self._gateway.reader.read(_PIECE):
            if self._answer is not None:
                data = self._without_answer(data)
            self._progress.received(data)
            self._moved.set()
            self._client.writer.write(data)
            await self._client.writer.drain()
        raise EOFError

    async def _keep_fresh(self, grant: Grant) -> None:
        while grant.expires_at:
            await asyncio.sleep(grant.until_renewal())
            if grant.expires_at <= time.time():
                return
            try:
                fresh = await self._renew()
            except SallyportError as error:
                self._warn(f"the session's token cannot be renewed: {error}")
                continue
            if fresh.token.reveal() == grant.token.reveal():
                continue  # a file in which the next one is still to come
            if problem := await self._between_statements(fresh.token):
                self._warn(f"the session's token was not renewed: {problem}")
                return
            grant = fresh

    async def _between_statements(self, token: Secret) -> str:
        """Send the token as soon as the session is idle: "" or the gateway's error."""
        while True:
            async with self._turn:
                if self._progress.is_idle:
                    return await self._send(token)
                self._moved.clear()
            await self._moved.wait()

    async def _send(self, token: Secret) -> str:
        quoted = token.reveal().replace("'", "''")
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._gateway.writer.write(frontend.query(f"SET sallyport.token = '{quoted}'".encode()))
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._answer
        finally:
            self._answer = None

    def _without_answer(self, data: bytes) -> bytes:
        """What of ``data`` is for the client: not what answers our own statement."""
        self._kept += data
        passed, problem = bytearray(), ""
        while self._answer is not None and len(self._kept) >= 5:
            length = int.from_bytes(self._kept[1:5], "big")
            if not 4 <= length <= _MAX_ANSWER:
                raise ProtocolError("the answer to a renewal is too long")
            if len(self._kept) < 1 + length:
                break
            kind, message = self._kept[0], bytes(self._kept[: 1 + length])
            del self._kept[: 1 + length]
            if kind in _ASYNCHRONOUS:
                passed += message
            elif kind == backend.ERROR_RESPONSE:
                fields = backend.parse_error_fields(message[5:])
                problem = fields.get("M", "the gateway refused it")
                if fields.get("V") in ("FATAL", "PANIC"):
                    passed += message  # why the session ends is for its client, too
                    self._warn(f"the session ended while its token was renewed: {problem}")
            elif kind == backend.READY_FOR_QUERY:
                self._answer.set_result(problem)
                self._answer = None
            elif kind not in _ANSWERS:
                raise ProtocolError("an answer to a renewal was expected")
        if self._answer is None:
            passed += self._kept
            self._kept.clear()
        return bytes(passed)
