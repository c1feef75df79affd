"""A simple Query whose statements are sent one at a time, as a value: where it is, and what is kept
for its end.

PostgreSQL runs the statements of one message in an implicit transaction block. What a statement
behind a schema change means is known only once that has run, so the gateway opens a block of its
own (BEGIN, which the client does not see), sends one statement after the other, each judged by what
those before it left, and ends the block. Explicit blocks differ from implicit ones in few things,
which :mod:`sallyport.session.client.one_by_one` makes good: BEGIN in one turns it into an explicit
block without a warning, COMMIT and ROLLBACK warn, savepoints and AND CHAIN are errors.

Parse, Bind and Execute of every statement before one Sync would be an implicit block as well, but
another one: whether VACUUM, DECLARE and COMMIT mean in it what they mean in a Query depends on the
minor version, parameters and COPY are read otherwise, and the catalog could not be read inside it,
as it allows neither savepoints nor a Query.

What PostgreSQL sends before ReadyForQuery only (settings that changed, notifications) is kept for
the end of the whole message, and the last statement's end until COMMIT has worked.

Source: PostgreSQL, src/backend/tcop/postgres.c (exec_simple_query),
src/backend/access/transam/xact.c (TBLOCK_IMPLICIT_INPROGRESS).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from sallyport.judge import Part
from sallyport.session.server.entries import Entry
from sallyport.session.server.stream import Completion
from sallyport.session.states import Expect, Own
from sallyport.sql.facts import DependantDrop
from sallyport.wire.backend import parameter_status

#: SQLSTATE of "there is already a transaction in progress".
_ALREADY_OPEN = "25001"


@dataclass(slots=True)
class Series:
    """``index``: of the part that is sent next. ``characters``: of ``sql`` before it, at byte
    ``counted``. ``running``: the part that was sent last.

    ``is_ours``: the block that is open was opened by the gateway, so the server's is the implicit
    one. ``begins``: the part that runs is a BEGIN in it. ``is_outside``: our block was ended for
    the part that is sent next. ``failed``: nothing more of it runs. ``failed_with``: the SQLSTATE
    with which ending our block for a COMMIT of the client's failed. ``is_canceled``: the client
    asked to cancel the message while a part ran. ``number``: of the statement that ran last.

    ``kept``: what came at the end of our block and is said before the end of the client's COMMIT.
    ``end``, ``tail``: the last statement's end, and the message that says so.
    """

    sql: bytes
    parts: tuple[Part, ...]
    index: int = 0
    characters: int = 0
    counted: int = 0
    is_ours: bool = False
    begins: bool = False
    is_outside: bool = False
    failed: bool = False
    failed_with: str = ""
    is_canceled: bool = False
    number: int = 0
    running: Part | None = None
    kept: bytes = b""
    end: Completion | None = None
    tail: bytes = b""
    notifications: bytearray = field(default_factory=bytearray)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Every part was sent."""
        return self.index >= len(self.parts)

    @property
    def keeps_end(self) -> bool:
        """Whether the end of the statement that runs is kept until our block was committed."""
        return self.is_over and self.is_ours and not self.begins

    def shift_to(self, part: Part) -> int:
        """Characters of the client's text before this part, which is the next."""
        if not part.is_own:
            self.characters += len(self.sql[self.counted : part.start].decode())
            self.counted = part.start
        return self.characters

    def looks_at_next(self) -> bool:
        """Whether it was not yet looked at what the next part reaches by CASCADE."""
        return not self.is_over and self.parts[self.index].drops is None

    def drop_first(self, drops: Sequence[DependantDrop]) -> None:
        """Before the next part send these, which have a text behind the client's."""
        own: list[Part] = []
        for drop in drops:
            start = len(self.sql) + 1
            self.sql += b"\n" + drop.sql.encode()
            own.append(Part(start, len(self.sql), "drop", is_own=True))
        what = tuple([name for drop in drops for name in drop.what])
        looked_at = replace(self.parts[self.index], drops=what)
        self.parts = (*self.parts[: self.index], *own, looked_at, *self.parts[self.index + 1 :])

    def drops_warning(self, sqlstate: str) -> bool:
        """Whether a warning comes only because the gateway's block is an explicit one."""
        return self.begins and sqlstate == _ALREADY_OPEN

    def on_ready(self, entry: Entry, status: bytes, message: bytes, told: dict[str, str]) -> bytes:
        """ReadyForQuery (``message``) for a part or for what the gateway sent itself: what the
        client gets, b"" before the end. ``told``: what the client knows of settings.
        """
        if entry.kind is Expect.OWN:
            self.is_ours = entry.own is Own.BEGIN and status == b"T"
            if self.is_ours or self.is_outside:
                return b""
            return self._finish(message, told)
        if status == b"I" or (self.begins and not self.failed):
            self.is_ours = False
        self.begins = self.is_outside = False
        if self.is_ours or not (self.failed or self.is_over):
            return b""
        return self._finish(message, told)

    def _finish(self, message: bytes, told: dict[str, str]) -> bytes:
        changed = {name: value for name, value in self.settings.items() if told.get(name) != value}
        told.update(changed)
        # the setting that was changed last comes first (guc.c, guc_report_list)
        statuses = [parameter_status(name, value) for name, value in changed.items()][::-1]
        return b"".join((self.notifications, *statuses, message))
