"""Texts that ran in a statement's place: a recording has each of them once, and then its digest.

The first statement with such a text has it (``sent``); later ones have the SHA-256 of its UTF-8
(``sent_digest``). They refer to one of the last texts that ``sent`` had: of at most
:data:`~sallyport.audit.chunks.MOST_SENT` texts and
:data:`~sallyport.audit.chunks.MOST_SENT_BYTES` bytes together, counted back from the newest. A text
of more than :data:`~sallyport.audit.events.LONGEST_SENT` bytes is not counted, and stands in each
statement. So a reader has to keep no more than that. Statements that stand in no recording yet
(those of the journal) have the text itself.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from sallyport.audit.chunks import MOST_SENT, MOST_SENT_BYTES
from sallyport.audit.events import Event, Statement, digest_of

#: In place of a text that was dropped with events that a gap of the recording counts, or stands so
#: far back that it was not looked for.
ABSENT: Final = "[not in what was read of the recording]"


class SentTexts:
    """Those of one recording that were read so far."""

    def __init__(self) -> None:
        self._texts: dict[bytes, bytes] = {}  # oldest first
        self._size = 0

    def complete(self, event: Event) -> Event:
        """The event with the text that ran, if it is a statement. To be called in order."""
        if not isinstance(event, Statement):
            return event
        if event.sent_digest:
            text = self._texts.get(event.sent_digest)
            return replace(event, sent=ABSENT if text is None else text.decode())
        text = event.sent.encode()
        if digest := digest_of(text):
            self._size += len(text) - len(self._texts.pop(digest, b""))
            self._texts[digest] = text
            while len(self._texts) > MOST_SENT or self._size > MOST_SENT_BYTES:
                self._size -= len(self._texts.pop(next(iter(self._texts))))
        return event
