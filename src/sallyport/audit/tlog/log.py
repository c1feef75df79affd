"""The running log: takes entries from any thread, puts them under a signed checkpoint on a clock.

:meth:`TransparencyLog.append` writes entries to a file before it returns (one ``write``, no more);
a thread of the log's own makes bundles, tiles and the checkpoint from them, in that order, every
``seconds`` when there is something new, and when the log is closed. A checkpoint is on the disk,
with everything that it covers, before a witness gets it, and is made of nothing but the entries:
whatever happens in between, there are never two for one size. Memory holds the right edge of the
tree and the entries since the last checkpoint.

What cannot be written is tried again with the next checkpoint. The log never raises for it and
never stops a statement; ``problem`` says what is wrong. A log that is not what this key signed
last, or that a witness knows to have been longer or another one, is not continued: ``problem`` says
so, and entries are counted in ``dropped`` until an operator has looked at it. Heads of sessions
that the log lacks for such a reason are added when it works again
(:mod:`sallyport.audit.tlog.heads`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from sallyport.audit.tlog.entries import (
    Deleted,
    Entry,
    EntryError,
    LogBegun,
    decode_entry,
    encode_entry,
)
from sallyport.audit.tlog.hashing import TILE_WIDTH, TreeEdge, consistency_proof, leaf_hash
from sallyport.audit.tlog.keyfile import LogProblemError, open_key
from sallyport.audit.tlog.notes import Checkpoint, NoteError, Signature, SigningKey
from sallyport.audit.tlog.outbox import empty_outboxes
from sallyport.audit.tlog.pending import PendingFile, read_pending
from sallyport.audit.tlog.tiles import (
    CHECKPOINT,
    TileError,
    TileReader,
    TileWriter,
    pack_entries,
    read_regular,
)
from sallyport.audit.tlog.witnesses import Witness, WitnessThread
from sallyport.core.clock import Clock, SystemClock
from sallyport.core.errors import SallyportError

#: Entries that wait for a checkpoint at most while none can be made.
_MAX_WAITING: Final = 50_000
#: So many do not wait for the clock.
_MANY: Final = 5_000
#: Seconds that witnesses get at shutdown, all together.
_LAST_SECONDS: Final = 5.0

_log = structlog.get_logger("sallyport.audit")


class TransparencyLog:
    """``directory``: of the log. ``data``: where its key is. ``seconds``: between checkpoints.
    ``sync``: entries are on the disk before :meth:`append` returns.

    ``before_checkpoint``: called on the log's thread; may append. ``problem``: why nothing is
    signed, "". ``failures``: checkpoints that could not be written, since start. ``dropped``:
    entries that were not taken.
    """

    def __init__(
        self,
        directory: Path,
        data: Path,
        *,
        seconds: float = 60.0,
        sync: bool = False,
        witnesses: Sequence[Witness] = (),
        clock: Clock | None = None,
    ) -> None:
        self.directory = directory
        self.clock: Clock = clock or SystemClock()
        self.before_checkpoint: Callable[[], None] = lambda: None
        self.problem = ""
        self.failures = 0
        self.dropped = 0
        self.checkpoint: Checkpoint | None = None
        self.witnesses = [WitnessThread(witness, self) for witness in witnesses]
        self._data, self._seconds = data, seconds
        self._key: SigningKey | None = None
        self._lock = threading.Lock()  # of what append and the thread share
        self._making = threading.Lock()  # one checkpoint at a time
        self._taking = threading.Lock()
        self._waiting: list[bytes] = []
        self._unwritten = False  # the pending file lacks some of them
        self._pending = PendingFile(directory, sync=sync)
        self._writer = TileWriter(directory)
        self._edge, self._bundle = TreeEdge(), list[bytes]()
        self._wake, self._stopping = threading.Event(), False
        self._thread: threading.Thread | None = None

    @property
    def size(self) -> int:
        """Leaves under the newest checkpoint."""
        return self._edge.size

    @property
    def waiting(self) -> int:
        """Entries that no checkpoint covers yet."""
        return len(self._waiting)

    def open(self) -> None:
        """Make the log, or take up what an earlier run left. Before anything else; sets
        ``problem``. Raises ConfigError for a key that everybody can read.
        """
        try:
            self._key = open_key(self._data, self.directory)
            self._take_up(self._key)
        except OSError as error:
            self._give_up(f"{error.filename or self.directory}: {error.strerror}")
        except (LogProblemError, NoteError, TileError) as error:
            self._give_up(str(error))

    def start(self) -> None:
        """Start the threads. Entries that were appended before are kept until then."""
        for witness in self.witnesses:
            witness.start()
        self._thread = threading.Thread(target=self._run, name="sallyport-log", daemon=True)
        self._thread.start()

    def append(self, *entries: Entry) -> bool:
        """Add leaves. From any thread; never raises for what cannot be written. Whether they were
        taken.
        """
        return not entries or self._append([encode_entry(entry) for entry in entries])

    def _append(self, encoded: list[bytes]) -> bool:
        with self._lock:
            if self.problem or len(self._waiting) + len(encoded) > _MAX_WAITING:
                self.dropped += len(encoded)
                return False
            index = self._edge.size + len(self._waiting)
            self._waiting += encoded
            many = len(self._waiting) >= _MANY
            if not self._unwritten:
                try:
                    self._pending.append(index, encoded)
                except OSError as error:
                    self._unwritten = True
                    _log.error("an entry of the log cannot be written yet", reason=str(error))
        if many:
            self._wake.set()
        return True

    def _take_from_worker(self, entries: list[bytes]) -> bool:
        """Entries of an outbox; those that were taken just before this process began are there."""
        with self._lock:
            present = set(self._waiting)
        missing = [entry for entry in _takeable(entries) if entry not in present]
        return (not missing or self._append(missing)) and not self._unwritten

    def take_outboxes(self) -> None:
        """Take what other workers wrote (:mod:`sallyport.audit.tlog.outbox`). Any thread."""
        try:
            with self._taking:
                empty_outboxes(self.directory, self._take_from_worker)
        except OSError as error:
            _log.error("heads of other workers cannot be taken yet", reason=str(error))

    def make_checkpoint(self) -> bool:
        """Put what waits under a checkpoint, now. False: nothing waits, or it cannot be written."""
        with self._making:
            with self._lock:
                waiting = list(self._waiting)
            key = self._key
            if not waiting or self.problem or key is None:
                return False
            edge, bundle = self._edge.copy(), list(self._bundle)
            try:
                checkpoint = self._write(key, waiting, edge, bundle)
            except OSError as error:
                self.failures += 1
                _log.error("the log's checkpoint cannot be written; tried again", reason=str(error))
                return False
            with self._lock:
                del self._waiting[: len(waiting)]
                self._edge, self._bundle, self.checkpoint = edge, bundle, checkpoint
                self._rewrite_pending()
        for witness in self.witnesses:
            witness.put(checkpoint)
        return True

    def close(self) -> None:
        """Everything under a last checkpoint, which witnesses get; blocks for seconds at most."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for witness in self.witnesses:
            witness.close(_LAST_SECONDS / len(self.witnesses))
        with self._lock:
            self._pending.close()
            # What still comes is no more taken: heads of it are added at the next start.
            self.problem = self.problem or "the gateway has stopped"

    # -- at start --------------------------------------------------------------------------

    def _take_up(self, key: SigningKey) -> None:
        content = read_regular(self.directory / CHECKPOINT).decode("utf-8", "replace")
        checkpoint = Checkpoint.parse(content, key.public)
        reader = TileReader(self.directory, checkpoint.size)
        edge = reader.edge()
        if edge.root() != checkpoint.root:
            raise LogProblemError(
                f"the tiles in {self.directory} are not those of its checkpoint: see 'sallyport "
                "audit verify'. Restore the directory, or begin another log with 'sallyport audit "
                "new-log'"
            )
        index, width = divmod(checkpoint.size, TILE_WIDTH)
        bundle = reader.entries(index) if width else []
        if [leaf_hash(entry) for entry in bundle] != (edge.levels[0] if width else []):
            raise LogProblemError(
                f"the newest entries in {self.directory} are not those of its tiles: see "
                "'sallyport audit verify'"
            )
        for witness in self.witnesses:
            self._compare(witness, checkpoint, key)
        unsigned = [entry for i, entry in read_pending(self.directory) if i >= checkpoint.size]
        pending = _takeable(unsigned)
        self._edge, self._bundle, self.checkpoint = edge, bundle, checkpoint
        self._waiting = pending
        self._pending.replace(edge.size, pending)
        if not checkpoint.size and not pending:
            self.append(LogBegun(round(self.clock.now(), 3)))

    def _compare(self, witness: WitnessThread, own: Checkpoint, key: SigningKey) -> None:
        """Raises LogProblemError when a witness has seen what this log is not a continuation of."""
        checkpoint = witness.newest(key.public)
        if checkpoint is None:
            return
        if checkpoint.size > own.size:
            raise LogProblemError(
                f"the log has {own.size} entries, and {witness.name} has seen {checkpoint.size}: "
                f"{self.directory} was rolled back. Restore the newer one, or begin another log "
                "with 'sallyport audit new-log'"
            )
        if self._reader(own.size).root(checkpoint.size) != checkpoint.root:
            raise LogProblemError(
                f"{witness.name} has seen another log at size {checkpoint.size}: a fork. Find out "
                "which one is right; 'sallyport audit new-log' begins another one"
            )

    def _reader(self, size: int) -> TileReader:
        return TileReader(self.directory, size)

    # -- what witnesses ask for ------------------------------------------------------------

    def root_at(self, size: int) -> bytes:
        """Of the tree when it had ``size`` leaves. Raises TileError, ValueError."""
        return self._reader(self.size).root(size)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof between two sizes. Raises TileError, ValueError."""
        return consistency_proof(self._reader(self.size).node, old, new)

    def add_cosignature(self, checkpoint: Checkpoint, signature: Signature) -> None:
        """Keep a witness' signature with a checkpoint while it is the newest. Raises OSError."""
        with self._making:
            newest = self.checkpoint
            if newest is None or newest.note.text != checkpoint.note.text:
                return
            cosigned = newest.with_signatures((signature,))
            self._writer.write(CHECKPOINT, str(cosigned).encode())
            self._writer.settle()
            self.checkpoint = cosigned

    def _give_up(self, problem: str) -> None:
        self.problem = problem
        _log.error("the log of recordings is not continued", reason=problem)

    # -- the log's thread ------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._wake.wait(self._seconds)
                self._wake.clear()
                self._pass()
            self._pass()
        except BaseException as error:
            # A bug: it must be seen (threading prints the traceback), and /readyz must say so.
            self._give_up(f"its thread ended: {type(error).__name__}")
            raise

    def _pass(self) -> None:
        try:
            self.before_checkpoint()
        except SallyportError as error:
            _log.error("heads of running sessions are not logged", reason=str(error))
        self.take_outboxes()
        self.make_checkpoint()

    def _write(
        self, key: SigningKey, waiting: list[bytes], edge: TreeEdge, bundle: list[bytes]
    ) -> Checkpoint:
        """Entries, then tiles, then the checkpoint; ``edge`` and ``bundle`` are moved on. Raises
        OSError; then everything is written again, with the same content.
        """
        writer, full = self._writer, list[tuple[int | None, int]]()
        for entry in waiting:
            bundle.append(entry)
            tiles = edge.append(leaf_hash(entry))
            if tiles:
                index = edge.size // TILE_WIDTH - 1
                writer.write_tile(None, index, pack_entries(bundle), TILE_WIDTH)
                full.append((None, index))
                bundle.clear()
            for level, index, data in tiles:
                writer.write_tile(level, index, data, TILE_WIDTH)
                full.append((level, index))
        if bundle:
            index = edge.size // TILE_WIDTH
            writer.write_tile(None, index, pack_entries(bundle), len(bundle))
        for level, index, data in edge.partial():
            writer.write_tile(level, index, data, len(data) // 32)
        writer.settle()
        checkpoint = Checkpoint.sign(key, edge.size, edge.root())
        writer.write(CHECKPOINT, str(checkpoint).encode())
        writer.settle()
        for written in full:
            writer.drop_partial(*written)
        return checkpoint

    def _rewrite_pending(self) -> None:
        try:
            self._pending.replace(self._edge.size, self._waiting)
            self._unwritten = False
        except OSError as error:
            self._unwritten = True
            _log.error("entries that wait cannot be written", reason=str(error))


def _takeable(unsigned: Sequence[bytes]) -> list[bytes]:
    """Of entries in a file that anybody could have written to who can write files: those that may
    be signed. No deletion is among them: nothing is deleted before a checkpoint says so, and
    retention comes back to what an earlier run had no time for.
    """
    entries = [entry for entry in unsigned if _is_takeable(entry)]
    if len(entries) < len(unsigned):
        count = len(unsigned) - len(entries)
        _log.warning("entries that waited for the log were left out", entries=count)
    return entries


def _is_takeable(entry: bytes) -> bool:
    try:
        return not isinstance(decode_entry(entry), Deleted)
    except EntryError:
        return False
