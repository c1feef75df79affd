"""Which gateway this is: 8 hex digits that stand for its data directory, made once.

Database roles that an earlier run left are known by them, so a copy of the directory, which may run
beside the original, must not have the same: the id counts only in the place where it was made. What
is lost with an id is little: what it left is swept by the clock.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from pathlib import Path

import structlog

log = structlog.get_logger("sallyport")

FILE = "gateway.id"
_MACHINE = Path("/etc/machine-id")


def gateway_id(data: Path) -> str:
    """Of the data directory, which exists. Raises OSError."""
    file, here = data / FILE, _place(data)
    with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
        kept, _, place = file.read_text(encoding="ascii").strip().partition(" ")
        if re.fullmatch(r"[0-9a-f]{8}", kept) and place == here:
            return kept
        log.warning(
            "the data directory was copied or moved: the gateway takes a new id", before=kept[:8]
        )
    made = secrets.token_hex(4)
    file.write_text(f"{made} {here}", encoding="ascii")
    return made


def _place(data: Path) -> str:
    """SHA-256 of machine, path and inode: containers may share the first two."""
    machine = ""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        machine = _MACHINE.read_text(encoding="ascii").strip()
    text = f"{machine}\n{data.resolve()}\n{data.stat().st_ino}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
