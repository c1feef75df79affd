"""What of a session's statements goes to the index, so that people find the session by text and relation: few, short, each once.

The recording has every statement as it was sent; the index has texts in one line, of the first statement with this text, verdict and
relations. Bounds of one session: ``TEXTS`` texts of ``LONGEST`` characters, ``CHARACTERS`` altogether. What goes past them is in the
recording only, and ``whole`` says so. Bind values and results never reach the index.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sallyport.audit import events as ev
from sallyport.audit.ports import StatementText, one_line

TEXTS: Final = 1000
LONGEST: Final = 4000
CHARACTERS: Final = 1 << 20


class StatementTexts:
    """Of one session; used by the recorder's thread alone. ``whole``: nothing was left out."""

    __slots__ = ("_characters", "_seen", "whole")

    def __init__(self) -> None:
        self.whole = True
        self._seen: set[int] = set()
        self._characters = 0

    def new(self, events: Iterable[ev.RawEvent]) -> list[StatementText]:
        """Those among the recorded events that were not seen before. Nothing once a bound was passed: the recording is read then."""
        found: list[StatementText] = []
        for event in events:
            if event[0] != ev.STATEMENT:
                continue
            sql, outcome, relations = event[3], event[4], event[12]
            key = hash((sql, outcome, relations))
            if key in self._seen:
                continue
            if len(self._seen) >= TEXTS or self._characters >= CHARACTERS:
                self.whole = False
                return found
            text = one_line(sql[: 4 * LONGEST])
            self.whole = self.whole and len(text) <= LONGEST and len(sql) <= 4 * LONGEST
            self._seen.add(key)
            self._characters += min(len(text), LONGEST)
            found.append(StatementText(event[2], outcome, text[:LONGEST], relations))
        return found
