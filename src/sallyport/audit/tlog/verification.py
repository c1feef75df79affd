"""Is the log what its key signed, and are the recordings what the log says? From files alone.

:func:`verify_log` reads every entry once and makes the tree anew. It names what was done to
entries, tiles and checkpoint, and compares with checkpoints that somebody kept elsewhere: a
rolled-back directory and a fork show only there. :meth:`LogState.check` compares one recording with
the heads that the log has of it. Both say what they could not check. :mod:`sallyport.audit.verify`
says whether a recording is sound in itself.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Final, TypeGuard

from sallyport.audit.archive import RecordingError
from sallyport.audit.ports import ACTIONS, LIVE, SessionRow
from sallyport.audit.tlog.entries import Deleted, EntryError, Head, LogBegun, decode_entry
from sallyport.audit.tlog.hashing import TILE_WIDTH, TreeEdge, leaf_hash
from sallyport.audit.tlog.heads_of_recordings import block_hashes
from sallyport.audit.tlog.notes import Checkpoint, NoteError, VerifyKey, WrongKeyError
from sallyport.audit.tlog.reading import LogReader, read_vkey
from sallyport.audit.tlog.tiles import TileError, tile_path
from sallyport.audit.verify import (
    DELETION,
    EDIT,
    INDEX,
    INSERTION,
    REORDERING,
    REPLACED,
    TRUNCATED,
    UNREADABLE,
    Verification,
    VerificationProblem,
)

#: What verification calls the log.
LOG: Final = "log"
WRONG_KEY: Final = "wrong key"
FORK: Final = "fork"
ROLLED_BACK: Final = "rolled back"
#: Problems of the log that are listed; the rest is counted.
_LIMIT: Final = 20


@dataclass(slots=True)
class _Logged:
    """What the log has of one session: (index, head) of each, oldest first."""

    heads: list[tuple[int, Head]] = field(default_factory=list)
    deleted: tuple[int, Deleted] | None = None


@dataclass(slots=True)
class LogState:
    """``result``: the verdict on the log itself. ``readable``: every entry could be read, so that
    what the log lacks was never in it. ``newest``: when its newest entry came, in Unix seconds.
    """

    result: Verification
    checkpoint: Checkpoint | None = None
    readable: bool = True
    newest: float = 0.0
    sessions: dict[str, _Logged] = field(default_factory=dict)

    def check(self, result: Verification, row: SessionRow | None, *, indexed: bool) -> None:
        """Add to ``result`` what the log says otherwise than the recording and its row. ``row``:
        what the index has. ``indexed``: there is an index to be compared with.
        """
        logged = self.sessions.get(result.session)
        if logged is None or not logged.heads:
            self._check_unlogged(result, row)
            return
        if row is None and indexed:
            text = "the log has this session, the index does not; see 'sallyport audit reindex'"
            result.problems.append(VerificationProblem(INDEX, text))
        _check_recording(result, logged)
        final = _final(logged)
        if row is None:
            return
        if row.status == LIVE:
            if final is not None:
                self._note_ended(result, *final)
            return
        if final is not None and row.last_hash != final[1].head:
            text = f"its newest block in the index is not that of the log (entry {final[0]})"
            result.problems.append(VerificationProblem(INDEX, text))

    def _note_ended(self, result: Verification, index: int, final: Head) -> None:
        """Of a session that is live by its row. The row comes after the entry: where the log has
        little behind it, the gateway may have died in between, or the index been copied first.
        """
        text = f"it says that the session runs, and the log has its end (entry {index})"
        if self.newest - final.time > _INDEX_LAG:
            result.problems.append(VerificationProblem(INDEX, text))
        else:
            result.notes.append(f"the index is behind the log: {text}")

    def is_known(self, sessions: Container[str]) -> bool:
        """Whether ``sessions`` has all of which there are heads, but for what was deleted."""
        return all(
            session in sessions or logged.deleted is not None
            for session, logged in self.sessions.items()
            if logged.heads
        )

    def missing(self, sessions: Iterable[str], directory: Path) -> list[Verification]:
        """The verdicts on sessions that only the log knows. ``sessions``: those that are known."""
        results = []
        for session in sorted(self.sessions.keys() - set(sessions)):
            result = Verification(session, directory)
            self._note_missing(result, self.sessions[session])
            results.append(result)
        return results

    def check_missing(self, result: Verification) -> None:
        """Of a session whose recording is not there: whether it was deleted on purpose."""
        logged = self.sessions.get(result.session)
        if logged is not None and self._is_proven(logged.deleted):
            result.problems = [problem for problem in result.problems if problem.kind != DELETION]
            result.notes.append(_deleted_text(*logged.deleted))
        elif logged is not None and logged.heads and not result.problems:
            self._note_missing(result, logged)

    def _is_proven(self, deleted: tuple[int, Deleted] | None) -> TypeGuard[tuple[int, Deleted]]:
        """Whether a checkpoint says that it was deleted on purpose: nothing is deleted before."""
        size = self.checkpoint.size if self.checkpoint is not None else 0
        return deleted is not None and deleted[0] < size

    def _note_missing(self, result: Verification, logged: _Logged) -> None:
        if self._is_proven(logged.deleted):
            result.notes.append(_deleted_text(*logged.deleted))
        elif logged.deleted is not None:
            text = f"its recording is missing, and the entry that says why ({logged.deleted[0]})"
            text += " is under no checkpoint"
            result.problems.append(VerificationProblem(DELETION, text))
        elif logged.heads:
            index = logged.heads[-1][0]
            text = f"the log has this session (entry {index}), and its recording is missing"
            result.problems.append(VerificationProblem(DELETION, text))

    def _check_unlogged(self, result: Verification, row: SessionRow | None) -> None:
        if not result.blocks:
            return
        if row is not None and row.status == LIVE and row.started > self.newest - _LIVE_SLACK:
            result.notes.append("the log has no head of it yet: the index says that it is live")
        elif not self.readable:
            result.notes.append("not compared with the log, of which entries cannot be read")
        elif row is not None and row.kind == ACTIONS and row.started > self.newest - _SLACK:
            result.notes.append(
                "the log does not have it yet: a command recorded it; the gateway adds it at "
                "its next checkpoint or start"
            )
        elif row is not None or result.ended:
            text = "the log has no head of this recording: it was put here, or the log lost it"
            result.problems.append(VerificationProblem(INSERTION, text))
        else:
            result.notes.append(
                "the log does not have it yet: the session ran when this was copied",
            )


#: Seconds by which a session that runs may have begun before the log's newest entry, without a head
#: of its own: it gets one with the checkpoint after ``audit.head_seconds``
#: (:data:`sallyport.config.auditlog.MOST_SECONDS`).
_LIVE_SLACK: Final = 2100.0
#: Seconds by which the index of a running gateway may trail the log.
_INDEX_LAG: Final = 60.0
#: Seconds by which what a command recorded may be older than the log's newest entry: the next
#: checkpoint has it.
_SLACK: Final = 700.0


def _final(logged: _Logged) -> tuple[int, Head] | None:
    return next((pair for pair in reversed(logged.heads) if pair[1].status != LIVE), None)


def _deleted_text(index: int, entry: Deleted) -> str:
    return f"the recording was deleted on purpose: {entry.reason} (entry {index} of the log)"


def _check_recording(result: Verification, logged: _Logged) -> None:
    """Every head that the log has must be a block of the recording, the final one its last."""
    try:
        hashes = block_hashes(result.path)
    except (RecordingError, OSError):
        return  # that it cannot be read is among its problems already
    places = {digest: number for number, digest in enumerate(hashes)}
    kind = REPLACED if result.ended else TRUNCATED
    for index, head in logged.heads:
        if head.head not in places:
            text = f"the block in the log (entry {index}, {head.head[:16]}…) is not in the file"
            result.problems.append(VerificationProblem(kind, text))
            return
    final = _final(logged)
    if final is not None and places[final[1].head] != len(hashes) - 1:
        text = f"blocks follow the one that the log has as the last (entry {final[0]})"
        result.problems.append(VerificationProblem(INSERTION, text, places[final[1].head] + 1))


def verify_log(
    directory: Path, key: VerifyKey | None = None, witnessed: Sequence[tuple[str, str]] = ()
) -> LogState:
    """``key`` None: the one that lies beside the log is used, and a note says so. ``witnessed``:
    names and texts of checkpoints from elsewhere.
    """
    result = Verification(LOG, directory)
    state = LogState(result)
    try:
        key = _own_key(directory, result) if key is None else key
        log = LogReader(directory)
    except (TileError, NoteError) as error:
        result.problems.append(VerificationProblem(UNREADABLE, str(error)))
        state.readable = False
        return state
    state.checkpoint = log.checkpoint
    try:
        Checkpoint.parse(str(log.checkpoint), key)
    except WrongKeyError as error:
        result.problems.append(VerificationProblem(WRONG_KEY, f"the checkpoint is {error}"))
    except NoteError as error:
        result.problems.append(VerificationProblem(UNREADABLE, str(error)))
    kept = _kept_elsewhere(witnessed, key, result)
    tree = _Tree(log, state, {checkpoint.size for _, checkpoint in kept})
    tree.read()
    for name, checkpoint in kept:
        _compare(name, checkpoint, tree, result)
    if not witnessed:
        result.notes.append(
            "not compared with a checkpoint kept elsewhere (--checkpoint FILE): that the whole "
            "directory was rolled back, or forked by who has the key, cannot be seen without"
        )
    result.blocks, result.events = 0, tree.entries
    return state


def _own_key(directory: Path, result: Verification) -> VerifyKey:
    key = read_vkey(directory)
    result.notes.append(
        "the public key was read beside the log; whoever can replace both is found with --key only"
    )
    return key


def _kept_elsewhere(
    witnessed: Sequence[tuple[str, str]], key: VerifyKey, result: Verification
) -> list[tuple[str, Checkpoint]]:
    kept = []
    for name, text in witnessed:
        try:
            kept.append((name, Checkpoint.parse(text, key)))
        except NoteError as error:
            kind = WRONG_KEY if isinstance(error, WrongKeyError) else UNREADABLE
            _report(result, VerificationProblem(kind, f"a checkpoint in {name}: {error}"))
    return kept


def _compare(name: str, kept: Checkpoint, tree: _Tree, result: Verification) -> None:
    if kept.size > tree.size:
        text = f"{name} has a checkpoint of {kept.size} entries, and the log has {tree.size}"
        _report(result, VerificationProblem(ROLLED_BACK, text))
    elif kept.size not in tree.roots:
        result.notes.append(
            f"the checkpoint of {kept.size} entries in {name} could not be compared",
        )
    elif tree.roots[kept.size] != kept.root:
        text = f"{name} has a checkpoint of another log of {kept.size} entries, by the same key"
        _report(result, VerificationProblem(FORK, text))


def _report(result: Verification, problem: VerificationProblem) -> None:
    if len(result.problems) < _LIMIT:
        result.problems.append(problem)
    elif len(result.problems) == _LIMIT:
        result.problems.append(
            VerificationProblem(problem.kind, "and more; only the first are listed")
        )


class _Tree:
    """Makes the tree anew: once from the entries and, from the first bundle on that does not have
    the hashes of its tile, a second time from the tiles of level 0.

    ``roots``: at the sizes that were asked for, of the tree whose root the checkpoint has.
    """

    def __init__(self, log: LogReader, state: LogState, sizes: set[int]) -> None:
        self._log, self._state, self._result = log, state, state.result
        self._sizes = sizes
        self.size = log.checkpoint.size
        self.entries = 0
        self.roots: dict[int, bytes] = {0: TreeEdge().root()}
        self._by_entries: _Growing | None = _Growing(self.roots, sizes)
        self._by_tiles: _Growing | None = None
        self._differing: list[VerificationProblem] = []
        self._upper: list[VerificationProblem] = []

    def read(self) -> None:
        for bundle in self._log.tiles.bundles():
            self._read_bundle(bundle)
        self._judge_roots()
        self._read_upper_edge()
        for problem in self._upper:
            _report(self._result, problem)
        self._read_pending()
        self._look_for_more()

    def _read_bundle(self, bundle: int) -> None:
        entries = hashes = None
        try:
            entries = self._log.tiles.entries(bundle)
        except TileError as error:
            self._differing.append(VerificationProblem(UNREADABLE, str(error)))
            self._state.readable = False
        try:
            hashes = self._log.tiles.tile(0, bundle)
        except TileError as error:
            self._upper.append(VerificationProblem(UNREADABLE, str(error)))
        computed = None if entries is None else [leaf_hash(entry) for entry in entries]
        if computed != hashes and self._by_tiles is None and self._by_entries is not None:
            self._by_tiles = self._by_entries.copy()
        if computed is not None and hashes is not None and computed != hashes:
            self._differing += _differences(bundle * TILE_WIDTH, hashes, computed)
        self._by_entries = _grown(self._by_entries, computed)
        self._by_tiles = _grown(self._by_tiles, hashes) if self._by_tiles is not None else None
        for position, entry in enumerate(entries or []):
            self._take(bundle * TILE_WIDTH + position, entry)

    def _judge_roots(self) -> None:
        """Which of the two is what was signed says whether entries or tiles were changed."""
        root = self._log.checkpoint.root
        by_entries, by_tiles = self._by_entries, self._by_tiles
        if by_entries is not None and (by_entries.size, by_entries.root) == (self.size, root):
            self.roots, self._upper = (
                by_entries.roots,
                [*self._upper, *by_entries.problems(self._log)],
            )
            if self._differing:
                text = "hashes in tiles of level 0 were changed: the entries are what was signed"
                self._upper.append(VerificationProblem(EDIT, text))
        elif by_tiles is not None and (by_tiles.size, by_tiles.root) == (self.size, root):
            self.roots, self._upper = by_tiles.roots, [*self._upper, *by_tiles.problems(self._log)]
            for problem in self._differing:
                _report(self._result, problem)
        else:
            for problem in self._differing:
                _report(self._result, problem)
            usable = by_entries or by_tiles
            self.roots = usable.roots if usable is not None else {}
            text = f"the {self.size} entries are not those that the checkpoint signs"
            if usable is None:
                text = f"whether these are the {self.size} entries of the checkpoint cannot be told"
            self._upper.append(
                VerificationProblem(REPLACED if usable is not None else UNREADABLE, text)
            )

    def _read_upper_edge(self) -> None:
        """The partial tiles above level 0, which proofs are made of."""
        for growing in (self._by_entries, self._by_tiles):
            if growing is not None and growing.root == self._log.checkpoint.root:
                tiles = [tile for tile in growing.edge.partial() if tile[0]]
                self._upper += _changed_tiles(self._log, tiles)
                return

    def _take(self, index: int, data: bytes) -> None:
        self.entries += 1
        try:
            entry = decode_entry(data)
        except EntryError as error:
            _report(self._result, VerificationProblem(UNREADABLE, f"entry {index}: {error}"))
            self._state.readable = False
            return
        if isinstance(entry, LogBegun):
            if index:
                _report(
                    self._result,
                    VerificationProblem(INSERTION, f"entry {index} begins a log again"),
                )
            return
        self._state.newest = max(self._state.newest, entry.time)
        logged = self._state.sessions.setdefault(entry.session, _Logged())
        if isinstance(entry, Head):
            logged.heads.append((index, entry))
        else:
            logged.deleted = (index, entry)

    def _read_pending(self) -> None:
        pending = self._log.pending
        if pending and pending[0][0] != self.size:
            text = f"entries {self.size} to {pending[0][0] - 1} are missing"
            _report(self._result, VerificationProblem(DELETION, text))
        for index, entry in pending:
            self._take(index, entry)
        if pending:
            self._result.notes.append(
                f"entries under no checkpoint yet, which nothing proves: {len(pending)}"
            )

    def _look_for_more(self) -> None:
        """Files of a larger tree than the checkpoint's: only the checkpoint was put back."""
        bundle, width = divmod(self.size, TILE_WIDTH)
        directory = self._log.directory
        partial = (directory / tile_path(None, bundle, 1)).parent
        widths = [int(path.name) for path in partial.glob("*") if path.name.isdecimal()]
        largest = bundle * TILE_WIDTH + max([width, *widths])
        if (directory / tile_path(None, bundle)).exists():
            largest = (bundle + 1) * TILE_WIDTH
        if largest > self.size + len(self._log.pending):
            text = f"the checkpoint has {self.size} entries, and there are files of {largest}"
            _report(self._result, VerificationProblem(ROLLED_BACK, text))


