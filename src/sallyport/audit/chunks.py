# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""The third native module: encoded events of one session, gathered into chunks for the recorder's
thread.

The event loop appends complete events to a :class:`ChunkWriter`; the recorder's thread takes what
is there, as a buffer that is hashed and compressed as it stands. Nothing is copied in between, and
the thread decodes nothing: what the index counts is counted as events are appended.

Like :mod:`sallyport.wire.frames`, one source that runs compiled (types in ``chunks.pxd``, which
also says how other native modules write events in place) or as it stands. Compiled, the GIL makes
each call atomic; interpreted, a lock does.

Buffers are sized by use: the first of a session has 4 kB and doubles up to 1 MiB, the next one is
as large as the last one was filled. A session that appends nothing has no buffer. An event that is
larger than 1 MiB gets a buffer of its own size.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from sallyport.audit.events import ANSWERED, STATEMENT, STATEMENT_ITEMS

try:
    import cython
except ImportError:
    from sallyport.wire import interpreted as cython

if not cython.compiled:
    # C functions that chunks.pxd imports; only ever called by branches for compiled code.
    HEADER_BYTES: Any = None
    PyBytes_AS_STRING: Any = None
    PyBytes_FromStringAndSize: Any = None
    PyUnicode_AsUTF8AndSize: Any = None
    memcpy: Any = None
    put_array: Any = None
    put_bin_header: Any = None
    put_float64: Any = None
    put_raw: Any = None
    put_str: Any = None
    put_str_header: Any = None
    put_uint: Any = None

#: Whether the compiled module is running.
COMPILED = bool(cython.compiled)

_FIRST = 4096
_LARGEST = 1 << 20
_STATEMENT: Any = STATEMENT
_STATEMENT_ITEMS: Any = STATEMENT_ITEMS
_ANSWERED: Any = ANSWERED
#: Texts that ran in a statement's place and that are named by their digests: the last so many, of
#: so many bytes together.
MOST_SENT = 256
MOST_SENT_BYTES = 1 << 20

_encode = msgspec.msgpack.Encoder().encode


class Chunk(NamedTuple):
    """Encoded events, back to back: the first ``size`` bytes of ``buffer``. The rest are what they
    count.
    """

    buffer: bytes
    size: int
    events: int
    statements: int
    refused: int
    rows: int


class Intake:
    """What all writers of a recorder share.

    ``accepted``: bytes so far. ``dirty``: writers in which something waits that did not before; the
    recorder's thread removes them from the front. ``wake`` is called when one is added while
    ``idle`` is set, and each time that another ``wake_bytes`` were accepted.
    """

    def __init__(self, wake: Callable[[], object], wake_bytes: int) -> None:
        self.accepted = 0
        self.dirty: list[ChunkWriter] = []
        self.idle = False
        self.wake = wake
        self.wake_bytes = wake_bytes
        self.wake_at = wake_bytes


