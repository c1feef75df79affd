"""Errors, notices, settings and notifications from the server: what of them the client may read."""

from __future__ import annotations

from dataclasses import replace

from sallyport.core.errors import PinMovedError, ProtocolError, refuse
from sallyport.session import effects, pipeline_block, two_phase
from sallyport.session.server import long_rows, violations
from sallyport.session.server.entries import Entry, untrusted
from sallyport.session.server.results import row_verdict
from sallyport.session.server.stream import Completion
from sallyport.session.state import SessionState
from sallyport.session.states import ClientState, Expect
from sallyport.sql.facts import EffectKind
from sallyport.sql.names.search_path import split_search_path
from sallyport.wire import backend
from sallyport.wire.fields import message as wire_message
from sallyport.wire.scrubbing import scrub_error, with_position

Buffer = bytes | bytearray

#: SQLSTATE of dependent_objects_still_exist.
_HAS_DEPENDANTS = "2BP01"
#: SQLSTATE of program_limit_exceeded: among others, of a row longer than the server can send.
_TOO_LARGE = "54000"
#: SQLSTATE of "there is already a transaction in progress".
_ALREADY_OPEN = "25001"
CASCADE_REACHES = refuse(
    "SP1102",
    "DROP ... CASCADE would drop other objects",
    "Other objects depend on what is to be dropped.",
    "Drop the dependent objects first, each by name.",
)


def error(
    session: SessionState, entry: Entry, buffer: Buffer, start: int, end: int
) -> bytes | None:
    """An error ends the statement, and in a pipeline everything up to Sync."""
    fields = backend.parse_error_fields(bytes(buffer[start + 5 : end]))
    sqlstate = fields.get("C", "XX000")
    session.settings.on_transaction_end()
    effects.on_failed(session)
    replaced = _treated(session, entry, fields, buffer, start, end)
    if two_phase.concerns(entry.verdict):
        said = bytes(buffer[start:end]) if replaced is None else replaced
        replaced = two_phase.without_prefix(said, session.names.subject)
    if session.series is not None:
        session.series.failed = True
    ended_with = sqlstate if entry.refusal is None else entry.refusal.sqlstate
    session.stream.completed = Completion(entry, "", ended_with)
    if session.client_state is ClientState.COPY_IN:
        session.client_state, session.pipeline.copy_entry = ClientState.READY, None
    if entry.kind is Expect.QUERY:
        entry.program = entry.copy = None
        return replaced
    # COMMIT of the implicit transaction failed; ReadyForQuery follows
    if entry.kind is Expect.SYNC:
        return replaced
    warning = pipeline_block.on_error(session, entry)
    if warning:
        replaced = warning + (bytes(buffer[start:end]) if replaced is None else replaced)
    entries = session.pipeline.entries
    while entries and entries[0].kind is not Expect.SYNC:
        skipped = entries.popleft()
        if skipped.kind is Expect.DESCRIBE_PORTAL and skipped.portal is not None:
            skipped.portal.asked = skipped.portal.described
    if not entries:
        session.client_state = ClientState.SKIPPING
    return replaced


def is_fatal(fields: dict[str, str]) -> bool:
    """Whether the server ends the connection with this error."""
    return fields.get("V", fields.get("S")) in ("FATAL", "PANIC")


def readable(
    session: SessionState,
    entry: Entry,
    fields: dict[str, str],
    buffer: Buffer,
    start: int,
    end: int,
) -> bytes:
    """An ErrorResponse or NoticeResponse as the client gets it."""
    replaced = _readable(session, entry, fields, buffer, start, end)
    return bytes(buffer[start:end]) if replaced is None else replaced


