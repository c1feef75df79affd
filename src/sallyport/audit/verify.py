"""Is a recording what the gateway wrote? Streams a file once and says what was done to it, and where.

:func:`verify` recomputes every block's hash and follows the chain. It finds edits, deletions, insertions and
reorderings of events and of blocks, a recording that was renamed, a torn tail, and, given what the index
remembers, a tail cut at a block's edge and a file that was rewritten as a whole. Block and event numbers
count from 0, over the whole file.

:func:`read_events` yields a recording's events for reading, checked the same way; it stops at the first
thing that is wrong and tells what it was.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from sallyport.audit import events as ev
from sallyport.audit.archive import Block, RecordingError, RecordingReader
from sallyport.audit.chain import genesis, marks
from sallyport.audit.ports import ENDED, LIVE, SessionRow

EDIT: Final = "edit"
DELETION: Final = "deletion"
INSERTION: Final = "insertion"
REORDERING: Final = "reordering"
TRUNCATED: Final = "truncated tail"
REPLACED: Final = "rewritten"
UNREADABLE: Final = "unreadable"
#: Problems reported for one recording; the rest is counted.
_LIMIT: Final = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """``kind``: one of the constants above. ``block``, ``event``: where, or None when that cannot be told."""

    kind: str
    text: str
    block: int | None = None
    event: int | None = None

    def __str__(self) -> str:
        place = "" if self.block is None else f"block {self.block}"
        if self.event is not None:
            place += f", event {self.event}"
        return f"{place}: {self.kind}: {self.text}" if place else f"{self.kind}: {self.text}"


@dataclass(slots=True)
class Verification:
    """``problems`` is empty for a sound recording. ``notes``: what is worth knowing and proves nothing
    wrong.
    """

    session: str
    path: Path
    blocks: int = 0
    events: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems


def verify(path: Path, row: SessionRow | None = None) -> Verification:
    """Check one recording; ``row`` is what the index knows of it. Raises RecordingError when it cannot be
    opened.
    """
    with RecordingReader(path) as reader:
        result = Verification(row.id if row is not None else path.stem, path)
        state = _State(reader, result)
        for block in reader.blocks():
            state.see(block)
        state.finish(row)
    return result


class _State:
    def __init__(self, reader: RecordingReader, result: Verification) -> None:
        self.reader, self.result = reader, result
        self.previous = genesis(result.session)
        self.sequences: list[int] = []
        self.hashes: set[bytes] = set()
        self.last: Block | None = None
        if reader.session_id != result.session or reader.genesis != self.previous:
            self.report(REPLACED, f"the file says that it belongs to session {reader.session_id!r}")

    def report(self, kind: str, text: str, block: int | None = None, event: int | None = None) -> None:
        if len(self.result.problems) < _LIMIT:
            self.result.problems.append(Problem(kind, text, block, event))
        elif len(self.result.problems) == _LIMIT:
            self.result.problems.append(Problem(kind, "and more; only the first are listed"))

    def see(self, block: Block) -> None:
        self.result.blocks += 1
        self.result.events += block.events
        expected = self.sequences[-1] + 1 if self.sequences else 0
        self.hashes.add(block.hash)
        if block.computed_hash() != block.hash:
            # Its numbers are not to be trusted either: it counts as the one that should stand here.
            self.sequences.append(expected)
            problem = _diagnose(block, expected)
            self.report(problem.kind, problem.text, problem.block, problem.event)
        else:
            self.sequences.append(block.sequence)
            if block.previous != self.previous and block.sequence == expected:
                self.report(
                    EDIT, "does not continue the block before it: one of the two was replaced", expected
                )
        self.previous = block.hash
        self.last = block

    def finish(self, row: SessionRow | None) -> None:
        self._order()
        ended = self.last is not None and isinstance(_last_event(self.last), ev.End)
        torn, damaged = self.reader.torn, self.reader.damaged
        next_block = len(self.sequences)
        if damaged is not None:
            self.report(EDIT, f"no block begins at byte {damaged}; what follows cannot be read", next_block)
        if torn is not None:
            where = f"the file stops inside a block that begins at byte {torn}"
            if row is not None and row.status == LIVE:
                self.result.notes.append(f"{where}; the session is live, it may be being written")
            else:
                self.report(TRUNCATED, where, next_block)
        elif row is not None:
            self._compare(row, ended)
        if not ended and torn is None and (row is None or row.status != LIVE):
            if row is not None and row.status == ENDED:
                self.report(TRUNCATED, "the session ended, but the recording has no end event", next_block)
            else:
                self.result.notes.append("no end event: the gateway stopped before the session was over")

    def _compare(self, row: SessionRow, ended: bool) -> None:
        """The index may lag behind the file (it is written in batches), so its hash need not be the
        newest.
        """
        if not row.last_hash:
            return
        known = bytes.fromhex(row.last_hash)
        if known not in self.hashes:
            self.report(
                REPLACED if ended else TRUNCATED,
                f"the block that the index remembers as newest ({row.last_hash[:16]}…) is not in the file",
            )
        elif row.status == ENDED and known != self.previous:
            self.report(INSERTION, "blocks follow the one that the index remembers as the last")

    def _order(self) -> None:
        """Blocks carry numbers: gaps are deletions, descents are reorderings, repeats are insertions."""
        seen = Counter(self.sequences)
        before = -1
        for number in sorted(seen):
            if number == before + 2:
                self.report(DELETION, "is missing", before + 1)
            elif number > before + 2:
                self.report(DELETION, f"is missing, and all up to block {number - 1}", before + 1)
            before = number
        for number, count in seen.items():
            if count > 1:
                self.report(INSERTION, f"is there {count} times", number)
        for before, after in zip(self.sequences, self.sequences[1:], strict=False):
            if after < before:
                self.report(REORDERING, f"stands behind block {before}", after)


def _last_event(block: Block) -> ev.Event | None:
    try:
        raws = ev.split_batch(block.body)
        return ev.decode_event(raws[-1]) if raws else None
    except msgspec.DecodeError:
        return None


def _diagnose(block: Block, number: int) -> Problem:
    """A block's content does not match its hash: tell by the marks what was done to which event."""
    if block.raw is None:
        return Problem(EDIT, "its content cannot be decompressed", number)
    try:
        raws = ev.split_batch(block.body)
    except msgspec.DecodeError:
        return Problem(EDIT, "its content is not a list of events", number)
    stored = [value for (value,) in struct.iter_unpack("<I", block.marks)]
    found = [value for (value,) in struct.iter_unpack("<I", marks(raws))]
    if stored == found:
        return Problem(EDIT, "its hash does not match its content (which event cannot be told)", number)
    index = next((i for i, (a, b) in enumerate(zip(stored, found, strict=False)) if a != b), None)
    if index is None:
        index = min(len(stored), len(found))
    event = block.first_event + index
    if Counter(stored) == Counter(found):
        return Problem(REORDERING, "events were put in another order, beginning here", number, event)
    if len(found) < len(stored):
        count = len(stored) - len(found)
        return Problem(
            DELETION, f"{count} event{'s'[: count > 1]} removed, the first one here", number, event
        )
    if len(found) > len(stored):
        return Problem(INSERTION, "an event was added", number, event)
    return Problem(EDIT, "the event was changed", number, event)


