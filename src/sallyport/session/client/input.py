"""What a client sent and is not handled yet, and why it is not."""

from __future__ import annotations

from enum import Enum


class Blocked(Enum):
    """Why the client's next message is not read."""

    NO = "it is read"
    REFRESH = "the catalog is read again"
    PUBLISH = "the catalog is read again for every session, and the answer waits for that"
    JUDGE = "a text is judged on another thread"
    APPROVAL = "a held statement waits for people"
    RENEWAL = "a fresh token is checked"
    DRAIN = "every outstanding answer must be there first"
    STEP = "the answers up to the last Sync must be there first"
    COPY = "a COPY that may begin would read the message"
    PROBE = "the server is asked for its search_path"
    SERIES = "the statements of one message are sent one by one"
    CANCEL = "a CancelRequest is on its way to the server"


_READ = Blocked.NO
#: What the owner was asked for, and ends with ``Session.resume``.
_COMMANDS = frozenset(
    {Blocked.REFRESH, Blocked.PUBLISH, Blocked.JUDGE, Blocked.APPROVAL, Blocked.RENEWAL}
)


class ClientInput:
    """``received``: bytes that wait. ``blocked``: what the session waits for. ``holds``: that many
    CancelRequests are on their way to the server and could hit whatever is forwarded; they come and
    go beside ``blocked``. ``is_canceled``: the message that is read next was canceled while it
    waited.
    """

    __slots__ = ("blocked", "holds", "is_canceled", "received")

    def __init__(self) -> None:
        self.received = bytearray()
        self.blocked = Blocked.NO
        self.holds = 0
        self.is_canceled = False

    @property
    def is_open(self) -> bool:
        """Whether what comes now is read at once."""
        return self.blocked is _READ and not self.holds and not self.received

    @property
    def may_continue(self) -> bool:
        """Whether bytes wait that can be read now."""
        return bool(self.received) and self.blocked is _READ and not self.holds

    @property
    def awaits_owner(self) -> bool:
        """Whether the owner was asked for something that is not done yet."""
        return self.blocked in _COMMANDS

    @property
    def next_message(self) -> int | None:
        """Type of the message that is read next, where all of it is here."""
        data = self.received
        return data[0] if len(data) > 4 and len(data) > int.from_bytes(data[1:5], "big") else None

    @property
    def reason(self) -> Blocked:
        """Why the next message is not read."""
        return Blocked.CANCEL if self.holds and self.blocked is Blocked.NO else self.blocked

    def unblock(self) -> None:
        self.blocked = Blocked.NO
