"""Extended query (protocol section 54.2.3): from Parse to Sync, pipelined at will."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic

from sallyport.core.errors import Refusal, refuse
from sallyport.core.subject import Subject
from sallyport.judge import ParsePermit, RunPermit, ScriptVerdict, Verdict, internal_refusal
from sallyport.session import effects, holding, pipeline_block, questions
from sallyport.session.clearance import clearance, looks_up_names
from sallyport.session.client import dependants, description, renewal
from sallyport.session.judging import judge_script
from sallyport.session.server.entries import Entry, PendingEffect
from sallyport.session.setting_parameters import check_settings_bound
from sallyport.session.state import SessionState
from sallyport.session.statements import TOO_MANY, Portal, Prepared, same
from sallyport.session.states import Clearance, ClientState, Expect, Handled
from sallyport.wire import frontend
from sallyport.wire.fields import EncodingError

#: A client that pipelines without ever reading would grow the queue of expected replies: bounded.
MAX_ENTRIES = 200_000
MANY_STATEMENTS = refuse(
    "SP1101",
    "cannot insert multiple commands into a prepared statement",
    hint="Prepare each statement by itself, or send them without parameters in one Query.",
)


def parse(session: SessionState, data: bytes | bytearray, start: int, end: int) -> Handled:
    """Parse: a refused text is replaced by one that fails in the server's own analysis."""
    try:
        message = frontend.parse_parse(bytes(data[start + 5 : end]))
    except EncodingError as error:
        return _refuse_parse(session, b"", b"", None, refuse("SP1501", str(error)))
    token_renewal = renewal.find_renewal(message.sql)
    if isinstance(token_renewal, Refusal):
        return _refuse_parse(session, message.name, renewal.NOT_RECORDED, None, token_renewal)
    own = renewal.RENEWED
    if token_renewal is None:
        own = description.own_text(session, message.sql)
    if own is not message.sql:
        message = message._replace(sql=own)
        data = frontend.parse(message.name, message.sql, message.param_types)
        start, end = 0, len(data)
    canceled = holding.was_canceled(session)
    if canceled is not None:
        return _refuse_parse(session, message.name, message.sql, None, canceled)
    if pipeline_block.settle(session):
        return Handled.LATER
    script = judge_script(session, message.sql, message.param_types)
    if script is None:
        return Handled.LATER
    verdict = script.statements[0] if script.statements else None
    if verdict is not None and verdict.resolves_names and questions.settle_names(session):
        return Handled.LATER
    if (
        verdict is not None
        and effects.is_ambiguous(session, verdict)
        and session.waits_for_answers()
    ):
        return Handled.LATER
    cleared = _clear_parse(session, script, message)
    if isinstance(cleared, Clearance):
        return Handled.LATER
    if isinstance(cleared, Refusal):
        return _refuse_parse(session, message.name, message.sql, verdict, cleared)
    _bound_queue(session)
    name = effects.key(message.name)
    # Several statements in one Parse are an error that PostgreSQL raises itself: no statement comes
    # of it.
    prepared = _prepared(session, script, message) if len(script.statements) < 2 else None
    if prepared is not None and token_renewal is not None:
        prepared.token = token_renewal.token
    session.statements.assume(name, prepared, session.pipeline.step)
    session.pipeline.entries.append(
        Entry(Expect.PARSE, 0, verdict, None, None, 0.0, name, prepared)
    )
    sent: bytes | bytearray = data[start:end]
    if script.rewritten is not None:
        sent = frontend.parse(message.name, script.sent(message.sql), message.param_types)
    session.to_server.prepare(cleared, sent)
    session.pipeline.unsynced = True
    return Handled.DONE


