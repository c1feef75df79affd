"""The log's own key: made with the log, mode 0600, and never used for another log.

A key that is there while the log is not means that the log was removed. Signing an empty tree again
would be a fork, so nothing is signed; ``sallyport audit new-log`` begins another one.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from sallyport.audit.archive import make_directories
from sallyport.audit.tlog.hashing import EMPTY_ROOT
from sallyport.audit.tlog.notes import Checkpoint, NoteError, SigningKey
from sallyport.audit.tlog.tiles import CHECKPOINT, VKEY, TileWriter, read_regular
from sallyport.core.errors import ConfigError, SallyportError
from sallyport.core.files import refuse_exposed

#: In the data directory.
FILE: Final = "audit.key"
#: While the log that belongs to it is being made.
_DRAFT: Final = "audit.key.new"


class LogProblemError(SallyportError):
    """The log cannot be continued; the text says why and what to do."""


def open_key(data: Path, directory: Path) -> SigningKey:
    """The key of the log in ``directory``, from the data directory; both are made where there is
    neither. Raises LogProblemError, ConfigError, OSError.
    """
    path, draft = data / FILE, data / _DRAFT
    if not path.exists():
        if not draft.exists():
            if (directory / CHECKPOINT).exists():
                raise LogProblemError(
                    f"{path} is missing: the log in {directory} cannot go on without its key. "
                    "Restore the key, or begin another log with 'sallyport audit new-log'"
                )
            make_key(draft, SigningKey.generate(f"sallyport/{secrets.token_hex(8)}"))
        _begin(directory, read_key(draft))
        draft.rename(path)
    return read_key(path)


def make_key(path: Path, key: SigningKey) -> None:
    """Write a key to a file that does not exist yet. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key.secret_text())
        file.flush()
        os.fsync(file.fileno())


def read_key(path: Path) -> SigningKey:
    """Raises ConfigError for what is no key, or everybody can read; OSError."""
    refuse_exposed(path, "audit")
    try:
        return SigningKey.parse(read_regular(path, 4096).decode("ascii"))
    except (NoteError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: the log's key cannot be used: {error}. Restore the file",
        ) from None


def _begin(directory: Path, key: SigningKey) -> None:
    """The empty log, unless it was begun already."""
    make_directories(directory)
    if (directory / CHECKPOINT).exists():
        return
    writer = TileWriter(directory)
    writer.write(VKEY, f"{key.public}\n".encode())
    writer.write(CHECKPOINT, str(Checkpoint.sign(key, 0, EMPTY_ROOT)).encode())
    writer.settle()
