"""The recording file: its header and its blocks. It is only ever appended to::

    file    = header block*
    header  = "SALLYREC" version u16 = 2 | length of session id u16 | session id (UTF-8)
              | genesis hash (32)
    block   = "SPB2" flags u32 | sequence u32 | events u32 | first event u64 | raw length u32
              | stored length u32 | previous hash (32) | payload (stored length) | hash (32)
    payload = body, as one zstd frame when flags & 1
    body    = the events, back to back, each a msgpack array

All integers are little-endian; the hashes are defined in :mod:`sallyport.audit.chain`. A block is
complete or it is the torn tail of a gateway that died (or of a full disk): readers give everything
before it and say so.

Files of earlier versions have format 1. They are read, never written: see
:mod:`sallyport.audit.firstformat`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import zstandard

from sallyport.audit import firstformat
from sallyport.audit.chain import Chain, block_hash
from sallyport.audit.chain import genesis as newest_genesis
from sallyport.audit.chunks import Chunk
from sallyport.audit.events import split_events

FILE_MAGIC: Final = b"SALLYREC"
VERSION: Final = 2
#: What a block begins with, by the version of the file.
BLOCK_MAGIC: Final = {1: b"SPB1", VERSION: b"SPB2"}
#: Readers refuse a block that claims more: a message of PostgreSQL's protocol is at most 1 GiB.
MAX_RAW: Final = (1 << 30) + (1 << 24)
COMPRESSED: Final = 1
HASH_BYTES: Final = 32
FILE_HEAD: Final = struct.Struct("<8sHH")
BLOCK_HEAD: Final = struct.Struct("<4sIIIQII32s")
#: Bodies below this are stored as they are: zstd's frame would take what it saves.
_SMALLEST_COMPRESSED: Final = 128


def genesis(session_id: str, version: int = VERSION) -> bytes:
    """The hash that a recording starts from; a file that was renamed to another session does not
    match its own.
    """
    return firstformat.genesis(session_id) if version == 1 else newest_genesis(session_id)


def file_header(session_id: str, version: int = VERSION) -> bytes:
    name = session_id.encode()
    return FILE_HEAD.pack(FILE_MAGIC, version, len(name)) + name + genesis(session_id, version)


def is_unwritten(path: Path, session_id: str) -> bool:
    """Whether the file holds at most a part of its header: the gateway died at the first write."""
    try:
        headers = [file_header(session_id, version) for version in BLOCK_MAGIC]
        with path.open("rb") as file:
            content = file.read(max(map(len, headers)) + 1)
    except (OSError, ValueError):
        return False
    return any(len(content) < len(header) and header.startswith(content) for header in headers)


class SealedBlock(NamedTuple):
    """A block as it is written: its bytes in parts, its hash, and how many bytes its body has."""

    parts: Sequence[bytes | memoryview]
    hash: bytes
    raw_length: int


def seal(chain: Chain, chunk: Chunk, compressor: zstandard.ZstdCompressor) -> SealedBlock:
    """Hash and compress a chunk as the next block. Both calls release the GIL but for small chunks.

    ``chain`` is left as it is: advance it once the block is on disk. Raises ValueError for a chunk
    that is larger than a block may be.
    """
    size = chunk.size
    if size > MAX_RAW:
        raise ValueError(f"a block of {size} bytes is too large")
    body = memoryview(chunk.buffer)[:size]
    hash_ = block_hash(chain.hash, chain.sequence, chunk.events, chain.events, body)
    payload: bytes | memoryview = body
    flags = 0
    if size >= _SMALLEST_COMPRESSED:
        packed = compressor.compress(body)
        if len(packed) < size:
            payload, flags = packed, COMPRESSED
    head = BLOCK_HEAD.pack(
        BLOCK_MAGIC[VERSION],
        flags,
        chain.sequence,
        chunk.events,
        chain.events,
        size,
        len(payload),
        chain.hash,
    )
    return SealedBlock((head, payload, hash_), hash_, size)


@dataclass(frozen=True, slots=True)
class Block:
    """A block as it stands in the file; nothing about it is verified yet. ``raw`` is None when it
    cannot be decompressed. ``version``: of the file.
    """

    offset: int
    sequence: int
    events: int
    first_event: int
    previous: bytes
    hash: bytes
    raw: bytes | None
    version: int = VERSION

    def computed_hash(self) -> bytes | None:
        """What the hash should be, from the content; None when there is no content to hash."""
        if self.raw is None:
            return None
        function = firstformat.block_hash if self.version == 1 else block_hash
        return function(self.previous, self.sequence, self.events, self.first_event, self.raw)

    def split(self) -> list[msgspec.Raw]:
        """Its encoded events. Raises msgspec.DecodeError when the content is not that many events."""
        if self.version == 1:
            return firstformat.split_events(self.raw or b"", self.events)
        return split_events(self.raw or b"", self.events)
