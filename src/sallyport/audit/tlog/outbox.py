"""Heads of recordings from workers that do not keep the log: each writes them into a file of its
own, and the
log takes them from there before each checkpoint.

The file is ``pending-<worker number>`` in the log's directory, of the same records as what waits
for a checkpoint (:mod:`sallyport.audit.tlog.pending`), and locked (flock) by whoever writes or
empties it. An entry is on disk before :meth:`LogOutbox.append` returns, as with the log itself; it
is taken from the file only when the log's own file has it.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from sallyport.audit.tlog.entries import Entry, encode_entry
from sallyport.audit.tlog.pending import encode_records, parse_records
from sallyport.audit.tlog.tiles import PENDING, read_regular
from sallyport.core.clock import Clock, SystemClock
from sallyport.core.errors import SallyportError

#: Entries that are kept while the file cannot be written.
_MAX_WAITING: Final = 50_000
_MAX_FILE: Final = 1 << 30

_log = structlog.get_logger("sallyport.audit")


class LogOutbox:
    """Stands for the log in a worker that does not keep it. ``seconds``: between two calls of
    ``before_checkpoint``, which may append. ``problem``: why nothing is taken, "".
    """

    def __init__(
        self,
        directory: Path,
        number: int,
        *,
        seconds: float = 60.0,
        sync: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.directory = directory
        self.clock: Clock = clock or SystemClock()
        self.before_checkpoint: Callable[[], None] = lambda: None
        self.problem = ""
        self.dropped = 0
        self._path = directory / f"{PENDING}-{number}"
        self._seconds, self._sync = seconds, sync
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Nothing is to be taken up: what waits in the file is the log's to take."""

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="sallyport-log", daemon=True)
        self._thread.start()

    def append(self, *entries: Entry) -> bool:
        """As :meth:`sallyport.audit.tlog.log.TransparencyLog.append`."""
        with self._lock:
            if self.problem or len(self._waiting) + len(entries) > _MAX_WAITING:
                self.dropped += len(entries)
                return False
            self._waiting += map(encode_entry, entries)
            self._write()
        return True

    def close(self) -> None:
        """After the last session."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._lock:
            self._write()
            self.problem = self.problem or "the gateway has stopped"

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.before_checkpoint()
            except SallyportError as error:
                _log.error("heads of running sessions are not logged", reason=str(error))
            with self._lock:
                self._write()

    def _write(self) -> None:
        if not self._waiting:
            return
        try:
            with _held(self._path) as descriptor:
                size = os.fstat(descriptor).st_size
                data = encode_records(0, self._waiting)
                if os.write(descriptor, data) != len(data):
                    os.ftruncate(descriptor, size)
                    raise OSError(f"{self._path}: the disk is full")
                if self._sync:
                    os.fdatasync(descriptor)
        except OSError as error:
            _log.error("an entry of the log cannot be written yet", reason=str(error))
            return
        self._waiting.clear()


def outboxes(directory: Path) -> list[Path]:
    """The files of a log's directory."""
    return sorted(
        p for p in directory.glob(f"{PENDING}-*") if p.name.rpartition("-")[2].isdecimal()
    )


def read_outboxes(directory: Path) -> list[bytes]:
    """Every entry that the log has not taken yet. Raises OSError."""
    return [
        entry
        for path in outboxes(directory)
        for _, entry in parse_records(read_regular(path, _MAX_FILE))
    ]


def empty_outboxes(directory: Path, take: Callable[[list[bytes]], bool]) -> None:
    """Give what each file has to ``take``, which says whether it has it on disk now. Raises
    OSError.
    """
    for path in outboxes(directory):
        if not path.stat().st_size:
            continue
        with _held(path) as descriptor:
            entries = [entry for _, entry in parse_records(read_regular(path, _MAX_FILE))]
            if not entries or take(entries):
                os.ftruncate(descriptor, 0)


@contextmanager
def _held(path: Path) -> Iterator[int]:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
