"""COPY sub-protocol (protocol section 54.2.6), the client's side of it. The server's side is in
:mod:`sallyport.session.server.replies`.
"""

from __future__ import annotations

from sallyport.core.errors import Refusal
from sallyport.session.clearance import clearance
from sallyport.session.server.entries import Entry
from sallyport.session.state import SessionState
from sallyport.session.states import ClientState, Handled
from sallyport.wire import frontend


def client_data(session: SessionState, data: bytes | bytearray, start: int, end: int) -> Handled:
    """CopyData of COPY FROM goes on to the server, unless it is refused meanwhile."""
    entry = session.pipeline.copy_entry
    refusal = _contained(session, entry) or clearance(session, None)
    if entry is not None and isinstance(refusal, Refusal):
        # What cannot be recorded does not run: the COPY fails at the server, and its error is
        # replaced.
        entry.refusal, entry.refused_at = refusal, entry.index
        session.to_server.control(frontend.copy_fail(refusal.text))
        session.client_state, session.pipeline.copy_entry = ClientState.READY, None
        return Handled.DONE
    session.to_server.control(data[start:end])
    if entry is not None:
        _record(session, entry, bytes(data[start:end]))
    return Handled.DONE


def _contained(session: SessionState, entry: Entry | None) -> Refusal | None:
    """Why the COPY may not go on: the subject was contained since it began."""
    names = session.names
    if names.generation != names.judge.generation:
        session.rebind()
    contained = names.subject_judge.subject_policy.contained
    is_known = contained is None or session.pipeline.copies_contained
    if is_known or entry is None or entry.verdict is None:
        return None
    script = names.subject_judge.judge(entry.verdict.sql)
    return script.statements[0].refusal if script.statements else script.refusal


def _record(session: SessionState, entry: Entry, data: bytes) -> None:
    """Data that goes into masked columns is counted, and not recorded."""
    if not session.names.subject_judge.hides_values or not _writes_masked(session, entry):
        session.recorder.copy_in(entry.number, data)
        return
    if not entry.rows_hidden:
        entry.rows_hidden = True
        what = f"the data of statement {entry.number} is not recorded: it goes into masked columns"
        session.recorder.note("masked", what)


def _writes_masked(session: SessionState, entry: Entry) -> bool:
    verdict = entry.verdict
    if verdict is None or verdict.literals is None:
        return verdict is None
    masks = session.names.subject_judge.subject_policy.masks
    return any(
        not access.columns or not masks.keys().isdisjoint(access.columns)
        for access in verdict.facts.accesses
    )


def client_done(session: SessionState, data: bytes | bytearray, start: int, end: int) -> Handled:
    """CopyDone and CopyFail both end COPY IN; the server answers with CommandComplete or an
    error.
    """
    session.to_server.control(data[start:end])
    session.client_state = ClientState.READY
    session.pipeline.copy_entry = None
    return Handled.DONE


def client_sync(session: SessionState, data: bytes | bytearray, start: int, end: int) -> Handled:
    """PostgreSQL ignores Sync while it reads CopyData (copyfromparse.c, CopyGetData). Should the
    COPY have failed meanwhile, a Sync sent on would be answered, so it is not sent.
    """
    return Handled.DONE
