"""What the leaves of the log are: one JSON object each, ASCII, without spaces, keys in a fixed
order.

::

    {"type":"log","time":T,"version":1}                        the first leaf
    {"type":"head","time":T,"session":ID,"status":S,"head":H,"statements":N,"refused":N,"rows":N,
     "bytes":N,"late":B}
    {"type":"deleted","time":T,"session":ID,"head":H,"reason":R}

``time``: Unix seconds when the leaf was made. ``head``: the hex hash of the newest block of the
session's recording. ``status``: live | ended | interrupted. The counts are what the index says of
the recording up to that block. ``late``: the session was over before, while there was no log. There
is nothing that names a person, a statement or a value: leaves cannot be deleted.
"""

from __future__ import annotations

import json
from typing import Final

import msgspec

from sallyport.audit.ports import SessionRow
from sallyport.core.errors import SallyportError

VERSION: Final = 1
#: A bundle of entries gives each a length of 16 bits.
MAX_BYTES: Final = 65535


class EntryError(SallyportError):
    """An entry is none that this version knows."""


class LogBegun(msgspec.Struct, frozen=True, tag="log", tag_field="type"):
    """The first leaf."""

    time: float
    version: int = VERSION


class Head(msgspec.Struct, frozen=True, tag="head", tag_field="type"):
    """How far a recording went."""

    time: float
    session: str
    status: str
    head: str
    statements: int
    refused: int
    rows: int
    bytes: int
    late: bool = False


class Deleted(msgspec.Struct, frozen=True, tag="deleted", tag_field="type"):
    """A recording was deleted on purpose. ``head``: the last that the log had of it, or ""."""

    time: float
    session: str
    head: str
    reason: str


Entry = LogBegun | Head | Deleted

_decoder = msgspec.json.Decoder(Entry)


def encode_entry(entry: Entry) -> bytes:
    """Raises ValueError for one that is too long."""
    value = msgspec.to_builtins(entry)
    data = json.dumps(value, separators=(",", ":")).encode("ascii")
    if len(data) > MAX_BYTES:
        raise ValueError(f"an entry of {len(data)} bytes")
    return data


def decode_entry(data: bytes) -> Entry:
    """Raises EntryError."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EntryError(f"an entry that this version does not know: {error}") from None


def head_of(row: SessionRow, time: float, *, late: bool = False) -> Head:
    """What is logged of a session as the index has it."""
    return Head(
        time=round(time, 3),
        session=row.id,
        status=row.status,
        head=row.last_hash,
        statements=row.statements,
        refused=row.refused,
        rows=row.rows,
        bytes=row.bytes,
        late=late,
    )
