"""Statements that wait for a person: what is asked, and what the answer does to the session.

A held statement pauses its own session: its message stays unread, and is read again when there is a
ruling. It is judged again then, so a policy, a catalog or a search_path that moved meanwhile is
seen; the ruling itself compares what was approved with what would run (``use``). One ruling answers
one statement, once.

What can be held: a simple Query of one statement, one of several that are sent one by one, and
Execute of a bound portal. A held statement inside a batch that is sent as one, behind SQL-level
PREPARE, DECLARE, EXPLAIN or COPY (query), or reached by SQL-level EXECUTE and FETCH through a name
that Parse or Bind made, is refused with the advice to send it alone: approving a part of something,
or something that can be run again and again, would approve more than the reviewer saw.
"""

from __future__ import annotations

from functools import partial

from sallyport.core.errors import Refusal, refuse
from sallyport.judge import RunPermit, ScriptVerdict, Verdict, internal_refusal, permit_approved
from sallyport.policy.decision import Outcome
from sallyport.session import two_phase
from sallyport.session.client.input import Blocked
from sallyport.session.client.series import Series
from sallyport.session.commands import AskApproval
from sallyport.session.held import NO_APPROVAL, HeldStatement
from sallyport.session.state import SessionState
from sallyport.session.statements import Portal, declared
from sallyport.session.states import Clearance, Expect
from sallyport.sql.facts import EffectKind

_RUNS = frozenset({Expect.QUERY, Expect.EXECUTE, Expect.BUNDLE})
SEND_IT_ALONE = refuse(
    "SP1003",
    "this needs approval, and cannot wait for it in a message with other statements",
    "A reviewer decides about one statement at a time.",
    "Send this statement by itself.",
)


SEND_IT_ITSELF = refuse(
    "SP1003",
    "this needs approval, and cannot wait for it inside another statement",
    "A reviewer cannot decide about EXPLAIN, PREPARE, EXECUTE, DECLARE, FETCH or COPY (query).",
    "Send the statement itself, without what is around it.",
)


SETTINGS_BEFORE = refuse(
    "SP1003",
    "this needs approval, and cannot wait for it after a change of settings in the same pipeline",
    "An earlier statement may change what this one means, and the server has not answered it yet.",
    "Wait for the answers to the statements before it, then send this one.",
)


CANCELED = refuse(
    "SP1805",
    "canceling statement due to user request, before it ran",
    "The statement waited in the gateway and was not sent to the database.",
)
#: What a session may do although a finding holds what it sends.
_HARMLESS = frozenset(
    {
        EffectKind.BEGIN,
        EffectKind.COMMIT,
        EffectKind.ROLLBACK,
        EffectKind.SAVEPOINT,
        EffectKind.ROLLBACK_TO,
        EffectKind.RELEASE,
        EffectKind.DEALLOCATE,
        EffectKind.CURRENT_OF,
        EffectKind.CLOSE,
    }
)
#: Query, Parse, Bind, Execute: their handlers ask :func:`was_canceled` before anything else.
_STATEMENTS = frozenset(b"QPBE")


def refusal_in(session: SessionState, script: ScriptVerdict, verdict: Verdict) -> Refusal | None:
    """The refusal for a statement that cannot be held; None if it may run."""
    if verdict.refusal is None and session.watch_hold is not None and is_watched(session, verdict):
        return session.watch_hold.refusal()
    if not session.can_hold or verdict.outcome is not Outcome.HOLD:
        return verdict.refusal
    if verdict.held:
        return SEND_IT_ALONE if script.count > 1 else verdict.refusal
    inside = verdict.decision is not None and verdict.refusal is verdict.decision.refusal
    return SEND_IT_ITSELF if inside else verdict.refusal


def cancel_waiting(session: SessionState) -> bool:
    """A CancelRequest came: the statement that waits, unread, for something inside the gateway will
    not run. False when none waits, or one that was sent before it runs: that is what the request
    means.
    """
    waiting = session.input
    if session.series is not None:
        return _cancel_series(session, session.series)
    message = waiting.next_message
    if waiting.reason is Blocked.NO or message is None or message not in _STATEMENTS:
        return False
    if any(entry.kind in _RUNS for entry in session.pipeline.entries):
        return False
    waiting.is_canceled = True
    return True


def _cancel_series(session: SessionState, series: Series) -> bool:
    """What runs is cancelled at the server, and none of the statements behind it will run, should
    it be too late for that.
    """
    if series.is_over or series.failed:
        return False
    is_running = any(entry.kind is not Expect.PROBE for entry in session.pipeline.entries)
    if is_running:
        series.is_canceled = True
    else:
        session.input.is_canceled = True
    return not is_running


