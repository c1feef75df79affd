"""Recorders to try, wire messages to record, and a forger that edits recordings."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zstandard

from sallyport.audit import events as ev
from sallyport.audit.blocks import Block, file_header
from sallyport.audit.chain import block_hash
from sallyport.audit.chunks import Chunk
from sallyport.audit.keys import NO_KEYS, KeyRing
from sallyport.audit.ports import SessionRow, StatementText
from sallyport.audit.reader import RecordingReader
from sallyport.audit.recorder import Recorder
from sallyport.audit.recording import SessionRecording
from sallyport.audit.verify import read_events
from sallyport.core.ids import new_id
from sallyport.core.subject import Subject
from sallyport.session.ports import JudgedStatement, RecordedVerdict

AGENT = Subject(
    "agent-7",
    "https://idp.example.com",
    frozenset({"claude-postgres", "ci"}),
    agent="claude-code",
    label="bob",
    email="bob@example.com",
    expires_at=1_800_000_000.0,
    claims={"secret": "CANARY-CLAIM", "jti": "CANARY-JTI"},
)


class ListIndex:
    """An index that keeps every report (a copy, as the store does)."""

    def __init__(self) -> None:
        self.reports: list[SessionRow] = []
        self.texts: dict[str, list[StatementText]] = {}

    def statements(self, session_id: str, texts: Sequence[StatementText]) -> bool:
        self.texts.setdefault(session_id, []).extend(texts)
        return True

    def save(self, row: SessionRow) -> None:
        self.reports.append(
            SessionRow(**{name: getattr(row, name) for name in SessionRow.__slots__})
        )

    def save_all(self, rows: Sequence[SessionRow]) -> None:
        for row in rows:
            self.save(row)

    def last(self, session_id: str) -> SessionRow:
        return [row for row in self.reports if row.id == session_id][-1]


def begin(recorder: Recorder, session_id: str = "") -> SessionRecording:
    return recorder.open_session(
        session_id or new_id("s"), AGENT, "shop", "127.0.0.1:50000", "psql"
    )


def judged(
    number: int,
    sql: str,
    *,
    outcome: str,
    binds: Sequence[bytes | None] | None = None,
    bind_formats: Sequence[int] = (),
    bind_types: tuple[int, ...] = (),
    changes: bool = True,
    **verdict: Any,
) -> JudgedStatement:
    """A statement as sessions hand it to their recorder."""
    recorded = RecordedVerdict(outcome, **verdict)
    return JudgedStatement(number, sql, recorded, binds, bind_formats, bind_types, changes)


def chunk_of(events: Sequence[ev.RawEvent]) -> Chunk:
    body = b"".join(map(ev.encode_event, events))
    return Chunk(body, len(body), len(events), 0, 0, 0)


def events_of(path: Path, keys: KeyRing = NO_KEYS) -> list[ev.Event]:
    problems: list[object] = []
    events = list(read_events(path, on_problem=problems.append, keys=keys))
    assert not problems, problems
    return events


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def row_description(*columns: tuple[str, int, int]) -> bytes:
    fields = [
        name.encode() + b"\0" + struct.pack("!IhIhih", 1, 1, oid, 4, -1, code)
        for name, oid, code in columns
    ]
    return message(b"T", struct.pack("!h", len(columns)) + b"".join(fields))


def data_row(*values: bytes | None) -> bytes:
    cells = [
        struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
        for value in values
    ]
    return message(b"D", struct.pack("!h", len(values)) + b"".join(cells))


class Forger:
    """A recording taken apart: change ``blocks`` (or the file's bytes) and :meth:`write` it
    back.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with RecordingReader(path) as reader:
            self.header = file_header(reader.session_id)
            self.blocks: list[Block] = list(reader.blocks())
        data = path.read_bytes()
        ends = [block.offset for block in self.blocks[1:]] + [len(data)]
        self.chunks = [
            data[block.offset : end] for block, end in zip(self.blocks, ends, strict=True)
        ]

    def write(self) -> None:
        self.path.write_bytes(self.header + b"".join(self.chunks))

    def events(self, number: int) -> list[bytes]:
        return [bytes(raw) for raw in self.blocks[number].split()]

    def replace_events(
        self, number: int, events: Sequence[bytes], *, new_hash: bool = False
    ) -> None:
        """Put other events into a block; optionally cover it up by computing the hash again."""
        block = self.blocks[number]
        body = b"".join(events)
        hash_ = block.hash
        if new_hash:
            hash_ = block_hash(block.previous, block.sequence, len(events), block.first_event, body)
        payload = zstandard.ZstdCompressor().compress(body)
        flags = 1
        if len(payload) >= len(body):
            payload, flags = body, 0
        head = struct.pack(
            "<4sIIIQII32s", b"SPB4", flags, block.sequence, len(events), block.first_event,
            len(body), len(payload), block.previous,
        )  # fmt: skip
        self.chunks[number] = head + payload + hash_