class _Growing:
    """A tree that is made from hashes, and its roots at some sizes on the way."""

    def __init__(self, roots: dict[int, bytes], sizes: set[int]) -> None:
        self.edge, self.roots, self._sizes = TreeEdge(), dict(roots), sizes
        self._full: list[tuple[int, int, bytes]] = []

    def copy(self) -> _Growing:
        copied = _Growing(self.roots, self._sizes)
        copied.edge, copied._full = self.edge.copy(), list(self._full)
        return copied

    def add(self, hashes: Sequence[bytes]) -> None:
        for digest in hashes:
            self._full += [tile for tile in self.edge.append(digest) if tile[0]]
            if self.edge.size in self._sizes:
                self.roots[self.edge.size] = self.edge.root()

    @property
    def size(self) -> int:
        return self.edge.size

    @property
    def root(self) -> bytes:
        return self.edge.root()

    def problems(self, log: LogReader) -> list[VerificationProblem]:
        return _changed_tiles(log, self._full)


def _grown(growing: _Growing | None, hashes: Sequence[bytes] | None) -> _Growing | None:
    if growing is None or hashes is None:
        return None
    growing.add(hashes)
    return growing


def _changed_tiles(
    log: LogReader, tiles: Sequence[tuple[int, int, bytes]]
) -> list[VerificationProblem]:
    problems = []
    for level, index, data in tiles:
        try:
            if b"".join(log.tiles.tile(level, index)) != data:
                text = f"{tile_path(level, index)} has not the hashes of the tiles below it"
                problems.append(VerificationProblem(EDIT, text))
        except TileError as error:
            problems.append(VerificationProblem(UNREADABLE, str(error)))
    return problems


def _differences(
    first: int, hashes: Sequence[bytes], computed: Sequence[bytes]
) -> list[VerificationProblem]:
    """What was done to the entries of a bundle, whose tile has ``hashes``."""
    if sorted(hashes) == sorted(computed):
        pairs = enumerate(zip(hashes, computed, strict=True))
        number = next(i for i, (before, now) in pairs if before != now)
        return [
            VerificationProblem(
                REORDERING, f"entry {first + number} and others stand in another order"
            )
        ]
    problems = []
    matcher = SequenceMatcher(None, hashes, computed, autojunk=False)
    for change, start, end, from_, to in matcher.get_opcodes():
        if change == "replace" and end - start == to - from_:
            problems += [
                VerificationProblem(EDIT, f"entry {first + i} was changed")
                for i in range(start, end)
            ]
        elif change == "insert":
            text = f"{to - from_} entries were put in before entry {first + start}"
            problems.append(VerificationProblem(INSERTION, text))
        elif change != "equal":
            text = f"entry {first + start}" + (f" to {first + end - 1}" if end - start > 1 else "")
            problems.append(VerificationProblem(DELETION, f"{text} was taken out"))
    return problems
