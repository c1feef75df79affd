"""The recording file: layout, places, appending and reading. Who calls it decides when; this module does no
threading.

One file per session, ``recordings/YYYY/MM/DD/<session id>.sprec`` (UTC date of its start), only ever
appended to::

    file    = header block*
    header  = "SALLYREC" version u16 | length of session id u16 | session id (UTF-8) | genesis hash (32 bytes)
    block   = "SPB1" flags u32 | sequence u32 | events u32 | first event u64 | raw length u32
              | stored length u32 | previous hash (32) | payload (stored length) | hash (32)
    payload = marks | body, as one zstd frame when flags & 1

All integers are little-endian; hashes, marks and body are defined in :mod:`sallyport.audit.chain`. A block
is complete or it is the torn tail of a gateway that died (or of a full disk): readers give everything before
it and say so.

Directories are made with mode 0700, files with 0600. A file that shrank or was unlinked behind the writer's
back is an OSError: the recorder fails closed rather than record into nothing.
"""

from __future__ import annotations

import errno
import os
import re
import struct
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from sallyport.audit.chain import Chain, block_hash, genesis, marks
from sallyport.audit.events import RawEvent, encode_batch, split_batch
from sallyport.core.errors import SallyportError

FILE_MAGIC: Final = b"SALLYREC"
BLOCK_MAGIC: Final = b"SPB1"
VERSION: Final = 1
SUFFIX: Final = ".sprec"
#: Readers refuse a block that claims more: a message of PostgreSQL's protocol is at most 1 GiB.
MAX_RAW: Final = (1 << 30) + (1 << 24)
_FILE_HEAD = struct.Struct("<8sHH")
_BLOCK_HEAD = struct.Struct("<4sIIIQII32s")
_HASH: Final = 32
_COMPRESSED: Final = 1
_SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class RecordingError(SallyportError):
    """A recording cannot be found or read; the text says which and why."""


def file_header(session_id: str) -> bytes:
    name = session_id.encode()
    return _FILE_HEAD.pack(FILE_MAGIC, VERSION, len(name)) + name + genesis(session_id)


def relative_path(session_id: str, started: float) -> str:
    """Where a session's recording lives, below the recordings directory. Raises ValueError for an unfit
    id.
    """
    if not _SESSION_ID.fullmatch(session_id):
        raise ValueError(f"not a session id: {session_id!r}")
    return time.strftime("%Y/%m/%d/", time.gmtime(started)) + session_id + SUFFIX


def seal(
    chain: Chain, events: list[RawEvent], compressor: zstandard.ZstdCompressor
) -> tuple[list[bytes], bytes, int]:
    """Encode, hash and compress events as the next block: (parts to write, the block's hash, raw length).

    ``chain`` is left as it is: advance it once the block is on disk. Raises TypeError, OverflowError or
    ValueError for events that cannot be encoded.
    """
    body = encode_batch(events)
    marks_ = marks(split_batch(body))
    raw_length = len(marks_) + len(body)
    if raw_length > MAX_RAW:
        raise ValueError(f"a block of {raw_length} bytes is too large")
    hash_ = block_hash(chain.hash, chain.sequence, len(events), chain.events, marks_, body)
    payload, flags = marks_ + body, 0
    packed = compressor.compress(payload)
    if len(packed) < raw_length:
        payload, flags = packed, _COMPRESSED
    head = _BLOCK_HEAD.pack(
        BLOCK_MAGIC, flags, chain.sequence, len(events), chain.events, raw_length, len(payload), chain.hash
    )
    return [head, payload, hash_], hash_, raw_length


@dataclass(slots=True)
class Output:
    """A recording being written: its path and how many of its bytes are known to be good."""

    path: Path
    size: int = 0


