"""Entries that are not in the tree yet, on disk before anybody is told of what they are about.

::

    record = index u64 | length u16 | CRC-32 of index, length and entry u32 | entry    (big-endian)

``index`` is the leaf's number. A record that is cut off or damaged ends the file. The file is only
appended to; :meth:`PendingFile.replace` puts a new one in its place at once, so that whoever reads
beside a running gateway sees the old or the new one.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from sallyport.audit.tlog.tiles import PENDING, read_regular

_HEAD: Final = struct.Struct(">QH")
_CRC: Final = struct.Struct(">I")
_RECORD_HEAD: Final = _HEAD.size + _CRC.size
#: Bytes of the file that are read at most.
_MAX_FILE: Final = 1 << 30


def _record(index: int, entry: bytes) -> bytes:
    head = _HEAD.pack(index, len(entry))
    return head + _CRC.pack(zlib.crc32(entry, zlib.crc32(head))) + entry


def read_pending(directory: Path) -> list[tuple[int, bytes]]:
    """(index, entry) of what waits in a log's directory, in order. Raises OSError."""
    try:
        data = read_regular(directory / PENDING, _MAX_FILE)
    except FileNotFoundError:
        return []
    return list(_records(data))


def encode_records(index: int, entries: Sequence[bytes]) -> bytes:
    """Entries whose first has this number."""
    return b"".join(_record(index + i, entry) for i, entry in enumerate(entries))


def parse_records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """As written, whatever their numbers."""
    return _records(data, in_order=False)


def _records(data: bytes, *, in_order: bool = True) -> Iterator[tuple[int, bytes]]:
    position, expected = 0, None
    while position + _RECORD_HEAD <= len(data):
        index, length = _HEAD.unpack_from(data, position)
        start = position + _RECORD_HEAD
        entry = data[start : start + length]
        if len(entry) < length or data[position : start + length] != _record(index, entry):
            return
        if in_order and expected is not None and index != expected:
            return
        yield index, entry
        position, expected = start + length, index + 1


class PendingFile:
    """Appends. ``sync``: each entry is on the disk before :meth:`append` returns. All raise
    OSError.
    """

    def __init__(self, directory: Path, *, sync: bool) -> None:
        self._path = directory / PENDING
        self._sync = sync
        self._descriptor = -1

    def append(self, index: int, entries: Sequence[bytes]) -> None:
        """Entries whose first has this number."""
        data = encode_records(index, entries)
        if os.write(self._descriptor, data) != len(data):
            raise OSError(f"{self._path}: the disk is full")
        if self._sync:
            os.fdatasync(self._descriptor)

    def replace(self, index: int, entries: Sequence[bytes]) -> None:
        """What waits is now this."""
        draft = self._path.with_name(f"{PENDING}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(draft, flags, 0o600)
        try:
            for i, entry in enumerate(entries):
                data = _record(index + i, entry)
                if os.write(descriptor, data) != len(data):
                    raise OSError(f"{draft}: the disk is full")
            if entries:
                os.fdatasync(descriptor)
            draft.rename(self._path)
        except OSError:
            os.close(descriptor)
            raise
        self.close()
        self._descriptor = descriptor

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