def _clear_parse(
    session: SessionState, script: ScriptVerdict, message: frontend.Parse
) -> Refusal | Clearance | ParsePermit:
    """Whether a text may be prepared. A held one may be prepared, described and bound; its Execute
    waits for a person.
    """
    verdict = script.statements[0] if script.statements else None
    refusal = _refusal_in(session, script)
    if refusal is not None:
        return refusal
    is_allowed = script.refused < 0 and holding.held_script(session, script) is None
    if is_allowed and session.needs_clearance:
        cleared = clearance(session, verdict)
        if cleared is not Clearance.GO:
            return cleared
    if verdict is not None and message.param_types:
        refusal = session.names.subject_judge.check_declared_types(verdict, message.param_types)
        if refusal is not None:
            return refusal
    if session.statements.is_full(effects.key(message.name)):
        return TOO_MANY
    return script.permit or internal_refusal()


def _refusal_in(session: SessionState, script: ScriptVerdict) -> Refusal | None:
    """Why no statement comes of a text; None where it is allowed, or waits for people."""
    if script.refused < 0:
        return None
    if script.count > 1:
        return MANY_STATEMENTS
    if holding.held_script(session, script) is not None:
        return None
    if not script.statements:
        return script.refusal
    return holding.refusal_in(session, script, script.statements[script.refused])


def _prepared(session: SessionState, script: ScriptVerdict, message: frontend.Parse) -> Prepared:
    return Prepared(
        message.sql,
        script.statements[0] if script.statements else None,
        session.names.subject_judge,
        types=message.param_types,
        declared=message.param_types,
        script_verdict=script,
    )


def _refuse_parse(
    session: SessionState, name: bytes, sql: bytes, verdict: Verdict | None, refusal: Refusal
) -> Handled:
    number = session.record_statement(sql, verdict, refusal, "extended")
    session.pipeline.entries.append(Entry(Expect.PARSE, number, None, None, refusal, monotonic()))
    session.to_server.refuse_parse(is_named=bool(name))
    return _skip(session)


def bind(session: SessionState, data: bytes | bytearray, start: int, end: int) -> Handled:
    """Bind: the statement it names is looked up, and judged again when something moved since its
    Parse.
    """
    message = frontend.parse_bind(bytes(data[start + 5 : end]))
    statement = effects.key(message.statement)
    prepared = session.statements.lookup(statement)
    named = prepared.verdict if prepared is not None else None
    looks_up = named is not None and named.resolves_names
    if looks_up and (questions.settle_names(session) or pipeline_block.settle(session)):
        return Handled.LATER
    current = _current_for_bind(session, statement, prepared, message.statement)
    if current is Clearance.WAIT:
        return Handled.LATER
    verdict = current if isinstance(current, Verdict) else None
    if prepared is None or isinstance(current, Refusal):
        refusal = (
            current
            if isinstance(current, Refusal)
            else effects.unknown_statement(message.statement)
        )
        return _refuse_bind(session, prepared, verdict, refusal)
    cleared = _clear_bind(session, prepared, verdict, message)
    if isinstance(cleared, Clearance):
        return Handled.LATER
    if isinstance(cleared, Refusal):
        return _refuse_bind(session, prepared, verdict, cleared)
    session.pipeline.unsynced = True
    _bound_queue(session)
    name, judged_by = effects.key(message.portal), session.names.subject_judge
    params, formats, inside = message.params, message.param_formats, session.pipeline.has_savepoint
    portal = Portal(prepared, verdict, judged_by, params, formats, statement, inside)
    session.portals.assume(name, portal, session.pipeline.step)
    session.pipeline.entries.append(
        Entry(Expect.BIND, 0, verdict, None, None, 0.0, name, prepared, portal)
    )
    session.to_server.prepare(cleared, data[start:end])
    if verdict is not None and verdict.runs_unknown_code:
        session.names.temporary.on_unknown_code()  # planning runs immutable functions
    return Handled.DONE


def _refuse_bind(
    session: SessionState, prepared: Prepared | None, verdict: Verdict | None, refusal: Refusal
) -> Handled:
    session.pipeline.unsynced = True
    _bound_queue(session)
    number = session.record_statement(
        prepared.script if prepared else b"", verdict, refusal, "extended"
    )
    session.pipeline.entries.append(Entry(Expect.BIND, number, verdict, None, refusal, monotonic()))
    session.to_server.refuse_bind()
    return _skip(session)


