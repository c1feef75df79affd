"""Reads recordings of every format, block by block; what a file holds is not trusted."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from sallyport.audit.archive import RecordingError
from sallyport.audit.blocks import (
    BLOCK_HEAD,
    BLOCK_MAGIC,
    COMMITMENT_BYTES,
    COMPRESSED,
    ENCRYPTED,
    ENCRYPTED_VERSIONS,
    FILE_HEAD,
    FILE_MAGIC,
    HASH_BYTES,
    MAX_RAW,
    Block,
    genesis,
)
from sallyport.audit.cipher import OVERHEAD, BlockCipher
from sallyport.audit.keyfiles import (
    KeyNotListedError,
    KeyState,
    SessionKey,
    ShreddedError,
    key_mark,
    session_key,
)
from sallyport.audit.keys import NO_KEYS, KeyRing


def _open_regular(path: Path) -> BinaryIO:
    """Neither a link nor a pipe may stand where a recording is expected. Raises RecordingError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecordingError(f"cannot open recording {path}: {reason}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise RecordingError(f"{path} is not a file")
    return os.fdopen(fd, "rb")


class RecordingReader:
    """Reads one recording block by block; memory is bounded by the largest block (the recorder
    makes them ~2 MB).

    Raises RecordingError when the file cannot be opened or its header is not one. After
    :meth:`blocks` is exhausted, ``torn`` holds the offset of an incomplete tail, or ``damaged`` the
    offset where a block's header makes no sense. ``key``: of an encrypted recording, for which
    ``keys`` are tried; None for others. Without its key, blocks have no content and still a hash.
    """

    def __init__(self, path: Path, keys: KeyRing = NO_KEYS) -> None:
        self.path = path
        self.commitment = b""
        self.torn: int | None = None
        self.damaged: int | None = None
        self._file = _open_regular(path)
        try:
            self.version, self.session_id, self.genesis = self._read_header()
            self._magic = BLOCK_MAGIC[self.version]
            #: Where the first block begins.
            self.first = self._file.tell()
        except RecordingError:
            self._file.close()
            raise
        except OSError as error:
            self._file.close()
            raise RecordingError(f"cannot read recording {path}: {error.strerror}") from None
        self.key: SessionKey | None = None
        self._key_mark = key_mark(path)
        if self.version in ENCRYPTED_VERSIONS:
            self.key = session_key(path, self.session_id, self.commitment, keys)
        self._extra = OVERHEAD if self.version in ENCRYPTED_VERSIONS else 0
        self._decompressor = zstandard.ZstdDecompressor()

    def __enter__(self) -> RecordingReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def belongs_to(self, session_id: str) -> bool:
        """Whether the header says so; one whose name was changed alone does not match its
        own hash.
        """
        expected = genesis(session_id, self.version, self.commitment)
        return self.session_id == session_id and self.genesis == expected

    @property
    def is_locked(self) -> bool:
        """Whether it is encrypted and cannot be decrypted: ``key`` says why."""
        return self.key is not None and self.key.cipher is None

    @property
    def cipher(self) -> BlockCipher | None:
        """What decrypts it; None where it is not encrypted, or cannot be decrypted."""
        return self.key.cipher if self.key is not None else None

    def require_content(self) -> None:
        """Raises RecordingError when it cannot be decrypted: ShreddedError, KeyNotListedError, or,
        for a key that is missing or wrong, as it is.
        """
        key = self.key
        if key is None or key.cipher is not None:
            return
        kinds = {KeyState.SHREDDED: ShreddedError, KeyState.NOT_LISTED: KeyNotListedError}
        kind = kinds.get(key.state, RecordingError)
        raise kind(f"the recording {self.path} cannot be read: {key.text}")

    def _read_header(self) -> tuple[int, str, bytes]:
        head = self._file.read(FILE_HEAD.size)
        if len(head) < FILE_HEAD.size or not head.startswith(FILE_MAGIC):
            raise RecordingError(f"{self.path} is not a Sallyport recording")
        _, version, length = FILE_HEAD.unpack(head)
        if version not in BLOCK_MAGIC:
            text = f"this version of Sallyport reads {ENCRYPTED} and older"
            raise RecordingError(f"{self.path} has format {version}; {text}")
        name = self._file.read(length)
        if version in ENCRYPTED_VERSIONS:
            self.commitment = self._file.read(COMMITMENT_BYTES)
        hash_ = self._file.read(HASH_BYTES)
        if len(name) < length or len(hash_) < HASH_BYTES:
            raise RecordingError(f"{self.path} ends inside its header")
        return version, name.decode("utf-8", "replace"), hash_

    def blocks(self) -> Iterator[Block]:
        """Every complete block, in file order."""
        size = os.fstat(self._file.fileno()).st_size
        while (offset := self._file.tell()) < size:
            head = self._file.read(BLOCK_HEAD.size)
            if len(head) < BLOCK_HEAD.size:
                self.torn = offset
                return
            magic, flags, sequence, events, first, raw_length, stored, previous = BLOCK_HEAD.unpack(
                head
            )
            possible = magic == self._magic and self._is_possible(raw_length, stored)
            if not possible or flags & ~COMPRESSED:
                # After a power cut the tail may be zeros: space was given, content never came.
                if head.strip(b"\0"):
                    self.damaged = offset
                else:
                    self.torn = offset
                return
            if offset + BLOCK_HEAD.size + stored + HASH_BYTES > size:
                self.torn = offset
                return
            payload, hash_ = self._file.read(stored), self._file.read(HASH_BYTES)
            self._heed_shredding()
            raw = self._content(head, payload, flags, raw_length)
            numbers = (offset, sequence, events, first)
            as_stored = (head, payload) if self.key is not None else (b"", b"")
            yield Block(*numbers, previous, hash_, raw, self.version, as_stored)

    @property
    def position(self) -> int:
        """Where the next block begins, while :meth:`blocks` (or its like) is being read."""
        return self._file.tell()

    def starts(self) -> Iterator[int]:
        """Where every complete block begins, in file order; only their headers are read."""
        return (start for start, _ in self.extents())

    def extents(self) -> Iterator[tuple[int, int]]:
        """Where every complete block begins and where it ends, in file order; only their headers
        are read.
        """
        fd, offset = self._file.fileno(), self.first
        size = os.fstat(fd).st_size
        while offset + BLOCK_HEAD.size <= size:
            magic, _, _, _, _, raw_length, stored, _ = BLOCK_HEAD.unpack(
                os.pread(fd, BLOCK_HEAD.size, offset)
            )
            following = offset + BLOCK_HEAD.size + stored + HASH_BYTES
            possible = magic == self._magic and self._is_possible(raw_length, stored)
            if not possible or following > size:
                return
            yield offset, following
            offset = following

    def start_of(self, hash_: bytes) -> int | None:
        """Where the block with this hash begins, looked for from the end; None when there
        is none.
        """
        for start, end in reversed(list(self.extents())):
            if os.pread(self._file.fileno(), HASH_BYTES, end - HASH_BYTES) == hash_:
                return start
        return None

    def hashes(self) -> Iterator[bytes]:
        """The hash that stands in each block, in order; nothing about them is verified."""
        for _, end in self.extents():
            yield os.pread(self._file.fileno(), HASH_BYTES, end - HASH_BYTES)

    def blocks_from(self, offset: int) -> Iterator[Block]:
        """As :meth:`blocks`, from one of :meth:`starts` on."""
        self._file.seek(offset)
        return self.blocks()

    def _is_possible(self, raw_length: int, stored: int) -> bool:
        """Whether a block can have these lengths."""
        return raw_length <= MAX_RAW and self._extra <= stored <= raw_length + self._extra

    def _heed_shredding(self) -> None:
        """Whoever keeps a reader open does not go on once the recording was shredded."""
        if self.cipher is not None and (mark := key_mark(self.path)) != self._key_mark:
            self._key_mark = mark
            key = session_key(self.path, self.session_id, self.commitment, NO_KEYS)
            if key.state is not KeyState.NOT_LISTED:  # it was not just wrapped again
                self.key = key

    def _content(self, head: bytes, payload: bytes, flags: int, raw_length: int) -> bytes | None:
        if self.key is None:
            return self._unpack(payload, flags, raw_length)
        if self.key.cipher is None:
            return None
        content = self.key.cipher.decrypt(head, payload)
        return None if content is None else self._unpack(content, flags, raw_length)

    def _unpack(self, payload: bytes, flags: int, raw_length: int) -> bytes | None:
        if not flags & COMPRESSED:
            return payload if len(payload) == raw_length else None
        try:
            # The frame itself says its size, which a forger chooses: believe it only when it is the
            # header's.
            if zstandard.frame_content_size(payload) != raw_length:
                return None
            raw = self._decompressor.decompress(payload, max_output_size=raw_length)
        except zstandard.ZstdError:
            return None
        return raw if len(raw) == raw_length else None
