"""What is expected back from the server, one entry per forwarded (or injected) message, oldest
first.

The queue of entries is what keeps pipelining right: a server message always belongs to the oldest
entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sallyport.core.errors import Refusal
from sallyport.judge import ScriptVerdict, Verdict
from sallyport.session.statements import Portal, Prepared
from sallyport.session.states import Expect, Own, Question
from sallyport.sql.facts import EffectKind
from sallyport.sql.rewrite.cuts import Rewritten


@dataclass(slots=True, eq=False)
class PendingEffect:
    """What a statement was taken to create, run or read when it was forwarded. ``rows``: the
    verdict its rows follow.
    """

    kind: EffectKind
    name: bytes
    value: Prepared | Portal | None
    rows: Verdict | None = None


def may_change(verdict: Verdict | None, pending: PendingEffect | None) -> bool:
    """Whether running a statement may change something at the database. ``verdict``: None for an
    empty one. ``pending``: what it runs by name.
    """
    if verdict is None or verdict.changes or not verdict.runs_named:
        return verdict is not None and verdict.changes
    return pending is None or pending.rows is None or pending.rows.changes


def untrusted(verdict: Verdict | None, pending: PendingEffect | None) -> tuple[str, ...]:
    """Which untrusted columns running a statement reads. ``pending``: what it runs by name."""
    if verdict is None:
        return ()
    if pending is None or pending.rows is None:
        return verdict.untrusted
    return verdict.untrusted or pending.rows.untrusted


class Entry:
    """One expected reply.

    kind: which replies may come. number: the statement's number in the recording, 0 for none.
    verdict: of the statement that is answered now. script/index: of a simple query, all statements
    and the current one. refusal: what replaces the server's error for the statement at
    ``refused_at``. hidden: injected by the gateway; its replies are dropped. pending: effects that
    must be confirmed when rows come, by statement index. program: how rows pass (None: they may
    not, KEEP: as they are). rows, size: of the result so far. sql: of a simple query, the text as
    the client sent it. shift: characters of the client's text before the statement, where that was
    sent by itself. own: of what the gateway sent. question: of what the gateway asks. copied: the
    server asked for this statement's COPY data. withheld: the SQLSTATE that took the place of the
    result. variant: of a bundle, a hash of its bind values. drops: what the gateway
    has dropped before it, or drops by it, in the place of CASCADE.
    """

    __slots__ = (
        "copied",
        "copy",
        "drops",
        "first_number",
        "hidden",
        "index",
        "kind",
        "name",
        "number",
        "own",
        "pending",
        "portal",
        "prepared",
        "program",
        "question",
        "refusal",
        "refused_at",
        "rows",
        "rows_hidden",
        "rows_kept",
        "rows_left_out",
        "script",
        "shift",
        "size",
        "sql",
        "started",
        "value",
        "variant",
        "verdict",
        "withheld",
    )

    def __init__(
        self,
        kind: Expect,
        number: int = 0,
        verdict: Verdict | None = None,
        script: ScriptVerdict | None = None,
        refusal: Refusal | None = None,
        started: float = 0.0,
        name: bytes = b"",
        prepared: Prepared | None = None,
        portal: Portal | None = None,
        hidden: bool = False,
    ) -> None:
        self.kind = kind
        self.number = number
        self.first_number = number
        self.verdict = verdict
        self.script = script
        self.index = 0
        self.rows_hidden = False
        # where not all rows are recorded: a statement's number, and how many of its rows are
        self.rows_kept = (0, 0)
        self.rows_left_out = 0  # number of the statement of which that was said
        self.refusal = refusal
        self.refused_at = 0  # index of the refused statement in a script
        self.started = started
        self.name = name
        self.prepared = prepared
        self.portal = portal
        self.hidden = hidden
        self.rows = 0
        self.size = 0
        self.copied = False
        self.withheld = ""
        self.program: Any = None
        self.copy: Any = None
        self.pending: dict[int, PendingEffect] | None = None
        self.value: str | None = None
        self.own: Own | None = None
        self.question = Question.SEARCH_PATH
        self.sql = b""
        self.shift = 0
        self.variant = 0
        self.drops: tuple[str, ...] = ()

    @property
    def rewriting(self) -> Rewritten | None:
        """How the text that this answers became what was sent; None where it was sent as it
        came.
        """
        if self.script is not None:
            return self.script.rewriting(self.sql)
        if self.prepared is None or self.prepared.script_verdict is None:
            return None
        return self.prepared.script_verdict.rewriting(self.prepared.script)

    @property
    def pending_now(self) -> PendingEffect | None:
        """What the statement that is answered now was taken to do."""
        return self.pending.get(self.index) if self.pending is not None else None

    @property
    def refused_now(self) -> bool:
        """Is the statement that is answered now the refused one?"""
        return self.refusal is not None and self.index >= self.refused_at

    @property
    def may_copy_in(self) -> bool:
        """Can the server still ask for COPY data because of this entry? Its COPY would then read,
        and swallow, whatever came behind.
        """
        if self.kind is Expect.EXECUTE:
            return self.refusal is None and not self.copied and _copies_in(self.verdict)
        if self.kind is not Expect.QUERY or self.script is None:
            return False
        end = len(self.script.statements) if self.refusal is None else self.refused_at
        return any(map(_copies_in, self.script.statements[self.index + self.copied : end]))


def _copies_in(verdict: Verdict | None) -> bool:
    return verdict is not None and any(
        effect.kind is EffectKind.COPY_IN for effect in verdict.effects
    )
