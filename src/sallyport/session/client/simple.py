"""Simple query (protocol section 54.2.2): one string, any number of statements, one
ReadyForQuery.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from msgspec.structs import replace

from sallyport.core.errors import Refusal, refuse
from sallyport.core.subject import Subject
from sallyport.judge import RunPermit, ScriptVerdict, Verdict, internal_refusal
from sallyport.session import effects, holding, pipeline_block
from sallyport.session.clearance import clearance
from sallyport.session.client import description, renewal
from sallyport.session.client.series import Series
from sallyport.session.containing import contains_before
from sallyport.session.judging import judge_script
from sallyport.session.server.entries import Entry, PendingEffect
from sallyport.session.state import SessionState
from sallyport.session.states import Clearance, Expect, Handled
from sallyport.wire import frontend
from sallyport.wire.fields import EncodingError

_FUNCTION_CALL = refuse(
    "SP1502",
    "the FunctionCall message is not supported",
    "It calls a function by its OID, without SQL that the gateway could judge.",
    "Call the function with SELECT.",
)


def query(session: SessionState, data: bytes | bytearray, start: int, end: int) -> Handled:
    """A Query message: judge the script, then forward it whole, cut it before the first refused
    statement, or wait.
    """
    if session.pipeline.is_ours:
        session.close(pipeline_block.NO_QUERY, "a Query ended a pipeline")
        return Handled.DONE
    series = session.series
    handled = _query(session, data, start, end)
    if handled is Handled.DONE and session.series is series:
        if session.pipeline.unsynced:
            session.on_pipeline_end_forwarded()
        session.pipeline.on_query()
    return handled


def _query(session: SessionState, data: bytes | bytearray, start: int, end: int) -> Handled:
    try:
        sql = frontend.parse_query(bytes(data[start + 5 : end])).sql
    except EncodingError as error:
        return _refuse_all(session, b"", refuse("SP1501", str(error)))
    token_renewal = renewal.find_renewal(sql)
    if isinstance(token_renewal, Refusal):
        return _refuse_all(session, renewal.NOT_RECORDED, token_renewal)
    if token_renewal is not None:
        return _renew(session, token_renewal)
    own = description.own_text(session, sql)
    if own is not sql:
        data = frontend.query(own)
        start, end = 0, len(data)
    return _judge_and_forward(session, own, data, start, end)


def _renew(session: SessionState, token_renewal: renewal.Renewal) -> Handled:
    outcome = renewal.renew(session, token_renewal.token)
    if outcome is Handled.LATER:
        return Handled.LATER
    if isinstance(outcome, Refusal):
        return _refuse_all(session, renewal.NOT_RECORDED, outcome)
    if isinstance(outcome, Subject):
        session.take_subject(outcome)
    message = frontend.query(renewal.RENEWED)
    return _judge_and_forward(session, renewal.RENEWED, message, 0, len(message))


def _judge_and_forward(
    session: SessionState, sql: bytes, data: bytes | bytearray, start: int, end: int
) -> Handled:
    denied = holding.denied(session)
    if denied is not None:
        return _refuse_all(session, sql, *denied)
    script = judge_script(session, sql)
    if script is not None and contains_before(session, script):
        script = judge_script(session, sql)
    if script is None:
        return Handled.LATER
    if script.parts and _is_sent_one_by_one(session, script):
        if session.waits_for_answers():
            return Handled.LATER
        session.series = Series(sql, script.parts)
        return Handled.DONE
    if script.goes_apart and session.series is not None and session.series.looks_at_next():
        session.series.drop_first(script.statements[0].facts.drops_first)
        return Handled.DONE
    permit = script.permit
    if script.plain and isinstance(permit, RunPermit) and not session.needs_clearance:
        verdict = script.statements[0]
        if verdict.runs_unknown_code:
            session.names.on_forwarded(verdict)
        number = session.record_statement(sql, verdict, None, "simple")
        entry = Entry(Expect.QUERY, number, verdict, script, None, monotonic())
        entry.sql = sql
        session.pipeline.entries.append(entry)
        session.to_server.query((permit,), _as_sent(script, sql, data, start, end))
        return Handled.DONE
    return _query_in_full(session, sql, script, data, start, end)


def _is_sent_one_by_one(session: SessionState, script: ScriptVerdict) -> bool:
    """Whether statements that cannot be judged in their place are reached by sending those before
    them: behind what changes names, or the end of a transaction that has changed them. Behind
    messages that wait for a Sync there is no place for the gateway's own, and a script that begins
    with what is held waits only where people can be asked.
    """
    if session.pipeline.unsynced:
        return False
    may_run = script.refused < 0 or _is_held(session, script)
    if session.series is None and script.goes_apart and may_run:
        return True
    if script.needs_block and script.refused < 0 and session.transaction_status == b"I":
        return session.series is None
    if (
        script.ends_at >= 0
        and session.names.is_revertible
        and not 0 <= script.refused <= script.ends_at
    ):
        return True
    if script.moves_at < 0:
        return False
    return script.refused > script.moves_at or _is_held(session, script)


def _is_held(session: SessionState, script: ScriptVerdict) -> bool:
    return script.statements[script.refused].held and session.can_hold


def _query_in_full(
    session: SessionState,
    sql: bytes,
    script: ScriptVerdict,
    data: bytes | bytearray,
    start: int,
    end: int,
) -> Handled:
    if script.refusal is not None:
        return _refuse_all(session, sql, script.refusal)
    if not script.statements:
        if not isinstance(script.permit, RunPermit):
            return _refuse_all(session, sql, internal_refusal())
        session.pipeline.entries.append(Entry(Expect.QUERY, script=script, started=monotonic()))
        session.to_server.query((script.permit,), data[start:end])
        return Handled.DONE
    held = holding.held_script(session, script)
    approved: Refusal | RunPermit | None = None
    if held is not None:
        ruled = _clear_held(session, held, sql, script)
        if isinstance(ruled, Clearance):
            return Handled.LATER
        approved = ruled
        script = replace(script, refused=-1 if isinstance(ruled, RunPermit) else 0)
    ambiguous = any(effects.is_ambiguous(session, verdict) for verdict in script.statements)
    if ambiguous and session.waits_for_answers():
        return Handled.LATER
    pending: dict[int, PendingEffect] = {}
    permits: list[RunPermit] = []
    refusal: Refusal | None = None
    for index, verdict in enumerate(script.statements):
        cleared = _clear_statement(session, script, index, approved)
        if isinstance(cleared, Clearance):
            return Handled.LATER
        if isinstance(cleared, Refusal):
            refusal = cleared
            break
        refusal = effects.on_forwarded(session, verdict, pending, index)
        if refusal is not None:
            break
        permits.append(cleared)
    message = _as_sent(script, sql, data, start, end) if refusal is None else b""
    _forward(session, sql, script, pending, permits, refusal, message)
    return Handled.DONE


def _clear_held(
    session: SessionState, held: Verdict, sql: bytes, script: ScriptVerdict
) -> Refusal | Clearance | RunPermit:
    """Whether a script of one held statement may go: what stands against any statement, then what
    people say.
    """
    cleared = clearance(session, held)
    return (
        holding.rule(session, held, sql, script.sent(sql), None)
        if cleared is Clearance.GO
        else cleared
    )


def _clear_statement(
    session: SessionState, script: ScriptVerdict, index: int, approved: Refusal | RunPermit | None
) -> Refusal | Clearance | RunPermit:
    """Whether a statement of a script may go. ``approved``: what people say of a held one, which is
    alone.
    """
    verdict = script.statements[index]
    if isinstance(approved, Refusal):
        return approved
    refusal = holding.refusal_in(session, script, verdict) if approved is None else None
    if refusal is not None:
        return refusal
    cleared = clearance(session, verdict, may_wait=index == 0 and approved is None)
    if cleared is not Clearance.GO:
        return cleared
    permit = approved or verdict.permit
    return permit if isinstance(permit, RunPermit) else internal_refusal()


def _forward(
    session: SessionState,
    sql: bytes,
    script: ScriptVerdict,
    pending: dict[int, PendingEffect],
    permits: Sequence[RunPermit],
    refusal: Refusal | None,
    message: bytes | bytearray,
) -> None:
    """Send the script as ``message``, or the statements that have a permit. ``refusal``: of the
    first that has none.
    """
    refused = len(permits) if refusal is not None else script.refused
    first = script.statements[0]
    entry = Entry(Expect.QUERY, 0, first, script, None, monotonic())
    entry.pending, entry.sql = pending or None, sql
    for index, verdict in enumerate(script.statements):
        text = verdict.sql if len(script.statements) > 1 else sql
        why_not = refusal if index == refused else None
        number = session.record_statement(
            text, verdict, why_not, "simple", pending=pending.get(index)
        )
        if index == 0:
            entry.number = entry.first_number = number
        if index == refused:
            break
    if refusal is None:
        session.to_server.query(permits, message)
    else:
        entry.refusal = refusal
        entry.refused_at = refused
        prefix = _before(script, sql, refused) if refused else b""
        if prefix:
            session.to_server.query_until_refused(permits, prefix)
        else:
            session.to_server.refuse_query()
    session.pipeline.entries.append(entry)


def _as_sent(
    script: ScriptVerdict, sql: bytes, data: bytes | bytearray, start: int, end: int
) -> bytes | bytearray:
    """The Query message for the server."""
    return data[start:end] if script.rewritten is None else frontend.query(script.sent(sql))


def _before(script: ScriptVerdict, sql: bytes, refused: int) -> bytes:
    """What is sent of a script whose statement number ``refused`` is not."""
    start = script.statements[refused].facts.start
    return sql[:start] if script.rewritten is None else script.rewritten.until(start)


def _refuse_all(
    session: SessionState, sql: bytes, refusal: Refusal, verdict: Verdict | None = None
) -> Handled:
    number = session.record_statement(sql, verdict, refusal, "simple")
    entry = Entry(Expect.QUERY, number, None, None, refusal, monotonic())
    session.pipeline.entries.append(entry)
    session.to_server.refuse_query()
    return Handled.DONE


def function_call(session: SessionState, data: bytes | bytearray, start: int, end: int) -> Handled:
    """FunctionCall has the same shape of answer as a simple query: an error, then ReadyForQuery."""
    return _refuse_all(session, b"-- FunctionCall", _FUNCTION_CALL)
