"""Receipts: what became of one statement, signed, without the statement.

A receipt is a signed note (:mod:`sallyport.audit.tlog.notes`) by the log's key::

    sallyport receipt 1
    <one JSON object, ASCII>

``commitment`` in it is keyed, so that nobody can try statements out until one fits; whoever is to
check the statement gets ``opening``, the key of this one receipt. With ``|`` for concatenation and
integers big-endian::

    opening    = HMAC-SHA256(secret, "sallyport receipt 1\\0" | session | "\\0" | number in decimal)
    commitment = HMAC-SHA256(opening, length of SQL u64 | SQL in UTF-8
                             | (length i64 | value)* for each bind value, length -1 for NULL)

SQL and bind values are those of the recording: masked where :mod:`sallyport.judge.literals` masks
them. ``head`` is the hash of the recording's block that holds the statement, ``block`` its number;
a proof of the log covers it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from sallyport.audit import events as ev
from sallyport.audit.archive import RecordingError
from sallyport.audit.keys import NO_KEYS, KeyRing
from sallyport.audit.reader import RecordingReader
from sallyport.audit.tlog.notes import Note, NoteError, SigningKey, VerifyKey, decode_base64
from sallyport.audit.tlog.tiles import read_regular
from sallyport.core.errors import ConfigError
from sallyport.core.files import refuse_exposed

#: In the data directory.
FILE: Final = "receipts.key"
_FIRST: Final = "sallyport receipt 1"
_SECRET_BYTES: Final = 32


class Receipt(msgspec.Struct, frozen=True):
    """``number``: of the statement in its session, from 1. ``time``: Unix seconds when it was
    judged. ``masked``: columns that were masked in its rows. ``commitment``: base64.
    """

    session: str
    number: int
    time: float
    commitment: str
    outcome: str
    rule: str
    code: str
    policy_version: str
    masked: tuple[str, ...]
    block: int
    head: str

    def sign(self, key: SigningKey) -> Note:
        """As a note of the log's key."""
        text = json.dumps(msgspec.to_builtins(self), separators=(",", ":"))
        body = f"{_FIRST}\n{text}\n"
        return Note(body, (key.sign(body),))

    @classmethod
    def check(cls, content: str, key: VerifyKey) -> Receipt:
        """Raises NoteError, and WrongKeyError unless the key signed it."""
        note = Note.parse(content)
        note.check(key)
        first, _, text = note.text.partition("\n")
        if first != _FIRST:
            raise NoteError(f"not a receipt: it begins with the line {_FIRST!r}")
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise NoteError(f"not a receipt that this version knows: {error}") from None

    def opens(self, opening: bytes, sql: str, binds: Sequence[bytes | None]) -> bool:
        """Whether this is the statement."""
        value = decode_base64(self.commitment, "the commitment")
        return hmac.compare_digest(value, commitment(opening, sql, binds))


@dataclass(frozen=True, slots=True)
class RecordedStatement:
    """A statement in its recording: in which block, and when (Unix seconds)."""

    statement: ev.Statement
    time: float
    block: int
    head: str


def open_secret(data: Path) -> bytes:
    """The secret of receipts in the data directory, made there when there is none, mode 0600.
    Raises ConfigError, OSError.
    """
    path = data / FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        refuse_exposed(path, "receipts")
        secret = read_regular(path, 4096)
        if len(secret) != _SECRET_BYTES:
            raise ConfigError(f"{path} has not {_SECRET_BYTES} bytes. Restore the file") from None
        return secret
    with os.fdopen(descriptor, "wb") as file:
        secret = os.urandom(_SECRET_BYTES)
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    return secret


def opening_of(secret: bytes, session: str, number: int) -> bytes:
    """The key of one receipt's commitment."""
    subject = f"sallyport receipt 1\0{session}\0{number}".encode()
    return hmac.digest(secret, subject, hashlib.sha256)


def commitment(opening: bytes, sql: str, binds: Sequence[bytes | None]) -> bytes:
    """As the module docstring defines it."""
    text = sql.encode("utf-8", "surrogatepass")
    parts = [len(text).to_bytes(8, "big"), text]
    for value in binds:
        length = -1 if value is None else len(value)
        parts += [length.to_bytes(8, "big", signed=True), value or b""]
    return hmac.digest(opening, b"".join(parts), hashlib.sha256)


def find_statement(
    path: Path, session: str, number: int, keys: KeyRing = NO_KEYS
) -> RecordedStatement:
    """Reads a recording up to the statement and checks its chain so far. ``keys``: decrypt it.
    Raises RecordingError.
    """
    with RecordingReader(path, keys) as reader:
        reader.require_content()
        previous = reader.genesis
        if not reader.belongs_to(session):
            raise RecordingError(f"{path} is not the recording of {session}")
        began = started = 0.0
        for place, block in enumerate(reader.blocks()):
            if block.computed_hash() != block.hash or block.previous != previous:
                raise RecordingError(
                    f"{path}: block {place} was changed; see 'sallyport audit verify'",
                )
            if block.raw is None:
                raise RecordingError(f"{path}: block {place} was not encrypted with its key")
            previous = block.hash
            for event in _events(path, block.split()):
                if isinstance(event, ev.Login):
                    began, started = event.at, event.started
                elif isinstance(event, ev.Statement) and event.number == number:
                    moment = started + event.at - began
                    return RecordedStatement(event, moment, place, block.hash.hex())
    raise RecordingError(f"the recording of {session} has no statement {number}")


def _events(path: Path, raws: Sequence[msgspec.Raw]) -> Iterator[ev.Event]:
    try:
        for raw in raws:
            yield ev.decode_event(raw)
    except msgspec.DecodeError:
        raise RecordingError(f"{path} has an event that this version does not know") from None


def receipt_of(recorded: RecordedStatement, session: str, secret: bytes) -> Receipt:
    """What is signed of a statement."""
    statement = recorded.statement
    opening = opening_of(secret, session, statement.number)
    value = commitment(opening, statement.sql, statement.binds or ())
    return Receipt(
        session=session,
        number=statement.number,
        time=round(recorded.time, 3),
        commitment=base64.b64encode(value).decode(),
        outcome=statement.outcome,
        rule=statement.rule,
        code=statement.code,
        policy_version=statement.policy_version,
        masked=statement.masked,
        block=recorded.block,
        head=recorded.head,
    )
