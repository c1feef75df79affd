# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""The parameters of a Bind message on raw memory, as :mod:`sallyport.server.plain` checks and
records them. Only ever used compiled (types in ``plain_parameters.pxd``).

Source: PostgreSQL documentation, "Message Formats".
"""

from __future__ import annotations

from typing import Any

try:
    import cython
except ImportError:
    from sallyport.wire import interpreted as cython

if not cython.compiled:
    # C functions that plain_parameters.pxd imports; only ever called by compiled code.
    put_array: Any = None
    put_bin: Any = None
    put_nil: Any = None
    put_uint: Any = None


def _uint32(src: Any, p: int) -> int:
    a = src[p]
    b = src[p + 1]
    c = src[p + 2]
    d = src[p + 3]
    return (a << 24) | (b << 16) | (c << 8) | d  # type: ignore[no-any-return]


def parameters(src: Any, p: int) -> int:
    """How many values the Bind has whose formats begin at ``p``."""
    p += 2 + 2 * ((src[p] << 8) | src[p + 1])
    return (src[p] << 8) | src[p + 1]  # type: ignore[no-any-return]


def parameters_end(src: Any, p: int, stop: int) -> int:
    """Where the parameters of a Bind end that begin at ``p`` with their formats; -1 for what makes
    no sense.
    """
    if p + 2 > stop:
        return -1
    count = (src[p] << 8) | src[p + 1]
    p += 2
    if p + 2 * count + 2 > stop:
        return -1
    for _ in range(count):
        if src[p] != 0 or src[p + 1] > 1:
            return -1
        p += 2
    n = (src[p] << 8) | src[p + 1]
    p += 2
    if count > 1 and count != n:
        return -1
    for _ in range(n):
        if p + 4 > stop:
            return -1
        length = _uint32(src, p)
        p += 4
        if length == 0xFFFFFFFF:
            continue
        if length > stop - p:
            return -1
        p += length
    return p


def put_parameters(out: Any, src: Any, p: int) -> Any:
    """The values and formats of a Bind that :func:`parameters_end` has checked, as two arrays;
    gives the position behind them.
    """
    formats = p + 2
    count = (src[p] << 8) | src[p + 1]
    p = formats + 2 * count
    n = (src[p] << 8) | src[p + 1]
    p += 2
    out = put_array(out, n)
    for _ in range(n):
        length = _uint32(src, p)
        p += 4
        if length == 0xFFFFFFFF:
            out = put_nil(out)
            continue
        out = put_bin(out, src + p, length)
        p += length
    out = put_array(out, count)
    for i in range(count):
        out = put_uint(out, src[formats + 2 * i + 1])
    return out
