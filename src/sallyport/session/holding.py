"""Statements that wait for a person: what is asked, and what the answer does to the session.

A held statement pauses its own session: its message stays unread, and is read again when there is a ruling. It is judged again then, so a policy, a
catalog or a search_path that moved meanwhile is seen; the ruling itself compares what was approved with what would run (``use``). One
ruling answers one statement, once.

What can be held: a simple Query of one statement, and Execute of a bound portal. A held statement inside a batch, or behind SQL-level PREPARE,
DECLARE, EXPLAIN or COPY (query), is refused with the advice to send it alone: approving a part of something, or something that can be
run again and again, would approve more than the reviewer saw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sallyport.core.errors import Refusal, refuse
from sallyport.judge import ScriptVerdict, Verdict

if TYPE_CHECKING:
    from sallyport.session.machine import Session
    from sallyport.session.statements import Portal

_NO_APPROVAL = refuse("SP1003", "this waits for approval")
SEND_IT_ALONE = refuse(
    "SP1003",
    "this waits for approval, and cannot wait inside a batch",
    "The message holds other statements as well, and only what a reviewer saw may run.",
    "Send this statement in a message of its own.",
)


@dataclass(frozen=True, slots=True)
class HeldStatement:
    """Exactly what would run. Equal values are the same statement under the same rules."""

    sql: str
    binds: tuple[bytes | None, ...] | None
    bind_formats: tuple[int, ...]
    search_path: tuple[str, ...]
    policy_version: str
    epoch: str
    in_transaction: bool = field(compare=False)
    verdict: Verdict = field(compare=False, repr=False)


def _not_approved(held: HeldStatement) -> Refusal | None:
    return _NO_APPROVAL


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer for one held statement. ``refusal``: why it does not run. ``use``: spends the approval, or says why it does not hold any more."""

    refusal: Refusal | None
    use: Callable[[HeldStatement], Refusal | None] = field(default=_not_approved, repr=False)


def held_script(session: Session, script: ScriptVerdict) -> Verdict | None:
    """The verdict of a script that is one held statement, when this gateway can ask anybody; else None."""
    if not session.can_hold or script.refused != 0 or not script.statements:
        return None
    verdict = script.statements[0]
    return verdict if verdict.held and script.count == 1 else None


def rule(session: Session, verdict: Verdict, sql: bytes, portal: Portal | None) -> Refusal | str | None:
    """None: approved, run it now. A refusal: do not. "block": ask, and read this message again later."""
    from sallyport.session.commands import AskApproval

    held = HeldStatement(
        sql.decode("utf-8", "replace"),
        tuple(portal.params) if portal is not None else None,
        tuple(portal.formats) if portal is not None else (),
        session.search_path,
        session.view.policy_version,
        session.view.epoch,
        session.transaction_status != b"I",
        verdict,
    )
    ruling, session.ruling = session.ruling, None
    if ruling is None:
        session.counters.waited += 1
        session.running = held.sql
        session.block(AskApproval(held))
        return "block"
    return ruling.refusal or ruling.use(held)
