"""The data directory: held by one gateway and closed to others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import structlog

from sallyport.core.errors import ConfigError
from sallyport.core.files import close_to_others, open_locked

_log = structlog.get_logger("sallyport")


def close_directory(data: Path) -> None:
    """Everything the gateway keeps is for its user, and perhaps its group. Raises ConfigError."""
    databases = [*data.glob("sallyport.db*"), *data.glob("search.db*")]
    for path in (data, *databases, data / "gateway.lock"):
        if path.exists() and (mode := close_to_others(path)) is not None:
            text = "was open to every user of this machine; closed"
            _log.warning(text, path=str(path), mode=f"{mode:04o}")


def use_directory(data: Path) -> IO[bytes]:
    """The lock file of a data directory that the supervisor holds, for what it says. Raises
    ConfigError.
    """
    try:
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        return os.fdopen(os.open(data / "gateway.lock", flags), "a+b")
    except OSError as error:
        raise ConfigError(
            f"the data directory {data} cannot be used: {error.strerror}. Was it deleted?"
        ) from None


def hold_directory(data: Path) -> IO[bytes]:
    """Hold the data directory: a second gateway on it would end the first one's sessions and
    requests in the books.

    Raises ConfigError when another process has it, or it cannot be made. The lock goes with the
    process.
    """
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        close_directory(data)
        lock = open_locked(data / "gateway.lock")  # held for as long as the gateway runs
    except OSError as error:
        raise ConfigError(
            f"the data directory {data} cannot be used: {error.strerror}. Set 'data' to another."
        ) from None
    if lock is None:
        raise ConfigError(
            f"another gateway uses the data directory {data}. "
            "Stop it, or set 'data' to a directory of its own."
        )
    return lock
