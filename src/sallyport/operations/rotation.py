"""Wrapping the keys of all recordings by another key-encryption key; recordings are not touched."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from sallyport.audit.archive import SUFFIX as RECORDING
from sallyport.audit.journal import ENCRYPTED, FILE_MAGIC, HEADER, KeyPart, journal_directories
from sallyport.audit.keyfiles import SUFFIX, changing_keys, not_listed, rewrap
from sallyport.audit.keys import KeyRefusedError, KeyRing, local_key, new_key_text
from sallyport.core.errors import SallyportError
from sallyport.core.files import create_private, replace_private

#: Seconds after which a file that could not be read is read once more: it was just being written.
_AGAIN: Final = 0.2
_PENDING: Final = ".next"


@dataclass(slots=True)
class Rotated:
    """``wrapped``: keys that were wrapped by the current key now. ``failed``: what is wrong with
    key files that could not be. ``needed``: identifiers of other keys that something still needs.
    """

    wrapped: int = 0
    failed: list[str] = field(default_factory=list)
    needed: set[str] = field(default_factory=set)


def rotate(recordings: Path, keys: KeyRing) -> Rotated:
    """Wrap every key below ``recordings`` by the current key of ``keys``. May be repeated; works
    beside a gateway that has the same current key. Raises SallyportError when there is no current
    key.
    """
    if keys.current is None:
        raise SallyportError(
            "there is no key to wrap by: recording.encryption.key cannot be had, or encryption is "
            "off" + "".join(f". {text}" for text in keys.absent)
        )
    result = Rotated()
    for path in recordings.glob(f"????/??/??/*{SUFFIX}"):
        try:
            with changing_keys(recordings):
                result.wrapped += _rewrapped(path, keys)
        except FileNotFoundError:
            continue
        except KeyError as error:
            result.needed.add(str(error.args[0]))
            result.failed.append(f"{path.stem}: {not_listed(str(error.args[0]), keys)}")
        except (OSError, ValueError, KeyRefusedError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            result.failed.append(f"{path.stem}: its key {path} cannot be wrapped again: {reason}")
    result.needed |= set(journal_keys(recordings)) - {keys.current.identifier}
    return result


def _rewrapped(path: Path, keys: KeyRing) -> bool:
    try:
        return rewrap(path, keys)
    except ValueError:
        time.sleep(_AGAIN)
        if not path.with_suffix(RECORDING).exists():
            return False  # of a session that never began: its gateway died at that moment
        return rewrap(path, keys)


def journal_keys(recordings: Path) -> Iterator[str]:
    """Identifiers of the keys that segments of the journal need."""
    places = journal_directories(recordings)
    for path in [path for place in places for path in sorted(place.glob("*"))]:
        try:
            with path.open("rb") as file:
                magic, version, length = HEADER.unpack(file.read(HEADER.size))
                if magic == FILE_MAGIC and version == ENCRYPTED:
                    yield msgspec.json.decode(file.read(length), type=KeyPart).kek
        except (OSError, ValueError, msgspec.DecodeError, struct.error):
            continue


def make_new_key(file: Path, recordings: Path, keys: KeyRing) -> tuple[Rotated, Path | None]:
    """Make another key in the place of the one in ``file``, and wrap every key by it; no gateway
    may run. What it was is kept beside it. When not every key could be wrapped, the file stays, and
    doing this again goes on. Gives what was done, and where the old key is (None: not yet
    replaced). Raises SallyportError, OSError.
    """
    old = keys.current
    if old is None:
        raise SallyportError(f"there is no key {file} to be replaced, or encryption is off")
    if journal := next(journal_keys(recordings), ""):
        raise SallyportError(
            f"the journal of an earlier run needs {journal}. Start the gateway and stop it, so "
            "that recordings are complete, then run this again"
        )
    pending = file.with_name(file.name + _PENDING)
    create_private(pending, new_key_text().encode())
    text = pending.read_text()
    new = local_key(text, str(pending))
    result = rotate(recordings, KeyRing(new, keys.all))
    if result.failed:
        return result, None
    kept = file.with_name(f"{file.name}.{old.identifier.partition(':')[2]}")
    create_private(kept, file.read_bytes())
    replace_private(file, text.encode())
    pending.unlink()
    return result, kept
