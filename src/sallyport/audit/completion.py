"""Completes recordings from the journal that a gateway left behind when it died.

At start, after :mod:`sallyport.audit.recovery` has brought index and recordings together and before
any session. Statements that the journal (:mod:`sallyport.audit.journal`) has and their recording
lacks are appended to it, each followed by a Recovered event: the gateway was about to send it, or
did. A session that died before its recording's first block gets a recording made of its login and
these. Then the journal is deleted.

A recording that is not sound is left as it is, since that must stay provable. What belongs into it
stays in the journal's files, set aside as ``.kept``, and is logged as an error. Doing all of this
twice adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog
import zstandard

from sallyport.audit import events as ev
from sallyport.audit.appender import Appender, Output
from sallyport.audit.archive import RecordingError, relative_path
from sallyport.audit.blocks import ENCRYPTED, file_header, genesis, is_unwritten, seal
from sallyport.audit.chain import Chain
from sallyport.audit.chunks import Chunk
from sallyport.audit.cipher import BlockCipher
from sallyport.audit.journal import DIRECTORY, journal_directory, journal_numbers
from sallyport.audit.journal_reader import (
    KEPT_SUFFIX,
    JournalContents,
    SessionIntents,
    is_in_use,
    read_journal,
)
from sallyport.audit.keyfiles import KeyNotListedError, key_path, new_session_key, write_session_key
from sallyport.audit.keys import NO_KEYS, KeyRing
from sallyport.audit.ports import ENDED, LIVE, SessionRow, StatementText
from sallyport.audit.reader import RecordingReader
from sallyport.audit.recovery import Recovered, rebuild, recover
from sallyport.audit.verify import DELETION, UNREADABLE, Verification, VerificationProblem, verify

_LEVEL: Final = -1
#: Statement numbers that one message names.
_NAMED: Final = 20

_log = structlog.get_logger("sallyport.audit")


class CompletionIndex(Protocol):
    """The part of the store that completing needs."""

    def get(self, session_id: str) -> SessionRow | None: ...

    def restore(self, rows: Sequence[tuple[SessionRow, Sequence[StatementText]]]) -> None: ...


class _UnplacedError(Exception):
    """What the journal has cannot be put into its recording; the text says why."""


@dataclass(slots=True)
class _Missing:
    """Statements that the journal has and the recording at ``path`` lacks."""

    path: Path
    statements: list[ev.Statement] = field(default_factory=list)


def complete_recordings(
    directory: Path, index: CompletionIndex, keys: KeyRing = NO_KEYS, number: int = 0
) -> int:
    """Put what the journal of worker ``number`` has into the recordings below ``directory`` that
    lack it. Gives the number of statements. Raises OSError when a recording cannot be written,
    KeyNotListedError when ``keys`` cannot decrypt the journal or a recording: then nothing was
    deleted.
    """
    contents = read_journal(directory, keys, number)
    if contents.not_listed:
        raise KeyNotListedError(contents.not_listed)
    count, unplaced = 0, list(contents.problems)
    for id_, intents in contents.sessions.items():
        try:
            recovered = _complete(directory, id_, intents, index, keys)
        except _UnplacedError as error:
            numbers = _numbers(intents.statements)
            unplaced.append(f"session {id_}, statements {numbers}: {error}")
            continue
        if recovered is not None:
            index.restore([(recovered[0].row, recovered[0].statements)])
            count += recovered[1]
    for text in unplaced:
        _log.error("the journal of an earlier run could not be used as a whole", reason=text)
    for path in contents.segments:
        if unplaced:
            path.rename(path.with_suffix(KEPT_SUFFIX))
        else:
            path.unlink()
    return count


def verify_journal(directory: Path, keys: KeyRing = NO_KEYS) -> Verification | None:
    """What a gateway that is stopped left in its journal and the recordings below ``directory``
    lack; None when that is nothing. While a gateway runs, the journal is ahead of the recordings.
    """
    result = Verification(DIRECTORY, directory / DIRECTORY)
    kept: list[Path] = []
    for number in journal_numbers(directory):
        if not is_in_use(directory, number):
            contents = read_journal(directory, keys, number)
            result.problems += [VerificationProblem(UNREADABLE, text) for text in contents.problems]
            if contents.not_listed:
                result.notes.append(f"was not checked: {contents.not_listed}")
            _report_missing(directory, contents, result, keys)
        kept += sorted(journal_directory(directory, number).glob(f"*{KEPT_SUFFIX}"))
    if kept:
        text = f"holds statements that could not be put into their recordings: {kept[0].name}"
        result.problems.append(
            VerificationProblem(DELETION, text + (" and more" if kept[1:] else ""))
        )
    return result if result.problems or result.notes else None


def _report_missing(
    directory: Path,
    contents: JournalContents,
    result: Verification,
    keys: KeyRing,
) -> None:
    for id_, intents in contents.sessions.items():
        try:
            missing = _missing(directory, id_, intents, keys)
        except KeyNotListedError as error:
            result.notes.append(f"session {id_} was not compared with it: {error}")
            continue
        except _UnplacedError as error:
            result.problems.append(VerificationProblem(UNREADABLE, f"session {id_}: {error}"))
            continue
        if missing.statements:
            numbers = _numbers({statement.number for statement in missing.statements})
            text = f"the recording of {id_} lacks statements {numbers}; the next start adds them"
            result.problems.append(VerificationProblem(DELETION, text))


def _complete(
    directory: Path, id_: str, intents: SessionIntents, index: CompletionIndex, keys: KeyRing
) -> tuple[Recovered, int] | None:
    """The session's row anew and how many statements were added; None when nothing was missing."""
    missing = _missing(directory, id_, intents, keys)
    if not missing.statements:
        return None
    row = index.get(id_)
    _check_sound(missing.path, id_, row, keys)
    before = row.reason if row is not None else ""
    if row is not None:  # should this be interrupted, the next start brings the row up to date
        row.status = LIVE
        index.restore([(row, ())])
    _append(missing, id_, intents, keys)
    if row is not None:
        recovered: Recovered | None = recover(directory, row, keys)
    else:
        recovered = rebuild(missing.path, directory, keys)
    if recovered is None or recovered.problem:
        raise _UnplacedError("its recording cannot be read after they were added")
    count = len(missing.statements)
    # The reason says where a torn block stood, which is not where the file ends any more.
    reason = before or recovered.row.reason
    recovered.row.reason = (
        f"{reason}; statements recovered from the journal, outcome not known: {count}"
    )
    return recovered, count


