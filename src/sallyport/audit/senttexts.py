"""Texts that ran in a statement's place: a recording has each of them once, and then its digest.

The first statement with such a text has it (``sent``); later ones have the first 16 bytes of its
SHA-256 (``sent_digest``), as long as it is among the last :data:`~sallyport.audit.chunks.MOST_SENT`
and has at most :data:`~sallyport.audit.events.LONGEST_SENT` bytes. So a reader has to keep that
many. Statements that stand in no recording yet (those of the journal) have the text itself.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from sallyport.audit.chunks import MOST_SENT
from sallyport.audit.events import Event, Statement, digest_of

#: In place of a text that was dropped with events that a gap of the recording counts, or stands so
#: far back that it was not looked for.
ABSENT: Final = "[not in what was read of the recording]"


class SentTexts:
    """Those of one recording that were read so far."""

    def __init__(self) -> None:
        self._texts: dict[bytes, str] = {}  # oldest first

    def complete(self, event: Event) -> Event:
        """The event with the text that ran, if it is a statement. To be called in order."""
        if not isinstance(event, Statement):
            return event
        if event.sent_digest:
            return replace(event, sent=self._texts.get(event.sent_digest, ABSENT))
        if digest := digest_of(event.sent):
            self._texts.pop(digest, None)
            self._texts[digest] = event.sent
            if len(self._texts) > MOST_SENT:
                del self._texts[next(iter(self._texts))]
        return event
