"""Descriptions of results, their ends, and COPY responses: how the rows of a statement pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sallyport.core.errors import ProtocolError, Refusal
from sallyport.judge import Verdict
from sallyport.session import effects
from sallyport.session.entries import Entry
from sallyport.session.programs import KEEP, compile_copy_out, compile_result
from sallyport.session.statements import same
from sallyport.session.states import ClientState, Expect
from sallyport.session.withhold import MISMATCH, withhold
from sallyport.sql.facts import EffectKind
from sallyport.wire import backend, frontend

if TYPE_CHECKING:
    from sallyport.session.machine import Session

Buffer = bytes | bytearray


def row_verdict(entry: Entry) -> Verdict | None:
    """The verdict that this statement's rows follow: its own, or that of what EXECUTE and FETCH name."""
    if entry.assumed is not None:
        assumed = entry.assumed.get(entry.index)
        if assumed is not None and assumed.rows is not None:
            return assumed.rows
    return entry.verdict


def _holds(session: Session, entry: Entry) -> bool:
    assumed = entry.assumed.get(entry.index) if entry.assumed is not None else None
    return assumed is None or effects.holds(session, assumed)


def row_description(session: Session, entry: Entry, buffer: Buffer, start: int, end: int) -> bytes | None:
    if entry.refused_now or not _holds(session, entry):
        raise ProtocolError("a statement ran that is not the one that was judged")
    if session.withholding:
        return b""
    entry.program = compile_result(session.view, row_verdict(entry), bytes(buffer[start + 5 : end]))
    if entry.program is None:
        return withhold(session, MISMATCH)
    return None


def _describe_portal(session: Session, entry: Entry, buffer: Buffer, start: int, end: int) -> bytes | None:
    portal = entry.portal
    verdict = entry.verdict
    if portal is None:
        raise ProtocolError("a portal that nothing was judged for")
    if not same(session.portals.confirmed.get(entry.name), portal):
        raise ProtocolError("a portal was described that is not the one that was judged")
    assumed = _execute_behind(session, entry)
    if assumed is not None:
        if not effects.holds(session, assumed):
            raise ProtocolError("a statement ran that is not the one that was judged")
        verdict = assumed.rows
    elif verdict is not None and _dynamic(verdict):
        verdict = _resolve_dynamic(session, verdict)
    portal.program = compile_result(session.view, verdict, bytes(buffer[start + 5 : end]))
    if portal.program is None:
        return withhold(session, MISMATCH)
    portal.described = True
    return None


def _dynamic(verdict: Verdict) -> bool:
    return any(e.kind in (EffectKind.EXECUTE, EffectKind.FETCH) for e in verdict.effects)


def _execute_behind(session: Session, entry: Entry) -> effects.Assumed | None:
    """What the Execute of this portal, already forwarded behind this Describe, was taken to run."""
    for later in session.entries:
        if later.kind is Expect.EXECUTE and later.portal is entry.portal and later.assumed is not None:
            return later.assumed.get(0)
    return None


def _resolve_dynamic(session: Session, verdict: Verdict) -> Verdict | None:
    """EXECUTE and FETCH described before they are executed: the plan is that of what they name now."""
    for effect in verdict.effects:
        name = effects.key(effect.name)
        found: Any = None
        if effect.kind is EffectKind.EXECUTE:
            found = session.statements.confirmed.get(name)
        elif effect.kind is EffectKind.FETCH:
            portal = session.portals.confirmed.get(name)
            found = portal.prepared if portal is not None else None
        if found is not None:
            current = effects.current_verdict(session, found)
            return None if isinstance(current, Refusal) else current
    return None


def statement_description(
    session: Session, entry: Entry, buffer: Buffer, start: int, end: int
) -> bytes | None:
    """Describe of a statement: shown, and compared, but rows follow the portal's own description."""
    # By now it is known which statement has the name: a Parse behind which this was pipelined may have failed.
    actual = session.statements.confirmed.get(entry.name)
    verdict = actual.verdict if actual is not None else None
    if verdict is not None and _dynamic(verdict):
        verdict = _resolve_dynamic(session, verdict)
    fits = compile_result(session.view, verdict, bytes(buffer[start + 5 : end])) is not None
    withheld = None if fits else withhold(session, MISMATCH)
    session.entries.popleft()
    return withheld


