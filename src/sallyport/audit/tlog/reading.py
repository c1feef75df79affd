"""Reads a log's directory beside a running gateway: its checkpoint, and its entries from either
end.

Entries that wait for a checkpoint are read first, so that none is missed when one is made
meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sallyport.audit.tlog.entries import Entry, Head, decode_entry
from sallyport.audit.tlog.hashing import TILE_WIDTH
from sallyport.audit.tlog.notes import Checkpoint, NoteError, VerifyKey
from sallyport.audit.tlog.outbox import read_outboxes
from sallyport.audit.tlog.pending import read_pending
from sallyport.audit.tlog.tiles import CHECKPOINT, VKEY, TileError, TileReader, read_regular

_MAX_CHECKPOINT: Final = 1 << 17


def read_checkpoint(path: Path, key: VerifyKey | None = None) -> Checkpoint:
    """One checkpoint in a file. Raises TileError, NoteError."""
    try:
        content = read_regular(path, _MAX_CHECKPOINT).decode("utf-8")
    except OSError as error:
        raise TileError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise NoteError(f"{path} is not a checkpoint: it is not UTF-8") from None
    try:
        return Checkpoint.parse(content, key)
    except NoteError as error:
        raise type(error)(f"{path}: {error}") from None


def read_vkey(directory: Path) -> VerifyKey:
    """The public key that lies in a log's directory. Raises TileError, NoteError."""
    path = directory / VKEY
    try:
        return VerifyKey.parse(read_regular(path, 4096).decode("utf-8", "replace"))
    except OSError as error:
        raise TileError(f"{path} cannot be read: {error.strerror}") from None


class LogReader:
    """``checkpoint``: the newest. ``pending``: (index, entry) of what it does not cover. ``tiles``:
    of the tree that it covers. Raises TileError, NoteError. No signature is checked.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        try:
            pending, outboxes = read_pending(directory), read_outboxes(directory)
        except OSError as error:
            raise TileError(f"{directory}: what waits cannot be read: {error.strerror}") from None
        self.checkpoint = read_checkpoint(directory / CHECKPOINT)
        size = self.checkpoint.size
        self.pending = [(index, entry) for index, entry in pending if index >= size]
        self.pending += enumerate(outboxes, size + len(self.pending))
        self.tiles = TileReader(directory, size)

    def backwards(self) -> Iterator[tuple[int, Entry]]:
        """(index, entry) from the newest to the first. Raises TileError, EntryError."""
        for index, data in reversed(self.pending):
            yield index, decode_entry(data)
        for bundle in reversed(range((self.checkpoint.size + TILE_WIDTH - 1) // TILE_WIDTH)):
            entries = self.tiles.entries(bundle)
            for position in reversed(range(len(entries))):
                yield bundle * TILE_WIDTH + position, decode_entry(entries[position])

    def newest_head(self, session: str) -> tuple[int, Head] | None:
        """The newest head of a session and its index, whether a checkpoint covers it or not."""
        for index, entry in self.backwards():
            if isinstance(entry, Head) and entry.session == session:
                return index, entry
        return None
