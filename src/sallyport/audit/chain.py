"""The hash chain of one recording: what makes an edit, a deletion or a reordering show.

Events are written in blocks. With ``|`` for concatenation and all integers little-endian::

    genesis        = SHA-256("sallyport recording 1\\0" | session id)
    marks          = CRC-32 of each event (of its first 4 kB), 4 bytes each
    body           = msgpack array of the events
    hash(block k)  = SHA-256(hash(block k-1) | sequence u32 | events u32 | first event u64 | raw length u32 |
    marks | body) hash(block -1) = genesis

**Every event carries the hash of the one before**: SHA-256 is computed front to back, so the state after
event *i* of a block is a hash over everything before it, and :func:`event_hashes` gives it for each event.
Only the last of them is stored (the block's hash), because a chain needs no more, and hashing a block in one
call costs a tenth of hashing each event. No event can be changed, removed, added or moved without changing
its block's hash and so every later one.

The marks protect nothing: they let :mod:`sallyport.audit.verify` say *which* event was touched, as long as
whoever touched it did not also recompute the marks. The hash covers them, and it covers what was recorded
rather than how it was compressed, so a recording can be compressed again without breaking its chain.

A chain alone cannot stop someone who rewrites a whole file from its start. The index remembers the last hash
of each session, which catches that as long as the index is not rewritten too; signed checkpoints and the
gateway-wide chain are not there yet.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

_HASHED = struct.Struct("<IIQI")
#: A mark covers this many bytes; beyond 5 kB CPython's crc32 would release the GIL once per event.
_MARKED = 4096


def genesis(session_id: str) -> bytes:
    """The hash that a recording starts from; a file that was renamed to another session does not match its
    own.
    """
    return hashlib.sha256(b"sallyport recording 1\0" + session_id.encode()).digest()


def marks(events: Sequence[bytes | memoryview]) -> bytes:
    """CRC-32 of each encoded event."""
    values = [crc32(event if len(event) <= _MARKED else memoryview(event)[:_MARKED]) for event in events]
    return struct.pack(f"<{len(values)}I", *values)


def block_hash(
    previous: bytes, sequence: int, count: int, first_event: int, marks_: bytes, body: bytes | memoryview
) -> bytes:
    """The hash of a block, as the module docstring defines it."""
    state = hashlib.sha256(
        previous + _HASHED.pack(sequence, count, first_event, len(marks_) + len(body)) + marks_
    )
    state.update(body)  # releases the GIL for anything but tiny bodies
    return state.digest()


def event_hashes(
    previous: bytes, sequence: int, first_event: int, marks_: bytes, prefix: bytes, events: Sequence[bytes]
) -> Iterator[bytes]:
    """The hash each event of a block is bound to; the last one is the block's hash.

    ``prefix``: what stands in the body before the first event (the msgpack array header).
    """
    size = len(marks_) + len(prefix) + sum(map(len, events))
    state = hashlib.sha256(
        previous + _HASHED.pack(sequence, len(events), first_event, size) + marks_ + prefix
    )
    for event in events:
        state.update(event)
        yield state.digest()


@dataclass(slots=True)
class Chain:
    """Where a recording's chain stands: ``sequence`` of the next block, number of the next event, last
    hash.
    """

    hash: bytes
    sequence: int = 0
    events: int = 0

    @classmethod
    def start(cls, session_id: str) -> Chain:
        return cls(genesis(session_id))

    def advance(self, hash_: bytes, count: int) -> None:
        """A block of ``count`` events is on disk."""
        self.hash = hash_
        self.sequence += 1
        self.events += count
