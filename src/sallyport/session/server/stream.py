"""What a session remembers of the server's bytes between two reads: an incomplete message, a long
row, a withheld result.
"""

from __future__ import annotations

from typing import NamedTuple

from sallyport.masking.long_row import LongRow
from sallyport.session.server.entries import Entry


class Completion(NamedTuple):
    """A statement has ended. ``tag``: of CommandComplete. ``sqlstate``: "" on success."""

    entry: Entry
    tag: str
    sqlstate: str


class ServerStream:
    """``received``: the beginning of a message that is not complete, of which ``needed`` bytes must
    be there before it is worth looking at.

    ``long_left``: bytes of a row that is too long for memory and still to come; ``long_dropped``:
    they do not reach the client; ``long_row``: they are being masked. ``deferred``: what the
    gateway says to the client once they have passed. ``withholding``: a result was withheld;
    nothing reaches the client until ReadyForQuery. ``substitute``: what a handler gives the client
    in place of what it withheld. ``completed``: the statement that has just ended.
    """

    __slots__ = (
        "completed",
        "deferred",
        "long_dropped",
        "long_left",
        "long_row",
        "needed",
        "received",
        "substitute",
        "withholding",
    )

    def __init__(self) -> None:
        self.received = bytearray()
        self.needed = 0
        self.long_left = 0
        self.long_dropped = False
        self.long_row: LongRow | None = None
        self.deferred = b""
        self.withholding = False
        self.substitute = b""
        self.completed: Completion | None = None

    @property
    def is_inside_row(self) -> bool:
        """Whether the client has got a part of a row: nothing can be said to it before the rest."""
        return bool(self.long_left) and not self.long_dropped

    @property
    def is_between_answers(self) -> bool:
        """Nothing of an answer is kept or still to come."""
        return not (
            self.received
            or self.long_left
            or self.deferred
            or self.withholding
            or self.substitute
            or self.completed
        )
