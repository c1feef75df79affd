"""Rows and COPY data longer than what is kept in memory for masking.

A row that nothing is masked in passes piece by piece, as it comes, whatever its length. Of one that
has to be masked only what the masks need is kept. Where the cells that are not masked are too long
by themselves, the result is withheld, and the statement is cancelled: how long the masked ones are
must not decide it. So it is with COPY data whatever is too long. Other messages of the server that
are so long end the session.
"""

from __future__ import annotations

from typing import Any

from sallyport.core.errors import ProtocolError, Refusal, refuse
from sallyport.masking.long_row import LongRow
from sallyport.session.server.entries import Entry
from sallyport.session.server.programs import KEEP
from sallyport.session.server.withhold import exceeded, over_allowance
from sallyport.session.state import SessionState
from sallyport.wire.frames import RowProgram

Buffer = bytes | bytearray

DATA_ROW, COPY_DATA = 0x44, 0x64
#: Other messages may have this much, whatever the bound of rows is (a RowDescription of 1,600
#: columns has 130 kB).
OTHERS = 1 << 20


def refusal(session: SessionState) -> Refusal:
    """Of a row that is too long."""
    return refuse(
        "SP1702",
        f"a row of the result is longer than the {session.limits.max_server_message} bytes that"
        " can be masked",
        "The rest of the result is withheld, and the statement is canceled.",
        "Leave the long column out, or select a part of it, as in left(column, 1000).",
    )


def too_long(session: SessionState) -> None:
    """Withhold the result that the oldest entry is getting."""
    exceeded(session, refusal(session))


def refuse_message(session: SessionState, kind: int, size: int) -> None:
    """A message that is no row and will not be kept in memory: nothing behind it could be read."""
    session.close(
        refuse(
            "SP1702",
            f"a message of the database is too long: {size} bytes of type {chr(kind)!r}",
            "Only rows can be that long.",
            "Connect again, and raise shorter notices and errors.",
        ),
        f"a message of the target was too long: {size} bytes",
    )


def begin(session: SessionState, entry: Entry, program: Any, size: int) -> None:
    """The next ``size`` bytes from the server are one row (or CopyData) of this entry: they pass as
    they come, or are dropped.
    """
    session.stream.long_left, session.stream.long_dropped = size, True
    if session.stream.withholding:
        return
    if program is None:
        raise ProtocolError("rows that nothing was judged for")
    if program is KEEP:
        session.stream.long_dropped = over_allowance(session, entry, size)
    elif isinstance(program, RowProgram):
        session.stream.long_row = LongRow(program, session.limits.max_server_message)
    else:
        too_long(session)


def take(session: SessionState, data: bytes) -> tuple[bytes, bytes]:
    """(what passes of the row that is being received, what comes behind it)."""
    size = min(session.stream.long_left, len(data))
    session.stream.long_left -= size
    passed = b"" if session.stream.long_dropped else data[:size]
    row = session.stream.long_row
    if row is not None:
        row.feed(data[:size])
        if row.is_too_long:
            session.stream.long_row = None
            too_long(session)
    if not session.stream.long_left and session.stream.deferred:
        passed += session.stream.deferred
        session.stream.deferred = b""
    return passed, data[size:]
