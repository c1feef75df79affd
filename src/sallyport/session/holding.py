"""Statements that wait for a person: what is asked, and what the answer does to the session.

A held statement pauses its own session: its message stays unread, and is read again when there is a ruling. It is judged again then, so a policy, a
catalog or a search_path that moved meanwhile is seen; the ruling itself compares what was approved with what would run (``use``). One
ruling answers one statement, once.

What can be held: a simple Query of one statement, and Execute of a bound portal. A held statement inside a batch, behind SQL-level PREPARE,
DECLARE, EXPLAIN or COPY (query), or reached by SQL-level EXECUTE and FETCH through a name that Parse or Bind made, is refused with the advice
to send it alone: approving a part of something, or something that can be run again and again, would approve more than the reviewer saw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sallyport.core.errors import Refusal, refuse
from sallyport.judge import ScriptVerdict, Verdict
from sallyport.policy.decision import Outcome
from sallyport.session.statements import declared
from sallyport.session.states import Expect

if TYPE_CHECKING:
    from sallyport.session.machine import Session
    from sallyport.session.statements import Portal

_RUNS = frozenset({Expect.QUERY, Expect.EXECUTE, Expect.BUNDLE})
_NO_APPROVAL = refuse("SP1003", "this waits for approval")
SEND_IT_ALONE = refuse(
    "SP1003",
    "this waits for approval, and cannot wait inside a batch",
    "The message holds other statements as well, and only what a reviewer saw may run.",
    "Send this statement in a message of its own.",
)


SEND_IT_ITSELF = refuse(
    "SP1003",
    "this waits for approval, and cannot wait inside another statement",
    "EXPLAIN, PREPARE, EXECUTE, DECLARE, FETCH and COPY (query) stand for a statement; a reviewer decides about the statement itself.",
    "Send the statement itself: as a simple query, or with Parse, Bind and Execute.",
)


SETTINGS_BEFORE = refuse(
    "SP1003",
    "this waits for approval, and cannot wait behind a change of settings in the same pipeline",
    "An earlier statement may change what this one means, and its answer is not there yet.",
    "Wait for the answer of the statements before it, then send this one.",
)


@dataclass(frozen=True, slots=True)
class HeldStatement:
    """Exactly what would run. Equal values are the same statement under the same rules."""

    sql: str
    binds: tuple[bytes | None, ...] | None
    bind_formats: tuple[int, ...]
    types: tuple[int, ...]
    search_path: tuple[str, ...]
    policy_version: str
    epoch: str
    settings: tuple[tuple[str, str], ...]
    in_transaction: bool = field(compare=False)
    verdict: Verdict = field(compare=False, repr=False)
    portal: Portal | None = field(default=None, compare=False, repr=False)


def _not_approved(held: HeldStatement) -> Refusal | None:
    return _NO_APPROVAL


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer for one held statement. ``refusal``: why it does not run, ``verdict``: as it was judged when it was asked about.
    ``use``: spends the approval, or says why it does not hold any more.
    """

    refusal: Refusal | None
    verdict: Verdict | None = field(default=None, repr=False)
    use: Callable[[HeldStatement], Refusal | None] = field(default=_not_approved, repr=False)


def refusal_in(session: Session, script: ScriptVerdict, verdict: Verdict) -> Refusal | None:
    """Why this statement of a message does not run, where it is not one that waits. None: it is allowed."""
    if not session.can_hold or verdict.outcome is not Outcome.HOLD:
        return verdict.refusal
    if verdict.held:
        return SEND_IT_ALONE if script.count > 1 else verdict.refusal
    inside = verdict.decision is not None and verdict.refusal is verdict.decision.refusal
    return SEND_IT_ITSELF if inside else verdict.refusal


def ruled_out(session: Session) -> tuple[Refusal, Verdict | None] | None:
    """The message that is read now waited and was answered with no: that stands, even where the policy of this moment would not ask any more."""
    ruling = session.ruling
    if ruling is None or ruling.refusal is None:
        return None
    session.ruling = None
    return ruling.refusal, ruling.verdict


def held_script(session: Session, script: ScriptVerdict) -> Verdict | None:
    """The verdict of a script that is one held statement, when this gateway can ask anybody; else None."""
    if not session.can_hold or script.refused != 0 or not script.statements:
        return None
    verdict = script.statements[0]
    return verdict if verdict.held and script.count == 1 else None


def rule(session: Session, verdict: Verdict, sql: bytes, portal: Portal | None) -> Refusal | str | None:
    """None: approved, run it now. A refusal: do not. "block": ask, and read this message again later."""
    from sallyport.session.commands import AskApproval

    if session.transaction_status == b"E" and not session.entries:
        return _NO_APPROVAL  # the server refuses whatever comes: nobody is asked, and its own error is what the client sees
    if session.meaning.unsettled:
        if session.entries and not session.unsynced:
            session.drain()
            return "block"
        return SETTINGS_BEFORE
    held = HeldStatement(
        sql.decode("utf-8", "replace"),
        tuple(portal.params) if portal is not None else None,
        tuple(portal.formats) if portal is not None else (),
        declared(portal.prepared.declared) if portal is not None else (),
        session.search_path,
        session.view.policy_version,
        session.view.epoch,
        session.meaning.values,
        in_transaction(session),
        verdict,
        portal,
    )
    ruling, session.ruling = session.ruling, None
    if ruling is None:
        session.counters.waited += 1
        session.running = held.sql
        session.block(AskApproval(held))
        return "block"
    return ruling.refusal or ruling.use(held)


def left_waiting(session: Session, held: HeldStatement) -> None:
    """Nobody waits for the answer any more. What was asked for belongs into the recording all the same."""
    session.counters.waited -= 1  # it is counted as held from here on
    protocol = "simple" if held.portal is None else "extended"
    sql = held.sql.encode() if held.portal is None else held.portal.prepared.script
    session.record(sql, held.verdict, held.verdict.refusal or _NO_APPROVAL, protocol, held.portal)


def in_transaction(session: Session) -> bool:
    """Does the wait keep what earlier statements locked? A pipeline before its Sync is a transaction too; what is not answered yet may have begun one."""
    return (
        session.transaction_status != b"I"
        or session.executed
        or any(entry.kind in _RUNS and entry.refusal is None for entry in session.entries)
    )
