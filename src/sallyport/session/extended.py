"""Extended query (protocol section 54.2.3): Parse, Bind, Describe, Execute, Close, Flush, Sync, pipelined at will."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from sallyport.core.errors import Refusal, refuse
from sallyport.judge import Verdict
from sallyport.session import effects, holding
from sallyport.session.entries import FAILING_SQL, NOWHERE, Entry
from sallyport.session.statements import Portal, Prepared, same, void_parameters
from sallyport.session.states import ClientState, Expect
from sallyport.sql.settings import show_allowed
from sallyport.wire import frontend
from sallyport.wire.fields import EncodingError

if TYPE_CHECKING:
    from sallyport.session.machine import Session

BLOCK = "block"

#: A client that pipelines without ever reading would grow the queue of expected replies: bounded.
MAX_ENTRIES = 200_000
MAX_NAMES = 20_000


def parse(session: Session, data: bytes | bytearray, start: int, end: int) -> str | None:
    """Parse: a refused text is replaced by one that fails in the server's own analysis."""
    try:
        message = frontend.parse_parse(bytes(data[start + 5 : end]))
    except EncodingError as error:
        return _refuse_parse(session, b"", b"", None, refuse("SP1501", str(error)))
    script = session.judge_script(message.sql, void_parameters(message.param_types))
    if script is None:
        return BLOCK
    verdict = script.statements[0] if script.statements else None
    if verdict is not None and effects.doubtful(session, verdict) and session.waits_for_answers():
        return BLOCK
    refusal: Refusal | None = None
    if holding.held_script(session, script) is not None:
        pass  # it may be prepared, described and bound; its Execute waits for a person
    elif script.refused >= 0:
        stopped = script.statements[script.refused] if script.statements else None
        refusal = holding.refusal_in(session, script, stopped) if stopped is not None else script.refusal
    elif session.special:
        gate = session.gate(verdict)
        if isinstance(gate, str):
            return gate
        refusal = gate
    if refusal is None and verdict is not None and verdict.typed_parameters:
        refusal = effects.converting_type(verdict, message.param_types)
    if refusal is None and verdict is not None and verdict.facts.cast_parameters:
        refusal = effects.converted_type(verdict, message.param_types)
    if refusal is not None:
        return _refuse_parse(session, message.name, message.sql, verdict, refusal)
    _bound_queue(session)
    name = effects.key(message.name)
    # Several statements in one Parse are an error that PostgreSQL raises itself: no statement comes of it.
    prepared = (
        Prepared(
            message.sql,
            verdict,
            session.view,
            types=message.param_types,
            declared=message.param_types,
        )
        if len(script.statements) < 2
        else None
    )
    session.statements.assume(name, prepared, session.step)
    session.entries.append(Entry(Expect.PARSE, 0, verdict, None, None, 0.0, name, prepared))
    session.to_server += data[start:end]
    session.unsynced = True
    return None


def _refuse_parse(
    session: Session, name: bytes, sql: bytes, verdict: Verdict | None, refusal: Refusal
) -> str | None:
    number = session.record(sql, verdict, refusal, "extended")
    session.entries.append(Entry(Expect.PARSE, number, None, None, refusal, monotonic()))
    # A failing Parse of the unnamed statement drops the old one; that of a name leaves everything as it is.
    session.to_server += frontend.parse(NOWHERE if name else b"", FAILING_SQL)
    return _skip(session)


def bind(session: Session, data: bytes | bytearray, start: int, end: int) -> str | None:
    """Bind: the statement it names is looked up, and judged again when something moved since its Parse."""
    message = frontend.parse_bind(bytes(data[start + 5 : end]))
    statement = effects.key(message.statement)
    prepared = session.statements.lookup(statement)
    refusal: Refusal | None = None
    verdict: Verdict | None = None
    if prepared is None:
        refusal = effects.unknown_statement(message.statement)
    elif session.statements.doubtful(statement, session.step):
        if session.waits_for_answers():
            return BLOCK
        refusal = effects.TWO_MEANINGS
    else:
        current = effects.current_verdict(session, prepared)
        if isinstance(current, Refusal):
            refusal = current
        else:
            verdict = current
            if verdict is not None and effects.doubtful(session, verdict) and session.waits_for_answers():
                return BLOCK
            if session.special:
                gate = session.gate(verdict)
                if isinstance(gate, str):
                    return gate
                refusal = gate
    if refusal is None and verdict is not None and verdict.facts.setting_parameters:
        refusal = _check_settings(verdict, message.params)
    session.unsynced = True
    _bound_queue(session)
    if refusal is not None or prepared is None:
        number = session.record(prepared.script if prepared else b"", verdict, refusal, "extended")
        session.entries.append(Entry(Expect.BIND, number, verdict, None, refusal, monotonic()))
        session.to_server += frontend.bind(b"", NOWHERE)
        return _skip(session)
    name = effects.key(message.portal)
    portal = Portal(prepared, verdict, session.view, False, message.params, message.param_formats, statement)
    session.portals.assume(name, portal, session.step)
    session.entries.append(Entry(Expect.BIND, 0, verdict, None, None, 0.0, name, prepared, portal))
    session.to_server += data[start:end]
    return None


