"""A block that the gateway opens in the middle of a pipeline, behind a schema change.

What stands behind a schema change before the same Sync means what that has left, and the catalog
can be read inside a transaction only in a block and between messages. PostgreSQL's BEGIN makes the
implicit transaction of a pipeline an explicit block, with all that it has done; so the gateway
waits for the answers so far, sends BEGIN and a Sync of its own, and judges the rest as in any
block. The client's Sync then becomes COMMIT, or ROLLBACK after an error, and its ReadyForQuery is
the answer. Where the client has a block of its own already, BEGIN only warns.

Source: PostgreSQL, src/backend/access/transam/xact.c (BeginTransactionBlock).
"""

from __future__ import annotations

from sallyport.core.errors import ProtocolError, refuse
from sallyport.session.name_context import Catalog
from sallyport.session.server.entries import Entry
from sallyport.session.state import SessionState
from sallyport.session.states import ClientState, Expect, Handled, Own

NO_QUERY = refuse(
    "SP1502",
    "a simple Query cannot end a pipeline with a schema change in it",
    "The gateway has opened a transaction block for what stands behind the change.",
    "Send Sync before it.",
)


def settle(session: SessionState) -> bool:
    """Wait, behind a schema change in a pipeline, until the catalog can be read. False: there is
    nothing to wait for.
    """
    names, pipeline = session.names, session.pipeline
    is_behind = pipeline.unsynced and names.ddl_open and names.catalog is not Catalog.CURRENT
    if not is_behind or session.client_state is not ClientState.READY:
        return False
    if pipeline.entries:
        session.to_server.flush()
    else:
        _expect(session, Expect.OWN, Own.BEGIN)
        session.to_server.begin_in_pipeline()
    session.drain()
    return True


def end(session: SessionState, message: bytes | bytearray) -> Handled:
    """The client's Sync ends our block. ``message``: the Sync."""
    pipeline, has_failed = session.pipeline, session.client_state is ClientState.SKIPPING
    if not has_failed and pipeline.entries:
        session.to_server.flush()
        session.drain()
        return Handled.LATER
    must_list = session.names.temporary.must_precede_end and not has_failed
    if must_list and session.settle_temporary():
        return Handled.LATER
    if has_failed:  # the server skips everything before it
        _expect(session, Expect.SYNC, Own.ROLLBACK)
        session.to_server.control(message)
    what = Own.ROLLBACK if has_failed else Own.COMMIT
    _expect(session, Expect.OWN, what)
    session.to_server.own(what)
    pipeline.is_ours = False
    session.names.on_end_forwarded()
    session.settings.on_transaction_end()
    pipeline.on_sync()
    session.input.is_canceled = False
    session.client_state = ClientState.READY
    return Handled.DONE


def on_ready(session: SessionState, entry: Entry) -> bytes | None:
    """ReadyForQuery for what we sent; None: it is the client's."""
    pipeline = session.pipeline
    if entry.kind is Expect.SYNC:
        return b""
    if entry.own is not Own.BEGIN:
        return None
    if session.transaction_status != b"T":
        raise ProtocolError("the transaction of a pipeline was not opened")
    pipeline.is_ours = pipeline.is_ours or not pipeline.is_theirs
    pipeline.is_theirs = pipeline.unsynced = pipeline.executed = False
    return b""


def _expect(session: SessionState, kind: Expect, own: Own) -> None:
    entry = Entry(kind)
    entry.own = own
    session.pipeline.entries.append(entry)