def _treated(
    session: SessionState,
    entry: Entry,
    fields: dict[str, str],
    buffer: Buffer,
    start: int,
    end: int,
) -> bytes | None:
    fatal = is_fatal(fields)
    # the transaction had failed before: what PostgreSQL says of every statement
    if fields.get("C") == "25P02":
        return None
    if entry.refusal is not None and entry.refused_now and not fatal:
        return _shifted(backend.refusal_error(entry.refusal), entry)
    if fields.get("C") == _HAS_DEPENDANTS and _is_of_cascade(session, entry):
        detail = "" if session.names.subject_judge.has_masks else fields.get("D", "")
        return backend.refusal_error(
            replace(CASCADE_REACHES, detail=detail or CASCADE_REACHES.detail)
        )
    if fields.get("C") == _TOO_LARGE and not fatal and _masks_rows(entry):
        # how long its masked values are must not decide which of both finds the row too long
        return backend.refusal_error(long_rows.refusal(session))
    return _readable(session, entry, fields, buffer, start, end)


def _masks_rows(entry: Entry) -> bool:
    verdict = row_verdict(entry)
    return verdict is not None and verdict.plan is not None and verdict.plan.masked


def _is_of_cascade(session: SessionState, entry: Entry) -> bool:
    """Whether the statement said CASCADE, or the gateway drops what depends on one that did."""
    if entry.verdict is None:
        return False
    running = session.series.running if session.series is not None else None
    is_own = entry.kind is Expect.DEPENDANT or (running is not None and running.is_own)
    return entry.verdict.facts.cascades or is_own


def _readable(
    session: SessionState,
    entry: Entry,
    fields: dict[str, str],
    buffer: Buffer,
    start: int,
    end: int,
) -> bytes | None:
    """None when the message may pass as it is, else what the client gets: without data, and with a
    position in its own text.
    """
    replaced = _scrubbed(session, entry, fields, buffer, start, end)
    if replaced is None and not untrusted(entry.verdict, entry.pending_now):
        violation = violations.without_untrusted(session.names.subject_judge, fields)
        if violation is not None:
            replaced = wire_message(buffer[start], backend.error_body(violation))
    rewriting = entry.rewriting if "P" in fields else None
    if rewriting is None and not (entry.shift and "P" in fields):
        return replaced
    message = bytes(buffer[start:end]) if replaced is None else replaced
    if rewriting is not None:
        message = with_position(message, rewriting.character)
    return _shifted(message, entry)


def _shifted(message: bytes, entry: Entry) -> bytes:
    """An error or notice with its position in the text that the client sent, of which the statement
    may be a part.
    """
    return with_position(message, lambda at: at + entry.shift) if entry.shift else message


def _scrubbed(
    session: SessionState,
    entry: Entry,
    fields: dict[str, str],
    buffer: Buffer,
    start: int,
    end: int,
) -> bytes | None:
    """None when the message may pass as it is, else the message with whatever could quote data
    taken out.
    """
    if not session.names.subject_judge.has_masks:
        return None
    verdicts = [v for v in (entry.verdict, row_verdict(entry)) if v is not None]
    verdicts += [v.inner for v in verdicts if v.inner is not None]
    deferred = any(
        v.facts.kind == "set_constraints" or any(e.kind is EffectKind.COMMIT for e in v.effects)
        for v in verdicts
    )
    if entry.script is not None:
        # The implicit transaction of a script ends with its last statement.
        verdicts += entry.script.statements[: entry.index]
    is_own = bool(verdicts) and not any(v.opaque for v in verdicts)
    if deferred:  # constraints and triggers of anything in the transaction may speak here
        is_own = is_own and not session.names.temporary.is_open
    if verdicts and not deferred and not any(v.scrub for v in verdicts):
        return None
    if is_own and fields.get("C") == violations.NO_PRIVILEGE:
        return None
    violation = violations.named(session.names.subject_judge, fields) if is_own else None
    if violation is not None:
        return wire_message(buffer[start], backend.error_body(violation))
    if not verdicts or deferred:
        return _rebuild(session, buffer, start, end)
    # Errors of analysis (class 42, with a cursor position in the query) name identifiers and types,
    # never data.
    analysis = fields.get("C", "").startswith("42") and bool(fields.get("P"))
    if analysis and not any(v.opaque for v in verdicts):
        return None
    return _rebuild(session, buffer, start, end)


