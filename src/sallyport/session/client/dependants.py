"""What DROP ... CASCADE of a portal drops besides: each is dropped by a statement of its own right
before the Execute, in the same pipeline and so in the same transaction. The statement itself was
prepared as RESTRICT (:mod:`sallyport.sql.ddl.dependants`).

All of them are judged before the first is sent; one that may not run refuses the Execute. Their
names are qualified, and dropping one changes what no name of another means. Where code that was not
read may run between them (an event trigger), none is sent, and RESTRICT fails at the server.
"""

from __future__ import annotations

from time import monotonic
from typing import NamedTuple

from sallyport.core.errors import Refusal
from sallyport.judge import RunPermit, Verdict, internal_refusal
from sallyport.session import effects, holding
from sallyport.session.server.entries import Entry, PendingEffect
from sallyport.session.state import SessionState
from sallyport.session.states import Expect


class JudgedDrop(NamedTuple):
    """``sql``: what is sent. ``what``: is dropped, as PostgreSQL's notice of CASCADE names it."""

    sql: bytes
    what: tuple[str, ...]
    verdict: Verdict
    permit: RunPermit


def on_forwarded(
    session: SessionState, verdict: Verdict, pending: dict[int, PendingEffect]
) -> Refusal | None:
    """As :func:`sallyport.session.effects.on_forwarded`, for the statement of a portal: what it
    drops besides is sent before.
    """
    if verdict.facts.drops_first and not verdict.runs_unknown_code:
        judged = _judged(session, verdict)
        refusal = judged if isinstance(judged, Refusal) else _send(session, judged)
        if refusal is not None:
            return refusal
    return effects.on_forwarded(session, verdict, pending, 0)


def _judged(session: SessionState, verdict: Verdict) -> list[JudgedDrop] | Refusal:
    judged: list[JudgedDrop] = []
    for drop in verdict.facts.drops_first:
        sql = drop.sql.encode()
        script = session.names.subject_judge.judge(sql)
        if script.refusal is not None:
            return script.refusal
        if len(script.statements) != 1 or script.rewritten is not None:
            return internal_refusal()
        dropping = script.statements[0]
        refusal = holding.refusal_in(session, script, dropping)
        if refusal is not None:
            return refusal
        if dropping.runs_unknown_code:
            return []
        if not isinstance(dropping.permit, RunPermit):
            return internal_refusal()
        judged.append(JudgedDrop(sql, drop.what, dropping, dropping.permit))
    return judged


def _send(session: SessionState, drops: list[JudgedDrop]) -> Refusal | None:
    """Each is recorded as a statement."""
    for drop in drops:
        refusal = effects.on_forwarded(session, drop.verdict, {}, 0)
        if refusal is not None:
            return refusal
        number = session.record_statement(drop.sql, drop.verdict, None, "extended")
        entry = Entry(Expect.DEPENDANT, number, drop.verdict, started=monotonic())
        entry.sql, entry.drops = drop.sql, drop.what
        session.pipeline.entries.append(entry)
        session.pipeline.executed = True
        session.to_server.run_in_pipeline(drop.permit, drop.sql)
    return None
