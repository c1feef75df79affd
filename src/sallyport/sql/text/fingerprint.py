"""libpg_query's fingerprint: equal for texts that differ in constants, layout and comments.

It is what pganalyze and pg_stat_statements' users know, 16 hexadecimal digits of a 64-bit hash
(https://github.com/pganalyze/libpg_query/wiki/Fingerprinting), good for finding statements. It
binds nothing: approvals have a fingerprint of their own (:mod:`sallyport.approvals.fingerprint`).
"""

from __future__ import annotations

import ctypes
import re
from functools import lru_cache
from typing import Final

from sallyport.sql.text.parse import SMALL, may_parse, query_library
from sallyport.wire.scan import literals


class _Result(ctypes.Structure):
    _fields_ = (
        ("fingerprint", ctypes.c_uint64),
        ("text", ctypes.c_char_p),
        ("stderr_buffer", ctypes.c_char_p),
        ("error", ctypes.c_void_p),
    )


_library = query_library()
_library.pg_query_fingerprint.argtypes = [ctypes.c_char_p]
_library.pg_query_fingerprint.restype = _Result
_library.pg_query_free_fingerprint_result.argtypes = [_Result]
_library.pg_query_free_fingerprint_result.restype = None


#: Statements in whose fingerprints constants are nothing. (In FETCH 5 and in others they are.)
_WITHOUT_CONSTANTS: Final = re.compile(
    rb"\s*(?:select|insert|update|delete|with|values)\b(?!.*\bfloat)", re.IGNORECASE | re.DOTALL
)


def query_fingerprint(sql: str) -> str:
    """16 hexadecimal digits; "" for a text that has a syntax error or more than 8192 bytes."""
    text = sql.encode("utf-8", "replace")
    # float(24) and float(25) are two types.
    blank = literals(text, SMALL) if _WITHOUT_CONSTANTS.match(text) else None
    if blank is None:
        return fingerprint_of_text(text)
    return fingerprint_of_text(blank.replace(b"'$", b"''").replace(b"$", b"0"))


@lru_cache(maxsize=4096)
def fingerprint_of_text(text: bytes) -> str:
    """As :func:`query_fingerprint`, of a text in UTF-8."""
    if not may_parse(text):
        return ""
    result = _library.pg_query_fingerprint(text)
    try:
        return "" if result.error else f"{result.fingerprint:016x}"
    finally:
        _library.pg_query_free_fingerprint_result(result)
