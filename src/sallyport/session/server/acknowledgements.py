"""Replies that acknowledge messages of the extended query protocol, and ReadyForQuery."""

from __future__ import annotations

from sallyport.core.errors import ProtocolError
from sallyport.session import effects, pipeline_block, questions
from sallyport.session.server import errors as failures
from sallyport.session.server.entries import Entry
from sallyport.session.server.stream import Completion
from sallyport.session.state import SessionState
from sallyport.session.statements import Portal, Prepared, same
from sallyport.session.states import ClientState, Expect, Own
from sallyport.wire import backend

Buffer = bytes | bytearray
#: What the gateway's own question makes and closes: a portal and a statement.
_CLOSED_BY_ASK = 2


def parse_complete(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> None:
    """The statement that was judged has its name from now on. Raises ProtocolError for a refused
    one.
    """
    if entry.refusal is not None or entry.prepared is None:
        raise ProtocolError("a refused statement was answered with success")
    session.statements.confirm(entry.name, entry.prepared)
    session.pipeline.entries.popleft()


def bind_complete(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> None:
    """The portal has its name from now on. Raises ProtocolError when it is bound to another
    statement than the one that was judged.
    """
    if entry.refusal is not None or entry.portal is None or entry.prepared is None:
        raise ProtocolError("a refused Bind was answered with success")
    actual = session.statements.confirmed.get(entry.portal.statement)
    if not same(actual, entry.prepared) and not _adopt(session, entry.portal, actual):
        raise ProtocolError("a portal was bound to a statement that is not the one that was judged")
    session.portals.confirm(entry.name, entry.portal)
    session.pipeline.entries.popleft()


def _adopt(session: SessionState, portal: Portal, actual: Prepared | None) -> bool:
    """A Parse behind which this Bind was pipelined had failed, so the server bound the statement
    that had the name before.

    That one was judged too: its plan is taken for what comes, and the recording says so. False when
    it cannot be.
    """
    if (
        actual is None
        or actual.subject_judge is not session.names.subject_judge
        or actual.verdict is None
        or not actual.verdict.plain
        or actual.verdict.changes
        or actual.verdict.runs_unknown_code
    ):
        return False
    concerned = [e for e in session.pipeline.entries if e.portal is portal]
    if any(e.pending for e in concerned):
        return False
    if actual.verdict.plan is not None and not any(
        e.kind is Expect.DESCRIBE_PORTAL for e in concerned
    ):
        return False  # nobody asked what its rows are like, so they could not pass
    portal.prepared, portal.verdict = actual, actual.verdict
    for entry in concerned:
        entry.prepared, entry.verdict = actual, actual.verdict
        if entry.kind is Expect.EXECUTE:
            session.recorder.note("corrected", f"statement {entry.number} ran as: {actual.text}")
    return True


def close_complete(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> None:
    """The name of a statement or portal is free."""
    if entry.value == "S":
        session.statements.confirm(entry.name, None)
    else:
        session.portals.confirm(entry.name, None)
    session.pipeline.entries.popleft()


def ready(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> bytes | None:
    """ReadyForQuery. Of statements that are sent one by one the client gets only the last."""
    session.transaction_status = backend.parse_ready(bytes(buffer[start + 5 : end]))
    session.pipeline.entries.popleft()
    session.pipeline.on_ready()
    if session.client_state is ClientState.COPY_IN:
        session.client_state, session.pipeline.copy_entry = ClientState.READY, None
    if session.transaction_status == b"I":
        if not session.pipeline.entries:
            session.names.temporary.on_transaction_ended()
            if session.names.ddl_open:
                session.on_transaction_ended()
        effects.on_ended(session)
    message = None
    series = session.series
    if series is not None:
        series.failed = series.failed or session.stream.withholding
        told = session.settings.told
        message = series.on_ready(entry, session.transaction_status, bytes(buffer[start:end]), told)
        if message:
            session.series = None
    elif entry.own is not None:
        message = pipeline_block.on_ready(session, entry)
    if session.stream.withholding:
        session.stream.substitute = bytes(buffer[start:end]) if message is None else message
        session.stream.withholding = False
        message = b""
    if not session.pipeline.entries:
        questions.on_settled(session)
    return message


def own_complete(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> bytes:
    """What the gateway sent itself has worked. With a COMMIT the statement before it has ended."""
    series = session.series
    if entry.own is None or bytes(buffer[start + 5 : end - 1]) != entry.own.value.encode():
        raise ProtocolError("the transaction of a message was not opened or ended")
    if series is None or series.end is None or entry.own is not Own.COMMIT:
        return b""
    session.stream.completed, series.end = series.end, None
    return series.tail


def own_error(session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int) -> bytes:
    """What the gateway sent itself has failed: a COMMIT, by a deferred constraint. That is how the
    statement before it ended.
    """
    series = session.series
    if series is None and entry.own is not Own.COMMIT:
        raise ProtocolError("an error although nothing was asked")
    fields = backend.parse_error_fields(bytes(buffer[start + 5 : end]))
    session.settings.on_transaction_end()
    message = failures.readable(session, entry, fields, buffer, start, end)
    sqlstate = fields.get("C", "XX000")
    if series is None:
        return message
    if series.is_outside and not failures.is_fatal(fields):
        series.kept += message
        series.failed_with = sqlstate
        return b""
    series.failed = True
    if series.end is not None:
        session.stream.completed, series.end = Completion(series.end.entry, "", sqlstate), None
    return message


def probe_value(buffer: Buffer, start: int) -> str | None:
    """The only value of a question's DataRow; None where it is NULL or not the only one."""
    count = int.from_bytes(buffer[start + 5 : start + 7], "big")
    length = int.from_bytes(buffer[start + 7 : start + 11], "big", signed=True)
    if count != 1 or length < 0:
        return None
    return buffer[start + 11 : start + 11 + length].decode("utf-8", "replace")


def probe_ignored(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> bytes:
    """A question's answer of which nothing is read."""
    return b""


def ask_complete(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> bytes:
    """The portal of the question was closed, and then its statement."""
    entry.index += 1
    if entry.index == _CLOSED_BY_ASK:
        session.pipeline.entries.popleft()
        questions.on_asked(session, entry.question, entry.value)
    return b""


def dependant_closed(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> bytes:
    """Behind its end, which was counted too, the portal was closed, and then the statement. The
    statement with CASCADE comes next, behind others like this one.
    """
    entry.index += 1
    if entry.index == 1 + _CLOSED_BY_ASK:
        entries = session.pipeline.entries
        entries.popleft()
        entries[0].drops = entry.drops + entries[0].drops
    return b""


def probe_ready(session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int) -> bytes:
    """ReadyForQuery after a question: the client does not get it."""
    session.transaction_status = backend.parse_ready(bytes(buffer[start + 5 : end]))
    session.pipeline.entries.popleft()
    questions.on_probed(session, entry.question, entry.value)
    return b""
