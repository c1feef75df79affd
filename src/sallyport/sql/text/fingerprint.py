"""libpg_query's fingerprint: equal for texts that differ in constants, layout and comments.

It is what pganalyze and pg_stat_statements' users know, 16 hexadecimal digits of a 64-bit hash
(https://github.com/pganalyze/libpg_query/wiki/Fingerprinting), good for finding statements. It
binds nothing: approvals have a fingerprint of their own (:mod:`sallyport.approvals.fingerprint`).
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

from sallyport.sql.text.parse import may_parse, query_library


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


@lru_cache(maxsize=4096)
def query_fingerprint(sql: str) -> str:
    """16 hexadecimal digits; "" for a text that has a syntax error or more than 8192 bytes."""
    text = sql.encode("utf-8", "replace")
    if not may_parse(text):
        return ""
    result = _library.pg_query_fingerprint(text)
    try:
        return "" if result.error else f"{result.fingerprint:016x}"
    finally:
        _library.pg_query_free_fingerprint_result(result)
