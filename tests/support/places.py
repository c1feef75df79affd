"""Where tests keep things: a cache that survives in the checkout, and scratch space that does not
survive the run.

Scratch space lies outside pytest's own (which only its owner may enter), because PostgreSQL runs as
another user when the tests run as root. What a killed run left behind is swept by the next one.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
_PREFIX = "sallyport-test-"
#: A file system in memory, as Linux has it. Nothing in it may be executable (Docker's noexec).
_MEMORY = Path("/dev/shm")
#: Bytes that have to be free in it; the servers of a run need less than a quarter.
_ROOM = 4 << 30


def scratch_dir(purpose: str) -> Path:
    """A new directory that any user may enter; removed when this process ends."""
    return _new_dir(purpose, Path(tempfile.gettempdir()))


def data_dir(purpose: str) -> Path:
    """As :func:`scratch_dir`, for data alone: in memory where there is room. A copy of a database
    takes a tenth of the processor time there.
    """
    return _new_dir(purpose, _MEMORY if _has_room(_MEMORY) else Path(tempfile.gettempdir()))


def _new_dir(purpose: str, parent: Path) -> Path:
    _sweep(parent)
    path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-{purpose}-", dir=parent))
    path.chmod(0o755)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def _has_room(place: Path) -> bool:
    return os.access(place, os.W_OK) and shutil.disk_usage(place).free >= _ROOM


def _sweep(parent: Path) -> None:
    for path in parent.glob(f"{_PREFIX}*"):
        owner = path.name.removeprefix(_PREFIX).split("-")[0]
        if not owner.isdigit() or psutil.pid_exists(int(owner)):
            continue
        with suppress(FileNotFoundError):  # another process of the suite sweeps too
            if path.stat().st_uid == os.geteuid():
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two runs at once do not fill the same cache entry."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
