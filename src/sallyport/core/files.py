"""Files that decide or prove something must not be in everybody's hands."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import IO

from sallyport.core.errors import ConfigError


def read_trusted(path: Path) -> bytes:
    """The content of a file that decides something. Raises OSError; ConfigError when every user of
    the machine could have written it: the file is world-writable, or its directory is and is not
    sticky.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):
            _refuse_world_writable(path, status)
        return file.read()


def _refuse_world_writable(path: Path, status: os.stat_result) -> None:
    if status.st_mode & stat.S_IWOTH:
        raise ConfigError(
            f"{path}: every user of this machine can change this file (mode"
            f" {stat.S_IMODE(status.st_mode):04o}). Run 'chmod o-w {path}', and check its content"
        )
    directory = path.resolve().parent
    mode = directory.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise ConfigError(
            f"{path}: every user of this machine can replace this file: its directory {directory}"
            f" has mode {stat.S_IMODE(mode):04o}. Run 'chmod o-w {directory}', and check the file's"
            " content"
        )


def refuse_exposed(path: Path, what: str) -> None:
    """Raises ConfigError when every user of the machine can read or change a private file."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ConfigError(
            f"{what}: every user of this machine can read {path} (mode {mode:04o}). "
            f"Replace the key, then run 'chmod 600 {path}' (640 for a key that a group shares)"
        )


def create_private(path: Path, content: bytes) -> bool:
    """Make a file with mode 0600 and flush it and its name to the disk, unless there is one.
    Whether it was made. Raises OSError.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    flush_directory(path.parent)
    return True


def replace_private(path: Path, content: bytes) -> None:
    """Put a new file (mode 0600) in the place of another, at once and for good. Raises OSError."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    create_private(draft, content)
    draft.replace(path)
    flush_directory(path.parent)


def flush_directory(directory: Path) -> None:
    """Names made in it outlast a power cut. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def close_to_others(path: Path) -> int | None:
    """Take away what users outside of the owner and the group may do with a file or directory.

    The mode it had, None when nothing had to be done. Raises ConfigError when that cannot be done.
    """
    try:
        mode = stat.S_IMODE(path.lstat().st_mode)
        if not mode & stat.S_IRWXO:
            return None
        if mode & stat.S_ISVTX:
            raise ConfigError(
                f"{path} is shared by every user of this machine (mode {mode:04o}). "
                "Set it to a directory that only the gateway uses"
            )
        path.chmod(mode & ~stat.S_IRWXO)
    except OSError as error:
        raise ConfigError(
            f"{path} is open to every user of this machine, and that cannot be changed:"
            f" {error.strerror}. Run 'chmod o-rwx {path}' as its owner"
        ) from None
    return mode


def open_locked(path: Path) -> IO[bytes] | None:
    """Open a file, made with mode 0600, and lock it until it is closed or the process ends. None:
    another process has the lock. Raises OSError.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    lock = os.fdopen(os.open(path, flags, 0o600), "a+b")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock
