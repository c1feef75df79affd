"""The end of a recording, without reading what is before it.

What a reviewer wants to see of a session is what it did last. Blocks are found by their headers and
read from the last one backwards, each checked by its own hash; that the chain before them is whole
is :func:`sallyport.audit.verify.verify`'s business.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from sallyport.audit import events as ev
from sallyport.audit.archive import RecordingError
from sallyport.audit.blocks import Block
from sallyport.audit.keys import NO_KEYS, KeyRing
from sallyport.audit.reader import RecordingReader
from sallyport.audit.senttexts import SentTexts

#: Bytes of blocks that are read at most, before compression.
MOST: Final = 64 << 20


def last_events(
    path: Path, session_id: str, statements: int, maximum: int = MOST, keys: KeyRing = NO_KEYS
) -> tuple[float, Iterator[ev.Event]]:
    """When the session began (the clock of its events), and the events from about the
    ``statements``-th statement from the end on.

    There may be more statements than that, or fewer when they are spread over more than ``maximum``
    bytes. Raises RecordingError.
    """
    with RecordingReader(path, keys) as reader:
        if not reader.belongs_to(session_id):
            raise RecordingError(f"{path} does not belong to session {session_id!r}")
        reader.require_content()
        starts = array("Q", reader.starts())
        if not starts:
            return 0.0, iter(())
        began = next(_events(_block(reader, starts[0]))).at
        held: list[list[ev.Event]] = []
        count = weight = 0
        for offset in reversed(starts):
            block = _block(reader, offset)
            events = list(_events(block))
            held.append(events)
            count += sum(isinstance(event, ev.Statement) for event in events)
            weight += len(block.raw or b"")
            if count >= statements or weight >= maximum:
                break
        texts = _texts_before(reader, starts[: len(starts) - len(held)], held, maximum)
    return began, (texts.complete(event) for events in reversed(held) for event in events)


def _texts_before(
    reader: RecordingReader, starts: Sequence[int], held: list[list[ev.Event]], maximum: int
) -> SentTexts:
    """Texts to which statements of ``held`` refer, from the blocks before them: of the last
    ``maximum`` bytes.
    """
    absent = _absent_digests(event for events in reversed(held) for event in events)
    texts: list[ev.Event] = []  # newest first
    weight = 0
    for offset in reversed(starts):
        if not absent or weight >= maximum:
            break
        block = _block(reader, offset)
        weight += len(block.raw or b"")
        for event in reversed(list(_events(block))):
            if isinstance(event, ev.Statement) and event.sent:
                digest = ev.digest_of(event.sent.encode())
                if digest in absent:
                    absent.discard(digest)
                    texts.append(event)
    before = SentTexts()
    for event in reversed(texts):
        before.complete(event)
    return before


def _absent_digests(events: Iterable[ev.Event]) -> set[bytes]:
    """Of the texts that these events refer to, those that none before the reference has."""
    absent, present = set[bytes](), set[bytes]()
    for event in events:
        if isinstance(event, ev.Statement):
            present.add(ev.digest_of(event.sent.encode()))
            if event.sent_digest and event.sent_digest not in present:
                absent.add(event.sent_digest)
    return absent


def _block(reader: RecordingReader, offset: int) -> Block:
    block = next(reader.blocks_from(offset), None)
    if block is None or block.raw is None or block.computed_hash() != block.hash:
        raise RecordingError(
            f"the recording {reader.path} is damaged at byte {offset}; see 'sallyport audit verify'"
        )
    return block


def _events(block: Block) -> Iterator[ev.Event]:
    """Without what a page of statements does not show: replies would take memory for nothing."""
    try:
        for raw in block.split():
            for event in ev.spelled_out(ev.decode_event(raw)):
                if not isinstance(event, ev.Reply | ev.CopyIn):
                    yield event
    except msgspec.DecodeError:
        raise RecordingError(
            "the recording holds an event that this version of Sallyport does not know"
        ) from None
