"""Reads what a gateway that died left in its journal; the layout is in
:mod:`sallyport.audit.journal`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from sallyport.audit import events as ev
from sallyport.audit.journal import (
    ENCRYPTED,
    FILE_MAGIC,
    HEADER,
    SUFFIX,
    VERSION,
    KeyPart,
    journal_directory,
)
from sallyport.audit.journal_frames import FRAME, FRAME_MAGIC, SegmentCipher
from sallyport.audit.keyfiles import not_listed
from sallyport.audit.keys import NO_KEYS, KeyRefusedError, KeyRing

#: A segment whose intents could not be put into their recordings.
KEPT_SUFFIX: Final = ".kept"
_decoder = msgspec.msgpack.Decoder(tuple[list[str], list[msgspec.Raw]])


@dataclass(slots=True)
class SessionIntents:
    """What the journal has of one session, statements by their number."""

    login: ev.Login | None = None
    statements: dict[int, ev.Statement] = field(default_factory=dict)


@dataclass(slots=True)
class JournalContents:
    """``problems``: what is wrong with it, a torn end aside. ``segments``: the files it was read
    from. ``not_listed``: why a segment cannot be decrypted for want of its key-encryption key, "".
    """

    sessions: dict[str, SessionIntents] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    segments: list[Path] = field(default_factory=list)
    not_listed: str = ""


def read_journal(recordings: Path, keys: KeyRing = NO_KEYS, number: int = 0) -> JournalContents:
    """What worker ``number`` left in its journal when it died, oldest first. Damage is a problem,
    never an error.
    """
    contents = JournalContents()
    for path in sorted(journal_directory(recordings, number).glob(f"*{SUFFIX}")):
        contents.segments.append(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            contents.problems.append(f"{path} cannot be read: {error.strerror}")
            continue
        for body in _segment(data, path, contents, keys):
            _add(body, path, contents)
    return contents


def _segment(data: bytes, path: Path, contents: JournalContents, keys: KeyRing) -> Iterator[bytes]:
    """The bodies of a segment's frames, decrypted."""
    if len(data) < HEADER.size:
        return
    magic, version, length = HEADER.unpack_from(data)
    if magic != FILE_MAGIC or version not in (VERSION, ENCRYPTED):
        contents.problems.append(f"{path} is not a journal that this version of Sallyport reads")
        return
    if version == VERSION:
        yield from _bodies(data, HEADER.size, path, contents.problems)
        return
    start = HEADER.size + length
    if len(data) < start:
        return
    cipher = _cipher(data[:start], path, contents, keys)
    if cipher is None:
        return
    for body in _bodies(data, start, path, contents.problems):
        opened = cipher.decrypt(body)
        if opened is None:
            contents.problems.append(f"{path} was changed: a frame cannot be decrypted")
            continue
        if opened[0] != cipher.number:
            contents.problems.append(
                f"{path} was changed: frame {opened[0]} stands in the place of {cipher.number}"
            )
        cipher.number = opened[0] + 1
        yield opened[1]


def _cipher(
    header: bytes,
    path: Path,
    contents: JournalContents,
    keys: KeyRing,
) -> SegmentCipher | None:
    """What decrypts a segment; None when it cannot be decrypted, which ``contents`` then says."""
    try:
        part = msgspec.json.decode(header[HEADER.size :], type=KeyPart)
        return SegmentCipher(keys.unwrap(part.kek, part.key), header)
    except KeyError:
        contents.not_listed = f"the journal {path} is encrypted, and {not_listed(part.kek, keys)}"
    except (KeyRefusedError, msgspec.DecodeError, UnicodeDecodeError, ValueError):
        contents.problems.append(f"{path} cannot be decrypted: its key was changed")
    return None


def _bodies(data: bytes, start: int, path: Path, problems: list[str]) -> Iterator[bytes]:
    """The frames' bodies, as stored. What is torn at the end was never sent to a database."""
    position, damaged_at = start, -1
    while position >= 0:
        body = _body_at(data, position)
        if body is None:
            damaged_at = position if damaged_at < 0 else damaged_at
            position = data.find(FRAME_MAGIC, position + 1)
            continue
        if damaged_at >= 0:
            problems.append(f"{path} is damaged between bytes {damaged_at} and {position}")
            damaged_at = -1
        yield body
        position += FRAME.size + len(body)
        if position == len(data):
            return


def _body_at(data: bytes, position: int) -> bytes | None:
    """The body of the frame that begins here; None when none does, or not a whole one."""
    if position + FRAME.size > len(data):
        return None
    magic, length, checksum = FRAME.unpack_from(data, position)
    body = data[position + FRAME.size : position + FRAME.size + length]
    if magic != FRAME_MAGIC or len(body) != length or crc32(body) != checksum:
        return None
    return body


def _add(body: bytes, path: Path, contents: JournalContents) -> None:
    try:
        ids, raws = _decoder.decode(body)
        events = [ev.decode_event(raw) for raw in raws]
        pairs = list(zip(ids, events, strict=True))
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        contents.problems.append(
            f"{path} holds something that this version of Sallyport does not know"
        )
        return
    for id_, event in pairs:
        intents = contents.sessions.setdefault(id_, SessionIntents())
        if isinstance(event, ev.Statement):
            intents.statements[event.number] = event
        elif isinstance(event, ev.Login) and event.session == id_:
            intents.login = event
        else:
            contents.problems.append(f"{path} holds something else than statements")


def is_in_use(recordings: Path, number: int = 0) -> bool:
    """Whether a worker that runs has the journal."""
    place = journal_directory(recordings, number)
    try:
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False
