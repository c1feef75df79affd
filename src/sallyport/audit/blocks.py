"""The recording file: its header and its blocks. It is only ever appended to::

    file    = header block*
    header  = "SALLYREC" version u16 = 4 | length of session id u16 | session id (UTF-8)
              | genesis hash (32)
    block   = "SPB4" flags u32 | sequence u32 | events u32 | first event u64 | raw length u32
              | stored length u32 | previous hash (32) | payload (stored length) | hash (32)
    payload = body, as one zstd frame when flags & 1
    body    = the events, back to back, each a msgpack array

With encryption, version is 5, blocks begin with "SPB5", and::

    header  = "SALLYREC" version u16 = 5 | length of session id u16 | session id (UTF-8)
              | commitment of the key (32) | genesis hash (32)
    payload = nonce (12) | AES-256-GCM of (body, as one zstd frame when flags & 1) | tag (16)

All integers are little-endian; the hashes are defined in :mod:`sallyport.audit.chain`, the
encryption in :mod:`sallyport.audit.cipher`; the key is in a file beside
(:mod:`sallyport.audit.keyfiles`). A block is complete or it is the torn tail of a gateway that died
(or of a full disk): readers give everything before it and say so.

Formats 2 (in clear) and 3 (encrypted) differ from these in their numbers alone: there each
statement has the text that ran in its place, here later ones refer to it
(:mod:`sallyport.audit.senttexts`), which a reader of those would not see. A recording that was
begun in one of them is completed in it. Format 1 is older (:mod:`sallyport.audit.firstformat`).
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
from sallyport.audit.chain import Chain, block_hash, sealed_block_hash
from sallyport.audit.chain import genesis as chain_genesis
from sallyport.audit.chunks import Chunk
from sallyport.audit.cipher import OVERHEAD, BlockCipher
from sallyport.audit.events import split_events

FILE_MAGIC: Final = b"SALLYREC"
#: Of recordings that are not encrypted, and of those that are.
VERSION: Final = 4
ENCRYPTED: Final = 5
#: Versions of files whose blocks are encrypted.
ENCRYPTED_VERSIONS: Final = frozenset((3, ENCRYPTED))
#: What a block begins with, by the version of the file.
BLOCK_MAGIC: Final = {version: b"SPB%d" % version for version in range(1, ENCRYPTED + 1)}
#: Readers refuse a block that claims more: a message of PostgreSQL's protocol is at most 1 GiB.
MAX_RAW: Final = (1 << 30) + (1 << 24)
COMPRESSED: Final = 1
HASH_BYTES: Final = 32
COMMITMENT_BYTES: Final = 32
FILE_HEAD: Final = struct.Struct("<8sHH")
BLOCK_HEAD: Final = struct.Struct("<4sIIIQII32s")
#: Bodies below this are stored as they are: zstd's frame would take what it saves.
_SMALLEST_COMPRESSED: Final = 128


def genesis(session_id: str, version: int = VERSION, commitment: bytes = b"") -> bytes:
    """The hash that a recording starts from; a file that was renamed to another session does not
    match its own. ``commitment``: of the key, where it is encrypted.
    """
    if version == 1:
        return firstformat.genesis(session_id)
    return chain_genesis(session_id, version, commitment)


def file_header(session_id: str, version: int = VERSION, commitment: bytes = b"") -> bytes:
    """The header of a recording; ``commitment``: of the key, where it is encrypted."""
    name = session_id.encode()
    head = FILE_HEAD.pack(FILE_MAGIC, version, len(name)) + name + commitment
    return head + genesis(session_id, version, commitment)


def is_unwritten(path: Path, session_id: str) -> bool:
    """Whether the file holds at most a part of its header: the gateway died at the first write."""
    try:
        name = session_id.encode()
        sealed = [FILE_HEAD.pack(FILE_MAGIC, version, len(name)) + name
                  for version in ENCRYPTED_VERSIONS]  # fmt: skip
        longest = len(sealed[0]) + COMMITMENT_BYTES + HASH_BYTES
        if path.is_symlink() or not path.is_file():
            return False  # opening a pipe would wait for its other end
        with path.open("rb") as file:
            content = file.read(longest + 1)
    except (OSError, ValueError):
        return False
    if any(content[: len(head)] == head[: len(content)] for head in sealed):
        return len(content) < longest
    headers = (file_header(session_id, version) for version in (1, 2, VERSION))
    return any(len(content) < len(header) and header.startswith(content) for header in headers)


class SealedBlock(NamedTuple):
    """A block as it is written: its bytes in parts, its hash, and how many bytes its body has."""

    parts: Sequence[bytes | memoryview]
    hash: bytes
    raw_length: int


def seal(
    chain: Chain,
    chunk: Chunk,
    compressor: zstandard.ZstdCompressor,
    cipher: BlockCipher | None = None,
    version: int = 0,
) -> SealedBlock:
    """Compress, encrypt with ``cipher`` if there is one, and hash a chunk as the next block of a
    file of this version, 0: the newest. All calls release the GIL but for small chunks.

    ``chain`` is left as it is: advance it once the block is on disk. Raises ValueError for a chunk
    that is larger than a block may be; OverflowError when no block can be encrypted any more.
    """
    size = chunk.size
    if size > MAX_RAW:
        raise ValueError(f"a block of {size} bytes is too large")
    body = memoryview(chunk.buffer)[:size]
    payload: bytes | memoryview = body
    flags = 0
    if size >= _SMALLEST_COMPRESSED:
        packed = compressor.compress(body)
        if len(packed) < size:
            payload, flags = packed, COMPRESSED
    head = BLOCK_HEAD.pack(
        BLOCK_MAGIC[version or (VERSION if cipher is None else ENCRYPTED)],
        flags,
        chain.sequence,
        chunk.events,
        chain.events,
        size,
        len(payload) + (OVERHEAD if cipher is not None else 0),
        chain.hash,
    )
    if cipher is None:
        hash_ = block_hash(chain.hash, chain.sequence, chunk.events, chain.events, body)
        return SealedBlock((head, payload, hash_), hash_, size)
    sealed = cipher.encrypt(head, payload)
    hash_ = sealed_block_hash(head, sealed)
    return SealedBlock((head, sealed, hash_), hash_, size)


@dataclass(frozen=True, slots=True)
class Block:
    """A block as it stands in the file; nothing about it is verified yet. ``raw`` is None when it
    cannot be decrypted or decompressed. ``version``: of the file. ``stored``, of an encrypted one:
    its head and its payload.
    """

    offset: int
    sequence: int
    events: int
    first_event: int
    previous: bytes
    hash: bytes
    raw: bytes | None
    version: int = VERSION
    stored: tuple[bytes, bytes] = (b"", b"")

    def computed_hash(self) -> bytes | None:
        """What the hash should be, from the content; None when there is no content to hash. Of an
        encrypted block the content is what is stored, which needs no key.
        """
        if self.version in ENCRYPTED_VERSIONS:
            return sealed_block_hash(*self.stored)
        if self.raw is None:
            return None
        function = firstformat.block_hash if self.version == 1 else block_hash
        return function(self.previous, self.sequence, self.events, self.first_event, self.raw)

    def split(self) -> list[msgspec.Raw]:
        """Its encoded events. Raises msgspec.DecodeError when the content is not that many
        events.
        """
        if self.version == 1:
            return firstformat.split_events(self.raw or b"", self.events)
        return split_events(self.raw or b"", self.events)
