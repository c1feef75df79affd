"""The session after login: two byte streams in, two byte buffers out, no I/O (in the manner of
h11).

``receive_from_client(data)`` and ``receive_from_server(data)`` fill ``to_client`` and
``to_server``, and append to ``commands`` what must wait for something (see
:mod:`sallyport.session.commands`). The owner flushes the buffers, carries out commands, and calls
``resume`` after one that blocks. Before either it asks ``try_fast_request`` and
``try_fast_response``, the short way for plain statements. Nothing here sleeps, allocates by what a
length field claims, or raises for what a peer sent: a protocol violation ends as an error message
for the client and a ``CloseSession`` command.

A refused statement is replaced, on its way to the server, by one that fails there, and the server's
error is replaced by ours on the way back: transaction state and the skipping of a pipeline are then
PostgreSQL's own.
"""

from __future__ import annotations

from collections.abc import Callable

from sallyport.core.errors import PinMovedError, ProtocolError
from sallyport.session import fast, questions
from sallyport.session.client import copy as copying
from sallyport.session.client import extended, one_by_one, simple
from sallyport.session.client.input import Blocked
from sallyport.session.held import Ruling
from sallyport.session.server import replies
from sallyport.session.state import SessionLimits, SessionState
from sallyport.session.states import CLIENT_TABLE, ClientState, Handled
from sallyport.wire import frontend
from sallyport.wire.frames import split

__all__ = ["CLIENT_ENDED", "Session", "SessionLimits"]

#: The reason of :class:`CloseSession` when the client said Terminate.
CLIENT_ENDED = "the client ended the session"

#: What a client may send before it knows whether COPY begins: Flush and Sync, which COPY ignores,
#: and Terminate.
_BEFORE_COPY = frozenset(b"HSX")
_READY, _CLOSED, _READ, _LATER = ClientState.READY, ClientState.CLOSED, Blocked.NO, Handled.LATER
_BIND, _QUERY = 0x42, 0x51