def read_events(
    path: Path, session_id: str | None = None, on_problem: Callable[[Problem], None] | None = None
) -> Iterator[ev.Event]:
    """The events of a recording, in order, one block in memory at a time.

    Stops at the first thing that is wrong and hands it to ``on_problem``. Raises RecordingError when the
    file cannot be opened.
    """
    tell = on_problem or (lambda problem: None)
    with RecordingReader(path) as reader:
        wanted = session_id if session_id is not None else path.stem
        previous = genesis(wanted)
        if reader.genesis != previous:
            raise RecordingError(f"{path} belongs to session {reader.session_id!r}, not to {wanted!r}")
        count = 0
        for number, block in enumerate(reader.blocks()):
            if block.computed_hash() != block.hash:
                tell(_diagnose(block, number))
                return
            if block.sequence != number or block.previous != previous:
                tell(Problem(EDIT, "does not continue the block before it", number))
                return
            previous = block.hash
            try:
                for raw in ev.split_batch(block.body):
                    yield from ev.spelled_out(ev.decode_event(raw))
            except msgspec.DecodeError:
                tell(
                    Problem(UNREADABLE, "holds an event that this version of Sallyport does not know", number)
                )
                return
            count = number + 1
        if reader.damaged is not None:
            tell(Problem(EDIT, f"no block begins at byte {reader.damaged}", count))
        if reader.torn is not None:
            tell(Problem(TRUNCATED, f"the file stops inside a block at byte {reader.torn}", count))
