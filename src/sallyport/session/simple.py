"""Simple query (protocol section 54.2.2): one string, any number of statements, one ReadyForQuery."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from sallyport.core.errors import Refusal, refuse
from sallyport.judge import ScriptVerdict, Verdict
from sallyport.session import effects, holding
from sallyport.session.entries import FAILING_SQL, Entry
from sallyport.session.states import Expect
from sallyport.wire import frontend
from sallyport.wire.fields import EncodingError

if TYPE_CHECKING:
    from sallyport.session.machine import Session

_FUNCTION_CALL = refuse(
    "SP1502",
    "the FunctionCall message is not supported",
    "It calls functions by OID, past the SQL that the gateway reads.",
    "Call the function with SELECT.",
)


def query(session: Session, data: bytes | bytearray, start: int, end: int) -> str | None:
    """A Query message: judge the script, then forward it whole, cut it before the first refused statement, or wait."""
    waits = _query(session, data, start, end)
    if waits is None:
        session.step += 1
    return waits


def _query(session: Session, data: bytes | bytearray, start: int, end: int) -> str | None:
    try:
        sql = frontend.parse_query(bytes(data[start + 5 : end])).sql
    except EncodingError as error:
        return _refuse_all(session, b"", refuse("SP1501", str(error)))
    no = holding.ruled_out(session)
    if no is not None:
        return _refuse_all(session, sql, *no)
    script = session.judge_script(sql)
    if script is None:
        return "block"
    if script.plain and not session.special:
        verdict = script.statements[0]
        number = session.record(sql, verdict, None, "simple")
        session.entries.append(Entry(Expect.QUERY, number, verdict, script, None, monotonic()))
        session.to_server += data[start:end]
        return None
    return _query_in_full(session, sql, script, data, start, end)


def _query_in_full(
    session: Session, sql: bytes, script: ScriptVerdict, data: bytes | bytearray, start: int, end: int
) -> str | None:
    if script.refusal is not None:
        return _refuse_all(session, sql, script.refusal)
    if not script.statements:
        session.entries.append(Entry(Expect.QUERY, script=script, started=monotonic()))
        session.to_server += data[start:end]
        return None
    held = holding.held_script(session, script)
    if held is not None:
        gate = session.gate(held) or holding.rule(session, held, sql, None)
        if isinstance(gate, str):
            return gate
        held_refusal, script = gate, replace(script, refused=-1 if gate is None else 0)
    if any(effects.doubtful(session, one) for one in script.statements) and session.waits_for_answers():
        return "block"
    refused, refusal = script.refused, None
    assumed: dict[int, effects.Assumed] = {}
    for index, verdict in enumerate(script.statements):
        gate = held_refusal if held is not None else holding.refusal_in(session, script, verdict)
        gate = gate or session.gate(verdict, may_wait=index == 0 and held is None)
        if isinstance(gate, str):
            return gate
        if gate is None:
            gate = effects.assume(session, verdict, script.sql, assumed, index)
        if gate is not None:
            refused, refusal = index, gate
            break
    _forward(session, sql, script, assumed, refused, refusal, data, start, end)
    return None


def _forward(
    session: Session,
    sql: bytes,
    script: ScriptVerdict,
    assumed: dict[int, effects.Assumed],
    refused: int,
    refusal: Refusal | None,
    data: bytes | bytearray,
    start: int,
    end: int,
) -> None:
    first = script.statements[0]
    entry = Entry(Expect.QUERY, 0, first, script, None, monotonic())
    entry.assumed = assumed or None
    for index, verdict in enumerate(script.statements):
        text = verdict.sql if len(script.statements) > 1 else sql
        number = session.record(text, verdict, refusal if index == refused else None, "simple")
        if index == 0:
            entry.number = entry.first_number = number
        if index == refused:
            break
    if refusal is None:
        session.to_server += data[start:end]
    else:
        entry.refusal = refusal
        entry.refused_at = refused
        prefix = sql[: script.statements[refused].facts.start] if refused else b""
        session.to_server += frontend.query(prefix + b"\n" + FAILING_SQL if prefix else FAILING_SQL)
    session.entries.append(entry)


def _refuse_all(session: Session, sql: bytes, refusal: Refusal, verdict: Verdict | None = None) -> str | None:
    number = session.record(sql, verdict, refusal, "simple")
    entry = Entry(Expect.QUERY, number, None, None, refusal, monotonic())
    session.entries.append(entry)
    session.to_server += frontend.query(FAILING_SQL)
    return None


def function_call(session: Session, data: bytes | bytearray, start: int, end: int) -> str | None:
    """FunctionCall has the same shape of answer as a simple query: an error, then ReadyForQuery."""
    return _refuse_all(session, b"-- FunctionCall", _FUNCTION_CALL)