def _check_settings(verdict: Verdict, params: list[bytes | None]) -> Refusal | None:
    """Parameters that name a setting (``current_setting($1)``) may only name one that SHOW would show."""
    for number in sorted(verdict.facts.setting_parameters):
        value = params[number - 1] if number <= len(params) else None
        name = value.decode("utf-8", "replace") if value is not None else None
        if name is not None and not show_allowed(name):
            return refuse(
                "SP1103",
                f"the gateway does not show the setting {name}",
                f"It is the value of parameter ${number}.",
                "SHOW shows the settings that may be read.",
            )
    return None


def describe(session: Session, data: bytes | bytearray, start: int, end: int) -> None:
    """Describe of a statement or portal; the answer for a portal fixes how its rows pass."""
    message = frontend.parse_describe(bytes(data[start + 5 : end]))
    name = effects.key(message.name)
    session.unsynced = True
    _bound_queue(session)
    if message.kind == b"S":
        prepared = session.statements.lookup(name)
        verdict = prepared.verdict if prepared else None
        session.entries.append(Entry(Expect.DESCRIBE_STATEMENT, 0, verdict, None, None, 0.0, name, prepared))
    else:
        portal = session.portals.lookup(name)
        if portal is not None:
            portal.asked = True
        else:
            session.entries.append(
                Entry(Expect.DESCRIBE_PORTAL, refusal=effects.unknown_portal(message.name))
            )
            session.to_server += frontend.describe(b"P", NOWHERE)
            return
        verdict = portal.verdict
        session.entries.append(Entry(Expect.DESCRIBE_PORTAL, 0, verdict, None, None, 0.0, name, None, portal))
    session.to_server += data[start:end]


def execute(session: Session, data: bytes | bytearray, start: int, end: int) -> str | None:
    """Execute: rows pass only after a RowDescription of this very portal was compared with the plan.

    A client need not ask for one (asyncpg describes the statement, once), so the gateway asks in its place and keeps the answer.
    """
    message = frontend.parse_execute(bytes(data[start + 5 : end]))
    name = effects.key(message.portal)
    portal = session.portals.lookup(name)
    doubtful = portal is not None and session.portals.doubtful(name, session.step)
    if doubtful and session.waits_for_answers():
        return BLOCK
    session.unsynced = True
    _bound_queue(session)
    if portal is None:
        return _refuse_execute(session, b"", None, effects.unknown_portal(message.portal))
    if doubtful:
        return _refuse_execute(session, portal.prepared.script, portal.verdict, effects.TWO_MEANINGS, portal)
    no = holding.ruled_out(session)
    if no is not None:
        return _refuse_execute(session, portal.prepared.script, no[1], no[0], portal)
    current = _still_allowed(session, portal, name)
    if isinstance(current, Refusal):
        return _refuse_execute(session, portal.prepared.script, portal.verdict, current, portal)
    portal = current
    refusal: Refusal | None = None
    verdict = portal.verdict
    if session.special:
        # The portal may live in this very pipeline: waiting for that to drain would wait for ever.
        gate = session.gate(verdict, may_wait=False)
        refusal = None if isinstance(gate, str) else gate
    if refusal is None and verdict is not None and verdict.held and not portal.approved:
        ruling = holding.rule(session, verdict, portal.prepared.script, portal)
        if isinstance(ruling, str):
            return ruling
        portal.approved, refusal = ruling is None, ruling
    assumed: dict[int, effects.Assumed] = {}
    moves = verdict is not None and (verdict.changes_search_path or verdict.changes_settings)
    if refusal is None and verdict is not None and (verdict.effects or moves):
        refusal = effects.assume(session, verdict, portal.prepared.script, assumed, 0)
        if refusal is None and not _runs_on(session, portal, assumed):
            refusal = effects.MOVED_MEANWHILE
    if refusal is not None:
        return _refuse_execute(session, portal.prepared.script, verdict, refusal, portal)
    number = session.record(portal.prepared.script, verdict, None, "extended", portal)
    session.executed = True
    if assumed:
        # What EXECUTE and FETCH name may have changed since the portal was described.
        portal.asked = False
    if not portal.asked and verdict is not None and (verdict.plan is not None or assumed):
        portal.asked = True
        session.entries.append(
            Entry(Expect.DESCRIBE_PORTAL, number, verdict, None, None, 0.0, name, None, portal, True)
        )
        session.to_server += frontend.describe(b"P", message.portal)
    entry = Entry(Expect.EXECUTE, number, verdict, None, None, monotonic(), name, portal.prepared, portal)
    entry.assumed = assumed or None
    session.entries.append(entry)
    session.to_server += data[start:end]
    return None


