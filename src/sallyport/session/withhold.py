"""When a result may not pass: it is replaced by an error, and nothing more reaches the client until ReadyForQuery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sallyport.core.errors import Refusal, refuse
from sallyport.session.commands import CancelUpstream
from sallyport.session.states import ClientState, Expect
from sallyport.wire import backend

if TYPE_CHECKING:
    from sallyport.session.machine import Session

Buffer = bytes | bytearray


MISMATCH = refuse(
    "SP1203",
    "the result does not match what was judged, so it is withheld",
    "The columns that the server describes are not the columns the statement was judged by; the catalog may have changed.",
    "Run the statement again: the gateway has asked for a fresh catalog.",
)


def withhold(session: Session, refusal: Refusal) -> bytes:
    """Put an error in the place of a result. What the server still sends for this pipeline is read and dropped."""
    if session.withholding:
        return b""
    entry = session.entries[0]
    session.recorder.note("withheld", f"{refusal.code.id} statement {entry.number}")
    session.withholding = True
    entry.withheld = refusal.sqlstate
    session.announce = backend.refusal_error(refusal)
    session.catalog_stale = True
    if all(e.kind not in (Expect.SYNC, Expect.QUERY) for e in session.entries):
        session.state = ClientState.SKIPPING
    return b""


def exceeded(session: Session) -> bytes:
    """A limit of policy on rows or bytes was passed."""
    limits = session.limits
    what = f"{limits.rows} rows" if limits.rows else f"{limits.bytes} bytes"
    session.commands.append(CancelUpstream())
    return withhold(
        session,
        refuse(
            "SP1701",
            f"the result is larger than policy allows ({what})",
            "The rest of the result is withheld and the statement is cancelled.",
            "Ask for less: add a LIMIT or a narrower WHERE.",
        ),
    )