class Session(SessionState):
    """The state, and what moves it. See the module docstring."""

    __slots__ = ()

    # -- the short way -----------------------------------------------------------------------------

    def try_fast_request(self, data: bytes) -> bytes | None:
        """What to send to the server for all of ``data``, or None when it needs
        ``receive_from_client``.
        """
        if (
            not self.input.is_open
            or self.client_state is not _READY
            or self.pipeline.copies_ahead
            or self.pipeline.is_ours
            or self.to_server.pending
            or self.series is not None
        ):
            return None
        kind = data[0]
        if kind == _BIND:
            return fast.bundle_request(self, data)
        return fast.query_request(self, data) if kind == _QUERY else None

    def try_fast_response(self, data: bytes) -> bytes | None:
        """What the client gets for all of ``data``, or None when it needs
        ``receive_from_server``.
        """
        stream, waiting = self.stream, self.input
        if (
            stream.received
            or stream.long_left
            or not waiting.is_open
            or not self.pipeline.entries
            or self.to_client
            or self.series is not None
            or self.client_state is _CLOSED
        ):
            return None
        return fast.response(self, data)

    # -- the two inputs ----------------------------------------------------------------------------

    def receive_from_client(self, data: bytes) -> None:
        """Bytes that the short way does not know."""
        if self.client_state is ClientState.CLOSED:
            return
        if self.input.is_open:
            self._consume_client(data)
        else:
            self.input.received += data
            self._continue()

    def receive_from_server(self, data: bytes) -> None:
        """Bytes that the short way does not know."""
        if self.client_state is ClientState.CLOSED:
            return
        try:
            replies.receive(self, data)
        except PinMovedError as error:
            self.fault(f"{error}, which the gateway pins", "the session ends")
        except ProtocolError as error:
            self.fault("the server's answer is not valid in the protocol", str(error))
        one_by_one.advance(self)
        waiting = self.input
        if waiting.blocked is Blocked.COPY and not self._copy_may_begin():
            waiting.unblock()
            self._continue()
        if (
            self.series is not None
            and self.client_state is ClientState.COPY_IN
            and waiting.may_continue
        ):
            self._continue()  # the client sent its data before it was asked for
        if waiting.blocked is Blocked.STEP and not self.pipeline.outstanding_steps:
            self.statements.settle_before(self.pipeline.step)
            self.portals.settle_before(self.pipeline.step)
            waiting.unblock()
            self._continue()
        if (
            self.series is None
            and waiting.received
            and not self.pipeline.entries
            and waiting.blocked in (Blocked.NO, Blocked.DRAIN)
        ):
            waiting.unblock()
            self._continue()

    def resume(self, refreshed: bool = False) -> None:
        """The command that blocked this session is done. ``refreshed``: it was RefreshCatalog, and
        the catalog could be read.
        """
        self._unblock(refreshed)
        self._ask_what_is_due()
        self._continue()

    def on_ruling(self, ruling: Ruling) -> None:
        """People, or a deadline, have answered for the held statement."""
        self._unblock(refreshed=False)
        self.ruling = ruling
        self._continue()  # at once: whatever else is due, it is for the statement that waited
        self.ruling = None
        if self.input.blocked is Blocked.NO:
            self._ask_what_is_due()

    def _unblock(self, refreshed: bool) -> None:
        waiting = self.input
        is_waited_for = waiting.blocked in (Blocked.REFRESH, Blocked.PUBLISH) and (
            bool(waiting.received) or self.series is not None
        )
        self.names.on_refreshed(refreshed, is_waited_for)
        waiting.unblock()

    def _ask_what_is_due(self) -> None:
        if not self.pipeline.entries and not self.pipeline.unsynced:
            questions.ask_what_is_due(self)

    def release_input(self) -> None:
        """A CancelRequest for which :meth:`hold_input` was called can hit nothing any more."""
        self.input.holds -= 1
        self._continue()

    def _continue(self) -> None:
        one_by_one.advance(self)
        if self.is_inside_series:
            return
        if self.input.may_continue and self.client_state is not ClientState.CLOSED:
            self._consume_client(self.input.received)

    def _consume_client(self, data: bytes | bytearray) -> None:
        """Handle whole messages; what is incomplete, or not yet to be read, stays in the input."""
        position = 0
        try:
            spans, rest = split(data, 0, self.limits.max_client_message, False)
            for kind, start, end, _ in spans:
                if self.is_inside_series:
                    break
                handler = _CLIENT[self.client_state].get(kind)
                if handler is None:
                    raise ProtocolError(_unexpected(kind, self.client_state))
                if (
                    self.pipeline.copies_ahead
                    and kind not in _BEFORE_COPY
                    and self._copy_may_begin()
                ):
                    self.input.blocked = Blocked.COPY
                    break
                if handler(self, data, start, end) is _LATER:
                    break
                position = end
                if self.client_state is ClientState.CLOSED:
                    return
            else:
                position = rest
        except ProtocolError as error:
            self.violation(str(error))
            return
        received = self.input.received
        if data is received:
            del received[:position]
        elif position < len(data):
            received += memoryview(data)[position:]
        one_by_one.advance(self)

    def _copy_may_begin(self) -> bool:
        """Is it open whether the server's COPY will read the next message? Then that waits, or what
        it means would be a guess.
        """
        return self.pipeline.may_copy_in() and self.client_state is ClientState.READY


Handler = Callable[[SessionState, "bytes | bytearray", int, int], Handled]


def _ignored(session: SessionState, data: bytes | bytearray, start: int, end: int) -> Handled:
    return Handled.DONE


def _terminate(session: SessionState, data: bytes | bytearray, start: int, end: int) -> Handled:
    session.to_server.control(frontend.terminate())
    session.close(None, CLIENT_ENDED)
    return Handled.DONE


_HANDLERS: dict[str, Handler] = {
    "query": simple.query,
    "function_call": simple.function_call,
    "parse": extended.parse,
    "bind": extended.bind,
    "describe": extended.describe,
    "execute": extended.execute,
    "close": extended.close,
    "flush": extended.flush,
    "sync": extended.sync,
    "copy_data": copying.client_data,
    "copy_done": copying.client_done,
    "copy_fail": copying.client_done,
    "copy_sync": copying.client_sync,
    "terminate": _terminate,
    "ignored": _ignored,
}
_CLIENT: dict[ClientState, dict[int, Handler]] = {
    state: {ord(kind): _HANDLERS[name] for kind, name in row.items()}
    for state, row in CLIENT_TABLE.items()
}


def _unexpected(kind: int, state: ClientState) -> str:
    message = frontend.MESSAGES.get(kind)
    name = message.name if message is not None else f"message type 0x{kind:02x}"
    return f"{name} is not expected while the session is {state.name.lower().replace('_', ' ')}"
