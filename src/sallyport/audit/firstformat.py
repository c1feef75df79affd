"""Format 1 of recordings, which versions before the change to BLAKE3 wrote: what its readers need.

A block's content is ``marks | body``: CRC-32 of each event (of its first 4096 bytes, u32), and a
msgpack array of the events. Hashes are SHA-256; everything else is as :mod:`sallyport.audit.blocks`
and :mod:`sallyport.audit.chain` say.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

import msgspec

_HASHED = struct.Struct("<IIQI")
_MARK: Final = 4
_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])


def genesis(session_id: str) -> bytes:
    """What the first block of a session's chain follows."""
    return hashlib.sha256(b"sallyport recording 1\0" + session_id.encode()).digest()


def block_hash(
    previous: bytes, sequence: int, count: int, first_event: int, content: bytes | memoryview
) -> bytes:
    """``content``: marks and body, as they stand in the block."""
    state = hashlib.sha256(previous + _HASHED.pack(sequence, count, first_event, len(content)))
    state.update(content)
    return state.digest()


def split_events(content: bytes, count: int) -> list[msgspec.Raw]:
    """The ``count`` encoded events of a block. Raises msgspec.DecodeError."""
    try:
        events = _decoder.decode(memoryview(content)[_MARK * count :])
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
    if len(events) != count:
        raise msgspec.DecodeError(f"{count} events are announced, {len(events)} are there")
    return events
