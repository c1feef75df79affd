"""The few field kinds every message is made of (protocol section 54.1): Int16, Int32, String, and
the header.

Reading is strict: what runs out, has no terminator, is not UTF-8 or has bytes left over raises
ProtocolError naming the message. Writing refuses what would not survive the trip, a NUL inside a
String above all.
"""

from __future__ import annotations

import struct

from sallyport.core.errors import ProtocolError

#: Length word including itself: 1 GB - 1, as PostgreSQL's PQ_LARGE_MESSAGE_LIMIT (MaxAllocSize).
LARGE_BODY = 0x3FFFFFFF
#: PostgreSQL's PQ_SMALL_MESSAGE_LIMIT, for messages that carry no data.
SMALL_BODY = 10_000

_HEADER = struct.Struct("!BI")
_U16 = struct.Struct("!H")
_I32 = struct.Struct("!i")
_U32 = struct.Struct("!I")


class EncodingError(ProtocolError):
    """A String is not UTF-8. PostgreSQL calls it 22021 and keeps the session; the caller may do the
    same.
    """

    sqlstate = "22021"


def check_utf8(value: bytes, what: str) -> bytes:
    """Give back ``value`` when it is UTF-8. Raises EncodingError."""
    if not value.isascii():
        try:
            value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise EncodingError(f"{what} is not valid UTF-8 at byte {error.start}") from None
    return value


def to_text(value: bytes, what: str) -> str:
    """Decode UTF-8 strictly. Raises EncodingError."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EncodingError(f"{what} is not valid UTF-8 at byte {error.start}") from None


def read_string(body: bytes, pos: int, what: str) -> tuple[bytes, int]:
    """One NUL-terminated String as UTF-8 bytes and the position after it. Raises ProtocolError."""
    end = body.find(0, pos)
    if end < 0:
        raise ProtocolError(f"{what}: a string is not terminated")
    return check_utf8(body[pos:end], what), end + 1


def read_u16(body: bytes, pos: int, what: str) -> tuple[int, int]:
    """A count. PostgreSQL reads Int16 counts unsigned (pq_getmsgint), so 65,535 parameters are
    possible.
    """
    if pos + 2 > len(body):
        raise ProtocolError(f"{what}: ends before a 2-byte number")
    return _U16.unpack_from(body, pos)[0], pos + 2


def read_i32(body: bytes, pos: int, what: str) -> tuple[int, int]:
    """A signed Int32 at ``pos`` and the place behind it. Raises ProtocolError, which names
    ``what``.
    """
    if pos + 4 > len(body):
        raise ProtocolError(f"{what}: ends before a 4-byte number")
    return _I32.unpack_from(body, pos)[0], pos + 4


def read_u32(body: bytes, pos: int, what: str) -> tuple[int, int]:
    """As :func:`read_i32`, unsigned: OIDs."""
    if pos + 4 > len(body):
        raise ProtocolError(f"{what}: ends before a 4-byte number")
    return _U32.unpack_from(body, pos)[0], pos + 4


def read_values(body: bytes, pos: int, what: str) -> tuple[list[bytes | None], int]:
    """Int16 and as many values, each behind its length, as Bind and DataRow have them (None for
    NULL), and the position after them. Raises ProtocolError.
    """
    count, pos = read_u16(body, pos, what)
    size = len(body)
    if pos + 4 * count > size:
        raise ProtocolError(f"{what}: {count} values do not fit")
    values: list[bytes | None] = []
    for _ in range(count):
        start = pos + 4
        if start > size:
            raise ProtocolError(f"{what}: ends before the length of a value")
        (length,) = _U32.unpack_from(body, pos)
        if length == 0xFFFFFFFF:  # the length -1, which says NULL
            values.append(None)
            pos = start
            continue
        pos = start + length
        if pos > size:
            raise ProtocolError(f"{what}: a value is longer than the message")
        values.append(body[start:pos])
    return values, pos


def read_formats(body: bytes, pos: int, what: str) -> tuple[tuple[int, ...], int]:
    """A counted list of format codes, each 0 (text) or 1 (binary). Raises ProtocolError."""
    start = pos + 2
    if start > len(body):
        raise ProtocolError(f"{what}: ends before a 2-byte number")
    (count,) = _U16.unpack_from(body, pos)
    if not count:
        return (), start
    end = start + 2 * count
    if end > len(body):
        raise ProtocolError(f"{what}: {count} format codes do not fit")
    codes = struct.unpack_from(f"!{count}H", body, start)
    if max(codes) > 1:
        raise ProtocolError(f"{what}: unknown format code {max(codes)}")
    return codes, end


def expect_end(body: bytes, pos: int, what: str) -> None:
    """Raises ProtocolError when anything follows ``pos``."""
    if pos != len(body):
        raise ProtocolError(f"{what}: {len(body) - pos} bytes too many")


def string(value: str | bytes, what: str = "string") -> bytes:
    """A String field: the UTF-8 bytes and a NUL. Raises ProtocolError for an inner NUL or what is
    not UTF-8.
    """
    if isinstance(value, str):
        try:
            value = value.encode("utf-8")
        except UnicodeEncodeError:
            raise EncodingError(f"{what} cannot be written as UTF-8") from None
    else:
        check_utf8(value, what)
    if 0 in value:
        raise ProtocolError(f"{what} contains a NUL byte, which PostgreSQL strings cannot hold")
    return value + b"\0"


def number(layout: str, *values: int) -> bytes:
    """Pack numbers (struct codes, network order). Raises ProtocolError for one that does
    not fit.
    """
    try:
        return struct.pack("!" + layout, *values)
    except struct.error as error:
        raise ProtocolError(f"a number does not fit its field: {error}") from None


def message(kind: int, body: bytes = b"") -> bytes:
    """Type byte, length word, body. Raises ProtocolError when the body is longer than PostgreSQL
    takes.
    """
    if len(body) + 4 > LARGE_BODY:
        raise ProtocolError(f"a message of {len(body)} bytes is longer than PostgreSQL accepts")
    return _HEADER.pack(kind, len(body) + 4) + body
