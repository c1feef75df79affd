"""The log's files, as C2SP tlog-tiles lays them out::

    checkpoint                   the newest signed checkpoint
    tile/<level>/<index>         256 hashes; <index>.p/<width> while there are fewer
    tile/entries/<index>         256 entries, each behind its length (u16, big-endian), or fewer
    vkey                         the public key, for whoever has no better copy

An index is written in groups of three digits, all but the last behind an x: 1234067 is
``x001/x234/067``. The directory can be served as it is.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sallyport.audit.archive import make_directories
from sallyport.audit.tlog.hashing import (
    HASH_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    TreeEdge,
    perfect_root,
    range_root,
)
from sallyport.core.errors import SallyportError

#: Below the directory of recordings.
DIRECTORY: Final = "log"
CHECKPOINT: Final = "checkpoint"
VKEY: Final = "vkey"
PENDING: Final = "pending"
_ENTRIES: Final = "entries"
#: Bytes of one of these files, at most: 256 entries of 65535 bytes.
MAX_FILE: Final = 256 * 65537
_CACHED: Final = 64


class TileError(SallyportError):
    """A file of the log is missing or is not what it should be; the text says which."""


def _numbered(index: int) -> str:
    groups = []
    while True:
        groups.append(f"{index % 1000:03d}")
        index //= 1000
        if not index:
            return "/".join([*(f"x{group}" for group in groups[:0:-1]), groups[0]])


def tile_path(level: int | None, index: int, width: int = TILE_WIDTH) -> str:
    """Of a tile of hashes, or (level None) of a bundle of entries; below the log's directory."""
    path = f"tile/{_ENTRIES if level is None else level}/{_numbered(index)}"
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def width_at(size: int, level: int, index: int) -> int:
    """Hashes (or entries, at level 0) of a tile in the tree of ``size``."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))


def pack_entries(entries: list[bytes]) -> bytes:
    """A bundle: each entry behind its length."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def unpack_entries(data: bytes) -> list[bytes]:
    """Raises ValueError when the lengths do not fit."""
    entries, position = [], 0
    while position < len(data):
        start = position + 2
        position = start + int.from_bytes(data[position:start], "big")
        if position > len(data) or start > len(data):
            raise ValueError("an entry is cut off")
        entries.append(data[start:position])
    return entries


def read_regular(path: Path, limit: int = MAX_FILE) -> bytes:
    """The content of a file, never of a link, a pipe or a device. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes")
        return file.read()


class TileReader:
    """Reads a log's directory. What it gives is not verified: compare roots with a checkpoint."""

    def __init__(self, directory: Path, size: int) -> None:
        self.directory, self.size = directory, size
        self._tiles: OrderedDict[tuple[int, int], list[bytes]] = OrderedDict()

    def tile(self, level: int, index: int) -> list[bytes]:
        """The hashes of a tile as far as they are in the tree of this size. Raises TileError."""
        key = (level, index)
        hashes = self._tiles.get(key)
        if hashes is None:
            width = width_at(self.size, level, index)
            path, data = self._read(level, index, width)
            size = width * HASH_BYTES
            if len(data) < size or (len(data) > size and self._is_exact(path, level, index, width)):
                raise TileError(f"{path} has {len(data)} bytes, not {size}")
            hashes = [data[i : i + HASH_BYTES] for i in range(0, width * HASH_BYTES, HASH_BYTES)]
            self._tiles[key] = hashes
            if len(self._tiles) > _CACHED:
                self._tiles.popitem(last=False)
        return hashes

    def entries(self, index: int) -> list[bytes]:
        """The entries of a bundle as far as they are in the tree of this size; more than that when
        the bundle's own file has more. Raises TileError.
        """
        width = width_at(self.size, 0, index)
        path, data = self._read(None, index, width)
        try:
            entries = unpack_entries(data)
        except ValueError as error:
            raise TileError(f"{path}: {error}") from None
        # A wider file has more than this size knows.
        return entries if self._is_exact(path, None, index, width) else entries[:width]

    def bundles(self) -> Iterator[int]:
        """The indices of all bundles."""
        return iter(range((self.size + TILE_WIDTH - 1) // TILE_WIDTH))

    def node(self, level: int, index: int) -> bytes:
        """The root of a perfect subtree, for proofs. Raises TileError."""
        tiles, inside = divmod(level, TILE_HEIGHT)
        first = index << inside
        hashes = self.tile(tiles, first // TILE_WIDTH)
        start = first % TILE_WIDTH
        row = hashes[start : start + (1 << inside)]
        if len(row) < 1 << inside:
            raise TileError(f"{tile_path(tiles, first // TILE_WIDTH)} is too short")
        return perfect_root(row)

    def root(self, size: int) -> bytes:
        """Of the tree when it had ``size`` leaves. Raises TileError; ValueError when it never was
        so small.
        """
        if not 0 <= size <= self.size:
            raise ValueError(f"a log of {self.size} entries was never one of {size}")
        return range_root(self.node, 0, size)

    def edge(self) -> TreeEdge:
        """What is needed to append. Raises TileError."""
        levels, level = [], 0
        while self.size >> (TILE_HEIGHT * level):
            count = self.size >> (TILE_HEIGHT * level)
            levels.append(self.tile(level, count // TILE_WIDTH) if count % TILE_WIDTH else [])
            level += 1
        return TreeEdge(self.size, levels)

    def _is_exact(self, path: Path, level: int | None, index: int, width: int) -> bool:
        return path == self.directory / tile_path(level, index, width)

    def _read(self, level: int | None, index: int, width: int) -> tuple[Path, bytes]:
        """A full tile has what a partial one has, and a wider one what a narrower one has."""
        exact = self.directory / tile_path(level, index, width)
        candidates = [exact]
        if width < TILE_WIDTH:
            candidates.append(self.directory / tile_path(level, index))
            candidates += (path for _, path in sorted(self._wider(exact.parent, width)))
        for path in candidates:
            try:
                return path, read_regular(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise TileError(f"{path} cannot be read: {error.strerror}") from None
        raise TileError(f"{exact} is missing")

    @staticmethod
    def _wider(directory: Path, width: int) -> Iterator[tuple[int, Path]]:
        if directory.is_dir():
            for path in directory.iterdir():
                if path.name.isdecimal() and int(path.name) > width:
                    yield int(path.name), path


class TileWriter:
    """Writes files whole, each under a name of its own until it is on the disk. Raises OSError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._touched: set[Path] = set()

    def write_tile(self, level: int | None, index: int, data: bytes, width: int) -> None:
        self.write(tile_path(level, index, width), data)

    def write(self, name: str, data: bytes) -> None:
        path = self.directory / name
        make_directories(path.parent)
        draft = path.with_name(f"{path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        parent = path.parent
        while parent != self.directory.parent:
            self._touched.add(parent)
            parent = parent.parent

    def settle(self) -> None:
        """Let the names of what was written reach the disk, too."""
        for directory in sorted(self._touched, reverse=True):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._touched.clear()

    def drop_partial(self, level: int | None, index: int) -> None:
        """Of a tile that is full now and on the disk."""
        directory = self.directory / tile_path(level, index, 1)
        parent = directory.parent
        if parent.is_dir():
            for path in parent.iterdir():
                path.unlink()
            parent.rmdir()