def _check_sound(path: Path, id_: str, row: SessionRow | None, keys: KeyRing) -> None:
    """Whether something may be added to the recording. Raises _UnplacedError."""
    if row is not None and row.status == ENDED:
        raise _UnplacedError("the session has ended, and its recording lacks them")
    if not path.exists() or is_unwritten(path, id_):
        if row is not None and row.last_hash:
            raise _UnplacedError("its recording is missing")
    elif row is None and _has_blocks(path):
        raise _UnplacedError("the index does not know the session")
    elif problems := verify(path, row, keys).problems:
        raise _UnplacedError(f"its recording is damaged: {problems[0]}")


def _has_blocks(path: Path) -> bool:
    with RecordingReader(path) as reader:
        return next(reader.extents(), None) is not None


def _missing(directory: Path, id_: str, intents: SessionIntents, keys: KeyRing) -> _Missing:
    if intents.login is None:
        raise _UnplacedError("the journal does not say whose they are")
    try:
        path = directory / relative_path(id_, intents.login.started)
    except (ValueError, OverflowError):
        raise _UnplacedError("its name is not a session id") from None
    missing = _Missing(path)
    recorded = _recorded(missing.path, id_, min(intents.statements, default=0), keys)
    missing.statements = [
        statement
        for number, statement in sorted(intents.statements.items())
        if number not in recorded
    ]
    return missing


def _recorded(path: Path, id_: str, first: int, keys: KeyRing) -> set[int]:
    """Numbers of the statements in a recording, from its end back to one that is not above
    ``first``.
    """
    numbers: set[int] = set()
    if not path.exists() or is_unwritten(path, id_):
        return numbers
    try:
        with RecordingReader(path, keys) as reader:
            reader.require_content()
            for start, _ in reversed(list(reader.extents())):
                block = next(reader.blocks_from(start))
                events = [ev.decode_event(raw) for raw in block.split()]
                numbers.update(event.number for event in events if isinstance(event, ev.Statement))
                if numbers and min(numbers) <= first:
                    break
    except KeyNotListedError:
        raise
    except (RecordingError, OSError, msgspec.DecodeError) as error:
        raise _UnplacedError(f"its recording cannot be read: {error}") from None
    return numbers


def _append(missing: _Missing, id_: str, intents: SessionIntents, keys: KeyRing) -> None:
    """Add the statements as one block, behind the login where the recording has none. Raises
    OSError.
    """
    output, cipher, version = Output(str(missing.path)), None, 0
    parts: list[bytes | memoryview] = []
    events: list[bytes] = []
    if not missing.path.exists() or is_unwritten(missing.path, id_):
        missing.path.unlink(missing_ok=True)
        header, chain, cipher = _begin(missing.path, id_, keys)
        parts.append(header)
    else:
        with RecordingReader(missing.path, keys) as reader:
            version = reader.version
            if version == 1:
                raise _UnplacedError("its recording is of an earlier version")
            reader.require_content()
            cipher, chain = reader.cipher, Chain(reader.genesis)
            output.size = reader.first
            extents = list(reader.extents())
            if extents:
                start, output.size = extents[-1]
                block = next(reader.blocks_from(start))
                chain = Chain(block.hash, block.sequence + 1, block.first_event + block.events)
    if not chain.sequence and intents.login is not None:
        events.append(msgspec.msgpack.encode(intents.login))
    for statement in missing.statements:
        events.append(msgspec.msgpack.encode(statement))
        events.append(ev.encode_event((ev.RECOVERED, statement.at, statement.number)))
    body = b"".join(events)
    chunk = Chunk(body, len(body), len(events), 0, 0, 0)
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True)
    sealed = seal(chain, chunk, compressor, cipher, version)
    appender = Appender(fsync=True)
    try:
        appender.append(output, [*parts, *sealed.parts])
    finally:
        appender.close_all()


def _begin(path: Path, id_: str, keys: KeyRing) -> tuple[bytes, Chain, BlockCipher | None]:
    """Header, chain and cipher of a new recording, whose key is stored. Raises OSError."""
    if keys.current is None:
        return file_header(id_), Chain(genesis(id_)), None
    key_path(path).unlink(missing_ok=True)  # of the recording that was not begun
    key, cipher = new_session_key(id_)
    write_session_key(path, id_, key, keys.current, sync=True)
    header = file_header(id_, ENCRYPTED, cipher.commitment)
    return header, Chain(genesis(id_, ENCRYPTED, cipher.commitment)), cipher


def _numbers(numbers: Sequence[int] | set[int] | dict[int, ev.Statement]) -> str:
    ordered = sorted(numbers)
    more = f" and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
    return ", ".join(map(str, ordered[:_NAMED])) + more
