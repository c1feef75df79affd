"""COPY sub-protocol (protocol section 54.2.6), the client's side of it. The server's side is in :mod:`sallyport.session.replies`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sallyport.session.states import ClientState

if TYPE_CHECKING:
    from sallyport.session.machine import Session


def client_data(session: Session, data: bytes | bytearray, start: int, end: int) -> None:
    session.to_server += data[start:end]
    entry = session.copy_entry
    if entry is not None:
        session.recorder.copy_in(entry.number, bytes(data[start:end]))


def client_done(session: Session, data: bytes | bytearray, start: int, end: int) -> None:
    """CopyDone and CopyFail both end COPY IN; the server answers with CommandComplete or an error."""
    session.to_server += data[start:end]
    session.state = ClientState.READY
    session.copy_entry = None


def client_sync(session: Session, data: bytes | bytearray, start: int, end: int) -> None:
    """PostgreSQL ignores Sync while it reads CopyData (copyfromparse.c, CopyGetData), so nothing is expected for it."""
    session.to_server += data[start:end]
