"""The recorder thread's side of one session: its file, its chain, and what of it is on disk."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

import zstandard

from sallyport.audit import events as ev
from sallyport.audit.appender import Appender, Output
from sallyport.audit.archive import RecordingLostError
from sallyport.audit.blocks import ENCRYPTED, VERSION, SealedBlock, file_header, genesis, seal
from sallyport.audit.chain import Chain
from sallyport.audit.chunks import Chunk, ChunkWriter
from sallyport.audit.cipher import BlockCipher
from sallyport.audit.keyfiles import key_path, new_session_key, write_session_key
from sallyport.audit.keys import KeyEncryptionKey
from sallyport.audit.ports import SessionRow
from sallyport.audit.summary import Counts


@dataclass(slots=True)
class Outage:
    """Since when (monotonic) and why a recording cannot be written, when that is tried again, and
    what was dropped meanwhile.
    """

    since: float
    reason: str
    retry_at: float = 0.0
    events: int = 0
    bytes: int = 0


class RecordingFile:
    """``taken``: chunks that are not on disk yet. ``written``: bytes of events that the thread is
    done with. ``outage``: while it cannot be written. ``own_failures``: in a row, while other
    recordings could be written. ``broken_off``: why it was given up, "". ``over``: its end is on
    disk, or it was given up and its session has ended. ``kek``: wraps the recording's key; None: it
    is not encrypted.
    """

    __slots__ = (
        "_cipher",
        "_kek",
        "_key",
        "broken_off",
        "chain",
        "counts",
        "outage",
        "output",
        "over",
        "own_failures",
        "row",
        "taken",
        "written",
    )  # fmt: skip

    def __init__(self, row: SessionRow, path: Path, kek: KeyEncryptionKey | None = None) -> None:
        self.row = row
        self.output = Output(str(path))
        self._kek = kek
        self._key = b""  # until it is stored, wrapped
        self._cipher: BlockCipher | None = None
        if kek is not None:
            self._key, self._cipher = new_session_key(row.id)
        self.chain = Chain(genesis(*self._origin))
        self.counts = Counts()  # of what is on disk
        self.taken: list[Chunk] = []
        self.written = 0
        self.outage: Outage | None = None
        self.own_failures = 0
        self.broken_off = ""
        self.over = False

    @property
    def _origin(self) -> tuple[str, int, bytes]:
        """Session, format, and the commitment to its key: what the file begins with."""
        if self._cipher is None:
            return self.row.id, VERSION, b""
        return self.row.id, ENCRYPTED, self._cipher.commitment

    def check(self) -> None:
        """As :meth:`sallyport.audit.appender.Output.check`; the key has to be there as well."""
        self.output.check()
        path = self.output.path
        if self.output.size and self._cipher is not None and not key_path(path).exists():
            text = "the recording's key was deleted while it was written"
            raise RecordingLostError(errno.EIO, text, str(path))

    def take(self, chunks: ChunkWriter) -> None:
        """Take what waits."""
        while (chunk := chunks.take()) is not None:
            self.taken.append(chunk)

    def write_next(self, appender: Appender, compressor: zstandard.ZstdCompressor) -> int:
        """Write the oldest of the taken chunks as a block; how many bytes of events it has. Raises
        OSError, then the chunk stays; ValueError for one that no block can hold.
        """
        chunk = self.taken[0]
        self._append(seal(self.chain, chunk, compressor, self._cipher), chunk, appender)
        del self.taken[0]
        self.written += chunk.size
        return chunk.size

    def write_gap(
        self, now: float, appender: Appender, compressor: zstandard.ZstdCompressor
    ) -> None:
        """Write what the outage was, which is over then. Raises OSError."""
        outage = self.outage
        if outage is not None:
            gap = (ev.GAP, now, now - outage.since, outage.events, outage.bytes, outage.reason)
            event = ev.encode_event(gap)
            chunk = Chunk(event, len(event), 1, 0, 0, 0)
            self._append(seal(self.chain, chunk, compressor, self._cipher), chunk, appender)
            self.outage = None

    def drop(self, chunks: ChunkWriter, *, all_of_it: bool = False) -> tuple[int, int]:
        """Drop what waits, and what was taken too when it is ``all_of_it``: nothing more is written
        then. How many events and bytes that were.
        """
        if all_of_it:
            self.take(chunks)
            dropped, self.taken = self.taken, []
        else:
            dropped = chunks.drop()
        size = sum(chunk.size for chunk in dropped)
        self.written += size
        return sum(chunk.events for chunk in dropped), size

    def describe(self) -> SessionRow:
        """The session's row, with what of it is on disk."""
        row = self.row
        row.statements, row.refused, row.rows = self.counts.as_tuple()
        if self.chain.sequence:
            row.last_hash = self.chain.hash.hex()
        return row

    def _append(self, block: SealedBlock, chunk: Chunk, appender: Appender) -> None:
        if self._key and self._kek is not None:
            # Before anything that needs it to be read.
            path, sync = self.output.path, appender.fsync
            write_session_key(path, self.row.id, self._key, self._kek, sync=sync)
            self._key = b""
        parts = block.parts if self.output.size else (file_header(*self._origin), *block.parts)
        appender.append(self.output, parts)
        self.chain.advance(block.hash, chunk.events)
        self.row.bytes += block.raw_length
        self.counts.add_chunk(chunk)
