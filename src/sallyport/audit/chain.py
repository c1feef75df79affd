"""The hash chain of one recording: what makes an edit, a deletion or a reordering show.

Events are written in blocks. With ``|`` for concatenation and all integers little-endian::

    genesis        = BLAKE3("sallyport recording 4\\0" | session id)
    hash(block k)  = BLAKE3(hash(block k-1) | sequence u32 | events u32 | first event u64
                            | raw length u32 | body)
    hash(block -1) = genesis

``body`` is the events, back to back. No event can be changed, removed, added or moved without
changing its block's hash and so every later one. :func:`event_hashes` gives a hash for each event
over everything before it; only the last of a block is stored, because a chain needs no more. The
hash covers what was recorded rather than how it was compressed, so a recording can be compressed
again without breaking its chain.

Of encrypted recordings (format 5) the chain runs over the bytes as they are stored, so that it can
be followed without a key, and after the key was deleted::

    genesis        = BLAKE3("sallyport recording 5\\0" | session id | commitment (32 bytes))
    hash(block k)  = BLAKE3(head of the block (68 bytes, as stored) | payload, as stored)

The labels of earlier formats have their numbers. BLAKE3 rather than SHA-256, by measurement:
docs/recording.md has the figures. Recordings of format 1 have SHA-256
(:mod:`sallyport.audit.firstformat`).

A chain alone cannot stop someone who rewrites a whole file from its start. The index remembers the
last hash of each session, which catches that as long as the index is not rewritten too; the log of
all sessions' heads (:mod:`sallyport.audit.tlog`) catches it then.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blake3 import blake3

_HASHED = struct.Struct("<IIQI")
#: Bodies up to this are copied behind the header and hashed in one call, which costs less than two.
_SMALL = 2048


def genesis(session_id: str, version: int, commitment: bytes = b"") -> bytes:
    """The hash that a recording of format ``version`` starts from: of the session and, where it is
    encrypted, of its key's commitment (:func:`sallyport.audit.cipher.commitment`). A file that was
    renamed to another session does not match its own.
    """
    label = b"sallyport recording %d\0" % version
    return blake3(label + session_id.encode() + commitment).digest()


def block_hash(
    previous: bytes, sequence: int, count: int, first_event: int, body: bytes | memoryview
) -> bytes:
    """The hash of a block, as the module docstring defines it. Releases the GIL for bodies above 2
    kB.
    """
    head = previous + _HASHED.pack(sequence, count, first_event, len(body))
    if len(body) <= _SMALL:
        return blake3(head + body).digest()
    return blake3(head).update(body).digest()


def sealed_block_hash(head: bytes, payload: bytes) -> bytes:
    """The hash of an encrypted block; ``head`` has the hash of the one before.
    Releases the GIL as :func:`block_hash` does.
    """
    if len(payload) <= _SMALL:
        return blake3(head + payload).digest()
    return blake3(head).update(payload).digest()


def event_hashes(
    previous: bytes, sequence: int, first_event: int, events: Sequence[bytes]
) -> Iterator[bytes]:
    """The hash each event of a block is bound to; the last one is the block's hash."""
    size = sum(map(len, events))
    state = blake3(previous + _HASHED.pack(sequence, len(events), first_event, size))
    for event in events:
        yield state.update(event).digest()


@dataclass(slots=True)
class Chain:
    """Where a recording's chain stands: last hash, ``sequence`` of the next block, number of the
    next event.
    """

    hash: bytes
    sequence: int = 0
    events: int = 0

    def advance(self, hash_: bytes, count: int) -> None:
        """A block of ``count`` events is on disk."""
        self.hash = hash_
        self.sequence += 1
        self.events += count
