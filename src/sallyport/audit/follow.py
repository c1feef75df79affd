"""Reads a recording while it grows: what was read once is not read again.

A :class:`RecordingTail` keeps where it stopped and the hash of the last block, not an open file.
Every call of :meth:`RecordingTail.read`, to be read to its end, gives the events of the blocks that
came since, checked as :func:`sallyport.audit.verify.read_events` checks them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from sallyport.audit import events as ev
from sallyport.audit.archive import RecordingError
from sallyport.audit.blocks import Block
from sallyport.audit.keyfiles import KeyState
from sallyport.audit.keys import NO_KEYS, KeyRing
from sallyport.audit.reader import RecordingReader
from sallyport.audit.senttexts import SentTexts


class RecordingTail:
    """``path``: the recording of ``session_id``. ``keys``: decrypt it. ``texts``: whether a
    statement gets the text that ran in its place where that stands further up, which takes memory
    while the tail lives; otherwise it has the digest alone. ``problem``: what is wrong with it, or
    why it cannot be decrypted, "" so far; nothing is read behind that.
    """

    def __init__(
        self, path: Path, session_id: str, keys: KeyRing = NO_KEYS, *, texts: bool = True
    ) -> None:
        self.path = path
        self.keys = keys
        self.problem = ""
        self.session_id = session_id
        self._offset = 0  # 0: nothing was read yet
        self._sequence = 0
        self._previous = b""
        self._texts = SentTexts() if texts else None

    def read(self) -> Iterator[ev.Event]:
        """Events since the last call. An incomplete block at the end is left for the next one.
        Raises RecordingError when the file cannot be opened.
        """
        if self.problem:
            return
        with RecordingReader(self.path, self.keys) as reader:
            if not reader.belongs_to(self.session_id):
                owner = reader.session_id
                raise RecordingError(f"{self.path} belongs to session {owner!r}")
            if reader.key is not None and reader.key.state is not KeyState.OPEN:
                self.problem = reader.key.text
                return
            if not self._offset:
                self._offset, self._previous = reader.first, reader.genesis
            for block in reader.blocks_from(self._offset):
                events = self._events(block)
                if self.problem:
                    return
                self._offset = reader.position
                yield from events
            if reader.damaged is not None:
                self.problem = f"no block begins at byte {reader.damaged}"

    def _events(self, block: Block) -> list[ev.Event]:
        """All of the block at once, so that it is read whole or not at all."""
        if (
            block.computed_hash() != block.hash
            or block.sequence != self._sequence
            or block.previous != self._previous
        ):
            self.problem = f"block {self._sequence} does not continue the one before it"
            return []
        if block.raw is None:
            self.problem = f"block {self._sequence} was not encrypted with this recording's key"
            return []
        try:
            decoded = map(ev.decode_event, block.split())
            if self._texts is not None:
                decoded = map(self._texts.complete, decoded)
            events = [event for stored in decoded for event in ev.spelled_out(stored)]
        except msgspec.DecodeError:
            self.problem = f"block {self._sequence} holds an event that this version does not know"
            return []
        self._sequence, self._previous = block.sequence + 1, block.hash
        return events