def _current_for_bind(
    session: SessionState, key: bytes, prepared: Prepared | None, name: bytes
) -> Verdict | Refusal | Clearance:
    """The verdict in force of the statement that a Bind names. GO: it is an empty one. WAIT: what
    the name means is not certain.
    """
    canceled = holding.was_canceled(session)
    if canceled is not None:
        return canceled
    if session.statements.is_ambiguous(key, session.pipeline.step):
        return Clearance.WAIT if session.waits_for_answers() else effects.TWO_MEANINGS
    if prepared is None:
        return effects.unknown_statement(name)
    current = effects.current_verdict(session, prepared)
    if (
        isinstance(current, Verdict)
        and effects.is_ambiguous(session, current)
        and session.waits_for_answers()
    ):
        return Clearance.WAIT
    return Clearance.GO if current is None else current


def _clear_bind(
    session: SessionState, prepared: Prepared, verdict: Verdict | None, message: frontend.Bind
) -> Refusal | Clearance | ParsePermit:
    if session.needs_clearance:
        cleared = clearance(session, verdict)
        if cleared is not Clearance.GO:
            return cleared
    if verdict is not None and not verdict.plain:
        policy = session.names.subject_judge.subject_policy
        refusal = check_settings_bound(verdict, policy, message.params, prepared.types)
        if refusal is not None:
            return refusal
    if session.portals.is_full(effects.key(message.portal)):
        return TOO_MANY
    return prepared.permit(verdict) or internal_refusal()


def describe(session: SessionState, data: bytes | bytearray, start: int, end: int) -> Handled:
    """Describe of a statement or portal; the answer for a portal fixes how its rows pass."""
    message = frontend.parse_describe(bytes(data[start + 5 : end]))
    name = effects.key(message.name)
    session.pipeline.unsynced = True
    _bound_queue(session)
    entries = session.pipeline.entries
    if message.kind == b"S":
        prepared = session.statements.lookup(name)
        verdict = prepared.verdict if prepared else None
        entries.append(
            Entry(Expect.DESCRIBE_STATEMENT, 0, verdict, None, None, 0.0, name, prepared)
        )
    else:
        portal = session.portals.lookup(name)
        if portal is None:
            entries.append(
                Entry(Expect.DESCRIBE_PORTAL, refusal=effects.unknown_portal(message.name))
            )
            session.to_server.refuse_describe()
            return Handled.DONE
        portal.asked = True
        entries.append(
            Entry(Expect.DESCRIBE_PORTAL, 0, portal.verdict, None, None, 0.0, name, None, portal)
        )
    session.to_server.control(data[start:end])
    return Handled.DONE


def execute(session: SessionState, data: bytes | bytearray, start: int, end: int) -> Handled:
    """Execute: rows pass only after a RowDescription of this very portal was compared with the
    plan.

    A client need not ask for one (asyncpg describes the statement, once), so the gateway asks in
    its place and keeps the answer.
    """
    message = frontend.parse_execute(bytes(data[start + 5 : end]))
    name = effects.key(message.portal)
    portal = session.portals.lookup(name)
    is_ambiguous = portal is not None and session.portals.is_ambiguous(name, session.pipeline.step)
    if _waits_to_execute(session, portal, is_ambiguous):
        return Handled.LATER
    session.pipeline.unsynced = True
    _bound_queue(session)
    if portal is None:
        return _refuse_execute(session, b"", None, effects.unknown_portal(message.portal))
    script = portal.prepared.script
    if is_ambiguous:
        return _refuse_execute(session, script, portal.verdict, effects.TWO_MEANINGS, portal)
    denied = holding.denied(session)
    if denied is not None:
        return _refuse_execute(session, script, denied[1], denied[0], portal)
    outcome: Handled | Refusal | Subject | None = None
    if portal.prepared.token is not None:
        outcome = renewal.renew(session, portal.prepared.token)
        if outcome is Handled.LATER:
            return Handled.LATER
        if isinstance(outcome, Refusal):
            return _refuse_execute(session, script, portal.verdict, outcome, portal)
    current = _still_allowed(session, portal, name)
    if isinstance(current, Refusal):
        return _refuse_execute(session, script, portal.verdict, current, portal)
    pending: dict[int, PendingEffect] = {}
    cleared = _clear_execute(session, current, pending)
    if isinstance(cleared, Clearance):
        return Handled.LATER
    if isinstance(cleared, Refusal):
        return _refuse_execute(session, script, current.verdict, cleared, current)
    _forward_execute(session, current, name, message.portal, pending)
    session.to_server.execute(cleared, data[start:end])
    if isinstance(outcome, Subject):
        session.take_subject(outcome)  # last: this portal was bound under what held until now
    return Handled.DONE


