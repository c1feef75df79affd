"""The tokens of an SQL text, by PostgreSQL's own scanner (libpg_query's ``pg_query_scan``).

What is cut out of a text is cut at tokens, so that quoting, comments and Unicode escapes never have
to be understood here. Source: src/backend/parser/scan.l; the message ScanResult of libpg_query's
pg_query.proto.
"""

from __future__ import annotations

import ctypes
import re
from bisect import bisect_left

from sallyport.core.errors import RefusedError, refuse
from sallyport.sql.text.parse import is_slow_to_scan, query_library


class _Protobuf(ctypes.Structure):
    _fields_ = (("len", ctypes.c_size_t), ("data", ctypes.c_void_p))


class _ScanResult(ctypes.Structure):
    _fields_ = (
        ("pbuf", _Protobuf),
        ("stderr_buffer", ctypes.c_char_p),
        ("error", ctypes.c_void_p),
    )


_library = query_library()
_library.pg_query_scan.argtypes = [ctypes.c_char_p]
_library.pg_query_scan.restype = _ScanResult
_library.pg_query_free_scan_result.argtypes = [_ScanResult]
_library.pg_query_free_scan_result.restype = None


class Tokens:
    """The tokens of ``sql`` (UTF-8), comments left out. Offsets are bytes."""

    def __init__(self, sql: bytes) -> None:
        """Raises RefusedError (SP1101) when the scanner does not accept the text."""
        self.sql = sql
        spans = _spans(_scan(sql))
        if b"--" in sql or b"/*" in sql:
            spans = [span for span in spans if sql[span[0] : span[0] + 2] not in (b"--", b"/*")]
        self.starts = [start for start, _ in spans]
        self.ends = [end for _, end in spans]

    def at(self, offset: int) -> int:
        """The number of the token that begins at ``offset``, or -1."""
        number = bisect_left(self.starts, offset)
        return number if number < len(self.starts) and self.starts[number] == offset else -1

    def text(self, number: int) -> bytes:
        """The token's text; b"" before the first and behind the last."""
        if not 0 <= number < len(self.starts):
            return b""
        return self.sql[self.starts[number] : self.ends[number]]

    def word(self, number: int) -> bytes:
        """The text in lower case, to compare with a keyword."""
        return self.text(number).lower()

    def closing(self, number: int) -> int:
        """The number of the ``)`` that belongs to the ``(`` at ``number``, or -1."""
        depth = 0
        for position in range(number, len(self.starts)):
            token = self.text(position)
            depth += (token == b"(") - (token == b")")
            if depth == 0:
                return position
        return -1


def token_spans(sql: bytes) -> list[tuple[int, int]]:
    """(start, end) of every token, comments included. Raises RefusedError (SP1101)."""
    return _spans(_scan(sql))


def _scan(sql: bytes) -> bytes:
    """Of texts that the parser refused as well, for the record: its bounds hold here too."""
    if is_slow_to_scan(sql):
        raise RefusedError(refuse("SP1101", "cannot split the statement into tokens"))
    result = _library.pg_query_scan(sql)
    try:
        if result.error:
            raise RefusedError(refuse("SP1101", "cannot split the statement into tokens"))
        return ctypes.string_at(result.pbuf.data, result.pbuf.len)
    finally:
        _library.pg_query_free_scan_result(result)


#: A varint; the version that a ScanResult begins with; a ScanToken in it: start (left out when 0),
#: end, token, and the kind of a keyword.
_VARINT = rb"[\x80-\xff]*[\x00-\x7f]"
_version = re.compile(rb"(?:\x08%b)?" % _VARINT, re.DOTALL)
_tokens = re.compile(
    rb"(\x12[\x00-\x7f](?:\x08(%b))?\x10(%b)\x20%b(?:\x28%b)?)" % ((_VARINT,) * 4), re.DOTALL
)


def _number(data: bytes) -> int:
    """The value of a varint, 0 for none."""
    if len(data) == 1:
        return data[0]
    if len(data) == 3:
        return data[0] & 0x7F | (data[1] & 0x7F) << 7 | data[2] << 14
    value = 0
    for byte in reversed(data):
        value = value << 7 | byte & 0x7F
    return value


def _spans(data: bytes) -> list[tuple[int, int]]:
    """(start, end) of every token of a ScanResult message. Raises RefusedError (SP1101) when it has
    another form.
    """
    version = _version.match(data)
    begin = 0 if version is None else version.end()
    tokens = _tokens.findall(data, begin)
    if sum([len(token) for token, _, _ in tokens]) != len(data) - begin:
        raise RefusedError(refuse("SP1101", "cannot split the statement into tokens"))
    # most varints have two bytes
    return [
        (
            start[0] & 0x7F | start[1] << 7 if len(start) == 2 else _number(start),
            end[0] & 0x7F | end[1] << 7 if len(end) == 2 else _number(end),
        )
        for _, start, end in tokens
    ]
