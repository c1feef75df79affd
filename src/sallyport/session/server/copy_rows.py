"""Which messages of COPY TO STDOUT are rows: the header line, and the trailer of the binary format,
are messages of their own, and no rows (CopyOneRowTo and EndCopyTo in PostgreSQL's copyto.c).
"""

from __future__ import annotations

from typing import Final

from sallyport.sql.facts import CopyFormat

#: The binary format's: a count of columns of -1. Behind the signature, flags and the length of an
#: extension where there are no rows at all.
_TRAILER: Final = b"\xff\xff"
_EMPTY: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8) + _TRAILER


def row_parts(
    copy_format: CopyFormat, data: bytes, count: int, *, is_first: bool
) -> list[tuple[int, int]]:
    """(rows, end) of the parts of ``count`` messages. ``is_first``: nothing came before them."""
    if copy_format.format == "binary":
        last = _last_message(data)
        if data[last + 5 :] in (_TRAILER, _EMPTY):
            return [(count - 1, last), (0, len(data))]
    elif copy_format.header and is_first:
        return [(0, _message_end(data, 0)), (count - 1, len(data))]
    return [(count, len(data))]


def _last_message(data: bytes) -> int:
    """Where it begins. Only walking there tells: a row may end like a trailer."""
    start, end = 0, 0
    if data.endswith(_TRAILER):
        while end < len(data):
            start, end = end, _message_end(data, end)
    return start


def _message_end(data: bytes, start: int) -> int:
    return start + 1 + int.from_bytes(data[start + 1 : start + 5], "big")
