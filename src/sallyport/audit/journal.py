"""The journal of intents: what may change something is written down before it is sent to the
database.

A recording is written behind the session, so a gateway that is killed loses the last events of
each. The journal closes that gap for statements that may change something: each is queued with
:meth:`Journal.append` as it is judged, and the owner sends nothing of it before
:meth:`Journal.write` returned. One write takes everything that was queued, of all sessions. When a
recording has an event, the journal need not have it any more: a segment is deleted once the
recordings have all of its intents.

One journal per worker, in ``journal/`` below the recordings directory (``journal-<number>/`` for
workers but the first), held by ``flock`` while the worker runs::

    segment = header frame*                         <started, Unix ms>-<number>.intents, mode 0600
    header  = "SALLYJNL" version u16 | length u16 of the key part | key part
    frame   = "SPJ1" length u32 | CRC-32 of body u32 | body (length bytes)
    body    = msgpack [session ids, events]         as many ids as events

All integers are little-endian. Events are those of :mod:`sallyport.audit.events`: STATEMENT, and,
before the first of a session in a segment, its LOGIN. The checksum tells a torn write from a whole
one; it proves nothing against somebody who writes checksums as well.

With a key-encryption key the version is 2: each segment has a random key, and the key part of its
header is JSON ``{"kek": identifier, "key": base64 of it, wrapped}`` (:mod:`sallyport.audit.keys`).
A body then is the frame's number (u64, from 0) and AES-256-GCM of what it was, with that number as
nonce and the header as additional data. Nothing is written into a segment after a write that
failed, so no number comes twice.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog

from sallyport.audit.archive import make_directories
from sallyport.audit.journal_frames import SegmentCipher, encode_frame, names_of
from sallyport.audit.keys import KeyEncryptionKey, KeyRefusedError
from sallyport.core.errors import SallyportError
from sallyport.core.sealing import KEY_BYTES

DIRECTORY: Final = "journal"
SUFFIX: Final = ".intents"
FILE_MAGIC: Final = b"SALLYJNL"
VERSION: Final = 1
ENCRYPTED: Final = 2
#: Bytes after which a new segment begins, and that all segments may have.
SEGMENT_BYTES: Final = 8 << 20
MAX_BYTES: Final = 512 << 20
#: Layout of the file's header.
HEADER: Final = struct.Struct("<8sHH")
#: Bytes that must fit onto the disk before a journal that failed is used again.
_PROBE_BYTES: Final = 1 << 16
_ATTEMPTS: Final = 20

_log = structlog.get_logger("sallyport.audit")


def journal_directory(recordings: Path, number: int = 0) -> Path:
    """Where the journal of a worker is."""
    return recordings / (f"{DIRECTORY}-{number}" if number else DIRECTORY)


def journal_numbers(recordings: Path) -> list[int]:
    """Of the workers whose journals are there, the first one's always."""
    names = [path.name.rpartition("-")[2] for path in recordings.glob(f"{DIRECTORY}-*")]
    return [0, *sorted(int(name) for name in names if name.isdecimal())]


def journal_directories(recordings: Path) -> list[Path]:
    """Every journal that is there."""
    return [journal_directory(recordings, number) for number in journal_numbers(recordings)]


class JournalError(SallyportError):
    """The journal cannot be used; the text says why."""


class JournaledRecording(Protocol):
    """What the journal needs of a session's recording. ``login``: its first event, encoded.
    ``accepted``: bytes of events so far; ``written``: those that the recorder is done with.
    ``broken``: it was given up, and what had not been written is lost to it.
    """

    @property
    def id(self) -> str: ...

    @property
    def login(self) -> bytes: ...

    @property
    def accepted(self) -> int: ...

    @property
    def written(self) -> int: ...

    @property
    def broken(self) -> bool: ...


#: A recording, its statement (encoded), and the ``accepted`` at which the recording has that.
Intent = tuple[JournaledRecording, bytes, int]


@dataclass(slots=True)
class Batch:
    """Intents that are written together. ``last``: ordinal of the newest."""

    intents: list[Intent]
    last: int


class KeyPart(msgspec.Struct, frozen=True):
    """In the header of an encrypted segment: its key, wrapped by the key-encryption key ``kek``."""

    kek: str
    key: bytes

    def __repr__(self) -> str:
        return f"KeyPart({self.kek})"


@dataclass(slots=True)
class _Segment:
    """``marks``: by recording, the ``accepted`` that covers its newest intent here."""

    path: Path
    fd: int
    size: int = 0
    cipher: SegmentCipher | None = None
    marks: dict[JournaledRecording, int] = field(default_factory=dict)

    @property
    def covered(self) -> bool:
        """Whether the recordings have everything that is in here."""
        self.marks = {
            recording: mark
            for recording, mark in self.marks.items()
            if recording.written < mark or recording.broken
        }
        return not self.marks


