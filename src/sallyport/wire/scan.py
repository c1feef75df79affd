# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""The second native module: recognises, in one call, what most traffic looks like. No I/O; never decides anything.

Each function answers "is this buffer exactly that?" and otherwise gives None, upon which the caller takes the general way, one message at a
time. So nothing here needs to know what to do about the unusual, and nothing unusual may be let through as usual.

Like :mod:`sallyport.wire.frames`, one source that runs compiled (types in ``scan.pxd``) or as it stands.

Source: PostgreSQL documentation, "Message Formats" and section 4.1 "Lexical Structure"; src/backend/parser/scan.l.
"""

from __future__ import annotations

try:
    import cython
except ImportError:
    from sallyport.wire import interpreted as cython

#: Whether the compiled module is in use.
COMPILED = cython.compiled

_QUOTE = 39
_DOUBLE = 34
_BACKSLASH = 92


def _is_word(c: int) -> bool:
    """A letter, digit or underscore."""
    return (97 <= c <= 122) or (65 <= c <= 90) or (48 <= c <= 57) or c == 95


def literals(sql: bytes, limit: int) -> bytes | None:
    """The text with every number replaced by ``$`` and every plain string by ``'$``; None when it is not plain enough to tell.

    Two texts have the same result only when they differ in nothing but the contents of their literals. Not plain: longer than ``limit``,
    comments, dollar signs, backslashes, NUL, anything outside ASCII but in strings, strings with a prefix (E'', U&'', ...) or next to another
    quote, numbers in any form but digits with a fraction.
    """
    size = len(sql)
    if size > limit:
        return None
    out = bytearray(size + 1 + size // 2)
    n = 0
    i = 0
    previous = 32
    while i < size:
        c = sql[i]
        if c == _QUOTE:
            if _is_word(previous) or previous in (38, _DOUBLE, _QUOTE):
                return None
            i = _string_end(sql, i + 1, size)
            if i < 0 or (i < size and (_is_word(sql[i]) or sql[i] == _DOUBLE)):
                return None
            out[n] = _QUOTE
            out[n + 1] = 36
            n += 2
            previous = _QUOTE
            continue
        if c == _DOUBLE:
            if _is_word(previous) or previous in (38, _DOUBLE, _QUOTE):
                return None
            out[n] = c
            n += 1
            i += 1
            while i < size and sql[i] != _DOUBLE:
                if sql[i] == 0 or sql[i] >= 128 or sql[i] == 36:
                    return None
                out[n] = sql[i]
                n += 1
                i += 1
            if i >= size:
                return None
            out[n] = _DOUBLE
            n += 1
            i += 1
            previous = _DOUBLE
            continue
        if 48 <= c <= 57:
            if previous == 46:
                return None
            i += 1
            while i < size and 48 <= sql[i] <= 57:
                i += 1
            if i + 1 < size and sql[i] == 46 and 48 <= sql[i + 1] <= 57:
                i += 2
                while i < size and 48 <= sql[i] <= 57:
                    i += 1
            if i < size and (_is_word(sql[i]) or sql[i] == 46):
                return None
            out[n] = 36
            n += 1
            previous = 48
            continue
        if _is_word(c):
            while i < size and _is_word(sql[i]):
                out[n] = sql[i]
                n += 1
                i += 1
            previous = 97
            continue
        if c == 0 or c >= 128 or c == 36 or c == _BACKSLASH:
            return None
        if i + 1 < size and ((c == 45 and sql[i + 1] == 45) or (c == 47 and sql[i + 1] == 42)):
            return None
        out[n] = c
        n += 1
        i += 1
        previous = c
    return bytes(out[:n])


def _string_end(sql: bytes, i: int, size: int) -> int:
    """The position behind the closing quote, or -1."""
    while i < size:
        c = sql[i]
        if c == _BACKSLASH or c == 0:
            return -1
        if c == _QUOTE:
            if i + 1 < size and sql[i + 1] == _QUOTE:
                i += 2
                continue
            return i + 1
        i += 1
    return -1


def _length(buf: bytes, p: int) -> int:
    a = buf[p]
    b = buf[p + 1]
    c = buf[p + 2]
    d = buf[p + 3]
    return (a << 24) | (b << 16) | (c << 8) | d


def bundle(buf: bytes) -> tuple[bytes, list[bytes | None], tuple[int, ...], int, bool] | None:
    """Is the buffer exactly Bind (unnamed portal), maybe Describe of that portal, Execute of all its rows, Sync?

    Gives (statement name, parameters, their formats, end of the Bind message, whether Describe was there).
    """
    size = len(buf)
    if size < 5 + 8 + 10 + 5 or buf[0] != 66:
        return None
    stop = 1 + _length(buf, 1)
    if stop < 13 or stop > size - 15:
        return None
    end = stop
    p = 5
    if buf[p] != 0:
        return None
    p += 1
    a = p
    while p < stop and buf[p] != 0:
        if buf[p] >= 128:
            return None
        p += 1
    if p >= stop:
        return None
    name = buf[a:p]
    p += 1
    if p + 2 > stop:
        return None
    count = (buf[p] << 8) | buf[p + 1]
    p += 2
    if p + 2 * count + 2 > stop:
        return None
    formats = []
    for _ in range(count):
        code = (buf[p] << 8) | buf[p + 1]
        if code > 1:
            return None
        formats.append(code)
        p += 2
    n = (buf[p] << 8) | buf[p + 1]
    p += 2
    if count > 1 and count != n:
        return None
    values: list[bytes | None] = []
    for _ in range(n):
        if p + 4 > stop:
            return None
        length = _length(buf, p)
        p += 4
        if length == 0xFFFFFFFF:
            values.append(None)
            continue
        if length > stop - p:
            return None
        values.append(buf[p : p + length])
        p += length
    if p + 2 > stop:
        return None
    count = (buf[p] << 8) | buf[p + 1]
    p += 2
    if p + 2 * count != stop:
        return None
    while p < stop:
        if buf[p] != 0 or buf[p + 1] > 1:
            return None
        p += 2
    described = False
    if buf[p] == 68:
        # Describe: length 6, 'P', empty name
        if size - p < 7 + 15 or _length(buf, p + 1) != 6 or buf[p + 5] != 80 or buf[p + 6] != 0:
            return None
        described = True
        p += 7
    # Execute: length 9, empty name, zero rows; Sync: length 4
    if (
        size - p != 15
        or buf[p] != 69
        or _length(buf, p + 1) != 9
        or buf[p + 5] != 0
        or _length(buf, p + 6) != 0
    ):
        return None
    p += 10
    if buf[p] != 83 or _length(buf, p + 1) != 4:
        return None
    return name, values, tuple(formats), end, described


def answer(buf: bytes) -> tuple[int, int, int, int, int, int, int, int] | None:
    """Is the buffer exactly one whole answer: [BindComplete] [RowDescription | NoData] DataRow* CommandComplete ReadyForQuery?

    Gives (start of the description, its end, its type or 0, end of the rows, number of rows, end of CommandComplete, transaction status, whether
    BindComplete was there). Rows start where the description ends.
    """
    size = len(buf)
    p = 0
    bound = 0
    if size < 12:
        return None
    if buf[0] == 50:
        if _length(buf, 1) != 4:
            return None
        bound = 1
        p = 5
    kind = 0
    start = p
    if size - p >= 5 and (buf[p] == 84 or buf[p] == 110):
        length = _length(buf, p + 1)
        if length < 4 or length >= size - p:
            return None
        kind = buf[p]
        p += 1 + length
    described = p
    rows = 0
    while size - p >= 5 and buf[p] == 68:
        length = _length(buf, p + 1)
        if length < 4 or length >= size - p:
            return None
        p += 1 + length
        rows += 1
    ended = p
    if size - p < 5 or buf[p] != 67:
        return None
    length = _length(buf, p + 1)
    if length < 5 or length >= size - p or buf[p + length] != 0:
        return None
    p += 1 + length
    if size - p != 6 or buf[p] != 90 or _length(buf, p + 1) != 5:
        return None
    status = buf[p + 5]
    if status not in (73, 84, 69):
        return None
    return start, described, kind, ended, rows, p, status, bound
