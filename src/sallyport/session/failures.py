"""Errors, notices, settings and notifications from the server: what of them the client may read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sallyport.core.errors import ProtocolError
from sallyport.session.entries import Entry
from sallyport.session.results import row_verdict
from sallyport.session.states import ClientState, Expect
from sallyport.sql.facts import EffectKind
from sallyport.sql.search_path import split_search_path
from sallyport.wire import backend

if TYPE_CHECKING:
    from sallyport.session.machine import Session

Buffer = bytes | bytearray


def error(session: Session, entry: Entry, buffer: Buffer, start: int, end: int) -> bytes | None:
    """An error ends the statement, and in a pipeline everything up to Sync."""
    fields = backend.parse_error_fields(bytes(buffer[start + 5 : end]))
    sqlstate = fields.get("C", "XX000")
    session.meaning.may_revert()
    replaced = _treated(session, entry, fields, buffer, start, end)
    session.completed = (entry, "", sqlstate if entry.refusal is None else entry.refusal.sqlstate)
    if session.state is ClientState.COPY_IN:
        session.state, session.copy_entry = ClientState.READY, None
    if entry.kind is Expect.QUERY:
        entry.program = entry.copy = None
        return replaced
    if entry.kind is Expect.SYNC:  # COMMIT of the implicit transaction failed; ReadyForQuery follows
        return replaced
    entries = session.entries
    while entries and entries[0].kind is not Expect.SYNC:
        skipped = entries.popleft()
        if skipped.kind is Expect.DESCRIBE_PORTAL and skipped.portal is not None:
            skipped.portal.asked = skipped.portal.described
    if not entries:
        session.state = ClientState.SKIPPING
    return replaced


def _treated(
    session: Session, entry: Entry, fields: dict[str, str], buffer: Buffer, start: int, end: int
) -> bytes | None:
    fatal = fields.get("V", fields.get("S")) in ("FATAL", "PANIC")
    if (
        fields.get("C") == "25P02"
    ):  # the transaction had failed before: what PostgreSQL says of every statement
        return None
    if entry.refusal is not None and entry.refused_now and not fatal:
        return backend.refusal_error(entry.refusal)
    return _scrubbed(session, entry, fields, buffer, start, end)


def _scrubbed(
    session: Session, entry: Entry, fields: dict[str, str], buffer: Buffer, start: int, end: int
) -> bytes | None:
    """None when the message may pass as it is, else the message with whatever could quote data taken out."""
    if not session.view.has_masks:
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
    if not verdicts or deferred:
        # Deferred constraints and triggers of anything in the transaction may speak here.
        return _rebuild(session, buffer, start, end)
    if not any(v.scrub for v in verdicts):
        return None
    # Errors of analysis (class 42, with a cursor position in the query) name identifiers and types, never data.
    analysis = fields.get("C", "").startswith("42") and bool(fields.get("P"))
    if analysis and not any(v.opaque for v in verdicts):
        return None
    return _rebuild(session, buffer, start, end)


def _rebuild(session: Session, buffer: Buffer, start: int, end: int) -> bytes:
    body = backend.scrub_error(bytes(buffer[start + 5 : end]), session.view.identifiers)
    return bytes(buffer[start : start + 1]) + (len(body) + 4).to_bytes(4, "big") + body


def unasked_error(session: Session, buffer: Buffer, start: int, end: int) -> bytes | None:
    return _rebuild(session, buffer, start, end) if session.view.has_masks else None


def notice(session: Session, entry: Entry | None, buffer: Buffer, start: int, end: int) -> bytes | None:
    if entry is None:
        return _rebuild(session, buffer, start, end) if session.view.has_masks else None
    fields = backend.parse_error_fields(bytes(buffer[start + 5 : end]))
    return _scrubbed(session, entry, fields, buffer, start, end)


_REPORTED_PINS = {"client_encoding": "UTF8", "standard_conforming_strings": "on"}


def parameter_status(session: Session, entry: Entry | None, buffer: Buffer, start: int, end: int) -> None:
    status = backend.parse_parameter_status(bytes(buffer[start + 5 : end]))
    pinned = _REPORTED_PINS.get(status.name)
    if pinned is not None and status.value != pinned:
        raise ProtocolError(f"{status.name} is no longer {pinned}")
    session.meaning.reported(status.name, status.value)
    if status.name in ("session_authorization", "is_superuser"):
        raise ProtocolError(f"{status.name} changed")
    if status.name == "search_path" and split_search_path(status.value) != session.search_path:
        session.path_dirty = session.path_touched = True


def notification(session: Session, entry: Entry | None, buffer: Buffer, start: int, end: int) -> bytes | None:
    """Payloads come from other sessions, unmasked: whoever has masks gets the channel and an empty payload."""
    if not session.view.has_masks:
        return None
    found = backend.parse_notification(bytes(buffer[start + 5 : end]))
    body = found.pid.to_bytes(4, "big", signed=True) + found.channel.encode() + b"\0\0"
    return b"A" + (len(body) + 4).to_bytes(4, "big") + body
