"""The wrapped key of a recording: a file of its own, ``<session id>.key`` beside the recording.

Recordings are only ever appended to, and copies of them may lie where nothing can be deleted. Keys
must be wrapped again and deleted; so they are not in the recording, and they do not need the
index::

    {"version": 1, "session": "ses_...", "kek": "local:...", "key": "<base64>"} {"version": 1,
    "session": "ses_...", "shredded": {"at": ..., "by": ..., "reason": ..., "recording": ...}}

The second form takes the place of the first when the recording is shredded (JSON, one line, mode
0600). :func:`session_key` says what can be done with a recording that has such a file, and never
raises for what the file holds.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import msgspec

from sallyport.audit.archive import RecordingError, RecordingLostError, make_directories
from sallyport.audit.cipher import BlockCipher, commitment
from sallyport.audit.keys import KeyEncryptionKey, KeyRefusedError, KeyRing
from sallyport.core.files import flush_directory, replace_private
from sallyport.core.sealing import KEY_BYTES

SUFFIX: Final = ".key"
_VERSION: Final = 1
_LONGEST: Final = 1 << 16
_LOCK: Final = "keys.lock"


class Shredding(msgspec.Struct, frozen=True):
    """When (Unix seconds), by whom and why a key was deleted. ``recording``: of the action."""

    at: float
    by: str
    reason: str
    recording: str = ""


class KeyFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """``key``, wrapped by the key ``kek``; or how it was shredded."""

    version: int
    session: str
    kek: str = ""
    key: bytes = b""
    shredded: Shredding | None = None

    def __repr__(self) -> str:
        return f"KeyFile({self.session}, {self.kek})"


class KeyState(Enum):
    """What a recording's key is good for."""

    OPEN = "open"
    SHREDDED = "shredded"
    #: Wrapped by a key-encryption key that is not listed, or does not answer.
    NOT_LISTED = "key not listed"
    MISSING = "key missing"
    #: The file is damaged, belongs elsewhere, or its key is not that of the recording.
    WRONG = "wrong key"


@dataclass(frozen=True, slots=True)
class SessionKey:
    """``text``: why the recording cannot be decrypted, as a sentence without its end. ``cipher``:
    when it can.
    """

    state: KeyState
    text: str = ""
    cipher: BlockCipher | None = None


class ShreddedError(RecordingError):
    """The recording's key was deleted on purpose."""


class KeyNotListedError(RecordingError):
    """The recording is encrypted, and the key-encryption key is not here."""


def key_path(recording: Path) -> Path:
    """Where the wrapped key of a recording is."""
    return recording.with_suffix(SUFFIX)


