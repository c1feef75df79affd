# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""The native hot loop: split a buffer into messages, mask rows, build messages. No I/O, no object
per row.

One source, two ways to run: compiled by Cython (types come from ``frames.pxd``) or as it stands,
where there is no compiler. Both give the same bytes and raise the same errors; the tests run both.
Rebuild with ``scripts/build-native``.

Promises:

* Fail closed: a message that is not exactly what the protocol says, or does not have the columns
  that the program was made for, raises :class:`~sallyport.core.errors.ProtocolError`; nothing of
  its span is returned.
* Lengths are checked before anything is allocated for them; memory is proportional to the span.
* What a masked cell held is in no error text.

Offsets are bytes, 0-based, ``end`` excluded. Source: PostgreSQL documentation, "Message Formats"
and "COPY, File Formats"; PostgreSQL's src/backend/commands/copyto.c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sallyport.core.errors import ProtocolError

try:
    import cython
except ImportError:
    from sallyport.wire import interpreted as cython

if not cython.compiled:
    # C functions that frames.pxd imports; only ever called by branches for compiled code.
    PyObject_GetBuffer: Any = None
    PyBuffer_Release: Any = None
    PyBUF_SIMPLE: Any = None
    PyBytes_FromStringAndSize: Any = None
    realloc: Any = None
    free: Any = None
    memcpy: Any = None

Buffer = bytes | bytearray

#: Whether the compiled module is running.
COMPILED = bool(cython.compiled)

#: What a cell becomes that a native mask cannot treat.
REDACTED = b"[redacted]"

_DATA_ROW = 0x44  # 'D'
_COPY_DATA = 0x64  # 'd'
_NULL_LENGTH = 0xFFFFFFFF  # int32 -1
_NULL_CELL = b"\xff\xff\xff\xff"
_COPY_SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(
    8
)  # flags 0, no header extension: all that PostgreSQL sends
_ESCAPES = b"btnvfr"  # of the characters 0x08 to 0x0D in COPY text

_KEEP = 0
_NULL = 1
_CONST = 2
_CONST_UNLESS_NULL = 3
_PARTIAL = 4
_EMAIL = 5
_CALL = 6


class Op(NamedTuple):
    """What happens to one column. Made by :func:`keep`, :func:`null`, :func:`constant` and the
    like.
    """

    code: int
    value: bytes = b""
    keep_first: int = 0
    keep_last: int = 0
    function: Callable[[bytes], bytes | None] | None = None


def keep() -> Op:
    """The cell passes as it is."""
    return Op(_KEEP)


def null() -> Op:
    """The cell becomes NULL."""
    return Op(_NULL)


def constant(value: bytes, replace_null: bool = True) -> Op:
    """The cell becomes ``value`` (in the column's format); NULL too, unless ``replace_null`` is
    False.
    """
    return Op(_CONST if replace_null else _CONST_UNLESS_NULL, value)


def partial(keep_first: int, keep_last: int) -> Op:
    """All but the first and last characters (code points, at most 255 each) become ``*``.

    A value with no more characters than are kept is starred entirely; one that is not UTF-8 is
    redacted. NULL stays.
    """
    if keep_first < 0 or keep_last < 0:
        raise ValueError("partial: the number of characters kept is not negative")
    return Op(_PARTIAL, b"", min(keep_first, 255), min(keep_last, 255))


def email() -> Op:
    """``jane@example.com`` becomes ``j***@example.com``; what is not plainly an address is
    redacted.

    A local part of one character is not shown either. NULL stays.
    """
    return Op(_EMAIL)


def call(function: Callable[[bytes], bytes | None]) -> Op:
    """The cell becomes what ``function`` makes of it (None: NULL). NULL stays and is not
    passed in.
    """
    return Op(_CALL, b"", 0, 0, function)


