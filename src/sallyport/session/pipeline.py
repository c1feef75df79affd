"""What was forwarded to the server and is not answered yet, and where in the extended-query
pipeline the session is.
"""

from __future__ import annotations

from collections import deque

from sallyport.session.server.entries import Entry
from sallyport.session.states import Expect

_ENDS_STEP = frozenset({Expect.QUERY, Expect.SYNC, Expect.BUNDLE})


class Pipeline:
    """``entries``: what is expected back, oldest first. ``step``: Syncs and scripts that were
    forwarded; what fails takes nothing of a later step with it.

    ``approved``: a statement that people approved has run, or is to run, in the transaction.
    ``unsynced``: extended-query messages were forwarded since the last Sync. ``executed``: one of
    them was an Execute, so that a transaction is open. ``copies_ahead``: a COPY FROM STDIN was
    forwarded whose answer may still be to come. ``copy_entry``: of the COPY that the client is
    sending data for. ``copies_contained``: that was judged for a subject that is contained.

    ``has_block``: what the client's BEGIN, COMMIT and so on have left since the last ReadyForQuery;
    None: nothing, so that its status still holds. ``has_savepoint``: a SAVEPOINT was forwarded
    since the transaction began. ``is_ours``: the gateway opened the block in the
    middle of which the pipeline is (:mod:`sallyport.session.pipeline_block`). ``is_theirs``: its
    BEGIN finds one of the client's. ``is_adopted``: the client's BEGIN finds ours. ``is_ended``:
    the client's COMMIT or ROLLBACK ends it.
    """

    __slots__ = (
        "approved",
        "copies_ahead",
        "copies_contained",
        "copy_entry",
        "entries",
        "executed",
        "has_block",
        "has_savepoint",
        "is_adopted",
        "is_ended",
        "is_ours",
        "is_theirs",
        "step",
        "unsynced",
    )

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque()
        self.step = 0
        self.unsynced = False
        self.executed = False
        self.copies_ahead = False
        self.copies_contained = False
        self.approved = False
        self.copy_entry: Entry | None = None
        self.has_block: bool | None = None
        self.has_savepoint = False
        self.is_ours = self.is_theirs = self.is_adopted = self.is_ended = False

    @property
    def oldest(self) -> Entry | None:
        """What the server's next message belongs to."""
        return self.entries[0] if self.entries else None

    @property
    def is_waiting(self) -> bool:
        """Whether answers are outstanding that come without a further Sync."""
        return bool(self.entries) and not self.unsynced

    @property
    def outstanding_steps(self) -> int:
        """How many steps that were forwarded whole are not answered yet. Their answers come without
        a further Sync.
        """
        return sum(entry.kind in _ENDS_STEP for entry in self.entries)

    @property
    def is_empty(self) -> bool:
        """Nothing is outstanding, and no Sync is due."""
        return not (self.entries or self.unsynced or self.executed or self.copies_ahead)

    def on_query(self) -> None:
        """A simple Query was forwarded."""
        self.step += 1

    def on_sync(self) -> None:
        """A Sync was forwarded."""
        self.unsynced = self.executed = False
        self.step += 1

    def on_ready(self) -> None:
        """ReadyForQuery: it says whether a block is open, and what a failed statement was to do to
        one will not happen.
        """
        self.has_block = None
        self.is_adopted = self.is_ended = False

    def on_settled(self, *, is_outside: bool) -> None:
        """ReadyForQuery, and nothing is outstanding. ``is_outside``: of a transaction."""
        self.unsynced = False
        self.approved = self.approved and not is_outside

    def may_copy_in(self) -> bool:
        """Whether a COPY may still begin that would read what is forwarded now."""
        self.copies_ahead = any(entry.may_copy_in for entry in self.entries)
        return self.copies_ahead
