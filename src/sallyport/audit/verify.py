"""Is a recording what the gateway wrote? Streams a file once and says what was done to it, and
where.

:func:`verify` recomputes every block's hash and follows the chain. It finds edits, deletions,
insertions and reorderings of blocks, changes inside a block, a recording that was renamed, a torn
tail, and, given what the index remembers, a tail cut at a block's edge, a file that was rewritten
as a whole, and an index row that says something else than the events. Block numbers count from 0.
Whatever bytes the file holds, the answer is a :class:`Verification`.

The chain of an encrypted recording runs over what is stored, so its blocks are checked without a
key as well; what only their content shows (events, counts, the end) is not checked then, and a note
says so. A recording that was shredded is ``shredded``, not damaged.

:func:`read_events` yields a recording's events for reading, checked the same way; it stops at the
first thing that is wrong and tells what it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from sallyport.audit import events as ev
from sallyport.audit.archive import RecordingError
from sallyport.audit.blocks import Block, genesis
from sallyport.audit.keyfiles import KeyState, key_path
from sallyport.audit.keys import NO_KEYS, KeyRing
from sallyport.audit.ports import ENDED, INTERRUPTED, LIVE, STATUSES, SessionRow
from sallyport.audit.reader import RecordingReader
from sallyport.audit.senttexts import SentTexts
from sallyport.audit.summary import Summary, row_of_login

EDIT: Final = "edit"
DELETION: Final = "deletion"
INSERTION: Final = "insertion"
REORDERING: Final = "reordering"
TRUNCATED: Final = "truncated tail"
REPLACED: Final = "rewritten"
UNREADABLE: Final = "unreadable"
INDEX: Final = "index differs"
WRONG_KEY: Final = "wrong key"
#: Seconds by which the times of index and recording may differ; earlier versions took them from two
#: clocks.
_TOLERANCE: Final = 2.0
#: Problems reported for one recording; the rest is counted.
_LIMIT: Final = 20


@dataclass(frozen=True, slots=True)
class VerificationProblem:
    """``kind``: one of the constants above. ``block``: where, or None when that cannot be told."""

    kind: str
    text: str
    block: int | None = None

    def __str__(self) -> str:
        text = f"{self.kind}: {self.text}"
        return text if self.block is None else f"block {self.block}: {text}"


@dataclass(slots=True)
class Verification:
    """``problems`` is empty for a sound recording. ``notes``: what is worth knowing and proves
    nothing wrong. ``shredded``: its key was deleted on purpose. ``ended``: the recording has the
    session's end.
    """

    session: str
    path: Path
    blocks: int = 0
    events: int = 0
    ended: bool = False
    problems: list[VerificationProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    shredded: bool = False

    @property
    def ok(self) -> bool:
        return not self.problems


def verify(
    path: Path,
    row: SessionRow | None = None,
    keys: KeyRing = NO_KEYS,
    *,
    is_copy: bool = False,
) -> Verification:
    """Check one recording; ``row`` is what the index knows of it, ``keys`` decrypt it. ``is_copy``:
    it was taken from its place, so its key need not be there. Raises RecordingError when it cannot
    be opened.
    """
    with RecordingReader(path, keys) as reader:
        result = Verification(row.id if row is not None else path.stem, path)
        state = _State(reader, result, row)
        if not is_copy or key_path(path).exists():
            state.see_key()
        try:
            for block in reader.blocks():
                state.see(block)
        except OSError as error:
            state.report(UNREADABLE, f"cannot be read on: {error.strerror}", result.blocks)
        except MemoryError:
            state.report(UNREADABLE, "claims a size for which there is no memory", result.blocks)
        else:
            state.finish()
    return result


class _State:
    def __init__(
        self, reader: RecordingReader, result: Verification, row: SessionRow | None
    ) -> None:
        self.reader, self.result, self.row = reader, result, row
        self.remembered = _remembered(row)
        self.summary = Summary()
        #: Counts and bytes up to the block that the index remembers.
        self.counted: tuple[int, ...] = ()
        self.previous = genesis(result.session, reader.version, reader.commitment)
        self.sequences: list[int] = []
        self.hashes: set[bytes] = set()
        self.last: Block | None = None
        if not reader.belongs_to(result.session):
            self.report(REPLACED, f"the file says that it belongs to session {reader.session_id!r}")

    def report(self, kind: str, text: str, block: int | None = None) -> None:
        if len(self.result.problems) < _LIMIT:
            self.result.problems.append(VerificationProblem(kind, text, block))
        elif len(self.result.problems) == _LIMIT:
            self.result.problems.append(
                VerificationProblem(kind, "and more; only the first are listed")
            )

    def see_key(self) -> None:
        """What the key of an encrypted recording is good for."""
        key = self.reader.key
        if key is None:
            if key_path(self.reader.path).exists():
                self.report(
                    REPLACED, "it is not encrypted, and the key of an encrypted one is there"
                )
            return
        if key.state is KeyState.OPEN:
            return
        if key.state is KeyState.SHREDDED:
            self.result.shredded = True
            self.result.notes.append(key.text)
        elif key.state is KeyState.NOT_LISTED:
            self.result.notes.append(f"its content was not checked: {key.text}")
        elif key.state is KeyState.MISSING:
            self.report(DELETION, f"{key.text}, and nothing says that it was shredded")
        else:
            self.report(WRONG_KEY, key.text)

    def see(self, block: Block) -> None:
        self.result.blocks += 1
        self.result.events += block.events
        expected = self.sequences[-1] + 1 if self.sequences else 0
        self.hashes.add(block.hash)
        if block.computed_hash() != block.hash:
            # Its numbers are not to be trusted either: it counts as the one that should stand here.
            self.sequences.append(expected)
            problem = _diagnose(block, expected)
            self.report(problem.kind, problem.text, problem.block)
        else:
            self.sequences.append(block.sequence)
            if block.previous != self.previous and block.sequence == expected:
                self.report(
                    EDIT,
                    "does not continue the block before it: one of the two was replaced",
                    expected,
                )
            self._count(block, expected)
        self.previous = block.hash
        self.last = block

    def _count(self, block: Block, number: int) -> None:
        if self.reader.is_locked:
            return
        if block.raw is None:
            # The hash of an encrypted block covers what is stored, whoever encrypted it.
            self.report(WRONG_KEY, "was not encrypted with the key of this recording", number)
            return
        try:
            self.summary.add_block(block)
        except msgspec.DecodeError:
            self.report(
                UNREADABLE, "holds an event that this version of Sallyport does not know", number
            )
        if block.hash == self.remembered:
            self.counted = (*self.summary.counts.as_tuple(), self.summary.bytes)

    def finish(self) -> None:
        """What only the whole file shows."""
        self._order()
        row = self.row
        ended = self.result.ended = self.summary.end is not None
        torn, damaged = self.reader.torn, self.reader.damaged
        next_block = len(self.sequences)
        if damaged is not None:
            self.report(
                EDIT, f"no block begins at byte {damaged}; what follows cannot be read", next_block
            )
        if torn is not None:
            where = f"the file stops inside a block that begins at byte {torn}"
            if row is not None and row.status == LIVE:
                self.result.notes.append(f"{where}; the session is live, it may be being written")
            else:
                self.report(TRUNCATED, where, next_block)
        elif row is not None:
            self._compare_hash(row, ended)
        if self.reader.is_locked:
            return
        if not ended and torn is None and (row is None or row.status != LIVE):
            if row is not None and row.status == ENDED:
                self.report(
                    TRUNCATED, "the session ended, but the recording has no end event", next_block
                )
            else:
                self.result.notes.append(
                    "no end event: the gateway stopped before the session was over"
                )
        if self.summary.recovered:
            self.result.notes.append(
                "statements recovered from the journal, outcome not known:"
                f" {self.summary.recovered}"
            )
        if row is not None and self.result.ok:
            for text in differences(row, self.summary, self.counted):
                self.report(INDEX, text)

    def _compare_hash(self, row: SessionRow, ended: bool) -> None:
        """The index may lag behind the file of a live session (it is written in batches)."""
        if not row.last_hash:
            if row.status != LIVE and self.sequences:
                self.report(INSERTION, "the index remembers no block of this recording")
            return
        if self.remembered not in self.hashes:
            self.report(
                REPLACED if ended else TRUNCATED,
                f"the block that the index remembers as newest ({str(row.last_hash)[:16]}…) is not"
                " in the file",
            )
        elif row.status != LIVE and self.remembered != self.previous:
            self.report(INSERTION, "blocks follow the one that the index remembers as the last")

    def _order(self) -> None:
        """Blocks carry numbers: gaps are deletions, descents are reorderings, repeats are
        insertions.
        """
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


def _remembered(row: SessionRow | None) -> bytes:
    """The hash that the index remembers; b"" when there is none, or it cannot be one."""
    try:
        return bytes.fromhex(row.last_hash) if row is not None else b""
    except (TypeError, ValueError):
        return b""


def differences(row: SessionRow, summary: Summary, counted: tuple[int, ...]) -> Iterator[str]:
    """What the index says otherwise than the recording does. ``counted``: statements, refused ones,
    rows and bytes up to the block that the index remembers; () when it was not seen.
    """
    login = summary.login
    if login is None:
        return
    described = row_of_login(login, row.file)
    for name in (
        "subject",
        "issuer",
        "groups",
        "agent",
        "actors",
        "label",
        "target",
        "client",
        "application",
    ):
        if getattr(row, name) != getattr(described, name):
            yield _says(name, getattr(row, name), getattr(described, name))
    yield from _of_its_run(row, summary, login)
    if not _close(row.started, login.started):
        yield _says("start", row.started, login.started)
    if summary.end is not None and row.status == ENDED:
        ended = summary.wall_time(summary.end.at, login)
        if not _close(row.ended, ended):
            yield _says("end", row.ended, ended)
        if row.reason != summary.end.reason:
            yield _says("reason", row.reason, summary.end.reason)
    if counted and not summary.lost_events:  # earlier versions counted what was lost, too
        names = ("statements", "refused", "rows", "bytes")
        for name, count in zip(names, counted, strict=True):
            if getattr(row, name) != count:
                yield _says(name, getattr(row, name), count)


def _of_its_run(row: SessionRow, summary: Summary, login: ev.Login) -> Iterator[str]:
    """Who ran the session, and whether it is over: the index may not know yet that it is."""
    if row.owner not in ("", login.gateway):  # "": from before there were owners
        yield _says("owner", row.owner, login.gateway)
    if row.status not in STATUSES:
        yield _says("status", row.status, " or ".join(STATUSES))
    elif summary.end is not None and row.status == INTERRUPTED:
        yield _says("status", row.status, ENDED)


def _close(indexed: object, recorded: float) -> bool:
    return isinstance(indexed, int | float) and abs(indexed - recorded) <= _TOLERANCE


def _says(name: str, indexed: object, recorded: object) -> str:
    return f"{name}: the index says {indexed!r}, the recording {recorded!r}"


def _diagnose(block: Block, number: int) -> VerificationProblem:
    """A block's content does not match its hash."""
    if block.raw is None:
        return VerificationProblem(EDIT, "its content cannot be decompressed", number)
    return VerificationProblem(EDIT, "its content or its header was changed", number)


