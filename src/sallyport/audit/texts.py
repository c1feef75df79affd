"""What of a session's statements goes to the index, so that people find the session by text and
relation: few, short, each once.

The recording has every statement as it was sent; the index has texts in one line, of the first
statement with this text, verdict and relations. Bounds of one session: ``TEXTS`` texts of
``LONGEST`` characters, ``CHARACTERS`` altogether. What goes past them is in the recording only, and
``whole`` says so. Bind values and results never reach the index.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sallyport.audit.ports import StatementText, one_line
from sallyport.session.ports import RecordedVerdict

TEXTS: Final = 1000
LONGEST: Final = 4000
CHARACTERS: Final = 1 << 20


class _Chosen(NamedTuple):
    number: int
    sql: str
    outcome: str
    relations: tuple[str, ...]


class StatementTexts:
    """Of one session. ``whole``: nothing was left out.

    ``offered``: number, text (bytes: as the client sent it) and verdict of statements that are
    still to be chosen from. Any thread may append to it; the one that takes does the choosing.
    """

    __slots__ = ("_characters", "_chosen", "_seen", "offered", "whole")

    def __init__(self) -> None:
        self.whole = True
        self.offered: list[tuple[int, str | bytes, RecordedVerdict]] = []
        self._seen: set[int] = set()
        self._characters = 0
        self._chosen: list[_Chosen] = []

    def add(self, number: int, sql: str, outcome: str, relations: tuple[str, ...]) -> bool:
        """Choose the statement unless there was one like it. False once a bound was passed: there
        is no need to add more, the recording is read then.
        """
        key = hash((sql, outcome, relations))
        if key in self._seen:
            return True
        if len(self._seen) >= TEXTS or self._characters >= CHARACTERS:
            self.whole = False
            self._seen.clear()
            self._characters = CHARACTERS
            return False
        self._seen.add(key)
        self._characters += min(len(sql), LONGEST)
        self._chosen.append(_Chosen(number, sql, outcome, relations))
        return True

    def take(self) -> list[StatementText]:
        """Those that were chosen since the last call, from what was offered too."""
        self._choose()
        count = len(self._chosen)
        texts = []
        for chosen in self._chosen[:count]:
            text = one_line(chosen.sql[: 4 * LONGEST])
            if len(text) > LONGEST or len(chosen.sql) > 4 * LONGEST:
                self.whole = False
            texts.append(
                StatementText(chosen.number, chosen.outcome, text[:LONGEST], chosen.relations)
            )
        del self._chosen[:count]
        return texts

    def _choose(self) -> None:
        offered = self.offered
        count = len(offered)
        for number, sql, verdict in offered[:count]:
            text = sql if isinstance(sql, str) else sql.decode("utf-8", "replace")
            if not self.add(number, text, verdict.outcome, verdict.relations):
                break
        del offered[:count]
