"""From the server to the client: which reply belongs to which statement, and how it passes
(forward, drop, replace, mask).

Rows are handled as spans of the receive buffer: one native call masks all rows of a buffer, and
what passes unchanged is copied in one piece. No object is made per row.

A handler returns None to forward the message as it is, or the bytes that take its place (b"" drops
it).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from time import monotonic
from typing import Any

from sallyport.core.errors import ProtocolError
from sallyport.judge import Verdict
from sallyport.masking.long_row import masked_row
from sallyport.session import fast
from sallyport.session.recorded import shown_message
from sallyport.session.server import acknowledgements, long_rows, results
from sallyport.session.server import errors as failures
from sallyport.session.server.entries import Entry
from sallyport.session.server.kept_rows import kept_rows
from sallyport.session.server.programs import KEEP
from sallyport.session.server.scanning import scanned_rows
from sallyport.session.server.withhold import fitting
from sallyport.session.state import SessionState
from sallyport.session.statements import same
from sallyport.session.states import ASYNC_TABLE, REPLY_TABLE, ClientState, Expect
from sallyport.wire import backend
from sallyport.wire.frames import RowProgram, keep, mask_rows, null, split

Buffer = bytes | bytearray
_DATA_ROW = 0x44
_COPY_DATA = 0x64
_READY = 0x5A
_STATUS = 0x53
_ROWS = frozenset({_DATA_ROW, _COPY_DATA})
#: ErrorResponse and NoticeResponse.
_MESSAGES = frozenset({0x45, 0x4E})
#: Longest message that PostgreSQL can make (MaxAllocSize).
_LONGEST = 1 << 30
_ASKING = frozenset({Expect.PROBE, Expect.ASK})
#: CopyDone, EmptyQueryResponse, NoData, ParseComplete, BindComplete, CloseComplete,
#: PortalSuspended.
_NO_BODY = frozenset(b"cIn123s")


def receive(session: SessionState, data: bytes) -> None:
    """Handle every whole message in what was received so far. Raises ProtocolError when the
    server's stream makes no sense.
    """
    stream = session.stream
    if stream.long_left:
        data = _pass(session, data)
        if not data:
            return
    buffer: Buffer = data
    if stream.received:
        stream.received += data
        if len(stream.received) < stream.needed:
            return
        buffer = stream.received
    bound = session.limits.max_server_message
    spans, rest = split(buffer, 0, _LONGEST, True, bound)
    _spans(session, buffer, spans)
    if session.client_state is ClientState.CLOSED:
        return
    stream.needed = _needs(buffer, rest)
    if stream.needed > bound and _long(session, buffer, rest):
        stream.received.clear()
        return
    if buffer is stream.received:
        del stream.received[:rest]
    elif rest < len(buffer):
        stream.received += memoryview(buffer)[rest:]


def _long(session: SessionState, buffer: Buffer, start: int) -> bool:
    """An incomplete message that is longer than what is kept in memory. False: it is no row, and
    may be kept.
    """
    kind, size = buffer[start], session.stream.needed
    if kind not in (_DATA_ROW, _COPY_DATA):
        if size <= max(session.limits.max_server_message, long_rows.OTHERS):
            return False
        long_rows.refuse_message(session, kind, size)
        return True
    entry = session.pipeline.oldest
    if entry is not None and entry.kind is Expect.BUNDLE:
        fast.expand_bundle(session)
        entry = session.pipeline.oldest
    if entry is None or (kind == _COPY_DATA and kind not in _REPLIES[entry.kind]):
        raise ProtocolError(f"message type 0x{kind:02x} although nothing was asked")
    number = entry.number
    long_rows.begin(session, entry, _long_program(session, entry, kind), size)
    if session.stream.substitute:
        _emit_substitute(session, number)
    _pass(session, bytes(memoryview(buffer)[start:]))
    return True


def _long_program(session: SessionState, entry: Entry, kind: int) -> Any:
    if kind == _COPY_DATA:
        return entry.copy
    if entry.program is None and not session.stream.withholding:
        entry.program = _portal_program(session, entry)
    return entry.program


def _pass(session: SessionState, data: bytes) -> bytes:
    """The next piece of a long row; gives what comes behind the row."""
    entry, stream = session.pipeline.oldest, session.stream
    passed, rest = long_rows.take(session, data)
    if stream.long_row is not None and not stream.long_left and entry is not None:
        masked, stream.long_row = stream.long_row.masked(), None
        row = _masked(session, entry, masked, 0, len(masked), 1, masked) or b""
        passed = row + passed
    if stream.substitute:
        _emit_substitute(session, entry.number if entry is not None else 0)
    if passed:
        is_other = _is_recorded_otherwise(session, entry, _DATA_ROW)
        recorded = _recorded_rows(session, entry, None) if is_other else None
        _emit(session, entry.number if entry is not None else 0, passed, recorded)
    return rest


def _needs(buffer: Buffer, rest: int) -> int:
    """How many bytes the incomplete message at ``rest`` has in all: no use in looking at it before
    they are there.
    """
    if len(buffer) - rest < 5:
        return 0
    return 1 + int.from_bytes(buffer[rest + 1 : rest + 5], "big")


def _spans(session: SessionState, buffer: Buffer, spans: list[tuple[int, int, int, int]]) -> None:
    entries, stream = session.pipeline.entries, session.stream
    pending = -1  # start of what may be forwarded as it is and has not been copied yet
    pending_number = 0
    for kind, start, end, count in spans:
        entry = entries[0] if entries else None
        if entry is not None and entry.kind is Expect.BUNDLE:
            fast.expand_bundle(session)
            entry = entries[0]
        number = entry.number if entry is not None else 0
        withheld = stream.withholding
        if kind == _DATA_ROW:
            replaced = _rows(session, entry, buffer, start, end, count)
        else:
            replaced = _message(session, entry, kind, buffer, start, end, count)
        # of the rows among which the rest is withheld from now on, the first ones may pass
        passes = not stream.withholding or bool(replaced and not withheld and kind in _ROWS)
        if number and passes and _is_recorded_otherwise(session, entry, kind):
            if pending >= 0:
                _emit(session, pending_number, bytes(buffer[pending:start]))
                pending = -1
            if replaced is None:
                replaced = bytes(buffer[start:end])
            if replaced:
                _emit(session, number, replaced, _recorded(session, entry, kind, replaced))
        elif replaced is None and (not stream.withholding or kind == _STATUS):
            if pending >= 0 and number != pending_number:
                _emit(session, pending_number, bytes(buffer[pending:start]))
                pending = -1
            if pending < 0:
                pending, pending_number = start, number
            if (entries[0] if entries else None) is not entry or stream.completed:
                _emit(session, number, bytes(buffer[pending:end]))
                pending = -1
        else:
            if pending >= 0:
                _emit(session, pending_number, bytes(buffer[pending:start]))
                pending = -1
            if replaced and (passes or kind == _READY):
                _emit(session, number, replaced)
        if stream.completed:
            _complete(session)
        if stream.substitute:
            _emit_substitute(session, number)
        if session.client_state is ClientState.CLOSED:
            return
    if pending >= 0:
        _emit(session, pending_number, bytes(buffer[pending : spans[-1][2]]))


def _is_recorded_otherwise(session: SessionState, entry: Entry | None, kind: int) -> bool:
    """Whether not all of a message is recorded: it may quote the statement's text, or is one of
    rows that are counted.
    """
    if kind in _ROWS:
        return entry is not None and entry.verdict is not None and _hides_rows(entry, entry.verdict)
    return kind in _MESSAGES and session.names.subject_judge.hides_values


def _recorded(session: SessionState, entry: Entry | None, kind: int, messages: bytes) -> bytes:
    """What is recorded of an error, a notice or rows."""
    if kind in _ROWS:
        return _recorded_rows(session, entry, messages if kind == _DATA_ROW else None)
    subject_judge, parts = session.names.subject_judge, []
    start = 0
    while start < len(messages):  # what was replaced may have become several messages
        end = start + 1 + int.from_bytes(messages[start + 1 : start + 5], "big")
        parts.append(shown_message(subject_judge, entry, messages[start:end]))
        start = end
    return b"".join(parts)


def _hides_rows(entry: Entry, verdict: Verdict) -> bool:
    named = results.row_verdict(entry)
    return verdict.hides_rows or (named is not None and named.hides_rows)


def _recorded_rows(session: SessionState, entry: Entry | None, rows: bytes | None) -> bytes:
    """What is recorded of rows that may repeat the statement's text, or are counted. ``rows``: None
    for a part of one, and for data of COPY.
    """
    kept = kept_rows(session, entry, _verdicts(entry), rows) if entry is not None else None
    if kept is not None and (not kept or entry is None or not _quotes_text(entry)):
        return kept
    rows = kept if kept is not None else rows
    program = None if entry is None or rows is None else _recorded_program(entry)
    if entry is not None and not entry.rows_hidden:
        entry.rows_hidden = True
        rows_of = f"the rows of statement {entry.number}"
        what = f"{rows_of} are not recorded: they quote its text"
        if program is not None:
            what = f"columns of {rows_of} are recorded as NULL: they may quote its text"
        session.recorder.note("masked", what)
    return b"" if program is None or rows is None else mask_rows(rows, 0, len(rows), program)


def _verdicts(entry: Entry) -> list[Verdict]:
    return [v for v in (entry.verdict, results.row_verdict(entry)) if v is not None]


def _quotes_text(entry: Entry) -> bool:
    return any(v.hidden_outputs is None or v.hidden_outputs for v in _verdicts(entry))


def _recorded_program(entry: Entry) -> RowProgram | None:
    verdicts = _verdicts(entry)
    numbers: set[int] = set()
    for verdict in verdicts:
        if verdict.hidden_outputs is None:
            return None
        numbers |= verdict.hidden_outputs
    columns = verdicts[-1].facts.columns
    return None if columns is None else _hiding(frozenset(numbers), len(columns))


@lru_cache(256)
def _hiding(numbers: frozenset[int], count: int) -> RowProgram:
    return RowProgram([null() if number in numbers else keep() for number in range(count)])


def _emit_substitute(session: SessionState, number: int) -> None:
    """What a handler gives the client in place of what it withheld."""
    _emit(session, number, session.stream.substitute)
    session.stream.substitute = b""


def _emit(session: SessionState, number: int, data: bytes, recorded: bytes | None = None) -> None:
    """``recorded``: what the recording gets in its place; nothing where it is empty."""
    session.to_client += data
    reply = data if recorded is None else recorded
    if number and reply:
        session.recorder.reply(number, reply)


def _rows(
    session: SessionState, entry: Entry | None, buffer: Buffer, start: int, end: int, count: int
) -> bytes | None:
    if entry is None:
        raise ProtocolError("rows although nothing was asked")
    if session.stream.withholding:
        return b""
    program = entry.program
    if program is None:
        if entry.kind in _ASKING:
            entry.value = acknowledgements.probe_value(buffer, start)
            return b""
        program = entry.program = _portal_program(session, entry)
    if program is KEEP:
        return _masked(session, entry, buffer, start, end, count, None)
    bound = session.limits.max_server_message
    if count == 1 and end - start > bound:
        row = masked_row(program, buffer, start, end, bound)
        if row is None:
            long_rows.too_long(session)
            return b""
        return _masked(session, entry, buffer, start, end, count, row)
    masked = mask_rows(buffer, start, end, program)
    return _masked(session, entry, buffer, start, end, count, masked)


def _masked(
    session: SessionState,
    entry: Entry,
    buffer: Buffer,
    start: int,
    end: int,
    count: int,
    masked: bytes | None,
) -> bytes | None:
    """Rows with their masks, counted by the bytes that the client gets. None: as they came."""
    if masked is None:
        end, whole_end = fitting(session, entry, count, buffer, start, end), end
        if end < whole_end:
            masked = bytes(buffer[start:end])
    else:
        masked = masked[: fitting(session, entry, count, masked, 0, len(masked))]
    return scanned_rows(session, entry, buffer, start, end, masked)


def _portal_program(session: SessionState, entry: Entry) -> Any:
    """How the rows of a portal pass that was described before."""
    portal = entry.portal
    if portal is None or portal.program is None or entry.kind is not Expect.EXECUTE:
        raise ProtocolError("rows that nothing was judged for")
    if not same(session.portals.confirmed.get(entry.name), portal):
        raise ProtocolError("a portal ran that is not the one that was judged")
    return portal.program


def _message(
    session: SessionState,
    entry: Entry | None,
    kind: int,
    buffer: Buffer,
    start: int,
    end: int,
    count: int,
) -> bytes | None:
    if kind in _MESSAGES:
        honest = backend.without_origin(bytes(buffer[start:end]))
        if honest is not None:
            replaced = _handled(session, entry, kind, honest, 0, len(honest), 1)
            return honest if replaced is None else replaced
    return _handled(session, entry, kind, buffer, start, end, count)


def _handled(
    session: SessionState,
    entry: Entry | None,
    kind: int,
    buffer: Buffer,
    start: int,
    end: int,
    count: int,
) -> bytes | None:
    handler = _ASYNC.get(kind)
    if handler is None:
        if entry is None:
            # an ErrorResponse that nothing waits for: the server is ending the connection
            if kind == 0x45:
                return failures.unasked_error(session, buffer, start, end)
            raise ProtocolError(f"message type 0x{kind:02x} although nothing was asked")
        handler = _REPLIES[entry.kind].get(kind)
        if handler is None:
            raise ProtocolError(f"message type 0x{kind:02x} in answer to {entry.kind.name}")
        if kind == _COPY_DATA:
            bound = session.limits.max_server_message
            if (
                count == 1
                and end - start > bound
                and entry.copy is not KEEP
                and not session.stream.withholding
            ):
                long_rows.too_long(session)
                return b""
            return results.copy_data_out(session, entry, buffer, start, end, count)
        elif kind in _NO_BODY and end - start != 5:
            raise ProtocolError(f"a message of type {chr(kind)!r} with a body, which it has not")
    replaced = handler(session, entry, buffer, start, end)
    if entry is not None and entry.hidden and kind not in (0x45, 0x4E, 0x53, 0x41):
        return b""
    return replaced


def _variant(entry: Entry) -> int:
    """A hash of the text, or of the bind values."""
    if entry.portal is not None and entry.portal.params:
        return hash(tuple(entry.portal.params))
    return entry.variant or hash(entry.sql or entry.prepared)


def _complete(session: SessionState) -> None:
    """Close the books on the statement that just ended, and move on to the next of its script."""
    completed = session.stream.completed
    session.stream.completed = None
    if completed is None:
        return
    entry, tag, sqlstate = completed
    session.counters.rows += entry.rows
    verdict = results.row_verdict(entry)
    if entry.rows and verdict is not None and verdict.masked_columns:
        session.count_masked(verdict.masked_columns, entry.rows)
    session.counters.bytes += entry.size
    if session.activity is not None and verdict is not None and not entry.refused_now:
        failed = bool(sqlstate or entry.withheld)
        variant = _variant(entry)
        session.activity.completed(verdict, entry.number, entry.rows, entry.size, failed, variant)
    if entry.number:
        outcome = sqlstate or entry.withheld
        session.recorder.complete(
            entry.number, tag, entry.rows, outcome, monotonic() - entry.started
        )
    if sqlstate:
        return
    if entry.kind is Expect.EXECUTE:
        session.pipeline.entries.popleft()
        return
    entry.index += 1
    entry.rows = entry.size = 0
    entry.copied, entry.withheld = False, ""
    entry.program = entry.copy = None
    script = entry.script
    if script is not None and entry.index < len(script.statements):
        entry.verdict = script.statements[entry.index]
        entry.number = entry.first_number + entry.index
        entry.started = monotonic()
    else:
        entry.verdict = None
        entry.number = 0


_NAMES: dict[str, Callable[..., bytes | None]] = {
    "row_description": results.row_description,
    "portal_description": results.portal_description,
    "statement_description": results.statement_description,
    "no_data": results.no_data,
    "parameter_description": results.parameter_description,
    "command_complete": results.command_complete,
    "empty_query": results.empty_query,
    "portal_suspended": results.portal_suspended,
    "copy_in_response": results.copy_in_response,
    "copy_out_response": results.copy_out_response,
    "copy_data_out": results.copy_data_out,
    "copy_done_out": results.copy_done_out,
    "parse_complete": acknowledgements.parse_complete,
    "bind_complete": acknowledgements.bind_complete,
    "close_complete": acknowledgements.close_complete,
    "ready": acknowledgements.ready,
    "error": failures.error,
    "notice": failures.notice,
    "parameter_status": failures.parameter_status,
    "notification": failures.notification,
    "own_complete": acknowledgements.own_complete,
    "own_error": acknowledgements.own_error,
    "ask_complete": acknowledgements.ask_complete,
    "dependant_dropped": results.dependant_dropped,
    "dependant_closed": acknowledgements.dependant_closed,
    "probe_ignored": acknowledgements.probe_ignored,
    "probe_ready": acknowledgements.probe_ready,
}
_REPLIES = {kind: {ord(t): _NAMES[h] for t, h in row.items()} for kind, row in REPLY_TABLE.items()}
_ASYNC = {ord(t): _NAMES[h] for t, h in ASYNC_TABLE.items()}