def _waits_to_execute(session: SessionState, portal: Portal | None, is_ambiguous: bool) -> bool:
    if is_ambiguous and not session.input.is_canceled and session.waits_for_answers():
        return True
    looks_up = portal is not None and looks_up_names(portal.verdict)
    return looks_up and pipeline_block.settle(session)


def _clear_execute(
    session: SessionState, portal: Portal, pending: dict[int, PendingEffect]
) -> Refusal | Clearance | RunPermit:
    """Whether a portal may run now. ``pending``: gets what its answer must confirm."""
    verdict = portal.verdict
    if session.needs_clearance:
        is_planned = not looks_up_names(verdict)
        if not is_planned and questions.settle_names(session):
            return Clearance.WAIT
        # The portal may live in this very pipeline: waiting for that to drain would wait for ever.
        cleared = clearance(session, verdict, may_wait=False, is_planned=is_planned)
        if cleared is not Clearance.GO:
            return cleared
    prepared = portal.prepared
    permit = portal.approval or prepared.permit(verdict)
    if verdict is not None and holding.waits(session, verdict) and portal.approval is None:
        ruled = holding.rule(session, verdict, prepared.script, prepared.sent, portal)
        if not isinstance(ruled, RunPermit):
            return ruled
        permit = portal.approval = ruled
    if not isinstance(permit, RunPermit):
        return internal_refusal()
    if verdict is None:
        return permit
    if verdict.is_followed:
        refusal = dependants.on_forwarded(session, verdict, pending)
        if refusal is not None:
            return refusal
        if not _runs_on(session, portal, pending):
            return effects.MOVED_MEANWHILE
    return permit


def _forward_execute(
    session: SessionState,
    portal: Portal,
    name: bytes,
    sent_name: bytes,
    pending: dict[int, PendingEffect],
) -> None:
    """Expect what a portal that runs now answers, and ask for the description of its rows where
    nobody has.
    """
    verdict, entries = portal.verdict, session.pipeline.entries
    number = session.record_statement(
        portal.prepared.script, verdict, None, "extended", portal, pending.get(0)
    )
    session.pipeline.executed = True
    if pending:
        # What EXECUTE and FETCH name may have changed since the portal was described.
        portal.asked = False
    if not portal.asked and verdict is not None and (verdict.plan is not None or pending):
        portal.asked = True
        entries.append(
            Entry(
                Expect.DESCRIBE_PORTAL, number, verdict, None, None, 0.0, name, None, portal, True
            )
        )
        session.to_server.control(frontend.describe(b"P", sent_name))
    entry = Entry(
        Expect.EXECUTE, number, verdict, None, None, monotonic(), name, portal.prepared, portal
    )
    entry.pending = pending or None
    entries.append(entry)


def _runs_on(session: SessionState, portal: Portal, pending: dict[int, PendingEffect]) -> bool:
    """A portal of EXECUTE or FETCH keeps the rows of its first run, whatever the name in it means
    later (PORTAL_UTIL_SELECT), and whatever names in that text mean later.
    """
    named = pending.get(0)
    if named is None or named.rows is None:
        return True
    meaning = (session.names.search_path, named.rows.facts.columns)
    if portal.ran_as is None:
        portal.ran, portal.ran_as = named.value, meaning
    return same(portal.ran, named.value) and portal.ran_as == meaning


