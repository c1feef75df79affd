"""COPY sub-protocol (protocol section 54.2.6), the client's side of it. The server's side is in :mod:`sallyport.session.replies`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sallyport.core.errors import Refusal
from sallyport.session.states import ClientState
from sallyport.wire import frontend

if TYPE_CHECKING:
    from sallyport.session.machine import Session


def client_data(session: Session, data: bytes | bytearray, start: int, end: int) -> None:
    entry = session.copy_entry
    refusal = session.gate(None)
    if entry is not None and isinstance(refusal, Refusal):
        # What cannot be recorded does not run: the COPY fails at the server, and its error is replaced.
        entry.refusal, entry.refused_at = refusal, entry.index
        session.to_server += frontend.copy_fail(refusal.text)
        session.state, session.copy_entry = ClientState.READY, None
        return
    session.to_server += data[start:end]
    if entry is not None:
        session.recorder.copy_in(entry.number, bytes(data[start:end]))


def client_done(session: Session, data: bytes | bytearray, start: int, end: int) -> None:
    """CopyDone and CopyFail both end COPY IN; the server answers with CommandComplete or an error."""
    session.to_server += data[start:end]
    session.state = ClientState.READY
    session.copy_entry = None


def client_sync(session: Session, data: bytes | bytearray, start: int, end: int) -> None:
    """PostgreSQL ignores Sync while it reads CopyData (copyfromparse.c, CopyGetData). Should the COPY have failed meanwhile, a Sync sent
    on would be answered, so it is not sent.
    """