class RowProgram:
    """One operation per column, compiled for :func:`mask_rows` and the COPY functions. Never
    changes.

    ``columns``: how many. ``keep_all``: nothing is masked, so the caller may skip masking
    altogether. ``codes``: of each column's :class:`Op`, a byte each.
    """

    def __init__(self, ops: Sequence[Op]) -> None:
        for op in ops:
            if not _KEEP <= op.code <= _CALL or (op.code == _CALL) != (op.function is not None):
                raise ValueError("not an operation of sallyport.wire.frames")
        self.columns = len(ops)
        self.keep_all = all(op.code == _KEEP for op in ops)
        self.codes = bytes([op.code for op in ops])
        self.first = bytes([op.keep_first for op in ops])
        self.last = bytes([op.keep_last for op in ops])
        self.values = [op.value for op in ops]
        self.cells = [len(op.value).to_bytes(4, "big") + op.value for op in ops]
        self.functions = [op.function for op in ops]


class CopyState:
    """How far a binary COPY stream has come: 0 before the header, 1 among the rows, 2 after the
    trailer.
    """

    def __init__(self) -> None:
        self.phase = 0


class _View:
    """A buffer held still while it is read: it cannot be resized as long as this object lives."""

    view: Any  # Py_buffer when compiled
    data: Any  # const unsigned char * when compiled

    def __init__(self, buf: Buffer, start: int, end: int) -> None:
        if cython.compiled:
            PyObject_GetBuffer(buf, cython.address(self.view), PyBUF_SIMPLE)
            self.held = True
            self.data = cython.cast("const unsigned char *", self.view.buf)
            self.size = self.view.len
        else:
            self.data = buf
            self.size = len(buf)
        if start < 0 or end > self.size or start > end:
            raise ValueError("the span is not inside the buffer")

    def __dealloc__(self) -> None:
        if cython.compiled and self.held:
            PyBuffer_Release(cython.address(self.view))


class Output:
    """A growing buffer: ``data[:n]`` is written."""

    data: Any  # unsigned char * when compiled

    def __init__(self, size: int) -> None:
        self.n = 0
        self.capacity = 0
        if not cython.compiled:
            self.data = bytearray()
        self.reserve(size)

    def reserve(self, more: int) -> int:
        """Room for ``more`` bytes after ``n``."""
        if more > self.capacity - self.n:
            self.grow(more)
        return 0

    def grow(self, more: int) -> int:
        size = self.capacity * 2
        if size < self.n + more:
            size = self.n + more
        if cython.compiled:
            data = cython.cast("unsigned char *", realloc(self.data, size))
            if data == cython.NULL:
                raise MemoryError
            self.data = data
        else:
            self.data.extend(bytes(size - self.capacity))
        self.capacity = size
        return 0

    def write(self, src: Any, start: int, size: int) -> int:
        self.reserve(size)
        _copy(self.data, self.n, src, start, size)
        self.n += size
        return 0

    def write_bytes(self, value: bytes) -> int:
        return self.write(value, 0, len(value))

    def put(self, byte: int) -> int:
        self.reserve(1)
        self.data[self.n] = byte
        self.n += 1
        return 0

    def finish(self) -> bytes:
        if cython.compiled:
            result: bytes = PyBytes_FromStringAndSize(cython.cast("char *", self.data), self.n)
        else:
            result = bytes(self.data[: self.n])
        return result

    def __dealloc__(self) -> None:
        if cython.compiled:
            free(self.data)


def _copy(dst: Any, at: int, src: Any, start: int, size: int) -> None:
    if cython.compiled:
        memcpy(dst + at, src + start, size)
    else:
        dst[at : at + size] = src[start : start + size]


def _uint32(src: Any, p: int) -> int:
    a = src[p]
    b = src[p + 1]
    c = src[p + 2]
    d = src[p + 3]
    return (a << 24) | (b << 16) | (c << 8) | d  # type: ignore[no-any-return]


def _put_uint32(dst: Any, p: int, value: int) -> None:
    dst[p] = (value >> 24) & 0xFF
    dst[p + 1] = (value >> 16) & 0xFF
    dst[p + 2] = (value >> 8) & 0xFF
    dst[p + 3] = value & 0xFF


def _malformed(what: str) -> int:
    raise ProtocolError(f"the server sent {what}")