def _runs_on(session: Session, portal: Portal, assumed: dict[int, effects.Assumed]) -> bool:
    """A portal of EXECUTE or FETCH keeps the rows of its first run, whatever the name in it means later (PORTAL_UTIL_SELECT), and
    whatever names in that text mean later.
    """
    found = assumed.get(0)
    if found is None or found.rows is None:
        return True
    meant = (session.search_path, found.rows.facts.columns)
    if portal.ran is None:
        portal.ran, portal.ran_as = found.value, meant
    return same(portal.ran, found.value) and portal.ran_as == meant


def _still_allowed(session: Session, portal: Portal, name: bytes) -> Portal | Refusal:
    """Judge again when policy, catalog or settings moved since Bind (a suspended or pipelined portal)."""
    if session.generation != session.judge.generation:
        session.bind_view()
    if portal.view is session.view:
        return portal
    current = effects.current_portal_verdict(session, portal)
    if isinstance(current, Refusal):
        return current
    if session.portals.confirmed.get(name) is not portal:
        return effects.MOVED_MEANWHILE
    # Rows of an earlier Execute may still be on their way under the old plan: the new one gets a portal of its own. An approval was
    # given under the old rules: what is left of the portal is asked about again.
    again = replace(
        portal, verdict=current, view=session.view, asked=False, described=False, program=None, approved=False
    )
    session.portals.confirm(name, again)
    session.portals.assume(name, again, session.step)
    return again


def _refuse_execute(
    session: Session, sql: bytes, verdict: Verdict | None, refusal: Refusal, portal: Portal | None = None
) -> str | None:
    number = session.record(sql, verdict, refusal, "extended", portal)
    session.entries.append(Entry(Expect.EXECUTE, number, verdict, None, refusal, monotonic()))
    session.to_server += frontend.execute(NOWHERE)
    return _skip(session)


def _skip(session: Session) -> str | None:
    """What was just forwarded fails at the server, which then ignores everything until Sync; so does the session, and records nothing of it."""
    session.unsynced = True
    session.state = ClientState.SKIPPING
    return None


def close(session: Session, data: bytes | bytearray, start: int, end: int) -> None:
    message = frontend.parse_close(bytes(data[start + 5 : end]))
    name = effects.key(message.name)
    if message.kind == b"S":
        session.statements.assume(name, None, session.step)
    else:
        session.portals.assume(name, None, session.step)
    _bound_queue(session)
    entry = Entry(Expect.CLOSE, name=name)
    entry.value = message.kind.decode()
    session.entries.append(entry)
    session.to_server += data[start:end]
    session.unsynced = True


def flush(session: Session, data: bytes | bytearray, start: int, end: int) -> None:
    frontend.parse_flush(bytes(data[start + 5 : end]))
    session.to_server += data[start:end]


def sync(session: Session, data: bytes | bytearray, start: int, end: int) -> None:
    frontend.parse_sync(bytes(data[start + 5 : end]))
    _bound_queue(session)
    session.entries.append(Entry(Expect.SYNC))
    session.to_server += data[start:end]
    session.unsynced = session.executed = False
    session.step += 1
    session.state = ClientState.READY


def _bound_queue(session: Session) -> None:
    names = len(session.statements.confirmed) + len(session.portals.confirmed)
    if len(session.entries) > MAX_ENTRIES or names > MAX_NAMES:
        session.violation("too many messages or prepared statements are outstanding")
