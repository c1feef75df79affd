"""Appends to the files of recordings through few open descriptors.

A file that shrank, was unlinked or was replaced behind the writer's back is a RecordingLostError:
its session ends rather than being recorded into nothing.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sallyport.audit.archive import RecordingError, RecordingLostError, make_directories
from sallyport.audit.reader import RecordingReader


@dataclass(slots=True)
class Output:
    """A recording being written: the path of its file, how many of its bytes are known to be good,
    which file it is (device and inode, once it exists), and its descriptor while it is open (-1: it
    is not).
    """

    filename: str
    size: int = 0
    identity: tuple[int, int] | None = None
    descriptor: int = -1

    @property
    def path(self) -> Path:
        """Made when asked for: it takes three times the memory of the text."""
        return Path(self.filename)

    def check(self) -> None:
        """Compare the file with what was written. Raises RecordingLostError; OSError when that
        cannot be told.
        """
        if self.size:
            try:
                self.check_status(os.stat(self.filename, follow_symlinks=False))
            except FileNotFoundError:
                raise self._lost("deleted") from None

    def check_status(self, status: os.stat_result) -> None:
        """As :meth:`check`, of a file that is open."""
        if status.st_nlink == 0:
            raise self._lost("deleted")
        if self.identity is not None and self.identity != (status.st_dev, status.st_ino):
            raise self._lost("replaced")
        if status.st_size < self.size:
            raise self._lost("cut short")

    def _lost(self, what: str) -> RecordingLostError:
        return RecordingLostError(
            errno.EIO, f"the recording was {what} while it was written", self.filename
        )


class Appender:
    """Used by one thread. ``max_open``: files that are open at once; the one unused longest is
    closed.

    ``fsync``: every append reaches the disk before it counts (fdatasync); otherwise a power cut may
    lose the last seconds, a crash of the gateway alone does not.
    """

    def __init__(self, *, fsync: bool = False, max_open: int = 64) -> None:
        self.max_open = max_open
        self.fsync = fsync
        self._open: OrderedDict[int, Output] = OrderedDict()  # by descriptor

    def append(self, output: Output, parts: Sequence[bytes | memoryview]) -> None:
        """Append all of ``parts`` or nothing that lasts. Raises OSError; then the next call first
        cuts off what was torn.

        The file is compared with what was written when it is opened; whoever keeps it open calls
        :meth:`Output.check` every so often.
        """
        try:
            if output.descriptor < 0:
                self._open_output(output)
            else:
                self._open.move_to_end(output.descriptor)
            written = os.writev(output.descriptor, parts)
            total = sum(map(len, parts))
            if written != total:
                os.ftruncate(output.descriptor, output.size)
                raise OSError(
                    errno.ENOSPC, "the file system took only part of a write", output.filename
                )
            if self.fsync:
                os.fdatasync(output.descriptor)
        except OSError:
            self.close(output)
            raise
        output.size += total

    def close(self, output: Output) -> None:
        if output.descriptor >= 0:
            del self._open[output.descriptor]
            os.close(output.descriptor)
            output.descriptor = -1

    def close_all(self) -> None:
        for output in list(self._open.values()):
            self.close(output)

    def _open_output(self, output: Output) -> None:
        while len(self._open) >= self.max_open:
            self.close(next(iter(self._open.values())))
        output.descriptor = self._open_file(output)
        self._open[output.descriptor] = output
        status = os.fstat(output.descriptor)
        output.check_status(status)
        output.identity = (status.st_dev, status.st_ino)
        if status.st_size > output.size:  # what an append that failed left behind
            os.ftruncate(output.descriptor, output.size)

    def _open_file(self, output: Output) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        if output.size:
            output.check()
            return os.open(output.filename, flags)
        make_directories(output.path.parent)
        # Never into a file with content: a session id is used once.
        fd = os.open(output.filename, flags | os.O_CREAT, 0o600)
        if os.fstat(fd).st_size and not self._is_own_leftover(output):
            os.close(fd)
            raise RecordingLostError(
                errno.EEXIST, "a recording with this name exists already", output.filename
            )
        return fd

    def _is_own_leftover(self, output: Output) -> bool:
        """A first append that failed half-way leaves less than a header and a block."""
        try:
            reader = RecordingReader(output.path)
        except RecordingError:
            return True
        with reader:
            return next(reader.blocks(), None) is None
