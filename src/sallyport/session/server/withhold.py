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
    "Run the statement again. The gateway is reading the catalog again.",
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


def over_allowance(session: SessionState, entry: Entry, count: int, size: int) -> bool:
    """Count rows that arrived; True when they pass a limit of policy, and were withheld."""
    entry.rows += count
    entry.size += size
    allowance = session.allowance
    if allowance is None:
        return False
    what = allowance.take(count, size, entry.rows, entry.size)
    if what:
        exceeded(
            session,
            refuse(
                "SP1701",
                f"the result is larger than policy allows ({what})",
                "The rest of the result is withheld, and the statement is canceled.",
                "Select fewer rows: add LIMIT or a narrower WHERE.",
            ),
        )
    return bool(what)


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