def read_events(
    path: Path,
    session_id: str | None = None,
    on_problem: Callable[[VerificationProblem], None] | None = None,
    keys: KeyRing = NO_KEYS,
) -> Iterator[ev.Event]:
    """The events of a recording, in order, one block in memory at a time.

    Stops at the first thing that is wrong and hands it to ``on_problem``. Raises RecordingError
    when the file cannot be opened, or is encrypted and cannot be decrypted: it was shredded, or
    ``keys`` lack what it needs.
    """
    tell = on_problem or (lambda problem: None)
    with RecordingReader(path, keys) as reader:
        expected = session_id if session_id is not None else path.stem
        previous = reader.genesis
        if not reader.belongs_to(expected):
            raise RecordingError(
                f"{path} belongs to session {reader.session_id!r}, not to {expected!r}"
            )
        reader.require_content()
        count, texts = 0, SentTexts()
        for number, block in enumerate(reader.blocks()):
            if block.computed_hash() != block.hash:
                tell(_diagnose(block, number))
                return
            if block.sequence != number or block.previous != previous:
                tell(VerificationProblem(EDIT, "does not continue the block before it", number))
                return
            previous = block.hash
            if block.raw is None:
                reader.require_content()
                tell(
                    VerificationProblem(
                        WRONG_KEY, "was not encrypted with the key of this recording", number
                    )
                )
                return
            try:
                for raw in block.split():
                    yield from ev.spelled_out(texts.complete(ev.decode_event(raw)))
            except msgspec.DecodeError:
                tell(
                    VerificationProblem(
                        UNREADABLE,
                        "holds an event that this version of Sallyport does not know",
                        number,
                    )
                )
                return
            count = number + 1
        if reader.damaged is not None:
            tell(VerificationProblem(EDIT, f"no block begins at byte {reader.damaged}", count))
        if reader.torn is not None:
            tell(
                VerificationProblem(
                    TRUNCATED, f"the file stops inside a block at byte {reader.torn}", count
                )
            )


def missing(row: SessionRow, path: Path) -> Verification:
    """The verdict on a recording that is not there."""
    result = Verification(row.id, path)
    if row.last_hash:
        result.problems.append(
            VerificationProblem(DELETION, f"the recording {row.file} is missing")
        )
    else:
        result.notes.append("nothing was recorded")
    return result