def key_mark(recording: Path) -> tuple[int, int]:
    """Changes whenever the wrapped key of a recording is replaced or deleted."""
    try:
        status = key_path(recording).lstat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def read_key_file(path: Path) -> KeyFile:
    """Raises OSError; ValueError for what is no such file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(_LONGEST + 1)
    try:
        decoded = msgspec.json.decode(content, type=KeyFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if decoded.version != _VERSION or bool(decoded.key) == (decoded.shredded is not None):
        raise ValueError("neither a key nor what became of one")
    return decoded


def new_session_key(session_id: str) -> tuple[bytes, BlockCipher]:
    """A random key for a new recording, and what encrypts with it."""
    key = os.urandom(KEY_BYTES)
    return key, BlockCipher(key, session_id)


def write_session_key(
    recording: Path, session_id: str, key: bytes, kek: KeyEncryptionKey, *, sync: bool
) -> None:
    """Wrap the key of a recording that is about to begin, and store it beside it. ``sync``: on the
    disk when this returns. Raises OSError, and then there is no such file that was not there
    before; RecordingLostError when there was one: it may be the only way to read another recording.
    """
    try:
        wrapped = kek.wrap(key)
    except KeyRefusedError as error:
        raise OSError(errno.EIO, f"the recording's key cannot be wrapped: {error}") from None
    make_directories(recording.parent)
    path = key_path(recording)
    content = _encode(KeyFile(_VERSION, session_id, kek.identifier, wrapped))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        text = "a recording's key with this name exists already"
        raise RecordingLostError(errno.EEXIST, text, str(path)) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        if sync:
            flush_directory(path.parent)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def session_key(recording: Path, session_id: str, committed: bytes, keys: KeyRing) -> SessionKey:
    """The key of a recording whose header has this commitment."""
    path = key_path(recording)
    try:
        stored = read_key_file(path)
    except FileNotFoundError:
        return SessionKey(KeyState.MISSING, f"its key {path.name} is missing")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it was changed"
        return SessionKey(KeyState.WRONG, f"its key {path.name} cannot be read: {reason}")
    if stored.session != session_id:
        text = f"its key {path.name} is that of session {stored.session!r}"
        return SessionKey(KeyState.WRONG, text)
    if stored.shredded is not None:
        return SessionKey(KeyState.SHREDDED, describe(stored.shredded))
    try:
        key = keys.unwrap(stored.kek, stored.key)
    except KeyError:
        text = f"it is encrypted, and {not_listed(stored.kek, keys)}"
        return SessionKey(KeyState.NOT_LISTED, text)
    except KeyRefusedError as error:
        return SessionKey(KeyState.WRONG, f"its key {path.name} cannot be unwrapped: {error}")
    if commitment(key) != committed:
        text = f"its key {path.name} is not the one that the recording names"
        return SessionKey(KeyState.WRONG, text)
    return SessionKey(KeyState.OPEN, cipher=BlockCipher(key, session_id))


def not_listed(kek: str, keys: KeyRing) -> str:
    """That a key-encryption key is not here, and what to do."""
    why = f" ({'; '.join(keys.absent)})" if keys.absent else ""
    return (
        f"its key is wrapped by {kek}, which is not listed{why}. List that key under "
        "recording.encryption, and give commands the configuration with --config"
    )


@contextmanager
def changing_keys(recordings: Path) -> Iterator[None]:
    """Hold what changes or deletes keys below ``recordings``, one program at a time: a key that is
    being wrapped again must not come back after it was shredded. Raises OSError. Gateways need it
    not: they only add keys.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(recordings / _LOCK, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def rewrap(path: Path, keys: KeyRing) -> bool:
    """Wrap the key in this file by the current key-encryption key; False when there is nothing to
    do. Raises OSError, ValueError, KeyError for a key that is not listed, KeyRefusedError.
    """
    kek = keys.current
    stored = read_key_file(path)
    if kek is None or stored.shredded is not None or stored.kek == kek.identifier:
        return False
    wrapped = kek.wrap(keys.unwrap(stored.kek, stored.key))
    replace_private(path, _encode(KeyFile(_VERSION, stored.session, kek.identifier, wrapped)))
    return True


def shred_key(recording: Path, session_id: str, shredding: Shredding) -> None:
    """Delete the wrapped key of a recording for good. Raises OSError.

    Its bytes are overwritten as well. Copies that a file system or a disk keeps of what is
    overwritten are out of reach: only another key-encryption key, and the end of the old one, makes
    them useless.
    """
    path = key_path(recording)
    tombstone = _encode(KeyFile(_VERSION, session_id, shredded=shredding))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        replace_private(path, tombstone)
        return
    with os.fdopen(descriptor, "wb") as file:  # the old file, which has no name any more by then
        replace_private(path, tombstone)
        file.write(bytes(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())


def _encode(content: KeyFile) -> bytes:
    return msgspec.json.encode(content) + b"\n"


def describe(shredding: Shredding) -> str:
    """When, by whom and why, in one line."""
    at = moment(shredding.at)
    return f"shredded{f' at {at}' if at else ''} by {shredding.by}: {shredding.reason}"


def moment(seconds: float) -> str:
    """UTC; "" for what no calendar has."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return ""