def split(
    buf: Buffer, pos: int, limit: int, coalesce: bool = True, alone: int = 1 << 30
) -> tuple[list[tuple[int, int, int, int]], int]:
    """Typed messages (type byte, int32 length) in ``buf`` from ``pos`` on.

    Returns spans ``(type, start, end, count)`` and the position of the first byte of the incomplete
    rest. Neighbouring DataRow, and neighbouring CopyData, messages make one span when ``coalesce``
    is set; any other message is a span of its own, and so is one of more than ``alone`` bytes.
    Raises ProtocolError when a length is below 4 or above ``limit`` (bytes, without the type byte),
    as soon as the five header bytes are there.
    """
    view = _View(buf, pos, len(buf))
    src = view.data
    end = view.size
    spans: list[tuple[int, int, int, int]] = []
    while end - pos >= 5:
        kind = src[pos]
        length = _uint32(src, pos + 1)
        if length < 4 or length > limit:
            raise ProtocolError(
                f"a message of type 0x{kind:02x} has length {length}; 4 to {limit} are allowed"
            )
        stop = pos + 1 + length
        if stop > end:
            break
        count = 1
        if coalesce and length <= alone and (kind in (_DATA_ROW, _COPY_DATA)):
            while end - stop >= 5 and src[stop] == kind:
                length = _uint32(src, stop + 1)
                if length < 4 or length > limit or length > alone or length >= end - stop:
                    break  # the outer loop judges it
                stop += 1 + length
                count += 1
        spans.append((kind, pos, stop, count))
        pos = stop
    return spans, pos


def _message_end(src: Any, p: int, end: int, kind: int) -> int:
    """Where the message at ``p`` ends; it must be of type ``kind`` and inside the span."""
    if end - p < 5 or src[p] != kind:
        return _malformed("another message among rows")
    length = _uint32(src, p + 1)
    if length < 4 or length >= end - p:
        return _malformed("a row that does not fit its message")
    return p + 1 + length


