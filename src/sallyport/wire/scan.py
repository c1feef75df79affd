# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""The second native module: recognises, in one call, what most traffic looks like. No I/O; never
decides anything.

Each function answers "is this buffer exactly that?" and otherwise gives None, upon which the caller
takes the general way, one message at a time. So nothing here needs to know what to do about the
unusual, and nothing unusual may be let through as usual.

Like :mod:`sallyport.wire.frames`, one source that runs compiled (types in ``scan.pxd``) or as it
stands.

Source: PostgreSQL documentation, "Message Formats" and section 4.1 "Lexical Structure";
src/backend/parser/scan.l.
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
    """The text with every number replaced by ``$`` and every plain string by ``'$``; None when it
    is not plain enough to tell.

    Two texts have the same result only when they differ in nothing but the contents of their
    literals. Not plain: longer than ``limit``, comments, dollar signs, backslashes, NUL, anything
    outside ASCII but in strings, strings with a prefix (E'', U&'', ...) or next to another quote,
    numbers in any form but digits with a fraction.
    """
    size = len(sql)
    if size > limit:
        return None
    out = bytearray(size + 1 + size // 2)
    n = blank_literals(sql, size, out)
    return None if n < 0 else bytes(out[:n])


def blank_literals(sql: bytes, size: int, out: bytearray) -> int:
    """As :func:`literals`, into ``out``, which has room for half as much again and one more. Gives
    how much it wrote; -1: not plain.
    """
    n = 0
    i = 0
    previous = 32
    while i < size:
        c = sql[i]
        if c == _QUOTE:
            if _is_word(previous) or previous in (38, _DOUBLE, _QUOTE):
                return -1
            i = _string_end(sql, i + 1, size)
            if i < 0 or (i < size and (_is_word(sql[i]) or sql[i] == _DOUBLE)):
                return -1
            out[n] = _QUOTE
            out[n + 1] = 36
            n += 2
            previous = _QUOTE
            continue
        if c == _DOUBLE:
            if _is_word(previous) or previous in (38, _DOUBLE, _QUOTE):
                return -1
            out[n] = c
            n += 1
            i += 1
            while i < size and sql[i] != _DOUBLE:
                if sql[i] == 0 or sql[i] >= 128 or sql[i] == 36:
                    return -1
                out[n] = sql[i]
                n += 1
                i += 1
            if i >= size:
                return -1
            out[n] = _DOUBLE
            n += 1
            i += 1
            previous = _DOUBLE
            continue
        if 48 <= c <= 57:
            if previous == 46:
                return -1
            i += 1
            while i < size and 48 <= sql[i] <= 57:
                i += 1
            if i + 1 < size and sql[i] == 46 and 48 <= sql[i + 1] <= 57:
                i += 2
                while i < size and 48 <= sql[i] <= 57:
                    i += 1
            if i < size and (_is_word(sql[i]) or sql[i] == 46):
                return -1
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
            return -1
        if i + 1 < size and ((c == 45 and sql[i + 1] == 45) or (c == 47 and sql[i + 1] == 42)):
            return -1
        out[n] = c
        n += 1
        i += 1
        previous = c
    return n


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
    """Is the buffer exactly Bind (unnamed portal), maybe Describe of that portal, Execute of all
    its rows, Sync?

    Gives (statement name, parameters, their formats, end of the Bind message, whether Describe was
    there).
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
    """Is the buffer exactly one whole answer: [BindComplete] [RowDescription | NoData] DataRow*
    CommandComplete ReadyForQuery?

    Gives (start of the description, its end, its type or 0, end of the rows, number of rows, end of
    CommandComplete, transaction status, whether BindComplete was there). Rows start where the
    description ends.
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
        if kind == 110 and length != 4:
            return None
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


# --------------------------------------------------------------------------------------------------
# The outline of a text: how much work its parse tree will be, told before anything is parsed.

_END = 0
_WORD = 1
_STRING = 2
_NUMBER = 3
_PARAMETER = 4
_NAME = 5  # "in double quotes"
_OTHER = 6  # one character of anything else, or a literal in one of the rarer forms
_BAD = 7  # not told exactly how PostgreSQL's scanner would read it

_MOST_DEPTH = 1000
#: Parameters that a message can bind, and one (its count is 16 bits).
_PARAMETERS = 65_536
#: Items of a list of parameters that stay: a condition that may move into a subselect is shorter
#: (rewrite/conditions.py).
_KEPT = 32


def _skip(sql: bytes, i: int, size: int) -> int:
    """The position of the next token: behind white space and comments."""
    while i < size:
        c = sql[i]
        if c == 32 or 9 <= c <= 13:
            i += 1
        elif c == 45 and i + 1 < size and sql[i + 1] == 45:
            while i < size and sql[i] != 10 and sql[i] != 13:
                i += 1
        elif c == 47 and i + 1 < size and sql[i + 1] == 42:
            i += 2
            depth = 1
            while i < size and depth:
                if sql[i] == 42 and i + 1 < size and sql[i + 1] == 47:
                    depth -= 1
                    i += 2
                elif sql[i] == 47 and i + 1 < size and sql[i + 1] == 42:
                    depth += 1
                    i += 2
                else:
                    i += 1
        else:
            return i
    return size


def _starts_name(c: int) -> bool:
    return (97 <= c <= 122) or (65 <= c <= 90) or c == 95 or c >= 128


def _quoted(sql: bytes, i: int, size: int, quote: int) -> int:
    """The position behind the closing quote, where a doubled quote does not close; -1 when there is
    none.
    """
    while i < size:
        if sql[i] == quote:
            if i + 1 < size and sql[i + 1] == quote:
                i += 2
                continue
            return i + 1
        i += 1
    return -1


def _escaped(sql: bytes, i: int, size: int) -> int:
    """The same for E'...'. A string that goes on after a line break keeps its escapes: -1, as what
    follows is not told here.
    """
    while i < size:
        c = sql[i]
        if c == _BACKSLASH:
            i += 2
            continue
        if c == _QUOTE:
            if i + 1 < size and sql[i + 1] == _QUOTE:
                i += 2
                continue
            i += 1
            after = _skip(sql, i, size)
            return -1 if after < size and sql[after] == _QUOTE else i
        i += 1
    return -1


def _dollars(sql: bytes, i: int, size: int) -> int:
    """The position behind $tag$...$tag$ that starts here; 0 when none starts, -1 when it does not
    end.
    """
    p = i + 1
    if p < size and _starts_name(sql[p]):
        while p < size and (_is_word(sql[p]) or sql[p] >= 128):
            p += 1
    if p >= size or sql[p] != 36:
        return 0
    p += 1
    closing: int = sql.find(sql[i:p], p)
    return -1 if closing < 0 else closing + (p - i)


def _token(sql: bytes, i: int, size: int) -> int:
    """Kind and end of the token at ``i``, as ``end * 8 + kind``. Never longer than the scanner's
    where kinds matter.

    Operators come one character at a time. Numbers run on over letters, which is an error for the
    parser anyway.
    """
    c = sql[i]
    if c == _QUOTE:
        i = _quoted(sql, i + 1, size, _QUOTE)
        return i * 8 + _STRING if i > 0 else size * 8 + _BAD
    if c == _DOUBLE:
        i = _quoted(sql, i + 1, size, _DOUBLE)
        return i * 8 + _NAME if i > 0 else size * 8 + _BAD
    if _starts_name(c):
        after = sql[i + 1] if i + 1 < size else 32
        if after == _QUOTE:
            if c == 69 or c == 101:  # E
                i = _escaped(sql, i + 2, size)
                return i * 8 + _STRING if i > 0 else size * 8 + _BAD
            if c in (66, 98, 88, 120, 78, 110):  # B, X, N
                i = _quoted(sql, i + 2, size, _QUOTE)
                return i * 8 + _OTHER if i > 0 else size * 8 + _BAD
        # U&
        if (
            after == 38
            and (c == 85 or c == 117)
            and i + 2 < size
            and sql[i + 2] in (_QUOTE, _DOUBLE)
        ):
            i = _quoted(sql, i + 3, size, sql[i + 2])
            return i * 8 + _OTHER if i > 0 else size * 8 + _BAD
        i += 1
        while i < size and (_is_word(sql[i]) or sql[i] >= 128 or sql[i] == 36):
            i += 1
        return i * 8 + _WORD
    if 48 <= c <= 57 or (c == 46 and i + 1 < size and 48 <= sql[i + 1] <= 57):
        i += 1
        while i < size and (_is_word(sql[i]) or sql[i] == 46):
            i += 1
            if (
                i + 1 < size
                and sql[i] in (43, 45)
                and sql[i - 1] in (69, 101)
                and 48 <= sql[i + 1] <= 57
            ):
                i += 1
        return i * 8 + _NUMBER
    if c == 36:
        if i + 1 < size and 48 <= sql[i + 1] <= 57:
            i += 2
            while i < size and 48 <= sql[i] <= 57:
                i += 1
            return i * 8 + _PARAMETER
        end = _dollars(sql, i, size)
        if end < 0:
            return size * 8 + _BAD
        if end > 0:
            return end * 8 + _OTHER
    return (i + 1) * 8 + _OTHER


def _is(sql: bytes, i: int, end: int, word: bytes, length: int) -> bool:
    """Is the token exactly this word (in lower case here), in whatever case?"""
    if end - i != length:
        return False
    for k in range(length):  # noqa: SIM110  (a generator would not compile to a loop)
        if (sql[i + k] | 32) != word[k]:
            return False
    return True


def _digits(sql: bytes, i: int, end: int, sign: int) -> int:
    """The kind of a number: as an integer constant, a bigint, a larger integer, or with a fraction;
    0 when not plain.

    ``sign``: 1 behind a minus, which belongs to the number unless a cast follows, so that the least
    integer is none of these kinds.
    """
    p = i
    while p < end and 48 <= sql[p] <= 57:
        p += 1
    if p < end:
        if sql[p] != 46 or p == i:
            return 0
        p += 1
        while p < end and 48 <= sql[p] <= 57:
            p += 1
        return 100 if p == end else 0  # d
    length = end - i
    if length > 1 and sql[i] == 48:
        return 0
    if sign and (sql[i:end] == b"2147483648" or sql[i:end] == b"9223372036854775808"):
        return 0
    if length < 10 or (length == 10 and sql[i:end] <= b"2147483647"):
        return 105  # i
    if length < 19 or (length == 19 and sql[i:end] <= b"9223372036854775807"):
        return 108  # l
    return 104  # h


def _constant(sql: bytes, i: int, size: int, out: bytearray) -> int:
    """The position behind the constant that is the whole item at ``i``, its kind appended to
    ``out``; -1 when the item is anything else. It may stand in brackets, as JDBC's simple mode
    writes it (``('v'::varchar)``), unless it is a parameter.
    """
    bracket = 1 if sql[i] == 40 else 0
    if bracket:
        out.append(40)
        i = _skip(sql, i + 1, size)
    sign = 1 if i < size and sql[i] == 45 else 0
    i += sign
    if i >= size or (sign and not 48 <= sql[i] <= 57):
        return -1
    token = _token(sql, i, size)
    kind = token & 7
    end = token >> 3
    what = 0
    if kind == _STRING:
        what = 115  # s
    elif kind == _NUMBER:
        what = _digits(sql, i, end, sign)
        if what and sign:
            what -= 32
    elif kind == _PARAMETER and not bracket:
        what = 112  # p
    elif kind == _WORD:
        if _is(sql, i, end, b"null", 4):
            what = 110
        elif _is(sql, i, end, b"true", 4) or _is(sql, i, end, b"false", 5):
            what = 98
    if not what:
        return -1
    out.append(what)
    i = _skip(sql, end, size)
    while i + 1 < size and sql[i] == 58 and sql[i + 1] == 58:
        i = _type(sql, _skip(sql, i + 2, size), size, out)
        if i < 0:
            return -1
    if bracket:
        if i >= size or sql[i] != 41:
            return -1
        i = _skip(sql, i + 1, size)
    if i < size and sql[i] in (44, 41, 93):
        return i
    return -1


def _type(sql: bytes, i: int, size: int, out: bytearray) -> int:
    """The position behind a type's name of one plain word, maybe with a length and brackets; -1
    otherwise.

    Types that look names up (regclass and its like) are not plain: what they mean depends on the
    constant.
    """
    if i >= size or not _starts_name(sql[i]) or sql[i] >= 128:
        return -1
    start = i
    token = _token(sql, i, size)
    i = token >> 3
    if (token & 7) != _WORD or _is(sql, start, min(i, start + 3), b"reg", 3):
        return -1
    if i < size and sql[i] == 40:
        i += 1
        while i < size and (48 <= sql[i] <= 57 or sql[i] == 44):
            i += 1
        if i >= size or sql[i] != 41:
            return -1
        i += 1
    while i + 1 < size and sql[i] == 91 and sql[i + 1] == 93:
        i += 2
    out.append(58)
    out += sql[start:i]
    return _skip(sql, i, size)


def _item(sql: bytes, i: int, size: int) -> int:
    """The position of the comma or closing bracket behind any other item of a row; -1 where it is
    not followed (a query inside).
    """
    depth = 0
    while True:
        i = _skip(sql, i, size)
        if i >= size:
            return -1
        c = sql[i]
        if not depth and (c == 44 or c == 41):
            return i
        if c in (40, 91):
            depth += 1
        elif c in (41, 93):
            depth -= 1
        elif c == 59:
            return -1
        token = _token(sql, i, size)
        kind = token & 7
        end = token >> 3
        if kind == _BAD or depth < 0:
            return -1
        if kind == _WORD and (
            _is(sql, i, end, b"select", 6)
            or _is(sql, i, end, b"with", 4)
            or _is(sql, i, end, b"values", 6)
            or _is(sql, i, end, b"table", 5)
        ):
            return -1
        i = end


def _uses(sql: bytes) -> bytearray:
    """How often each parameter is used, by number; 2: more than once, or so it looks (in a literal,
    a comment).

    Numbers that a text of this length has no reason to use count as used elsewhere, so that little
    is ever noted of little text.
    """
    size = len(sql)
    uses = bytearray(_PARAMETERS)
    uses[0] = 2
    i = 0
    while i < size:
        if sql[i] == 36:
            number = _number(sql, i + 1, size)
            if uses[number] < 2:
                uses[number] += 1 if number < size else 2
        i += 1
    return uses


def _number(sql: bytes, i: int, size: int) -> int:
    """The parameter's number whose digits begin at ``i``; 0 where it is none that can be bound."""
    number = 0
    while i < size and 48 <= sql[i] <= 57 and number < _PARAMETERS:
        number = number * 10 + sql[i] - 48
        i += 1
    return number if number < _PARAMETERS else 0


def _stands_for(meant: bytearray, number: int, kept: int) -> None:
    """Note that parameter ``kept``, which stays in the text, stands for ``number``, which
    does not.
    """
    meant[2 * number] = kept & 255
    meant[2 * number + 1] = kept >> 8


def _row(
    sql: bytes, i: int, size: int, shape: bytearray, uses: bytearray, numbers: list[int]
) -> int:
    """The position behind the row ``(item, ...)`` at ``i``, its shape in ``shape``; -1 when it is
    not followed.

    Rows of equal shape differ in nothing but the values of constants that are items: any other item
    is in the shape as it stands. So is a parameter that is used elsewhere too. ``numbers``: gets
    those of the others.
    """
    i += 1
    while True:
        i = _skip(sql, i, size)
        if i >= size:
            return -1
        start = i
        length = len(shape)
        i = _constant(sql, start, size, shape)
        if i < 0:
            del shape[length:]
            i = _item(sql, start, size)
            if i < 0 or i == start:
                return -1
            shape.append(39)
            shape += b"%d," % (i - start)  # so that no item can be taken for several
            shape += sql[start:i]
        elif sql[i] == 93:
            return -1
        elif sql[start] == 36:
            number = _number(sql, start + 1, size)
            if uses[number] == 1:
                numbers.append(number)
            else:
                shape.append(36)
                shape += sql[start:i]
        shape.append(44)
        if sql[i] == 41:
            return i + 1
        i += 1


def _blank(out: bytearray, i: int, end: int) -> None:
    while i < end:
        out[i] = 32
        i += 1


def _rows(sql: bytes, i: int, size: int, out: bytearray, uses: bytearray, meant: bytearray) -> int:
    """Blank the rows of VALUES whose shape was there twice; ``i`` at the first one. The position
    behind the last that was followed.

    ``uses``: of :func:`_uses`. ``meant``: gets what stands for the parameters that are blanked.
    """
    seen: dict[bytes, int] = {}
    kept: dict[bytes, list[int]] = {}  # the parameters of the first row of a shape
    end = i
    while True:
        shape = bytearray()
        numbers: list[int] = []
        row_end = _row(sql, i, size, shape, uses, numbers)
        if row_end < 0:
            return end
        key = bytes(shape)
        count = seen.get(key, 0)
        if count >= 2:
            _blank(out, end, row_end)
            if numbers:
                for k, number in enumerate(kept[key]):
                    _stands_for(meant, numbers[k], number)
        elif count or len(seen) < 1000:
            seen[key] = count + 1
            if not count:
                kept[key] = numbers
        end = row_end
        i = _skip(sql, end, size)
        if i >= size or sql[i] != 44:
            return end
        i = _skip(sql, i + 1, size)
        if i >= size or sql[i] != 40:
            return end


def _list(
    sql: bytes, i: int, size: int, close: int, out: bytearray, uses: bytearray, meant: bytearray
) -> int:
    """Blank the constants of ``IN (...)`` or ``ARRAY[...]`` behind the second, whose kind was
    there; ``i`` behind the opening bracket.

    Parameters behind the first of them, too, that are used nowhere else. ``uses``, ``meant``: as in
    :func:`_rows`.
    """
    kinds = bytearray(256)  # kinds that are one byte, which most are
    seen: set[bytes] = set()
    kept: dict[bytes, int] = {}  # the first parameter of a shape
    plain = 0  # that of the commonest
    shape = bytearray()
    number = 0
    end = i
    while True:
        i = _skip(sql, i, size)
        if i >= size:
            return end
        del shape[:]
        constant_end = _constant(sql, i, size, shape)
        if constant_end < 0 or (sql[constant_end] != 44 and sql[constant_end] != close):
            return end
        kind = shape[0]
        if kind == 112:
            parameter = _number(sql, i + 1, size)
            if len(shape) == 1:
                first = plain
                plain = first or parameter
            else:
                key = bytes(shape)
                first = kept.setdefault(key, parameter)
                if first == parameter:
                    first = 0
            if first and number >= _KEPT and uses[parameter] == 1:
                _blank(out, end, constant_end)
                _stands_for(meant, parameter, first)
            is_known = 0
        elif len(shape) == 1:
            is_known = kinds[kind]
            kinds[kind] = 1
        else:
            key = bytes(shape)
            is_known = 1 if key in seen else 0
            seen.add(key)
        if number >= 2 and is_known:
            _blank(out, end, constant_end)
        number += 1
        end = constant_end
        if sql[constant_end] == close:
            return end
        i = constant_end + 1


def outline(sql: bytes, limit: int, condense: bool) -> tuple[int, bytes, list[int] | None, bytes]:
    """How much parsing a text will cost, the text to parse in its place, and where its statements
    end; for UTF-8 without NUL.

    The first is the number of tokens of the second, each counted as often as the grammar copies it:
    ``SET (a, b) = (...)`` has its source once per column in the tree, also within itself. Counting
    stops above ``limit``.

    The second, where ``condense``, is the text with spaces in the place of rows of VALUES and of
    constants in IN and ARRAY lists that say nothing new: two rows of the same shape are there
    before, or the constant's kind is. Everything else stays where it is. A list keeps two items, so
    that it remains what it is.

    The third: the positions of the semicolons between statements; None where they may stand inside
    one (BEGIN ATOMIC), or where it is not told for certain how PostgreSQL's scanner reads the text.
    Then the second is the text itself, too.

    The fourth: what stands in the second for parameters that do not: for each number, two bytes
    (the lower first) of the number that is used in the same way, 0 where that is itself; empty
    where all stay. A parameter that is used in more than one place stays.
    """
    size = len(sql)
    out = bytearray(sql) if condense else bytearray()
    uses = _uses(sql) if condense and sql.find(b"$") >= 0 else bytearray()
    meant = bytearray(2 * min(size, _PARAMETERS) if len(uses) else 0)
    ends: list[int] = []
    commas: list[int] = []  # by open bracket
    factors: list[int] = []
    positions: list[int] = []
    comma = 0
    position = 0  # whether the innermost brackets are those of position(...)
    factor = 1
    copies = 1  # the product of all factors
    weight = 0
    group = 0  # number of items in the brackets that were closed last
    before = 0  # what came before: a character, or a mark for some words
    exact = True
    row = -1  # the number of open brackets around rows of VALUES that may go on
    i = _skip(sql, 0, size)
    while i < size:
        weight += copies
        if weight > limit:
            break
        token = _token(sql, i, size)
        kind = token & 7
        end = token >> 3
        c = sql[i]
        if (
            row >= 0
            and len(commas) <= row
            and not ((c == 44 and before == 41) or (c == 40 and before == 3))
        ):
            row = -1
        if kind == _WORD:
            mark = 1
            if before != 46:
                if _is(sql, i, end, b"in", 2):
                    # neither VALUES IN (...), a partition's bound, nor position(x IN (...)), where
                    # it is a row
                    mark = 1 if before == 3 or position else 2
                elif _is(sql, i, end, b"values", 6):
                    mark = 3
                elif _is(sql, i, end, b"array", 5):
                    mark = 4
                elif _is(sql, i, end, b"where", 5):
                    copies = copies // factor
                    factor = 1
                elif _is(sql, i, end, b"position", 8):
                    mark = 5
                elif _is(sql, i, end, b"atomic", 6):
                    exact = False
            before = mark
        elif kind == _BAD:
            return weight, sql, None, b""
        elif kind != _OTHER:
            before = 1
        elif c in (40, 91):
            if len(commas) >= _MOST_DEPTH:
                return limit + 1, sql, None, b""
            if condense and c == 40 and before == 3:
                row = len(commas)
                after = _rows(sql, i, size, out, uses, meant)
                if after > i:
                    # what is left of the rows is counted, and nothing in it opens a bracket that
                    # stays open
                    weight += copies * _count(bytes(out[i:after]))
                    before = 41
                    group = 0
                    i = _skip(sql, after, size)
                    continue
            elif condense and ((c == 40 and before == 2) or (c == 91 and before == 4)):
                after = _list(sql, end, size, 41 if c == 40 else 93, out, uses, meant)
                weight += copies * _count(bytes(out[end:after]))
                end = after
            commas.append(comma)
            factors.append(factor)
            positions.append(position)
            comma = 0
            factor = 1
            position = 1 if before == 5 else 0
            before = c
        elif c in (41, 93):
            copies = copies // factor
            group = comma + 1
            if commas:
                comma = commas.pop()
                factor = factors.pop()
                position = positions.pop()
            else:
                comma = 0
                factor = 1
            before = c
        elif c == 44 or (c == 59 and not commas):
            copies = copies // factor
            factor = 1
            if c == 59:
                comma = 0
                ends.append(i)
            else:
                comma += 1
            before = 3 if row >= 0 and row == len(commas) else c
        else:
            if c == 61 and before == 41 and group > factor:
                copies = copies // factor * group
                factor = group
            before = c if end == i + 1 else 1
        i = _skip(sql, end, size)
    text = bytes(out) if condense else sql
    return weight, text, ends if exact and not commas else None, bytes(meant.rstrip(b"\0"))


def _count(sql: bytes) -> int:
    """The tokens of a text."""
    size = len(sql)
    count = 0
    i = _skip(sql, 0, size)
    while i < size:
        count += 1
        i = _skip(sql, _token(sql, i, size) >> 3, size)
    return count


def runs(sql: bytes, length: int) -> list[bytes]:
    """Runs of at least so many operator characters, wherever they stand."""
    size = len(sql)
    pieces = []
    i = 0
    start = 0
    while i <= size:
        c = sql[i] if i < size else 32
        if not (
            c in (33, 35, 37, 38, 42, 43, 45, 47, 94, 96, 124, 126)  # ! # % & * + - / ^ ` | ~
            or 60 <= c <= 64  # < = > ? @
        ):
            if i - start >= length:
                pieces.append(sql[start:i])
            start = i + 1
        i += 1
    return pieces


def nesting(text: bytes) -> int:
    """How deep objects and arrays nest in a JSON text."""
    size = len(text)
    depth = 0
    deepest = 0
    i = 0
    while i < size:
        c = text[i]
        if c == _DOUBLE:
            i += 1
            while i < size and text[i] != _DOUBLE:
                i += 2 if text[i] == _BACKSLASH else 1
        elif c in (123, 91):
            depth += 1
            if depth > deepest:
                deepest = depth
        elif c in (125, 93):
            depth -= 1
        i += 1
    return deepest
