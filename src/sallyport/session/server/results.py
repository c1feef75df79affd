"""Descriptions of results, their ends, and COPY responses: how the rows of a statement pass."""

from __future__ import annotations

from typing import Any

from sallyport.core.errors import ProtocolError, Refusal
from sallyport.judge import Verdict
from sallyport.session import effects, pipeline_block
from sallyport.session.client.series import Series
from sallyport.session.server.copy_rows import row_parts
from sallyport.session.server.entries import Entry, PendingEffect
from sallyport.session.server.programs import KEEP, compile_copy_out, compile_result
from sallyport.session.server.scanning import scanned_copy
from sallyport.session.server.stream import Completion
from sallyport.session.server.withhold import MISMATCH, fitting, withhold
from sallyport.session.state import SessionState
from sallyport.session.statements import same
from sallyport.session.states import ClientState, Expect
from sallyport.sql.facts import EffectKind
from sallyport.wire import backend, frontend

Buffer = bytes | bytearray


def row_verdict(entry: Entry) -> Verdict | None:
    """The verdict that this statement's rows follow: its own, or that of what EXECUTE and FETCH
    name.
    """
    pending = entry.pending_now
    return pending.rows if pending is not None and pending.rows is not None else entry.verdict


def _is_as_judged(session: SessionState, entry: Entry) -> bool:
    """Whether the server runs what the statement was taken to run when it was forwarded."""
    pending = entry.pending_now
    return pending is None or effects.still_true(session, pending)


