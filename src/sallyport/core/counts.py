"""Counts that several processes of one machine keep together, in shared memory.

A table of keys; each key has a cell for every process, which only that process writes. A reader
adds the cells up. A cell is four numbers of 8 bytes: sessions that are open, then two sums and when
their newest part was counted. A process that starts again in the place of a dead one has no
sessions, and takes over its sums.

A key is there as long as something is counted for it: sums are forgotten :data:`KEPT` seconds after
their newest part. Where a key finds no place, :class:`CountsFullError` says so, and the caller lets
nothing more happen.

Gateways that share a store tell each other their cells of the keys in :data:`SHARED`
(:mod:`sallyport.store.sharedcounts`); a reader adds those up as well. What is known of the others
is good for a bounded time, after which :attr:`Counts.is_stale` says so.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic, time
from typing import Final, NamedTuple

from sallyport.core.errors import SallyportError

#: Seconds after which sums count no longer: an hour in steps of a minute.
KEPT: Final = 3660
#: Keys that the table has room for, and places of which each key may have one.
SLOTS: Final = 16_384
WAYS: Final = 64
#: How the keys begin that gateways with one store count together.
SHARED: Final = ("read\0", "subject\0")
_KEY: Final = 16
_NUMBERS: Final = 4


class CountsFullError(SallyportError):
    """There is no room for another key."""


class Cell(NamedTuple):
    """What one process counted. ``at``: Unix seconds, as its owner gave them with the sums."""

    sessions: int = 0
    first: int = 0
    second: int = 0
    at: int = 0


class Counts:
    """One process's end. ``number``: from 0, of ``processes``. ``descriptor``: of the memory that
    they share, from :func:`shared_memory`; -1: memory of its own. ``memory_id``: what tells that
    memory from others, hex digits. ``now``: Unix seconds. Any thread.
    """

    def __init__(
        self,
        number: int = 0,
        processes: int = 1,
        descriptor: int = -1,
        *,
        slots: int = SLOTS,
        now: Callable[[], float] = time,
        memory_id: str = "",
    ) -> None:
        self._number, self._processes, self._now = number, processes, now
        self.memory_id = memory_id or secrets.token_hex(8)
        self._own_shared: set[bytes] = set()
        self._changed: set[bytes] = set()
        self._elsewhere: dict[bytes, dict[str, Cell]] = {}
        self._good_seconds: float | None = None  # None: no other gateway counts
        self._heard = float("-inf")  # monotonic seconds of the last word of the others
        self._slots = slots
        self._width = _KEY // 8 + _NUMBERS * processes  # numbers of a slot
        self._descriptor = descriptor
        self._lock = threading.Lock()
        memory = mmap.mmap(descriptor, _size(processes, slots))
        self._bytes = memoryview(memory)
        self._numbers = self._bytes.cast("q")
        for slot in range(slots + WAYS if descriptor >= 0 else 0):
            self._numbers[self._own(slot)] = 0  # sessions of who was here before

    def own(self, key: str) -> Cell:
        """What this process counted."""
        slot = self._find(_digest(key))
        return Cell() if slot < 0 else self._cell(slot, self._number)

    def total(self, key: str, since: int | None = None) -> Cell:
        """What all of them counted; of sums, those of ``since`` (Unix seconds) or later."""
        digest = _digest(key)
        slot = self._find(digest)
        oldest = self._oldest() if since is None else since
        cells = [*self._elsewhere.get(digest, {}).values()]
        if slot >= 0:
            cells += [self._cell(slot, number) for number in range(self._processes)]
        recent = [cell for cell in cells if cell.at >= oldest]
        return Cell(
            sum(cell.sessions for cell in cells),
            sum(cell.first for cell in recent),
            sum(cell.second for cell in recent),
            max((cell.at for cell in recent), default=0),
        )

    def take(self, bounds: Mapping[str, int]) -> str | None:
        """Count one session more under each key, unless one of them has its bound already: that
        key, and nothing is counted. Raises CountsFullError for a new key.
        """
        with self._locked():
            taken: list[int] = []
            for key, bound in bounds.items():
                slot = self._place(_digest(key))
                if self.total(key).sessions >= bound:
                    for own in taken:
                        self._numbers[own] -= 1
                    return key
                taken.append(self._own(slot))
                self._numbers[taken[-1]] += 1  # at once: an unused slot may go to the next key
        for key in bounds:
            self._note(key)
        return None

    def full(self, bounds: Mapping[str, int]) -> str | None:
        """The key that has its bound now; None: none has."""
        return next((k for k, bound in bounds.items() if self.total(k).sessions >= bound), None)

    def give_back(self, keys: Iterable[str]) -> None:
        """One session less under each."""
        with self._locked():
            for key in keys:
                slot = self._find(_digest(key))
                if slot >= 0 and self._numbers[self._own(slot)] > 0:
                    self._numbers[self._own(slot)] -= 1
                    self._note(key)

    def put(self, key: str, first: int, second: int, at: int) -> None:
        """The sums of this process are these. Raises CountsFullError for a new key."""
        digest = _digest(key)
        slot = self._find(digest)
        if slot >= 0 and self._is_used(slot, self._number, self._oldest()):
            self._write(slot, first, second, at)
        else:
            with self._locked():  # nobody else may give the slot to another key now
                self._write(self._place(digest), first, second, at)
        self._note(key, digest)

    # -- other gateways ----------------------------------------------------------------------------

    def share(self, seconds: float) -> None:
        """Other gateways count, too. What they told is good for so many seconds."""
        self._good_seconds = seconds

    @property
    def is_stale(self) -> bool:
        """Whether it is not known well enough what other gateways counted."""
        return self._good_seconds is not None and monotonic() > self._heard + self._good_seconds

    def take_changed(self) -> dict[bytes, Cell]:
        """The cells of this process that other gateways have to be told, by digests of their keys:
        those that changed since the last call.
        """
        cells = {}
        while self._changed:
            digest = self._changed.pop()
            slot = self._find(digest)
            cells[digest] = Cell() if slot < 0 else self._cell(slot, self._number)
            if not any(cells[digest][:3]):
                self._own_shared.discard(digest)
        return cells

    def tell_again(self, digests: Iterable[bytes]) -> None:
        """The others were not told of these keys."""
        self._changed |= set(digests)

    def unchanged(self, changed: Iterable[bytes]) -> dict[bytes, Cell]:
        """All other cells of this process that others may have to be told, and that still count."""
        slots = {digest: self._find(digest) for digest in self._own_shared.difference(changed)}
        cells = {d: self._cell(slot, self._number) for d, slot in slots.items() if slot >= 0}
        oldest = self._oldest()
        return {d: cell for d, cell in cells.items() if cell.sessions or cell.at >= oldest}

    def hear(self, cells: Iterable[tuple[bytes, str, Cell]], *, everything: bool) -> None:
        """What processes of other gateways counted: digest of the key, name of the process, cell.
        ``everything``: what is not told is not there any more.
        """
        elsewhere: dict[bytes, dict[str, Cell]] = {} if everything else self._elsewhere
        for digest, process, cell in cells:
            # in place of the one before, never into it: another thread may add it up now
            elsewhere[digest] = {**elsewhere.get(digest, {}), process: cell}
        self._elsewhere = elsewhere
        self._heard = monotonic()

    def _note(self, key: str, digest: bytes = b"") -> None:
        if self._good_seconds is not None and key.startswith(SHARED):
            digest = digest or _digest(key)
            self._own_shared.add(digest)
            self._changed.add(digest)

    # -- its own -----------------------------------------------------------------------------------

    def _write(self, slot: int, first: int, second: int, at: int) -> None:
        own = self._own(slot)
        self._numbers[own + 1] = first
        self._numbers[own + 2] = second
        self._numbers[own + 3] = at

    def _own(self, slot: int) -> int:
        return slot * self._width + _KEY // 8 + _NUMBERS * self._number

    def _cell(self, slot: int, number: int) -> Cell:
        start = slot * self._width + _KEY // 8 + _NUMBERS * number
        return Cell(*self._numbers[start : start + _NUMBERS])

    def _oldest(self) -> int:
        return int(self._now()) - KEPT

    def _ways(self, digest: bytes) -> range:
        start = int.from_bytes(digest[:8], "big") % self._slots
        return range(start, start + WAYS)

    def _key(self, slot: int) -> bytes:
        start = slot * self._width * 8
        return bytes(self._bytes[start : start + _KEY])

    def _find(self, digest: bytes) -> int:
        """The key's slot, -1 when it has none."""
        for slot in self._ways(digest):
            present = self._key(slot)
            if present == digest:
                return slot
            if not any(present):
                return -1
        return -1

    def _place(self, digest: bytes) -> int:
        """The key's slot, new where it has none. Under the lock."""
        slot = self._find(digest)
        if slot >= 0:
            return slot
        oldest = self._oldest()
        for slot in self._ways(digest):
            if not any(self._is_used(slot, number, oldest) for number in range(self._processes)):
                start = slot * self._width * 8
                self._bytes[start + _KEY : start + self._width * 8] = bytes(self._width * 8 - _KEY)
                self._bytes[start : start + _KEY] = digest
                return slot
        raise CountsFullError("the gateway counts for more subjects than it has room for")

    def _is_used(self, slot: int, number: int, oldest: int) -> bool:
        cell = self._cell(slot, number)
        return bool(cell.sessions) or (bool(cell.first or cell.second) and cell.at >= oldest)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Against other threads and, by a record lock (fcntl(2)), other processes."""
        with self._lock:
            if self._descriptor < 0:
                yield
                return
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1)


def shared_memory(processes: int) -> int:
    """A descriptor for :class:`Counts` of so many processes, to be inherited. Raises OSError."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sallyport-counts")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _size(processes, SLOTS))
    return descriptor


def _size(processes: int, slots: int) -> int:
    return (slots + WAYS) * 8 * (_KEY // 8 + _NUMBERS * processes)


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_KEY).digest()