def no_data(session: Session, entry: Entry, buffer: Buffer, start: int, end: int) -> None:
    if entry.portal is not None:
        entry.portal.described = True
    session.entries.popleft()


def portal_description(session: Session, entry: Entry, buffer: Buffer, start: int, end: int) -> bytes | None:
    replaced = _describe_portal(session, entry, buffer, start, end)
    if session.entries and session.entries[0] is entry:
        session.entries.popleft()
        following = session.entries[0] if session.entries else None
        if following is not None and following.kind is Expect.EXECUTE and following.portal is entry.portal:
            following.program = entry.portal.program if entry.portal is not None else None
    return replaced


def parameter_description(session: Session, entry: Entry, buffer: Buffer, start: int, end: int) -> None:
    """Kept for the recording: what a binary parameter means is not seen from its bytes."""
    if entry.prepared is not None:
        entry.prepared.types = backend.parse_parameter_description(bytes(buffer[start + 5 : end]))


def command_complete(session: Session, entry: Entry, buffer: Buffer, start: int, end: int) -> bytes | None:
    if entry.refused_now:
        raise ProtocolError("a refused statement was answered with success")
    verdict = entry.verdict
    if not _holds(session, entry):
        raise ProtocolError("a statement ran that is not the one that was judged")
    if verdict is not None and verdict.effects:
        assumed = entry.assumed.get(entry.index) if entry.assumed is not None else None
        effects.apply(session, verdict, assumed)
    session.completed = (entry, _tag(buffer, start, end), "")
    return None


def _tag(buffer: Buffer, start: int, end: int) -> str:
    return buffer[start + 5 : end - 1].decode("ascii", "replace")


def empty_query(session: Session, entry: Entry, buffer: Buffer, start: int, end: int) -> None:
    session.completed = (entry, "", "")


def portal_suspended(session: Session, entry: Entry, buffer: Buffer, start: int, end: int) -> None:
    session.completed = (entry, "SUSPENDED", "")


def copy_in_response(session: Session, entry: Entry, buffer: Buffer, start: int, end: int) -> bytes | None:
    verdict = entry.verdict
    if verdict is None or not any(e.kind is EffectKind.COPY_IN for e in verdict.effects):
        raise ProtocolError("COPY IN that nothing was judged for")
    entry.copied = True
    if session.withholding:
        return _end_copy_in(session)
    session.state = ClientState.COPY_IN
    session.copy_entry = entry
    # Sync messages already on their way are read, and ignored, by the server's COPY (CopyGetData).
    while len(session.entries) > 1 and session.entries[1].kind is Expect.SYNC:
        del session.entries[1]
        session.unsynced = True
    return None


def _end_copy_in(session: Session) -> bytes:
    """The client was told of an error and sends no data. Its Sync messages were read by the COPY, so the server gets them again."""
    session.to_server += frontend.copy_fail("the result before it was withheld")
    entries = session.entries
    if entries[0].kind is Expect.EXECUTE:
        session.to_server += frontend.sync() * sum(e.kind is Expect.SYNC for e in entries)
    return b""


def copy_out_response(session: Session, entry: Entry, buffer: Buffer, start: int, end: int) -> bytes | None:
    if session.withholding:
        return b""
    entry.copy = compile_copy_out(session.view, entry.verdict, bytes(buffer[start + 5 : end]))
    if entry.copy is None:
        return withhold(session, MISMATCH)
    return None


def copy_data_out(session: Session, entry: Entry, buffer: Buffer, start: int, end: int) -> bytes | None:
    if session.withholding:
        return b""
    if entry.copy is None:
        raise ProtocolError("COPY data that nothing was judged for")
    if entry.copy is KEEP:
        return None
    masked: bytes = entry.copy.feed(buffer, start, end)
    return masked


def copy_done_out(session: Session, entry: Entry, buffer: Buffer, start: int, end: int) -> None:
    return None