def row_description(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> bytes | None:
    """RowDescription of a simple query or an EXECUTE: what masks its rows is made here. None: it
    passes; bytes take its place. Raises ProtocolError for rows that nothing was judged for.
    """
    if entry.refused_now or not _is_as_judged(session, entry):
        raise ProtocolError("a statement ran that is not the one that was judged")
    if session.stream.withholding:
        return b""
    entry.program = compile_result(
        session.names.subject_judge, row_verdict(entry), bytes(buffer[start + 5 : end])
    )
    if entry.program is None:
        return withhold(session, MISMATCH)
    return None


def _describe_portal(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> bytes | None:
    portal = entry.portal
    verdict = entry.verdict
    if portal is None:
        raise ProtocolError("a portal that nothing was judged for")
    if not same(session.portals.confirmed.get(entry.name), portal):
        raise ProtocolError("a portal was described that is not the one that was judged")
    pending = _execute_behind(session, entry)
    if pending is not None:
        if not effects.still_true(session, pending):
            raise ProtocolError("a statement ran that is not the one that was judged")
        verdict = pending.rows
    elif verdict is not None and _dynamic(verdict):
        meant = _resolve_dynamic(session, verdict)
        if isinstance(meant, Refusal):
            return withhold(session, meant)
        verdict = meant
    portal.program = compile_result(
        session.names.subject_judge, verdict, bytes(buffer[start + 5 : end])
    )
    if portal.program is None:
        return withhold(session, MISMATCH)
    portal.described = True
    return None


def _dynamic(verdict: Verdict) -> bool:
    return any(e.kind in (EffectKind.EXECUTE, EffectKind.FETCH) for e in verdict.effects)


def _execute_behind(session: SessionState, entry: Entry) -> PendingEffect | None:
    """What the Execute of this portal, already forwarded behind this Describe, was taken to run."""
    for later in session.pipeline.entries:
        if (
            later.kind is Expect.EXECUTE
            and later.portal is entry.portal
            and later.pending is not None
        ):
            return later.pending.get(0)
    return None


def _resolve_dynamic(session: SessionState, verdict: Verdict) -> Verdict | Refusal | None:
    """EXECUTE and FETCH described before they are executed: the plan is that of what they
    name now.
    """
    for effect in verdict.effects:
        name = effects.key(effect.name)
        prepared: Any = None
        if effect.kind is EffectKind.EXECUTE:
            prepared = session.statements.confirmed.get(name)
        elif effect.kind is EffectKind.FETCH:
            portal = session.portals.confirmed.get(name)
            if portal is None:
                return effects.unread_cursor(session, verdict)
            prepared = portal.prepared
        if prepared is not None:
            return effects.current_verdict(session, prepared)
    return None


def statement_description(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> bytes | None:
    """Describe of a statement: shown, and compared, but rows follow the portal's own
    description.
    """
    # By now it is known which statement has the name: a Parse behind which this was pipelined may
    # have failed.
    actual = session.statements.confirmed.get(entry.name)
    verdict = actual.verdict if actual is not None else None
    refusal = None
    if verdict is not None and _dynamic(verdict):
        meant = _resolve_dynamic(session, verdict)
        refusal, verdict = (meant, None) if isinstance(meant, Refusal) else (None, meant)
    if (
        refusal is None
        and compile_result(session.names.subject_judge, verdict, bytes(buffer[start + 5 : end]))
        is None
    ):
        refusal = MISMATCH
    withheld = withhold(session, refusal) if refusal is not None else None
    session.pipeline.entries.popleft()
    return withheld


def no_data(session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int) -> None:
    """NoData: the answer to a Describe of what gives no rows."""
    if entry.portal is not None:
        entry.portal.described = True
    session.pipeline.entries.popleft()


def portal_description(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> bytes | None:
    """RowDescription that answers a Describe of a portal; what masks its rows is made here. As
    :func:`row_description`.
    """
    replaced = _describe_portal(session, entry, buffer, start, end)
    if session.pipeline.entries and session.pipeline.entries[0] is entry:
        session.pipeline.entries.popleft()
        following = session.pipeline.entries[0] if session.pipeline.entries else None
        portal = entry.portal
        # with a number, what the client gets of it is recorded already
        if portal is not None and replaced is None and (entry.hidden or not entry.number):
            message = bytes(buffer[start:end])
            if not entry.hidden or session.is_new_description(portal.prepared.script, message):
                portal.description = message
        if (
            following is not None
            and following.kind is Expect.EXECUTE
            and following.portal is portal
        ):
            following.program = portal.program if portal is not None else None
            session.record_description(portal, following.number)
    return replaced


def parameter_description(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> None:
    """Kept for the recording: what a binary parameter means is not seen from its bytes."""
    if entry.prepared is not None:
        entry.prepared.types = backend.parse_parameter_description(bytes(buffer[start + 5 : end]))
        entry.prepared.traffic = None  # made of them


def command_complete(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> bytes | None:
    """The statement is done: what it changes in the session takes effect. None: the message passes;
    bytes take its place. Raises ProtocolError for what was refused, or is not what was judged.
    """
    if entry.refused_now:
        raise ProtocolError("a refused statement was answered with success")
    verdict = entry.verdict
    if not _is_as_judged(session, entry):
        raise ProtocolError("a statement ran that is not the one that was judged")
    if verdict is not None and verdict.effects:
        effects.on_completed(session, verdict, entry.pending_now)
    completed = Completion(entry, _tag(buffer, start, end), "")
    notice = _notice(entry) + pipeline_block.on_completed(session, entry)
    notice += _cascade_notice(entry.drops)
    if session.series is not None:
        return _complete_in_series(
            session, session.series, completed, notice + bytes(buffer[start:end])
        )
    session.stream.completed = completed
    return notice + bytes(buffer[start:end]) if notice else None


def _complete_in_series(
    session: SessionState, series: Series, completed: Completion, message: bytes
) -> bytes:
    """A statement that was sent by itself has ended: the last one only once its transaction was
    committed.
    """
    script, index = completed.entry.script, completed.entry.index
    is_last = script is None or index + 1 >= len(script.statements)
    if series.keeps_end and is_last and not session.stream.withholding:
        if series.end is not None:
            raise ProtocolError("a statement has ended twice")
        series.end, series.tail = completed, message
        return b""
    if series.running is not None and series.running.is_own:
        session.stream.completed = completed
        return b""
    kept, series.kept = series.kept, b""
    if not series.failed_with:
        session.stream.completed = completed
        return kept + message
    # The client's COMMIT: it has warned, and what it was to commit could not be.
    session.stream.completed = Completion(completed.entry, "", series.failed_with)
    series.failed, series.failed_with = True, ""
    return kept


def _notice(entry: Entry) -> bytes:
    """What the client is told of masks before the statement's end; of EXECUTE, what was prepared
    says it.
    """
    verdict = entry.verdict
    if verdict is not None and any(e.kind is EffectKind.EXECUTE for e in verdict.effects):
        verdict = row_verdict(entry)
    return verdict.notice if verdict is not None else b""


def _cascade_notice(drops: tuple[str, ...]) -> bytes:
    """What PostgreSQL says of what CASCADE has dropped besides (dependency.c,
    reportDependentObjects).
    """
    if not drops:
        return b""
    told = [f"drop cascades to {what}" for what in drops]
    if len(told) == 1:
        return backend.notice_response("NOTICE", "00000", told[0])
    many = f"drop cascades to {len(told)} other objects"
    return backend.notice_response("NOTICE", "00000", many, detail="\n".join(told))


def dependant_dropped(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> bytes:
    """What the gateway dropped in the place of a CASCADE; the client hears of it with that."""
    session.stream.completed = Completion(entry, _tag(buffer, start, end), "")
    return b""


def _tag(buffer: Buffer, start: int, end: int) -> str:
    return buffer[start + 5 : end - 1].decode("ascii", "replace")


def empty_query(session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int) -> None:
    """EmptyQueryResponse: the statement is done."""
    session.stream.completed = Completion(entry, "", "")


def portal_suspended(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> None:
    """PortalSuspended: an Execute gave as many rows as it asked for."""
    session.stream.completed = Completion(entry, "SUSPENDED", "")


def copy_in_response(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> bytes | None:
    """The server waits for data of COPY FROM. Raises ProtocolError when it was not judged."""
    verdict = entry.verdict
    if verdict is None or not any(e.kind is EffectKind.COPY_IN for e in verdict.effects):
        raise ProtocolError("COPY IN that nothing was judged for")
    entry.copied = True
    if session.stream.withholding:
        return _end_copy_in(session)
    session.client_state = ClientState.COPY_IN
    session.pipeline.copy_entry = entry
    # Sync messages already on their way are read, and ignored, by the server's COPY (CopyGetData).
    while len(session.pipeline.entries) > 1 and session.pipeline.entries[1].kind is Expect.SYNC:
        del session.pipeline.entries[1]
        session.pipeline.unsynced = True
    return None


def _end_copy_in(session: SessionState) -> bytes:
    """The client was told of an error and sends no data. Its Sync messages were read by the COPY,
    so the server gets them again.
    """
    session.to_server.control(frontend.copy_fail("the result before it was withheld"))
    entries = session.pipeline.entries
    if entries[0].kind is Expect.EXECUTE:
        for _ in range(sum(e.kind is Expect.SYNC for e in entries)):
            session.to_server.control(frontend.sync())
    return b""


def copy_out_response(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> bytes | None:
    """COPY TO begins: what masks its data is made here. As :func:`row_description`."""
    if session.stream.withholding:
        return b""
    entry.copy = compile_copy_out(
        session.names.subject_judge, entry.verdict, bytes(buffer[start + 5 : end])
    )
    if entry.copy is None:
        return withhold(session, MISMATCH)
    return None


def copy_data_out(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int, count: int = 1
) -> bytes | None:
    """``count``: messages in this span."""
    if session.stream.withholding:
        return b""
    if entry.copy is None or entry.verdict is None or entry.verdict.facts.copy_format is None:
        raise ProtocolError("COPY data that nothing was judged for")
    masked: bytes | None = None
    if entry.copy is not KEEP:
        masked = entry.copy.feed(buffer, start, end)
    data = bytes(buffer[start:end]) if masked is None else masked
    position, copy_format = 0, entry.verdict.facts.copy_format
    for rows, part_end in row_parts(copy_format, data, count, is_first=not entry.size):
        position = fitting(session, entry, rows, data, position, part_end)
        if position < part_end:
            data = masked = data[:position]
            break
    return scanned_copy(session, entry, data, masked)


def copy_done_out(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> None:
    """The end of the data of COPY TO passes."""
