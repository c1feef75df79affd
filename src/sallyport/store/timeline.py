"""Which of several servers is the store, when more than one of them can be written.

Promoting a standby begins a new timeline (PostgreSQL's documentation, 25.3.6 "Timelines"). A
primary that comes back after its standby was promoted is still on the one before, and lacks
whatever was decided since. So the newest timeline that a gateway has used is kept in its data
directory, and a server on an older one is refused. Two standbys that are both promoted from one
primary are on the same timeline: nothing here tells them apart.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

#: The timeline that a primary writes; the first 8 hexadecimal digits of the names of WAL files.
CURRENT: Final = (
    "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint"
)
#: Asks whether a server is one that cannot be written: "on" on a standby.
READ_ONLY: Final = "SHOW transaction_read_only"
#: Where a data directory keeps it.
FILE: Final = "store.timeline"


class Timeline:
    """``path``: of the file, which processes of one gateway share; None: it is not kept. Any
    thread.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._newest = 0

    def refuses(self, number: int) -> str:
        """Take a server's timeline; or why the server is not the store, in words."""
        with self._lock:
            try:
                self._newest = max(self._newest, self._read())
                if number < self._newest:
                    return (
                        f"it is an old primary: it is on timeline {number}, and the store has gone"
                        f" on to {self._newest}. Make it a standby of the new one"
                    )
                if number > self._newest:
                    self._write(number)
            except (OSError, ValueError) as error:
                return f"{self._path} cannot be used: {error}"
            self._newest = number
            return ""

    def is_old(self, number: int) -> bool:
        """Whether this process has used a newer one since."""
        return number < self._newest

    def forget(self) -> None:
        """An operator accepted that state was lost. Raises OSError."""
        with self._lock:
            self._newest = 0
            if self._path is not None:
                self._path.unlink(missing_ok=True)

    def _read(self) -> int:
        try:
            return 0 if self._path is None else int(self._path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0

    def _write(self, number: int) -> None:
        if self._path is None:
            return
        beside = self._path.with_suffix(f".{os.getpid()}")
        with beside.open("w", encoding="ascii") as file:
            file.write(f"{number}\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
