# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""What a client asks for, read on raw memory: one message, or several that belong together, as
:mod:`sallyport.server.plain` takes them. Only ever used compiled (types in ``plain_request.pxd``).

Source: PostgreSQL documentation, "Message Formats".
"""

from __future__ import annotations

from typing import Any

try:
    import cython
except ImportError:
    from sallyport.wire import interpreted as cython

if not cython.compiled:
    # C functions that plain_request.pxd imports; only ever called by compiled code.
    from sallyport.server.plain_parameters import parameters_end

    memchr: Any = None
    memcmp: Any = None
    # Types of messages: an enum of plain_request.pxd.
    QUERY, PARSE, BIND, CLOSE, SYNC, FLUSH = 0x51, 0x50, 0x42, 0x43, 0x53, 0x48

_DESCRIBE = 0x44
_EXECUTE = 0x45
_STATEMENT = 0x53
_PORTAL = 0x50
#: Longest name of a prepared statement that the server does not cut.
_NAME = 63


class PlainRequest:
    """What :meth:`read` found. All positions count from the first byte that it was given.

    ``kind``: type of the first message. ``text``, ``text_size``: of a Query or Parse. ``types``: of
    a Parse, where the declaration of its parameters begins. ``parsed``: where that Parse ends; 0
    without one. ``name``, ``name_size``: of the statement that is parsed, bound or closed.
    ``bind``, ``bound``: where the Bind begins and ends; ``bound`` is 0 without one. ``described``:
    of a Parse, that statement is described; of a Bind, the portal is. ``limited``: Execute does not
    ask for all rows. ``synced``: Sync is the last message. ``end``: behind the last message.
    """

    def read(self, src: Any, size: int, longest: int) -> int:
        """1: read. 0: not whole, and plain so far. -1: something else. ``longest``: bytes that one
        message may have.
        """
        self.described = self.synced = self.limited = False
        self.parsed = self.bind = self.bound = self.name_size = 0
        self.kind = src[0]
        if self.kind == BIND:
            return self._bundle(src, 0, size, longest)
        if self.kind not in (QUERY, PARSE, CLOSE, SYNC, FLUSH):
            return -1
        stop = _message_end(src, 0, size, longest)
        if stop <= 0:
            return stop
        if self.kind == QUERY:
            if stop < 7 or src[stop - 1] != 0:
                return -1
            self.text, self.text_size, self.end = 5, stop - 6, stop
            return 1
        if self.kind == PARSE:
            return self._parse(src, stop, size, longest)
        if self.kind == CLOSE:
            return self._close(src, stop, size)
        if stop != 5:
            return -1
        self.synced = self.kind == SYNC
        self.end = stop
        return 1

    def _parse(self, src: Any, stop: int, size: int, longest: int) -> int:
        """Parse, and what belongs to it: a bundle of the unnamed statement, or Describe."""
        p = self._read_name(src, 5, stop)
        if p < 0:
            return -1
        zero = cython.cast("const unsigned char *", memchr(src + p, 0, stop - p))
        if zero == cython.NULL:
            return -1
        self.text, self.text_size = p, (zero - src) - p
        p = (zero - src) + 1
        if p + 2 > stop or p + 2 + 4 * ((src[p] << 8) | src[p + 1]) != stop:
            return -1
        self.types = p
        self.parsed = self.end = stop
        if stop == size:
            return 1
        if src[stop] == BIND and self.name_size == 0:
            if self._bundle(src, stop, size, longest) > 0 and self.name_size == 0:
                return 1
            # what follows is of another statement, or not whole
            self.described = self.synced = self.limited = False
            self.bind = self.bound = self.name_size = 0
            self.end = stop
            return 1
        if src[stop] == _DESCRIBE:
            p = _message_end(src, stop, size, longest)
            # the same name, with the zero behind it
            if (
                p == stop + 7 + self.name_size
                and src[stop + 5] == _STATEMENT
                and memcmp(src + stop + 6, src + 5, self.name_size + 1) == 0
            ):
                self.described = True
                self.end = p
        return self._sync(src, size)

    def _close(self, src: Any, stop: int, size: int) -> int:
        """Close of a statement with a name."""
        if stop < 8 or src[5] != _STATEMENT:
            return -1
        if self._read_name(src, 6, stop) != stop or self.name_size == 0:
            return -1
        self.end = stop
        return self._sync(src, size)

    def _bundle(self, src: Any, start: int, size: int, longest: int) -> int:
        """Bind of the unnamed portal, maybe Describe of that, Execute, maybe Sync."""
        stop = _message_end(src, start, size, longest)
        if stop <= 0:
            return stop
        if not self._bind(src, start, stop):
            return -1
        p = stop
        # length 6, 'P', empty name
        if (
            size - p >= 7
            and src[p] == _DESCRIBE
            and _uint32(src, p + 1) == 6
            and src[p + 5] == _PORTAL
            and src[p + 6] == 0
        ):
            self.described = True
            p += 7
        # length 9, empty name, most rows; a Bind does not wait here for what may come behind it
        if size - p < 10 or src[p] != _EXECUTE or _uint32(src, p + 1) != 9 or src[p + 5] != 0:
            return -1
        self.limited = _uint32(src, p + 6) != 0
        self.end = p + 10
        return self._sync(src, size)

    def _bind(self, src: Any, start: int, stop: int) -> bool:
        """Whether it is a Bind of the unnamed portal that makes sense."""
        if stop < start + 13 or src[start + 5] != 0:
            return False
        p = self._read_name(src, start + 6, stop)
        if p < 0:
            return False
        p = parameters_end(src, p, stop)
        if p < 0 or p + 2 > stop:
            return False
        count = (src[p] << 8) | src[p + 1]
        p += 2
        if p + 2 * count != stop:
            return False
        while p < stop:
            if src[p] != 0 or src[p + 1] > 1:
                return False
            p += 2
        self.bind = start
        self.bound = stop
        return True

    def _sync(self, src: Any, size: int) -> int:
        """Sync, where it is the next message."""
        p = self.end
        if size - p >= 5 and src[p] == SYNC and _uint32(src, p + 1) == 4:
            self.synced = True
            self.end = p + 5
        return 1

    def _read_name(self, src: Any, p: int, stop: int) -> int:
        """The name at ``p``; gives what is behind its zero, -1 where that is not plain."""
        self.name = p
        while p < stop and src[p] != 0:
            if src[p] >= 128:
                return -1
            p += 1
        self.name_size = p - self.name
        if p >= stop or self.name_size > _NAME:
            return -1
        return p + 1


def _message_end(src: Any, p: int, size: int, longest: int) -> int:
    """Where the message ends; 0 where it is not whole, and -1 where no such message is plain."""
    if size - p < 5:
        return 0
    length = _uint32(src, p + 1)
    if length < 4 or length + 1 > longest:
        return -1
    return p + 1 + length if size - p > length else 0


def _uint32(src: Any, p: int) -> int:
    a = src[p]
    b = src[p + 1]
    c = src[p + 2]
    d = src[p + 3]
    return (a << 24) | (b << 16) | (c << 8) | d  # type: ignore[no-any-return]