class ChunkWriter:
    """Of one session. ``accepted``: bytes so far. ``waiting``: bytes that :meth:`take` has not
    given yet.

    ``indexing``: whether the recording still chooses statements for the index; kept here so that
    native callers see it at no cost. ``failed``: nothing may pass, as it could not be recorded; it
    belongs to the recording, and is kept here for the same reason. ``sent``: digests of texts that
    ran in a statement's place and that stand in the recording, of ``sent_bytes`` bytes; None: none.
    ``refers``: the next event refers to one of them. :meth:`take` and :meth:`drop` are the writer
    thread's; all other methods belong to one thread. A method that raises (MemoryError,
    OverflowError, UnicodeEncodeError) has appended nothing.
    """

    chunk: Any  # bytes when compiled
    data: Any  # unsigned char * when compiled

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.indexing = True
        self.failed = False
        self.chunk = None
        self.n = self.capacity = self.events = self.statements = self.refused = self.rows = 0
        self.accepted = self.waiting = 0
        self.filling = self.refers = False
        self.sent: set[bytes] | None = None
        self.sent_bytes = 0
        self.next_size = _FIRST
        self.full: list[Chunk] | None = None
        if not cython.compiled:
            self.chunk = bytearray()
            self.lock = threading.Lock()

    # -- for native callers -----------------------------------------------------------

    def reserve(self, more: int) -> Any:
        """Room for one event of at most ``more`` bytes: a pointer to the first of them."""
        if more > self.capacity - self.n:
            self._renew(0, more)
        self.filling = True
        return self.data + self.n

    def extend(self, used: int, more: int) -> Any:
        """``more`` bytes for the event that is being written, of which ``used`` bytes are there: a
        pointer to the first of its bytes.
        """
        if more > self.capacity - self.n - used:
            self._renew(used, more)
        self.filling = True
        return self.data + self.n

    def commit(self, size: int, statements: int = 0, refused: int = 0, rows: int = 0) -> int:
        """The event is complete; it has ``size`` bytes."""
        self.filling = False
        if self._count(size, statements, refused, rows):
            self.announce()
        return 0

    def abandon(self) -> None:
        """What was written since :meth:`reserve` is no event."""
        self.filling = False

    def _renew(self, used: int, more: int) -> int:
        """A larger buffer, or, when this one is as large as they get, another one."""
        size = self.n + used + more
        data = self.data
        before = self.chunk  # owns what ``data`` points into
        if self.n and size > _LARGEST:
            data += self.n
            self._set_aside()
            size = max(used + more, _LARGEST)
        else:
            size = max(size, min(2 * self.capacity, _LARGEST), self.next_size)
            used += self.n
        chunk = PyBytes_FromStringAndSize(cython.NULL, size)
        if used:
            memcpy(cython.cast("unsigned char *", PyBytes_AS_STRING(chunk)), data, used)
        del before
        self.chunk = chunk
        self.data = cython.cast("unsigned char *", PyBytes_AS_STRING(chunk))
        self.capacity = size
        return 0

    # -- for everybody -----------------------------------------------------------

    def append(self, event: bytes, statements: int = 0, refused: int = 0, rows: int = 0) -> None:
        """One encoded event, and what it counts."""
        if cython.compiled:
            size = len(event)
            memcpy(self.reserve(size), cython.cast("const unsigned char *", event), size)
            self.commit(size, statements, refused, rows)
        else:
            with self.lock:
                if self.n and self.n + len(event) > _LARGEST:
                    self._set_aside()
                self.chunk += event
                first = self._count(len(event), statements, refused, rows)
            if first:
                self.announce()

    def append_statement(
        self, at: float, number: int, sql: str, rest: bytes, refused: bool
    ) -> None:
        """A Statement. ``rest``: its fields from ``outcome`` on, encoded."""
        if cython.compiled:
            size = 0
            text = cython.cast(
                "const unsigned char *", PyUnicode_AsUTF8AndSize(sql, cython.address(size))
            )
            start = self.reserve(4 * HEADER_BYTES + size + len(rest))
            p = put_uint(put_array(start, _STATEMENT_ITEMS), _STATEMENT)
            p = put_uint(put_float64(p, at), number)
            p = put_str(p, text, size)
            p = put_raw(p, cython.cast("const unsigned char *", rest), len(rest))
            self.commit(p - start, 1, refused, 0)
        else:
            head = _encode([_STATEMENT, at, number, sql])[1:]
            self.append(b"\xdc\0" + bytes([_STATEMENT_ITEMS]) + head + rest, 1, int(refused))

    def append_answered(
        self, at: float, number: int, data: bytes, tag: str, rows: int, seconds: float
    ) -> None:
        """An Answered."""
        if cython.compiled:
            length = 0
            text = cython.cast(
                "const unsigned char *", PyUnicode_AsUTF8AndSize(tag, cython.address(length))
            )
            start = self.reserve(7 * HEADER_BYTES + len(data) + length)
            p = put_uint(put_array(start, 7), _ANSWERED)
            p = put_uint(put_float64(p, at), number)
            p = put_raw(
                put_bin_header(p, len(data)), cython.cast("const unsigned char *", data), len(data)
            )
            p = put_uint(put_str(p, text, length), rows)
            p = put_float64(p, seconds)
            self.commit(p - start, 0, 0, rows)
        else:
            self.append(
                _encode([_ANSWERED, at, number, data, tag, rows, float(seconds)]), 0, 0, rows
            )

    def append_data(
        self, tag: int, at: float, number: int, data: bytes, start_at: int, size: int
    ) -> None:
        """A Reply or CopyIn (``tag``) of ``size`` bytes of ``data`` from ``start_at`` on."""
        if start_at < 0 or size < 0 or size > len(data) - start_at:
            raise ValueError("the piece is not inside the data")
        if cython.compiled:
            start = self.reserve(5 * HEADER_BYTES + size)
            p = put_uint(put_array(start, 4), tag)
            p = put_uint(put_float64(p, at), number)
            p = put_raw(
                put_bin_header(p, size), cython.cast("const unsigned char *", data) + start_at, size
            )
            self.commit(p - start)
        else:
            self.append(_encode([tag, float(at), number, data[start_at : start_at + size]]))

    def repeats(self, digest: bytes, size: int) -> bool:
        """Whether the text with this digest, of ``size`` bytes, stands in the recording: the next
        statement is appended with the digest alone then, and with the text otherwise.
        """
        if cython.compiled:
            return self._repeats(digest, size)
        else:
            with self.lock:
                return self._repeats(digest, size)

    def announce(self) -> None:
        """Have the recorder's thread look at this session."""
        intake = self.intake
        intake.dirty.append(self)
        if intake.idle:
            intake.wake()

    def take(self) -> Chunk | None:
        """For the writer thread: the oldest events, which now belong to it; None when there are
        none, or when an event is just being written behind them (then ``waiting`` is not 0).
        """
        if cython.compiled:
            return self._take()
        else:
            with self.lock:
                return self._take()

    def drop(self) -> list[Chunk]:
        """For the writer thread: everything that waits, not to be written; texts that it may have
        count as recorded no more. Nothing while an event is being written that may refer to one.
        """
        if cython.compiled:
            return self._drop()
        else:
            with self.lock:
                return self._drop()

    # -- its own -----------------------------------------------------------

    def _repeats(self, digest: bytes, size: int) -> bool:
        sent = self.sent
        if sent is not None and digest in sent:
            self.refers = True
            return True
        if sent is None or len(sent) >= MOST_SENT or self.sent_bytes + size > MOST_SENT_BYTES:
            sent = self.sent = set()
            self.sent_bytes = 0
        sent.add(digest)
        self.sent_bytes += size
        return False

    # Making a Chunk runs Python code, at which the other thread may get its turn: whatever it would
    # look at is in order before.

    def _take(self) -> Chunk | None:
        if self.full is not None:
            chunk = self.full.pop(0)
            if not self.full:
                self.full = None
            self.waiting -= chunk[1]
            return chunk
        if self.filling or not self.n:
            return None
        self.waiting -= self.n
        return self._close()

    def _drop(self) -> list[Chunk]:
        if self.filling or self.refers:
            return []
        dropped = self.full or []
        self.full = self.sent = None
        self.waiting = 0
        if self.n:
            dropped.append(self._close())
        return dropped

    def _set_aside(self) -> None:
        """Begin another chunk behind this one."""
        chunk = self._close()
        if self.full is None:
            self.full = [chunk]
        else:
            self.full.append(chunk)

    def _close(self) -> Chunk:
        """What is complete, and no buffer any more."""
        buffer = self.chunk
        n, events = self.n, self.events
        statements, refused, rows = self.statements, self.refused, self.rows
        size = _FIRST
        while size < n and size < _LARGEST:
            size *= 2
        self.next_size = size
        self.n = self.capacity = self.events = self.statements = self.refused = self.rows = 0
        if cython.compiled:
            self.chunk = None
            self.data = cython.NULL
        else:
            self.chunk = bytearray()
            buffer = bytes(buffer)
        return Chunk(buffer, n, events, statements, refused, rows)

    def _count(self, size: int, statements: int, refused: int, rows: int) -> bool:
        """One more event of ``size`` bytes is complete. Whether it is the first that waits."""
        first = self.waiting == 0
        self.refers = False
        self.n += size
        self.events += 1
        self.statements += statements
        self.refused += refused
        self.rows += rows
        self.waiting += size
        self.accepted += size
        intake = self.intake
        intake.accepted += size
        if intake.accepted >= intake.wake_at:
            intake.wake_at = intake.accepted + intake.wake_bytes
            intake.wake()
        return first
