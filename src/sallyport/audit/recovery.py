"""Sessions that a gateway left behind when it died: their index rows are brought up to date at the
next start.

The recording is the truth. What it holds beyond the block that the index remembers is checked and
counted; an incomplete block at its end is moved to ``<session id>.torn`` beside it. From then on
the file ends where the index says, so that :mod:`sallyport.audit.verify` finds whatever is cut off
or added later.

A recording that does not continue what the index remembers is left as it is, and so is its row:
verification then says what is wrong with it. What somebody appended, correctly chained, before the
next start cannot be told from what the gateway wrote.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog

from sallyport.audit import events as ev
from sallyport.audit.archive import RecordingError, recording_path, recordings_since
from sallyport.audit.blocks import Block
from sallyport.audit.chain import Chain
from sallyport.audit.keyfiles import KeyNotListedError, ShreddedError
from sallyport.audit.keys import NO_KEYS, KeyRing
from sallyport.audit.ports import ENDED, INTERRUPTED, PART, WHOLE, SessionRow, StatementText
from sallyport.audit.reader import RecordingReader
from sallyport.audit.summary import Counts, Summary, complete_row, row_of_login
from sallyport.audit.texts import StatementTexts

TORN_SUFFIX: Final = ".torn"
#: The reason that versions gave which marked sessions as interrupted and did not read their
#: recordings.
ONLY_MARKED: Final = "the gateway stopped without ending the session"
_REASON: Final = "the gateway stopped during the session"
#: A file that is smaller (bytes) and younger (seconds) may be one that is just being begun.
_BEGUN: Final = 512
_BEING_MADE: Final = 10.0
#: Rows that are written in one transaction.
_BATCH: Final = 100

_log = structlog.get_logger("sallyport.audit")


#: Whether a session (id, owner) is one that this process has to bring up to date.
IsLeft = Callable[[str, str], bool]


class RecoveryIndex(Protocol):
    """The part of the store that recovery needs. ``is_dead``: whether an owner serves no more."""

    @property
    def is_dead(self) -> Callable[[str], bool]: ...

    def unfinished(self) -> list[SessionRow]:
        """Rows which say live, or interrupted without having been brought up to date."""
        ...

    def newest_start(self) -> float:
        """Unix seconds; 0.0 when there are no rows."""
        ...

    def unknown(self, ids: Sequence[str]) -> list[str]:
        """Which of these sessions have no row."""
        ...

    def restore(self, rows: Sequence[tuple[SessionRow, Sequence[StatementText]]]) -> None:
        """Write rows and their statements at once."""
        ...


@dataclass(slots=True)
class Recovered:
    """A row as it should be. ``problem``: why it could not be brought up to date; "" when it was.
    ``statements``: what is to be added to those that the index has.
    """

    row: SessionRow
    statements: list[StatementText] = field(default_factory=list)
    problem: str = ""


def recover_interrupted(
    directory: Path, index: RecoveryIndex, keys: KeyRing = NO_KEYS, is_left: IsLeft | None = None
) -> int:
    """Bring sessions that were left behind up to date. How many. ``is_left``: which they are; None:
    all whose owner is dead. Raises KeyNotListedError when one of them is encrypted and ``keys``
    cannot decrypt it: it cannot be brought up to date, and must not count as damaged.
    """
    count = 0
    batch: list[tuple[SessionRow, Sequence[StatementText]]] = []
    for recovered in _all(directory, index, keys, is_left or (lambda _, who: index.is_dead(who))):
        if recovered.problem:
            _log.error(
                "a recording of an earlier run is damaged",
                session=recovered.row.id,
                file=recovered.row.file,
                reason=recovered.problem,
            )
        batch.append((recovered.row, recovered.statements))
        count += 1
        if len(batch) == _BATCH:
            index.restore(batch)
            batch.clear()
    index.restore(batch)
    return count


def _all(
    directory: Path, index: RecoveryIndex, keys: KeyRing, is_left: IsLeft
) -> Iterator[Recovered]:
    newest = index.newest_start() or time.time()
    for row in index.unfinished():
        if is_left(row.id, row.owner):
            yield recover(directory, row, keys)
    # Rows are written up to a second after their sessions began; a day is more than enough.
    paths = recordings_since(directory, newest - 86400.0)
    for id_ in index.unknown(list(paths)):
        try:
            recovered = rebuild(paths[id_], directory, keys, is_left)
        except ShreddedError:
            continue  # nothing is left to make a row of
        except _OwnedError:
            continue
        if recovered is None and _is_being_made(paths[id_]):
            continue
        if recovered is None:
            _log.error("a recording of an earlier run cannot be read", file=str(paths[id_]))
        else:
            yield recovered


def recover(directory: Path, row: SessionRow, keys: KeyRing = NO_KEYS) -> Recovered:
    """Bring one row up to date with its recording below ``directory``. ``row`` is changed. Raises
    KeyNotListedError.
    """
    recovered = Recovered(row)
    counted = row.reason != ONLY_MARKED
    row.status, row.reason = INTERRUPTED, _REASON
    try:
        path = recording_path(directory, row.id, row.file)
        with RecordingReader(path, keys) as reader:
            reader.require_content()
            _read_on(reader, recovered, counted=counted)
        if not recovered.problem:
            _set_aside(path, reader.torn)
            row.reason = row.reason if row.status == ENDED else _reason(path)
    except KeyNotListedError:
        raise
    except (RecordingError, OSError) as error:
        row.searchable = PART
        if row.last_hash:
            recovered.problem = str(error)
    if recovered.problem:
        row.status, row.searchable = INTERRUPTED, PART
        row.reason = f"{_REASON}; its recording is damaged"
    return recovered


class _OwnedError(Exception):
    """Whoever records it is alive, or another process brings it up to date."""


def _is_being_made(path: Path) -> bool:
    """Whether it may be a recording that another worker begins: it has no block, and is new."""
    try:
        status = path.stat()
    except OSError:
        return True
    return status.st_size < _BEGUN and time.time() - status.st_mtime < _BEING_MADE


def rebuild(
    path: Path,
    directory: Path,
    keys: KeyRing = NO_KEYS,
    is_left: IsLeft = lambda session, owner: True,
) -> Recovered | None:
    """The row of a recording that the index does not know; None when it holds no login event, or is
    not left to this process.

    Counts whatever can be read; ``problem`` says what ended the reading. Raises KeyNotListedError,
    ShreddedError.
    """
    try:
        with RecordingReader(path, keys) as reader:
            reader.require_content()
            first = next(reader.blocks(), None)
            events = first.split() if first is not None and first.computed_hash() else []
            login = ev.decode_event(events[0]) if events else None
    except (KeyNotListedError, ShreddedError):
        raise
    except (RecordingError, OSError, msgspec.DecodeError):
        return None
    if not isinstance(login, ev.Login) or login.session != path.stem:
        return None
    if not is_left(login.session, login.gateway):
        raise _OwnedError
    row = row_of_login(login, str(path.relative_to(directory)))
    row.searchable = WHOLE
    return recover(directory, row, keys)


def _read_on(reader: RecordingReader, recovered: Recovered, *, counted: bool) -> None:
    """Check and count what follows the block that the index remembers; everything, unless the row's
    counts are those of that block (``counted``).
    """
    row, summary = recovered.row, Summary(keep_statements=True)
    chain, start = Chain(reader.genesis), reader.first
    if not reader.belongs_to(row.id):
        recovered.problem = f"the file says that it belongs to session {reader.session_id!r}"
        return
    login, resumed = _login(reader), False
    if row.last_hash:
        last_block = _block_of(reader, _hash_of(row))
        if last_block is None:
            recovered.problem = "the block that the index remembers as newest is not in the file"
            return
        if counted and _add(summary, last_block):
            summary.take_statements()
            summary.counts, summary.bytes = Counts(row.statements, row.refused, row.rows), row.bytes
            chain, start = (
                Chain(last_block.hash, last_block.sequence, last_block.first_event),
                last_block.offset,
            )
            resumed = True
    _follow(reader.blocks_from(start), chain, summary, recovered, skip=resumed)
    if reader.damaged is not None:
        recovered.problem = f"no block begins at byte {reader.damaged}"
    if chain.sequence:
        row.last_hash = chain.hash.hex()
    if login is not None:
        complete_row(row, summary, login)


def _follow(
    blocks: Iterator[Block], chain: Chain, summary: Summary, recovered: Recovered, *, skip: bool
) -> None:
    """Add blocks while each continues the chain. ``skip``: the first is the one that the chain
    stands at.
    """
    texts = StatementTexts()
    if skip:
        chain.advance(chain.hash, next(blocks).events)
    for block in blocks:
        place = (chain.hash, chain.sequence, chain.events)
        if block.computed_hash() != block.hash or place != (
            block.previous,
            block.sequence,
            block.first_event,
        ):
            recovered.problem = f"block {chain.sequence} does not continue the one before it"
            break
        if not _add(summary, block):
            recovered.problem = (
                f"block {chain.sequence} holds an event that this version does not know"
            )
            break
        chain.advance(block.hash, block.events)
        for statement in summary.take_statements():
            texts.add(statement.number, statement.sql, statement.outcome, statement.relations)
        recovered.statements += texts.take()
    if not texts.whole:
        recovered.row.searchable = PART


def _add(summary: Summary, block: Block) -> bool:
    if block.raw is None:
        return False
    try:
        summary.add_block(block)
    except msgspec.DecodeError:
        return False
    return True


def _block_of(reader: RecordingReader, hash_: bytes) -> Block | None:
    """The block with this hash, when its content has it too."""
    start = reader.start_of(hash_)
    block = next(reader.blocks_from(start), None) if start is not None else None
    return block if block is not None and block.computed_hash() == hash_ else None


def _login(reader: RecordingReader) -> ev.Login | None:
    first = next(reader.blocks_from(reader.first), None)
    if first is None:
        return None
    try:
        events = first.split()
        login = ev.decode_event(events[0]) if events else None
    except msgspec.DecodeError:
        return None
    return login if isinstance(login, ev.Login) else None


def _hash_of(row: SessionRow) -> bytes:
    """b"" for what cannot be a hash: no block has it."""
    try:
        return bytes.fromhex(row.last_hash)
    except ValueError:
        return b""


def _reason(path: Path) -> str:
    try:
        size = path.with_suffix(TORN_SUFFIX).stat().st_size
        return (
            f"{_REASON}; {size} bytes of an incomplete block were set aside at byte"
            f" {path.stat().st_size}"
        )
    except OSError:
        return _REASON


def _set_aside(path: Path, offset: int | None) -> None:
    """Move what stands in the file from ``offset`` on into a file beside it. Raises OSError."""
    if offset is None:
        return
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(fd, "r+b") as recording:
        recording.seek(offset)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(path.with_suffix(TORN_SUFFIX), flags, 0o600), "wb") as torn:
            while chunk := recording.read(1 << 20):
                torn.write(chunk)
            torn.flush()
            os.fsync(torn.fileno())
        recording.truncate(offset)
        os.fsync(recording.fileno())