def was_canceled(session: SessionState) -> Refusal | None:
    """The refusal for the message that is read now, once, where it waited and was canceled
    meanwhile.
    """
    is_canceled, session.input.is_canceled = session.input.is_canceled, False
    return CANCELED if is_canceled else None


def denied(session: SessionState) -> tuple[Refusal, Verdict | None] | None:
    """Why the message that is read now was denied while it waited, and its verdict then; None if it
    was not. A denial stands even where the policy in force would no longer ask.
    """
    canceled = was_canceled(session)
    if canceled is not None:
        return canceled, None
    ruling = session.ruling
    if ruling is None or ruling.refusal is None:
        return None
    session.ruling = None
    return ruling.refusal, ruling.verdict


def held_script(session: SessionState, script: ScriptVerdict) -> Verdict | None:
    """The verdict of a script that is one held statement, when this gateway can ask anybody; else
    None.
    """
    if not session.can_hold or not script.statements:
        return None
    if script.refused < 0 and script.count == 1 and is_watched(session, script.statements[0]):
        return script.statements[0]
    if script.refused != 0:
        return None
    verdict = script.statements[0]
    return verdict if verdict.held and script.count == 1 else None


def is_watched(session: SessionState, verdict: Verdict) -> bool:
    """Whether a statement that policy allows waits because of a finding: all but what begins, ends
    or marks transactions, or lets go of names.
    """
    if session.watch_hold is None or not isinstance(verdict.permit, RunPermit):
        return False
    effects = verdict.effects
    return not effects or any(effect.kind not in _HARMLESS for effect in effects)


def waits(session: SessionState, verdict: Verdict) -> bool:
    """Whether a statement waits for a person: by a rule, or because of a finding."""
    return verdict.held or is_watched(session, verdict)


def rule(
    session: SessionState, verdict: Verdict, sql: bytes, sent: bytes, portal: Portal | None
) -> Refusal | Clearance | RunPermit:
    """A permit: approved, run it now. WAIT: people are asked, and the message is read again later.

    ``sql``: the client's text. ``sent``: what the target gets for it, or got with Parse.
    """
    if session.transaction_status == b"E" and not session.pipeline.entries:
        # the server refuses whatever comes: nobody is asked, and its own error is what the client
        # sees
        return NO_APPROVAL
    if session.watch_hold is not None and not session.can_hold:
        return session.watch_hold.refusal()
    if session.settings.in_flight:
        return Clearance.WAIT if session.waits_for_answers() else SETTINGS_BEFORE
    held = HeldStatement(
        sql.decode("utf-8", "replace"),
        tuple(portal.params) if portal is not None else None,
        tuple(portal.formats) if portal is not None else (),
        declared(portal.prepared.declared) if portal is not None else (),
        session.names.search_path,
        session.names.subject_judge.policy_version,
        session.names.subject_judge.epoch,
        session.settings.values,
        sent.decode("utf-8", "replace"),
        in_transaction(session),
        verdict,
        session.watch_hold,
        portal,
    )
    ruling, session.ruling = session.ruling, None
    if ruling is None:
        session.counters.waited += 1
        session.running = held.sql
        session.block(AskApproval(held))
        return Clearance.WAIT
    if ruling.refusal is not None:
        return ruling.refusal
    if verdict.permit is None:
        return internal_refusal()
    if not two_phase.concerns(verdict):
        session.pipeline.approved = True
    return permit_approved(verdict.permit, partial(ruling.use, held))


def left_waiting(session: SessionState, held: HeldStatement) -> None:
    """Nobody waits for the answer any more. What was asked for belongs into the recording all the
    same.
    """
    session.counters.waited -= 1  # it is counted as held from here on
    protocol = "simple" if held.portal is None else "extended"
    sql = held.sql.encode() if held.portal is None else held.portal.prepared.script
    session.record_statement(
        sql, held.verdict, held.verdict.refusal or NO_APPROVAL, protocol, held.portal
    )


def in_transaction(session: SessionState) -> bool:
    """Does the wait keep what earlier statements locked? A pipeline before its Sync is a
    transaction too; what is not answered yet may have begun one.
    """
    return (
        session.transaction_status != b"I"
        or session.pipeline.executed
        or any(entry.kind in _RUNS and entry.refusal is None for entry in session.pipeline.entries)
    )