def _rebuild(session: SessionState, buffer: Buffer, start: int, end: int) -> bytes:
    body = scrub_error(bytes(buffer[start + 5 : end]), session.names.subject_judge.identifiers)
    return wire_message(buffer[start], body)


def unasked_error(session: SessionState, buffer: Buffer, start: int, end: int) -> bytes | None:
    """An ErrorResponse that answers no statement. None: it passes; bytes take its place."""
    return _rebuild(session, buffer, start, end) if session.names.hides_data else None


def notice(
    session: SessionState, entry: Entry | None, buffer: Buffer, start: int, end: int
) -> bytes | None:
    """A NoticeResponse. None: it passes as it is; bytes take its place."""
    if entry is None:
        return unasked_error(session, buffer, start, end)
    fields = backend.parse_error_fields(bytes(buffer[start + 5 : end]))
    series = session.series
    if series is not None and series.drops_warning(fields.get("C", "")):
        return b""
    if entry.kind in (Expect.OWN, Expect.EXECUTE) and _is_of_begin(session, entry, fields):
        return b""
    if series is not None and series.is_outside and entry.kind is Expect.OWN:
        series.kept += readable(session, entry, fields, buffer, start, end)
        return b""
    return _readable(session, entry, fields, buffer, start, end)


def _is_of_begin(session: SessionState, entry: Entry, fields: dict[str, str]) -> bool:
    """Whether a warning comes only because the gateway opens a block inside a pipeline: there is
    one already.
    """
    if fields.get("C") != _ALREADY_OPEN or session.series is not None:
        return False
    return entry.kind is Expect.OWN or session.pipeline.is_adopted


#: Of UTF8, UNICODE is the one alias that PostgreSQL reports as it was set (check_client_encoding in
#: variable.c).
_REPORTED_PINS = {
    "client_encoding": ("UTF8", "UNICODE"),
    "standard_conforming_strings": ("on",),
}


def parameter_status(
    session: SessionState, entry: Entry | None, buffer: Buffer, start: int, end: int
) -> bytes | None:
    """A setting has changed. While statements are sent one by one the client gets it at their end,
    as from PostgreSQL.
    """
    status = backend.parse_parameter_status(bytes(buffer[start + 5 : end]))
    pinned = _REPORTED_PINS.get(status.name)
    if pinned is not None and status.value not in pinned:
        raise ProtocolError(f"{status.name} is no longer {pinned[0]}")
    session.settings.on_reported(status.name, status.value)
    if status.name in ("session_authorization", "is_superuser"):
        raise ProtocolError(f"{status.name} changed")
    if status.name == "search_path":
        path = split_search_path(status.value)
        if session.names.is_moved_by_itself(path):
            raise PinMovedError("code that the statement ran changed search_path")
        session.names.on_path_reported(path)
    if session.series is None:
        session.settings.told[status.name] = status.value
        return None
    session.series.settings[status.name] = status.value
    return b""


def notification(
    session: SessionState, entry: Entry | None, buffer: Buffer, start: int, end: int
) -> bytes | None:
    """With the process id that the notifying client knows to be its own. Payloads come from other
    sessions, unmasked: whoever has masks gets the channel and an empty payload.
    """
    parsed = backend.parse_notification(bytes(buffer[start + 5 : end]))
    payload = "" if session.names.hides_data else parsed.payload
    pid = session.backends.get(parsed.pid, parsed.pid)
    body = b"%b%b\0%b\0" % (
        pid.to_bytes(4, "big", signed=True),
        parsed.channel.encode(),
        payload.encode(),
    )
    message = wire_message(ord("A"), body)
    if session.series is None:
        return message
    session.series.notifications += message
    return b""
