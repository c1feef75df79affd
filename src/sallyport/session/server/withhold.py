"""When a result may not pass: it is replaced by an error, and nothing more reaches the client until
ReadyForQuery.
"""

from __future__ import annotations

from sallyport.core.errors import Refusal, refuse
from sallyport.session.commands import CancelUpstream
from sallyport.session.server.entries import Entry
from sallyport.session.state import SessionState
from sallyport.session.states import ClientState, Expect
from sallyport.wire import backend

Buffer = bytes | bytearray


MISMATCH = refuse(
    "SP1203",
    "the result does not match what was judged, so it is withheld",
    "The server returns other columns than those that were judged. The catalog may have changed.",
    "Run the statement again; if it changes data, first check whether it already did. The gateway"
    " is reading the catalog again.",
)


def withhold(session: SessionState, refusal: Refusal) -> bytes:
    """Put an error in the place of a result. What the server still sends for this pipeline is read
    and dropped.
    """
    if session.stream.withholding:
        return b""
    entry = session.pipeline.entries[0]
    session.recorder.note("withheld", f"{refusal.code.id} statement {entry.number}")
    session.stream.withholding = True
    entry.withheld = refusal.sqlstate
    session.stream.substitute = backend.refusal_error(refusal)
    session.names.mark_stale()
    if all(e.kind not in (Expect.SYNC, Expect.QUERY) for e in session.pipeline.entries):
        session.client_state = ClientState.SKIPPING
    return b""


def fitting(
    session: SessionState, entry: Entry, count: int, rows: Buffer, start: int, end: int
) -> int:
    """Count ``count`` rows, as the client would get them: the position behind the last one that
    fits into the limits of policy. Where that is not the end, the rest of the result is withheld.
    ``count`` 0: a message that is part of the result, and no row.

    Row by row there: the server sends as many at a time as fill its buffer before they are masked,
    and how many those are must not decide which is the last that the client gets.
    """
    if not _passed_limit(session, entry, count, end - start):
        return end
    position, what = start, ""
    while position < end:
        behind = position + 1 + int.from_bytes(rows[position + 1 : position + 5], "big")
        if what := _passed_limit(session, entry, min(count, 1), behind - position):
            break
        position = behind
    if what:
        _exceeded_limit(session, what)
    return position


def over_allowance(session: SessionState, entry: Entry, size: int) -> bool:
    """Count one row of ``size`` bytes; True when it passes a limit of policy, and is withheld with
    what comes behind it.
    """
    what = _passed_limit(session, entry, 1, size)
    if what:
        _exceeded_limit(session, what)
    return bool(what)


def _passed_limit(session: SessionState, entry: Entry, count: int, size: int) -> str:
    """The limit that these rows pass, in words; "" when they pass none, and are counted."""
    allowance = session.allowance
    if allowance is not None:
        what = allowance.take(count, size, entry.rows + count, entry.size + size)
        if what:
            return what
    entry.rows += count
    entry.size += size
    return ""


def _exceeded_limit(session: SessionState, what: str) -> None:
    exceeded(
        session,
        refuse(
            "SP1701",
            f"the result is larger than policy allows ({what})",
            "The rest of the result is withheld, and the statement is canceled.",
            "Select fewer rows: add LIMIT or a narrower WHERE.",
        ),
    )


def spent(what: str) -> Refusal:
    """Refuses a statement when nothing may be read any more."""
    return refuse(
        "SP1701",
        f"the limit of {what} is used up",
        "The policy limits how much you may read.",
        "Wait, or ask for a higher limit. If the limit is for a session, connect again.",
    )


def exceeded(session: SessionState, refusal: Refusal) -> None:
    """Withhold the result and cancel the statement."""
    session.hold_input()
    session.commands.append(CancelUpstream())
    withhold(session, refusal)
