"""A block that the gateway opens in the middle of a pipeline, behind a schema change.

What stands behind a schema change before the same Sync means what that has left, and the catalog
can be read inside a transaction only in a block and between messages. PostgreSQL's BEGIN makes the
implicit transaction of a pipeline an explicit block, with all that it has done; so the gateway
waits for the answers so far, sends BEGIN and a Sync of its own, and judges the rest as in any
block. The client's Sync then becomes COMMIT, or ROLLBACK after an error, and its ReadyForQuery is
the answer. Where the client has a block of its own already, BEGIN only warns, and what ends that is
the client's business. Whether it has one is followed from its own statements: a warning may be
turned off (client_min_messages).

Source: PostgreSQL, src/backend/access/transam/xact.c (BeginTransactionBlock).
"""

from __future__ import annotations

from sallyport.core.errors import ProtocolError, refuse
from sallyport.session import questions
from sallyport.session.name_context import Catalog
from sallyport.session.server.entries import Entry
from sallyport.session.state import SessionState
from sallyport.session.states import ClientState, Expect, Handled, Own
from sallyport.wire.backend import notice_response

#: Statements that end a block, and what PostgreSQL says of them where the client opened none.
_ENDS = frozenset({"commit", "rollback"})
_NO_BLOCK = notice_response("WARNING", "25P01", "there is no transaction in progress")
NO_QUERY = refuse(
    "SP1502",
    "a simple Query cannot end a pipeline with a schema change in it",
    "The gateway has opened a transaction block for what stands behind the change.",
    "Send Sync before it.",
)


def settle(session: SessionState) -> bool:
    """Wait, behind a schema change in a pipeline, until the catalog can be read. False: there is
    nothing to wait for, or the transaction has failed and nothing can be read in it.
    """
    names, pipeline = session.names, session.pipeline
    is_behind = pipeline.unsynced and names.ddl_open and names.catalog is not Catalog.CURRENT
    if not is_behind or session.client_state is not ClientState.READY:
        return False
    if pipeline.entries:
        session.to_server.flush()
    else:
        block = pipeline.has_block
        if block is None and session.transaction_status == b"E":
            return False
        is_open = session.transaction_status == b"T" if block is None else block
        pipeline.is_theirs = is_open and not pipeline.is_ours
        _expect(session, Expect.OWN, Own.BEGIN)
        session.to_server.begin_in_pipeline()
    session.drain()
    return True


def must_be_known(session: SessionState) -> bool:
    """Wait before the client's Sync until it is known whether its BEGIN, COMMIT or ROLLBACK worked:
    where it was skipped, our block is still to be ended.
    """
    pipeline = session.pipeline
    if not (pipeline.is_adopted or pipeline.is_ended) or not pipeline.entries:
        return False
    session.to_server.flush()
    session.drain()
    return True


def on_error(session: SessionState, entry: Entry) -> bytes:
    """What stood behind it in the pipeline is skipped. A COMMIT that failed has ended the block,
    and PostgreSQL has warned before it fails: gives that warning.
    """
    pipeline = session.pipeline
    if not (pipeline.is_adopted or pipeline.is_ended):
        return b""
    kind = entry.verdict.facts.kind if entry.verdict is not None else ""
    has_ended = pipeline.is_ended and entry.kind is Expect.EXECUTE and kind in _ENDS
    pipeline.is_ours = not has_ended
    pipeline.is_adopted = pipeline.is_ended = False
    return _NO_BLOCK if has_ended else b""


def on_completed(session: SessionState, entry: Entry) -> bytes:
    """The warning before the end of the client's COMMIT or ROLLBACK in the place of ours."""
    pipeline, verdict = session.pipeline, entry.verdict
    if not pipeline.is_ended or verdict is None or verdict.facts.kind not in _ENDS:
        return b""
    pipeline.is_ended = False
    return _NO_BLOCK


def end(session: SessionState, message: bytes | bytearray) -> Handled:
    """The client's Sync ends our block. ``message``: the Sync."""
    pipeline, has_failed = session.pipeline, session.client_state is ClientState.SKIPPING
    if not has_failed and pipeline.entries:
        session.to_server.flush()
        session.drain()
        return Handled.LATER
    must_list = session.names.temporary.must_precede_end and not has_failed
    if must_list and questions.settle_temporary(session):
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
    pipeline.is_ours = not pipeline.is_theirs
    pipeline.is_theirs = pipeline.unsynced = pipeline.executed = False
    return b""


def _expect(session: SessionState, kind: Expect, own: Own) -> None:
    entry = Entry(kind)
    entry.own = own
    session.pipeline.entries.append(entry)