class Appender:
    """Appends to many recordings through few open files. Used by one thread.

    ``fsync``: every append reaches the disk before it counts (fdatasync); otherwise a power cut may lose the
    last seconds, a crash of the gateway alone does not.
    """

    def __init__(self, *, fsync: bool = False, max_open: int = 64) -> None:
        self._fsync = fsync
        self._max_open = max_open
        self._open: OrderedDict[Path, int] = OrderedDict()

    def append(self, output: Output, parts: list[bytes]) -> None:
        """Append all of ``parts`` or nothing that lasts. Raises OSError; then the next call first cuts off
        what was torn.
        """
        try:
            fd = self._descriptor(output)
            written = os.writev(fd, parts)
            total = sum(map(len, parts))
            if written != total:
                os.ftruncate(fd, output.size)
                raise OSError(errno.ENOSPC, "the file system took only part of a write", str(output.path))
            if self._fsync:
                os.fdatasync(fd)
        except OSError:
            self.close(output)
            raise
        output.size += total

    def close(self, output: Output) -> None:
        fd = self._open.pop(output.path, None)
        if fd is not None:
            os.close(fd)

    def close_all(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def _descriptor(self, output: Output) -> int:
        fd = self._open.get(output.path)
        if fd is None:
            while len(self._open) >= self._max_open:
                os.close(self._open.popitem(last=False)[1])
            fd = self._open_file(output)
            self._open[output.path] = fd
        else:
            self._open.move_to_end(output.path)
        status = os.fstat(fd)
        if status.st_nlink == 0:
            raise OSError(errno.ENOENT, "the recording was deleted while it was written", str(output.path))
        if status.st_size < output.size:
            raise OSError(errno.EIO, "the recording was cut short while it was written", str(output.path))
        if status.st_size > output.size:  # what an append that failed left behind
            os.ftruncate(fd, output.size)
        return fd

    def _open_file(self, output: Output) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        if output.size:
            return os.open(output.path, flags)
        _make_directories(output.path.parent)
        # Never into a file with content: a session id is used once.
        fd = os.open(output.path, flags | os.O_CREAT, 0o600)
        if os.fstat(fd).st_size and not self._is_own_leftover(output):
            os.close(fd)
            raise OSError(errno.EEXIST, "a recording with this name exists already", str(output.path))
        return fd

    def _is_own_leftover(self, output: Output) -> bool:
        """A first append that failed half-way leaves less than a header and a block."""
        try:
            reader = RecordingReader(output.path)
        except RecordingError:
            return True
        with reader:
            return next(reader.blocks(), None) is None


def _make_directories(directory: Path) -> None:
    """Like mkdir -p, but private: Path.mkdir gives ``mode`` to the last directory only."""
    if directory.is_dir():
        return
    if directory.parent != directory:
        _make_directories(directory.parent)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        if not directory.is_dir():
            raise


@dataclass(frozen=True, slots=True)
class Block:
    """A block as it stands in the file; nothing about it is verified yet. ``raw`` is None when it cannot be
    decompressed.
    """

    offset: int
    sequence: int
    events: int
    first_event: int
    previous: bytes
    hash: bytes
    raw: bytes | None

    def computed_hash(self) -> bytes | None:
        """What the hash should be, from the content; None when there is no content to hash."""
        if self.raw is None or len(self.raw) < 4 * self.events:
            return None
        cut = 4 * self.events
        view = memoryview(self.raw)
        return block_hash(
            self.previous, self.sequence, self.events, self.first_event, self.raw[:cut], view[cut:]
        )

    @property
    def marks(self) -> bytes:
        return (self.raw or b"")[: 4 * self.events]

    @property
    def body(self) -> bytes:
        return (self.raw or b"")[4 * self.events :]


class RecordingReader:
    """Reads one recording block by block; memory is bounded by the largest block (the recorder makes them ~2
    MB).

    Raises RecordingError when the file cannot be opened or its header is not one. After :meth:`blocks` is
    exhausted, ``torn`` holds the offset of an incomplete tail, or ``damaged`` the offset where a block's
    header makes no sense.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn: int | None = None
        self.damaged: int | None = None
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise RecordingError(f"cannot open recording {path}: {error.strerror}") from error
        try:
            self.session_id, self.genesis = self._read_header()
        except RecordingError:
            self._file.close()
            raise
        self._decompressor = zstandard.ZstdDecompressor()

    def __enter__(self) -> RecordingReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def _read_header(self) -> tuple[str, bytes]:
        head = self._file.read(_FILE_HEAD.size)
        if len(head) < _FILE_HEAD.size or not head.startswith(FILE_MAGIC):
            raise RecordingError(f"{self.path} is not a Sallyport recording")
        _, version, length = _FILE_HEAD.unpack(head)
        if version != VERSION:
            raise RecordingError(
                f"{self.path} has format {version}; this version of Sallyport reads {VERSION}"
            )
        name, hash_ = self._file.read(length), self._file.read(_HASH)
        if len(name) < length or len(hash_) < _HASH:
            raise RecordingError(f"{self.path} ends inside its header")
        return name.decode("utf-8", "replace"), hash_

    def blocks(self) -> Iterator[Block]:
        """Every complete block, in file order."""
        size = os.fstat(self._file.fileno()).st_size
        while (offset := self._file.tell()) < size:
            head = self._file.read(_BLOCK_HEAD.size)
            if len(head) < _BLOCK_HEAD.size:
                self.torn = offset
                return
            magic, flags, sequence, events, first, raw_length, stored, previous = _BLOCK_HEAD.unpack(head)
            if magic != BLOCK_MAGIC or flags & ~_COMPRESSED or raw_length > MAX_RAW or stored > raw_length:
                # After a power cut the tail may be zeros: space was given, content never came.
                if head.strip(b"\0"):
                    self.damaged = offset
                else:
                    self.torn = offset
                return
            if offset + _BLOCK_HEAD.size + stored + _HASH > size:
                self.torn = offset
                return
            payload, hash_ = self._file.read(stored), self._file.read(_HASH)
            raw = self._unpack(payload, flags, raw_length)
            yield Block(offset, sequence, events, first, previous, hash_, raw)

    def starts(self) -> Iterator[int]:
        """Where every complete block begins, in file order; only their headers are read."""
        fd, offset = self._file.fileno(), self._file.tell()
        size = os.fstat(fd).st_size
        while offset + _BLOCK_HEAD.size <= size:
            magic, _, _, _, _, raw_length, stored, _ = _BLOCK_HEAD.unpack(
                os.pread(fd, _BLOCK_HEAD.size, offset)
            )
            following = offset + _BLOCK_HEAD.size + stored + _HASH
            if magic != BLOCK_MAGIC or raw_length > MAX_RAW or stored > raw_length or following > size:
                return
            yield offset
            offset = following

    def blocks_from(self, offset: int) -> Iterator[Block]:
        """As :meth:`blocks`, from one of :meth:`starts` on."""
        self._file.seek(offset)
        return self.blocks()

    def _unpack(self, payload: bytes, flags: int, raw_length: int) -> bytes | None:
        if not flags & _COMPRESSED:
            return payload if len(payload) == raw_length else None
        try:
            # The frame itself says its size, which a forger chooses: believe it only when it is the header's.
            if zstandard.frame_content_size(payload) != raw_length:
                return None
            raw = self._decompressor.decompress(payload, max_output_size=raw_length)
        except zstandard.ZstdError:
            return None
        return raw if len(raw) == raw_length else None


def find_recordings(directory: Path) -> dict[str, Path]:
    """Every recording below ``directory`` by session id (from its file name)."""
    return {path.stem: path for path in sorted(directory.glob(f"????/??/??/*{SUFFIX}"))}
