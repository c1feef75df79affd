# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""What the server answers, read on raw memory, as :mod:`sallyport.server.plain` expects it. Only
ever used compiled (types in ``plain_answer.pxd``).

Source: PostgreSQL documentation, "Message Formats".
"""

from __future__ import annotations

from typing import Any

try:
    import cython
except ImportError:
    from sallyport.wire import interpreted as cython

if not cython.compiled:
    # An enum of plain_answer.pxd: DataRow, RowDescription, and bytes.
    ROW, DESCRIBED, PART = 0x44, 0x54, 131072

_PARSED = 0x31
_BOUND = 0x32
_CLOSED = 0x33
_PARAMETERS = 0x74
_NO_DATA = 0x6E
_COMPLETED = 0x43
_SUSPENDED = 0x73
_READY = 0x5A
_MORE = -2


class PlainAnswer:
    """What the last call has found. All positions count from the first byte that it was given.

    ``whole``: all of the answer is there, and ``end`` is behind it. ``start``: behind ParseComplete
    and BindComplete (``parsed``, ``bound``: they are there). ``described``: behind the description
    of the rows, 0 when that is not there; ``kind``: its type, 0 for none. ``rows``: whole ones,
    which end at ``ended``. ``completed``: behind CommandComplete or PortalSuspended
    (``suspended``). ``status``: of ReadyForQuery. ``parameters``: where a ParameterDescription
    begins.
    """

    def read(self, src: Any, size: int, limit: int, limited: bool, synced: bool) -> bool:
        """[ParseComplete] [BindComplete] [RowDescription | NoData] DataRow*
        (CommandComplete | PortalSuspended) [ReadyForQuery]

        False: it is something else. ``limit``: bytes that a message may have. ``limited``: it may
        be suspended. ``synced``: ReadyForQuery belongs to it.
        """
        self.whole = False
        self.start = self.described = self.ended = self.rows = self.end = self.kind = 0
        p = self._begin(src, size)
        if p < 0:
            return p == _MORE
        self.start = p
        if size - p < 5:
            return size == p or src[p] in (DESCRIBED, _NO_DATA, ROW, _COMPLETED)
        if src[p] == DESCRIBED or src[p] == _NO_DATA:
            length = _uint32(src, p + 1)
            self.kind = src[p]
            if length < 4 or length > PART or (self.kind == _NO_DATA and length != 4):
                return False
            if length >= size - p:
                return True
            p += 1 + length
        self.described = p
        p = self._rows(src, size, p, limit)
        if p < 0:
            return False
        if size == p or src[p] == ROW:
            return True
        return self.read_end(src, size, p, limited, synced)

    def _begin(self, src: Any, size: int) -> int:
        """What is behind ParseComplete and BindComplete; _MORE where one is not whole, and -1 where
        it has a body.
        """
        p = 0
        self.bound = False
        self.parsed = src[0] == _PARSED
        if self.parsed:
            if size < 5:
                return _MORE
            if _uint32(src, 1) != 4:
                return -1
            p = 5
        self.bound = size > p and src[p] == _BOUND
        if self.bound:
            if size - p < 5:
                return _MORE
            if _uint32(src, p + 1) != 4:
                return -1
            p += 5
        return p

    def _rows(self, src: Any, size: int, p: int, limit: int) -> int:
        """What is behind the whole rows; -1 where one is too long."""
        rows = 0
        while size - p >= 5 and src[p] == ROW:
            length = _uint32(src, p + 1)
            if length < 4 or length > PART or length > limit:
                return -1
            if length >= size - p:
                break
            p += 1 + length
            rows += 1
        self.rows = rows
        self.ended = p
        return p

    def read_end(self, src: Any, size: int, p: int, limited: bool, synced: bool) -> bool:
        """CommandComplete or PortalSuspended, and ReadyForQuery where it belongs to it."""
        self.whole = False
        end = self._completion(src, size, p, limited)
        if end <= 0:
            return end == 0
        self.completed = end
        return self._ready(src, size, end, synced)

    def read_acknowledged(self, src: Any, size: int, kind: int, synced: bool) -> bool:
        """The answer to a message of that type: Sync, Close, or Parse without Describe. As
        :meth:`read`.
        """
        self.whole = False
        if kind == _READY:
            return self._ready(src, size, 0, synced)
        if src[0] != kind:
            return False
        if size < 5:
            return True
        return _uint32(src, 1) == 4 and self._ready(src, size, 5, synced)

    def read_prepared(self, src: Any, size: int, synced: bool) -> bool:
        """ParseComplete ParameterDescription (RowDescription | NoData) [ReadyForQuery]. As
        :meth:`read`.
        """
        self.whole = False
        if src[0] != _PARSED:
            return False
        p = 5
        if size - p < 5:
            return True
        length = _uint32(src, p + 1)
        if _uint32(src, 1) != 4 or src[p] != _PARAMETERS or length < 6 or length > PART:
            return False
        if length >= size - p:
            return True
        self.parameters = p
        p += 1 + length
        self.start = p
        if size - p < 5:
            return True
        length = _uint32(src, p + 1)
        self.kind = src[p]
        if self.kind != DESCRIBED and (self.kind != _NO_DATA or length != 4):
            return False
        if length < 4 or length > PART:
            return False
        if length >= size - p:
            return True
        p += 1 + length
        self.described = p
        return self._ready(src, size, p, synced)

    def _ready(self, src: Any, size: int, p: int, synced: bool) -> bool:
        """ReadyForQuery where it belongs to the answer."""
        if not synced:
            self.whole = True
            self.end = p
            return True
        if size == p:
            return True
        if src[p] != _READY:
            return False
        if size - p < 6:
            return True
        if _uint32(src, p + 1) != 5:
            return False
        self.status = src[p + 5]
        self.end = p + 6
        self.whole = self.status in (73, 84, 69)
        return self.whole

    def _completion(self, src: Any, size: int, p: int, limited: bool) -> int:
        """Where the message ends; 0 where it is not whole, and -1 where it is another."""
        self.suspended = src[p] == _SUSPENDED
        if src[p] != _COMPLETED and not (self.suspended and limited):
            return -1
        if size - p < 5:
            return 0
        length = _uint32(src, p + 1)
        if length < 4 or length > 256 or (length == 4) != self.suspended:
            return -1
        if size - p <= length:
            return 0
        if self.suspended:
            return p + 5
        if src[p + length] != 0 or not is_ascii(src + p + 5, length - 5):
            return -1
        return p + 1 + length


def _uint32(src: Any, p: int) -> int:
    a = src[p]
    b = src[p + 1]
    c = src[p + 2]
    d = src[p + 3]
    return (a << 24) | (b << 16) | (c << 8) | d  # type: ignore[no-any-return]


def is_ascii(src: Any, size: int) -> bool:
    """Whether no byte of it is above 127."""
    for i in range(size):  # noqa: SIM110
        if src[i] >= 128:
            return False
    return True