def _still_allowed(session: SessionState, portal: Portal, name: bytes) -> Portal | Refusal:
    """Judge again when policy, catalog or settings moved since Bind (a suspended or pipelined
    portal).
    """
    if session.names.generation != session.names.judge.generation:
        session.rebind()
    if portal.subject_judge is session.names.subject_judge:
        return portal
    current = effects.current_portal_verdict(session, portal)
    if current is not None and not isinstance(current, Refusal) and not current.plain:
        policy = session.names.subject_judge.subject_policy
        current = (
            check_settings_bound(current, policy, portal.params, portal.prepared.types) or current
        )
    if isinstance(current, Refusal):
        return current
    if session.portals.confirmed.get(name) is not portal:
        return effects.MOVED_MEANWHILE
    # Rows of an earlier Execute may still be on their way under the old plan: the new one gets a
    # portal of its own. An approval was given under the old rules: what is left of the portal is
    # asked about again.
    again = replace(
        portal,
        verdict=current,
        subject_judge=session.names.subject_judge,
        asked=False,
        described=False,
        program=None,
        approval=None,
    )
    session.portals.confirm(name, again)
    session.portals.assume(name, again, session.pipeline.step)
    return again


def _refuse_execute(
    session: SessionState,
    sql: bytes,
    verdict: Verdict | None,
    refusal: Refusal,
    portal: Portal | None = None,
) -> Handled:
    number = session.record_statement(sql, verdict, refusal, "extended", portal)
    session.pipeline.entries.append(
        Entry(Expect.EXECUTE, number, verdict, None, refusal, monotonic())
    )
    session.to_server.refuse_execute()
    return _skip(session)


def _skip(session: SessionState) -> Handled:
    """What was just forwarded fails at the server; both ignore what comes behind until Sync."""
    session.pipeline.unsynced = True
    session.client_state = ClientState.SKIPPING
    return Handled.DONE


def close(session: SessionState, data: bytes | bytearray, start: int, end: int) -> Handled:
    """Close: what is sent behind it finds nothing of that name."""
    message = frontend.parse_close(bytes(data[start + 5 : end]))
    name = effects.key(message.name)
    if message.kind == b"S":
        session.statements.assume(name, None, session.pipeline.step)
    else:
        session.portals.assume(name, None, session.pipeline.step)
    _bound_queue(session)
    entry = Entry(Expect.CLOSE, name=name)
    entry.value = message.kind.decode()
    session.pipeline.entries.append(entry)
    session.to_server.control(data[start:end])
    session.pipeline.unsynced = True
    return Handled.DONE


def flush(session: SessionState, data: bytes | bytearray, start: int, end: int) -> Handled:
    """Flush."""
    frontend.parse_flush(bytes(data[start + 5 : end]))
    session.to_server.control(data[start:end])
    return Handled.DONE


def sync(session: SessionState, data: bytes | bytearray, start: int, end: int) -> Handled:
    """Sync, which ends a step of the pipeline."""
    frontend.parse_sync(bytes(data[start + 5 : end]))
    _bound_queue(session)
    if session.pipeline.is_ours:
        return pipeline_block.end(session, data[start:end])
    if pipeline_block.must_be_known(session) or questions.settle_before_sync(session):
        return Handled.LATER
    session.pipeline.entries.append(Entry(Expect.SYNC))
    session.to_server.control(data[start:end])
    session.on_pipeline_end_forwarded()
    session.pipeline.on_sync()
    session.input.is_canceled = False
    session.client_state = ClientState.READY
    return Handled.DONE


def _bound_queue(session: SessionState) -> None:
    if len(session.pipeline.entries) > MAX_ENTRIES:
        session.close(
            refuse(
                "SP1701",
                f"more than {MAX_ENTRIES:,} messages were sent without reading the answers",
                hint="Read the answers while sending.",
            ),
            "too many messages were outstanding",
        )