class Journal:
    """See the module docstring. ``append`` and ``take`` belong to the event loop; ``write``,
    ``tend`` and ``close`` to one thread at a time, which may be another.

    ``number``: of the worker. ``sync``: a write reaches the disk before it returns (fdatasync).
    ``appended``: ordinal of the newest intent. ``failed``: intents cannot be written; the owner
    sets it, and lets nothing change meanwhile. ``kek``: wraps the keys of segments; None: they are
    not encrypted.
    """

    def __init__(
        self,
        recordings: Path,
        *,
        number: int = 0,
        sync: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
        max_bytes: int = MAX_BYTES,
        kek: KeyEncryptionKey | None = None,
    ) -> None:
        self.directory = journal_directory(recordings, number)
        self.sync = sync
        self.appended = 0
        self.failed = False
        self._segment_bytes, self._max_bytes = segment_bytes, max_bytes
        self._kek = kek
        self._queue: list[Intent] = []
        self._segments: list[_Segment] = []  # the last one is written to, unless it is closed
        self._writable = False
        self._number = 0
        self._lock = -1

    # -- the event loop's side ---------------------------------------------------------------------

    def append(self, recording: JournaledRecording, statement: bytes, accepted: int) -> int:
        """Queue an intent whose event ``recording`` has just accepted, and has so many bytes with;
        gives its ordinal.
        """
        self._queue.append((recording, statement, accepted))
        self.appended += 1
        return self.appended

    def take(self) -> Batch | None:
        """Everything that is queued; None when nothing is."""
        if not self._queue:
            return None
        batch = Batch(self._queue, self.appended)
        self._queue = []
        return batch

    # -- the writer's side -------------------------------------------------------------------------

    def open(self) -> None:
        """Begin, or be ``failed`` from the start. Raises JournalError when another gateway has the
        directory.
        """
        try:
            self.reopen()
        except BlockingIOError:
            raise JournalError(f"another gateway uses the journal {self.directory}") from None
        except OSError as error:
            self.failed = True
            _log.error(
                "the journal cannot be written; nothing changes until it can",
                directory=str(self.directory),
                error=error.strerror,
            )

    def _hold(self) -> None:
        """Lock the directory. Raises BlockingIOError when another gateway has it, and OSError."""
        make_directories(self.directory)
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for attempt in range(_ATTEMPTS):
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:  # 'audit verify' has it for a moment
                if attempt == _ATTEMPTS - 1:
                    os.close(directory)
                    raise
                time.sleep(0.05)
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = directory

    def _is_locked(self) -> bool:
        """Whether the directory is the one that was locked, and nobody put another in its place."""
        try:
            return os.path.samestat(os.stat(self.directory), os.fstat(self._lock))
        except FileNotFoundError:
            return False

    def write(self, batch: Batch) -> None:
        """Write all of the batch. Raises OSError; then nothing of it counts."""
        try:
            segment = self._current()
            if not names_of(segment.fd):
                raise OSError(
                    errno.EIO, "the journal was deleted while it was written", str(segment.path)
                )
            data = encode_frame(batch.intents, segment.marks, segment.cipher)
            _write_all(segment.fd, data)
            if self.sync:
                os.fdatasync(segment.fd)
        except OSError:
            self._end_segment()
            raise
        segment.size += len(data)

    def tend(self) -> None:
        """Delete the segments whose intents the recordings have; not the one that is written to.
        Raises OSError.
        """
        for segment in self._segments[:-1] if self._writable else list(self._segments):
            if segment.covered:
                self._segments.remove(segment)
                segment.path.unlink(missing_ok=True)

    def reopen(self) -> None:
        """Begin, or begin again after a failure. Raises OSError while the disk does not take what
        it must.
        """
        if self._lock < 0 or not self._is_locked():
            self._hold()
        self.tend()
        self._begin_segment()
        segment = self._segments[-1]
        try:
            _write_all(segment.fd, bytes(_PROBE_BYTES))
            os.ftruncate(segment.fd, segment.size)
            if self.sync:
                os.fdatasync(segment.fd)
        except OSError:
            self._end_segment()
            raise

    def close(self) -> None:
        """Delete what the recordings have; what they lack stays, for the next start."""
        self._end_segment()
        self.tend()
        if self._segments:
            _log.error(
                "the journal keeps statements that are not recorded", segments=len(self._segments)
            )
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _current(self) -> _Segment:
        """The segment to write to. Raises OSError."""
        if self._writable and self._segments[-1].size < self._segment_bytes:
            return self._segments[-1]
        self._end_segment()
        self.tend()
        if sum(segment.size for segment in self._segments) >= self._max_bytes:
            raise OSError(errno.ENOSPC, "recordings are too far behind, and the journal is full")
        self._begin_segment()
        return self._segments[-1]

    def _begin_segment(self) -> None:
        self._number += 1
        path = self.directory / f"{time.time_ns() // 1_000_000:015}-{self._number:06}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        segment = _Segment(path, os.open(path, flags, 0o600))
        self._segments.append(segment)
        self._writable = True
        try:
            header, segment.cipher = self._header()
            _write_all(segment.fd, header)
            segment.size = len(header)
            if self.sync:
                os.fdatasync(segment.fd)
                os.fsync(self._lock)  # the directory: the segment's name
        except OSError:
            self._end_segment()
            raise

    def _header(self) -> tuple[bytes, SegmentCipher | None]:
        """Of a new segment. Raises OSError when its key cannot be wrapped."""
        if self._kek is None:
            return HEADER.pack(FILE_MAGIC, VERSION, 0), None
        key = os.urandom(KEY_BYTES)
        try:
            part = msgspec.json.encode(KeyPart(self._kek.identifier, self._kek.wrap(key)))
        except KeyRefusedError as error:
            raise OSError(errno.EIO, f"the journal's key cannot be wrapped: {error}") from None
        header = HEADER.pack(FILE_MAGIC, ENCRYPTED, len(part)) + part
        return header, SegmentCipher(key, header)

    def _end_segment(self) -> None:
        """Nothing more goes into the newest segment; a torn write at its end counts for nothing."""
        if self._writable:
            os.close(self._segments[-1].fd)
            self._writable = False


def _write_all(fd: int, data: bytes) -> None:
    """Raises OSError when not all of it could be written."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])
