"""Is it one file that cannot be written, or the storage? Answered by writing another file beside
it.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Final

from sallyport.audit.archive import make_directories

_BYTES: Final = 4096
#: Errors that a small file may escape although the storage is full.
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class StorageProbe:
    """Used by the recorder's thread. One result counts for ``seconds``, whatever number of sessions
    asks.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = float("-inf")  # monotonic
        self._result = False

    def succeeds(self, error: OSError, directory: Path) -> bool:
        """Whether a file in ``directory`` can be written, after ``error`` came of writing another
        one.
        """
        if error.errno in _NO_ROOM:
            return False
        now = time.monotonic()
        if now - self._at >= self._seconds:
            self._at = now
            try:
                _write_file(directory)
            except OSError:
                self._result = False
            else:
                self._result = True
        return self._result


def _write_file(directory: Path) -> None:
    """Write, flush and remove a small file, making the directory when needed. Raises OSError."""
    make_directories(directory)
    path = directory / f".probe-{os.getpid()}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, bytes(_BYTES))
        os.fdatasync(fd)
    finally:
        os.close(fd)
        path.unlink(missing_ok=True)