def mask_rows(buf: Buffer, start: int, end: int, program: RowProgram) -> bytes:
    """A span of DataRow messages, masked. Raises ProtocolError for a row that the program is not
    for.
    """
    view = _View(buf, start, end)
    size = end - start
    out = Output(size + size // 4 + 64)
    write_masked_rows(view.data, start, end, program, out)
    return out.finish()


def write_masked_rows(src: Any, start: int, end: int, program: RowProgram, out: Output) -> int:
    """As :func:`mask_rows`, from raw memory to the end of ``out``; for other native modules."""
    p = start
    while p < end:
        stop = _message_end(src, p, end, _DATA_ROW)
        if stop - p < 7:
            _malformed("a DataRow without a column count")
        if ((src[p + 5] << 8) | src[p + 6]) != program.columns:
            _malformed("a row with another number of columns than was judged")
        head = out.n
        out.write(src, p, 7)
        p = _mask_cells(src, p + 7, stop, program, out)
        if p != stop:
            _malformed("a row that does not fit its message")
        _put_uint32(out.data, head + 1, out.n - head - 1)
    return 0


def _mask_cells(src: Any, p: int, stop: int, program: RowProgram, out: Output) -> int:
    """The cells of one row (int32 length, value, as in DataRow and binary COPY). Returns where they
    end.
    """
    codes = _address(program.codes)
    run = p  # cells from here on are copied as they are, in one go
    for i in range(program.columns):
        if stop - p < 4:
            return _malformed("a row that does not fit its message")
        length = _uint32(src, p)
        after = p + 4
        if length != _NULL_LENGTH:
            if length > stop - after:
                return _malformed("a row that does not fit its message")
            after += length
        code = codes[i]
        if code != _KEEP:
            out.write(src, run, p - run)
            run = after
            if code == _CONST:
                out.write_bytes(program.cells[i])
            elif code == _NULL or length == _NULL_LENGTH:
                out.write_bytes(_NULL_CELL)
            else:
                head = out.n
                out.write_bytes(_NULL_CELL)
                if _mask_value(program, i, src, p + 4, after, out):
                    _put_uint32(out.data, head, out.n - head - 4)
        p = after
    out.write(src, run, p - run)
    return p


def _address(value: bytes) -> Any:
    """The bytes of an object that stays alive as long as the result is used."""
    return value


def _mask_value(program: RowProgram, i: int, src: Any, a: int, b: int, out: Output) -> int:
    """Writes what column ``i`` makes of the value ``src[a:b]``. Returns 1, or 0 for NULL: nothing
    written.
    """
    code = program.codes[i]
    if code in (_CONST, _CONST_UNLESS_NULL):
        out.write_bytes(program.values[i])
        return 1
    if code == _PARTIAL:
        return _partial(src, a, b, program.first[i], program.last[i], out)
    if code == _EMAIL:
        return _email(src, a, b, out)
    if code == _CALL:
        return _call(program, i, src, a, b, out)
    return 0


def _call(program: RowProgram, i: int, src: Any, a: int, b: int, out: Output) -> int:
    function = program.functions[i]
    if function is None:
        return 0
    if cython.compiled:
        result = function(PyBytes_FromStringAndSize(cython.cast("const char *", src) + a, b - a))
    else:
        result = function(bytes(src[a:b]))
    if result is None:
        return 0
    if type(result) is not bytes:
        raise TypeError("a masking function returns bytes or None")
    out.write_bytes(result)
    return 1


def _characters(src: Any, a: int, b: int) -> int:
    """How many code points ``src[a:b]`` has, or -1 when its bytes are not laid out as UTF-8."""
    count = 0
    p = a
    while p < b:
        c = src[p]
        p += 1
        if c >= 0x80:
            if c < 0xC2 or c > 0xF4:
                return -1
            more = 1 if c < 0xE0 else 2 if c < 0xF0 else 3
            if more > b - p:
                return -1
            while more > 0:
                if src[p] & 0xC0 != 0x80:
                    return -1
                p += 1
                more -= 1
        count += 1
    return count


def _partial(src: Any, a: int, b: int, first: int, last: int, out: Output) -> int:
    count = _characters(src, a, b)
    if count < 0:
        out.write_bytes(REDACTED)
        return 1
    if count <= first + last:
        first = 0
        last = 0
    p = a
    index = -1
    out.reserve(b - a)
    while p < b:
        c = src[p]
        if c & 0xC0 != 0x80:
            index += 1
            if first <= index < count - last:
                c = 0x2A  # '*'
        elif first <= index < count - last:
            p += 1
            continue
        out.data[out.n] = c
        out.n += 1
        p += 1
    return 1


def _email(src: Any, a: int, b: int, out: Output) -> int:
    at = a
    while at < b and src[at] != 0x40 and src[at] > 0x20:
        at += 1
    if (
        at == a
        or at >= b
        or src[at] != 0x40
        or _characters(src, a, at) < 0
        or not _is_domain(src, at + 1, b)
    ):
        out.write_bytes(REDACTED)
        return 1
    after = a + 1
    while after < at and src[after] & 0xC0 == 0x80:
        after += 1
    if after < at:  # one character would be the whole local part
        out.write(src, a, after - a)
    out.write_bytes(b"***")
    out.write(src, at, b - at)
    return 1


def _is_domain(src: Any, a: int, b: int) -> bool:
    """Letters, digits, hyphens and inner dots, at least one dot; more would carry what is not an
    address.
    """
    dots = 0
    previous = 0x2E
    p = a
    while p < b:
        c = src[p]
        if c == 0x2E:
            if previous == 0x2E:
                return False
            dots += 1
        elif not (0x61 <= c <= 0x7A or 0x41 <= c <= 0x5A or 0x30 <= c <= 0x39 or c == 0x2D):
            return False
        previous = c
        p += 1
    return dots > 0 and previous != 0x2E


def mask_copy_text(
    buf: Buffer, start: int, end: int, program: RowProgram, delimiter: int, null: bytes
) -> bytes:
    r"""A span of CopyData messages of ``COPY ... TO STDOUT`` in text format, masked; one row in
    each message.

    ``null`` is the marker for NULL. A marker that a value could spell as well (any but ``\N`` and
    the empty string) is masked like a value: choosing the marker would otherwise tell whether a
    value equals it.
    """
    view = _View(buf, start, end)
    src = view.data
    out = Output(end - start + (end - start) // 4 + 64)
    value = Output(64)
    masked = Output(64)
    codes = _address(program.codes)
    has_null = len(null) == 0 or null == b"\\N"
    columns = program.columns
    p = start
    while p < end:
        stop = _message_end(src, p, end, _COPY_DATA)
        head = out.n
        last = stop - 1
        run = p
        p += 5
        if stop == p or src[last] != 0x0A:
            _malformed("COPY data that is not one row in each message")
        for i in range(columns):
            a = p
            escaped = False
            while p < last:
                c = src[p]
                if c == 0x5C:
                    escaped = True
                    p += 1
                elif c == delimiter:
                    break
                elif c == 0x0A:
                    _malformed("COPY data that is not one row in each message")
                p += 1
            b = p
            if p > last or (p == last) != (i == columns - 1):
                _malformed("a row with another number of columns than was judged")
            if p < last:
                p += 1
            code = codes[i]
            if code == _KEEP:
                continue
            out.write(src, run, a - run)
            run = b
            if code == _NULL or (code != _CONST and has_null and _equal(src, a, b, null)):
                out.write_bytes(null)
                continue
            masked.n = 0
            if code == _CONST or not escaped:
                value_written = _mask_value(program, i, src, a, b, masked)
            else:
                _decode_text(src, a, b, delimiter, value)
                value_written = _mask_value(program, i, value.data, 0, value.n, masked)
            if value_written:
                _encode_text(masked, delimiter, out)
            else:
                out.write_bytes(null)
        if p != last:
            _malformed("a row with another number of columns than was judged")
        p = stop
        out.write(src, run, stop - run)
        _put_uint32(out.data, head + 1, out.n - head - 1)
    return out.finish()


def _equal(src: Any, a: int, b: int, value: bytes) -> bool:
    if b - a != len(value):
        return False
    expected = _address(value)
    for i in range(b - a):  # noqa: SIM110
        if src[a + i] != expected[i]:
            return False
    return True


def _decode_text(src: Any, a: int, b: int, delimiter: int, value: Output) -> int:
    """Undo the backslash escapes that PostgreSQL writes (CopyAttributeOutText); any other is an
    error.
    """
    value.n = 0
    while a < b:
        c = src[a]
        a += 1
        if c == 0x5C:
            c = src[a]  # the caller has seen to it that a < b
            a += 1
            if c == 0x5C or c == delimiter:
                pass
            elif c == 0x62:
                c = 0x08
            elif c == 0x66:
                c = 0x0C
            elif c == 0x6E:
                c = 0x0A
            elif c == 0x72:
                c = 0x0D
            elif c == 0x74:
                c = 0x09
            elif c == 0x76:
                c = 0x0B
            else:
                _malformed("COPY data with an escape that is not known")
        value.put(c)
    return 0


def _encode_text(value: Output, delimiter: int, out: Output) -> int:
    out.reserve(2 * value.n)
    for i in range(value.n):
        c = value.data[i]
        if c == 0x5C or c == delimiter or 0x08 <= c <= 0x0D:
            out.data[out.n] = 0x5C
            out.n += 1
            if 0x08 <= c <= 0x0D:
                c = _ESCAPES[c - 0x08]
        out.data[out.n] = c
        out.n += 1
    return 0


def mask_copy_csv(
    buf: Buffer,
    start: int,
    end: int,
    program: RowProgram,
    delimiter: int,
    quote: int,
    escape: int,
    null: bytes,
) -> bytes:
    """A span of CopyData messages of ``COPY ... TO STDOUT`` in CSV format, masked; one row in each
    message.

    A masked cell is quoted when what it becomes needs it, never because of what it was.
    """
    view = _View(buf, start, end)
    src = view.data
    out = Output(end - start + (end - start) // 4 + 64)
    value = Output(64)
    masked = Output(64)
    codes = _address(program.codes)
    columns = program.columns
    p = start
    while p < end:
        stop = _message_end(src, p, end, _COPY_DATA)
        head = out.n
        last = stop - 1
        run = p
        p += 5
        if stop == p or src[last] != 0x0A:
            _malformed("COPY data that is not one row in each message")
        for i in range(columns):
            a = p
            quoted = p < last and src[p] == quote
            p = _csv_end(src, p, last, delimiter, quote, escape)
            b = p
            if (p == last) != (i == columns - 1):
                _malformed("a row with another number of columns than was judged")
            if p < last:
                p += 1
            code = codes[i]
            if code == _KEEP:
                continue
            out.write(src, run, a - run)
            run = b
            if code == _NULL or (code != _CONST and not quoted and _equal(src, a, b, null)):
                out.write_bytes(null)
                continue
            masked.n = 0
            if code == _CONST or not quoted:
                value_written = _mask_value(program, i, src, a, b, masked)
            else:
                _decode_csv(src, a + 1, b - 1, quote, escape, value)
                value_written = _mask_value(program, i, value.data, 0, value.n, masked)
            if value_written:
                _encode_csv(masked, delimiter, quote, escape, null, out)
            else:
                out.write_bytes(null)
        if p != last:
            _malformed("a row with another number of columns than was judged")
        p = stop
        out.write(src, run, stop - run)
        _put_uint32(out.data, head + 1, out.n - head - 1)
    return out.finish()


def _csv_end(src: Any, p: int, last: int, delimiter: int, quote: int, escape: int) -> int:
    """Where the CSV cell at ``p`` ends: at a delimiter, or at ``last`` (the row's line feed)."""
    if p >= last or src[p] != quote:
        while p < last and src[p] != delimiter:
            if src[p] == quote or src[p] == 0x0A:
                return _malformed("CSV data with a stray quote or line feed")
            p += 1
        return p
    p += 1
    while p < last:
        c = src[p]
        if c == escape and p + 1 < last and (src[p + 1] == quote or src[p + 1] == escape):
            p += 1
        elif c == quote:
            p += 1
            if p < last and src[p] != delimiter:
                return _malformed("CSV data with a stray quote or line feed")
            return p
        p += 1
    return _malformed("COPY data that is not one row in each message")


def _decode_csv(src: Any, a: int, b: int, quote: int, escape: int, value: Output) -> int:
    value.n = 0
    while a < b:
        c = src[a]
        if c == escape and a + 1 < b and (src[a + 1] == quote or src[a + 1] == escape):
            a += 1
            c = src[a]
        value.put(c)
        a += 1
    return 0


def _encode_csv(
    value: Output, delimiter: int, quote: int, escape: int, null: bytes, out: Output
) -> int:
    needs = _equal(value.data, 0, value.n, null) or _equal(value.data, 0, value.n, b"\\.")
    for i in range(value.n):
        c = value.data[i]
        if c in (delimiter, quote) or c == 10 or c == 13:
            needs = True
    if not needs:
        return out.write(value.data, 0, value.n)
    out.put(quote)
    for i in range(value.n):
        c = value.data[i]
        if c in (quote, escape):
            out.put(escape)
        out.put(c)
    return out.put(quote)


def mask_copy_binary(
    buf: Buffer, start: int, end: int, program: RowProgram, state: CopyState
) -> bytes:
    """A span of CopyData messages of ``COPY ... TO STDOUT`` in binary format, masked.

    PostgreSQL sends the header together with the first row. ``state`` carries over from span to
    span.
    """
    view = _View(buf, start, end)
    src = view.data
    out = Output(end - start + (end - start) // 4 + 64)
    p = start
    while p < end:
        stop = _message_end(src, p, end, _COPY_DATA)
        head = out.n
        out.write(src, p, 5)
        p += 5
        if p == stop or state.phase == 2:
            _malformed("binary COPY data that is empty or follows its trailer")
        if state.phase == 0:
            if stop - p < 19 or not _equal(src, p, p + 19, _COPY_SIGNATURE):
                _malformed("binary COPY data without its header")
            out.write(src, p, 19)
            p += 19
            state.phase = 1
        while p < stop:
            if stop - p < 2 or state.phase != 1:
                _malformed("a row that does not fit its message")
            count = (src[p] << 8) | src[p + 1]
            out.write(src, p, 2)
            p += 2
            if count == 0xFFFF:
                state.phase = 2
            elif count != program.columns:
                _malformed("a row with another number of columns than was judged")
            else:
                p = _mask_cells(src, p, stop, program, out)
        _put_uint32(out.data, head + 1, out.n - head - 1)
    return out.finish()


def data_row(values: Sequence[bytes | None]) -> bytes:
    """A DataRow message."""
    body = b"".join([_NULL_CELL if v is None else len(v).to_bytes(4, "big") + v for v in values])
    return b"D" + (len(body) + 6).to_bytes(4, "big") + len(values).to_bytes(2, "big") + body
