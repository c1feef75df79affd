"""The only way from a session to its target. What carries a statement takes the judge's permit for
it.

Messages that carry none have their own methods: those that name nothing but what was permitted
before, the placeholders of refused messages, which fail at the server, and the gateway's own
questions, BEGIN, COMMIT and ROLLBACK.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sallyport.core.errors import SallyportError
from sallyport.judge import ParsePermit, RunPermit
from sallyport.session.pins import Pins
from sallyport.session.states import Own, Question
from sallyport.wire import frontend

#: Replaces a refused statement. It always fails while it is analysed (there is no such column), has
#: no effect before that, and leaves the same transaction state behind that the refused statement's
#: own error would.
FAILING_SQL = b'SELECT "refused by sallyport"'
#: Names that no client can create through the gateway: a Bind or Execute that must fail goes to
#: them.
NOWHERE = b"sallyport refused this"

_PROBED: Final = b"SELECT pg_catalog.current_setting('search_path')"
#: SHOW takes no snapshot, behind which SET TRANSACTION would fail. Everything else is asked for
#: behind a statement that took one.
_ASKED_SQL: Final = b"SHOW search_path"
#: A name that no client can use by chance, and not for long.
_ASKED: Final = b"sallyport asks for search_path"
#: Describe, Close, Flush, Sync, CopyData, CopyDone, CopyFail, Terminate.
_CONTROL: Final = frozenset(b"DCHSdcfX")


def _text(question: Question, pins: Pins, path: bytes) -> bytes:
    """``path``: the question for search_path."""
    if question is Question.SEARCH_PATH:
        return path
    return pins.listing if question is Question.TEMPORARY else pins.statement


def _beside(sql: bytes) -> bytes:
    """Messages that run ``sql`` in a pipeline, whose unnamed statement and portal stay."""
    return (
        frontend.parse(_ASKED, sql)
        + frontend.bind(_ASKED, _ASKED)
        + frontend.execute(_ASKED)
        + frontend.close(b"P", _ASKED)
        + frontend.close(b"S", _ASKED)
    )


class UnjudgedError(SallyportError):
    """Something would have sent a statement without a permit: a fault of the gateway."""


def permitted(permit: RunPermit, message: bytes) -> bytes:
    """``message``, which runs the statement of ``permit``, for a caller who writes to the target
    without delay.
    """
    if type(permit) is not RunPermit:
        raise UnjudgedError("a statement without a permit")
    return message


class ServerWriter:
    """``pending``: what the owner is to send; nobody else appends to it."""

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending = bytearray()

    def take(self) -> bytearray:
        """All of it, once."""
        taken, self.pending = self.pending, bytearray()
        return taken

    # -- statements --------------------------------------------------------------------------------

    def query(self, permits: Sequence[RunPermit], message: bytes | bytearray) -> None:
        """A Query. ``permits``: of all its statements, or one for a text without any."""
        self._check(permits)
        self.pending += message

    def query_until_refused(self, permits: Sequence[RunPermit], text: bytes) -> None:
        """A Query of the statements before a refused one, which fails in its place. ``permits``: of
        all in ``text``.
        """
        self._check(permits)
        self.pending += frontend.query(text + b"\n" + FAILING_SQL)

    def execute(self, permit: RunPermit, message: bytes | bytearray) -> None:
        self._check((permit,))
        self.pending += message

    def run_in_pipeline(self, permit: RunPermit, sql: bytes) -> None:
        """Run a statement without parameters behind extended-query messages."""
        self._check((permit,))
        self.pending += _beside(sql)

    def prepare(self, permit: ParsePermit, message: bytes | bytearray) -> None:
        """A Parse or a Bind: the statement does not run yet."""
        if not isinstance(permit, ParsePermit):
            raise UnjudgedError("a statement without a permit")
        self.pending += message

    @staticmethod
    def _check(permits: Sequence[RunPermit]) -> None:
        if not permits or any(type(permit) is not RunPermit for permit in permits):
            raise UnjudgedError("a statement without a permit")

    # -- what carries none -------------------------------------------------------------------------

    def control(self, message: bytes | bytearray) -> None:
        """One message that names or ends something, or carries COPY data."""
        if message[0] not in _CONTROL:
            raise UnjudgedError(f"message type {chr(message[0])!r} carries a statement")
        self.pending += message

    def refuse_query(self) -> None:
        self.pending += frontend.query(FAILING_SQL)

    def refuse_parse(self, *, is_named: bool) -> None:
        """A failing Parse of the unnamed statement drops the old one; that of a name leaves
        everything as it is.
        """
        self.pending += frontend.parse(NOWHERE if is_named else b"", FAILING_SQL)

    def refuse_bind(self) -> None:
        self.pending += frontend.bind(b"", NOWHERE)

    def refuse_describe(self) -> None:
        self.pending += frontend.describe(b"P", NOWHERE)

    def refuse_execute(self) -> None:
        self.pending += frontend.execute(NOWHERE)

    def own(self, what: Own) -> None:
        """Open or end a block around statements that are sent one by one."""
        self.pending += frontend.query(what.value)

    def begin_in_pipeline(self) -> None:
        """Open a block behind extended-query messages."""
        self.pending += _beside(Own.BEGIN.value.encode()) + frontend.sync()

    def probe(self, question: Question, pins: Pins) -> None:
        """Ask between the client's messages."""
        self.pending += frontend.query(_text(question, pins, _PROBED))

    def flush(self) -> None:
        """Have the server answer what it was sent in a pipeline."""
        self.pending += frontend.flush()

    def ask(self, question: Question, pins: Pins) -> None:
        """Ask in a pipeline; for search_path, which stays before its first query."""
        self.pending += _beside(_text(question, pins, _ASKED_SQL)) + frontend.flush()
