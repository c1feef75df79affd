"""Short messages between the processes that share one store: workers of a machine, and gateways.

A message only says that something in the store changed, or asks every process to act on a session
that one of them holds; what must not be lost stands in the store itself. Delivery is at most once
and unordered across topics. A process that was cut off cannot know what it missed, so it is told
by ``resume`` to read the store again.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Final, Protocol

#: The most bytes of one message: PostgreSQL's NOTIFY takes a payload below 8000 bytes.
MAXIMUM_BODY: Final = 6000


class Topic(enum.StrEnum):
    """What a message is about; its body is UTF-8 text that the topic's users define."""

    LOCKS = "locks"
    POLICY = "policy"
    APPROVALS = "approvals"
    SESSION_END = "session_end"
    SESSION_TOKENS = "session_tokens"
    LOGOUTS = "logouts"
    CONTAINMENTS = "containments"
    FINDINGS = "findings"
    CANCEL = "cancel"
    CATALOG = "catalog"


class Announcements(Protocol):
    """One process's end. ``publish`` is for any thread, the rest for the event loop's."""

    def publish(self, topic: Topic, body: str) -> None:
        """Tell every other process, not this one. Returns at once. Raises ValueError when ``body``
        has more than :data:`MAXIMUM_BODY` bytes.
        """

    def subscribe(self, topic: Topic, receive: Callable[[str], None]) -> None:
        """Call ``receive`` in the event loop with each body that others publish."""

    def on_resume(self, reload: Callable[[], None]) -> None:
        """Call ``reload`` in the event loop after a time in which messages may have been lost."""


class JoinedAnnouncements:
    """Several ways to the other processes, of which each reaches others: by the supervisor to the
    workers beside this one, and by the store to the processes of other gateways.
    """

    def __init__(self, *ways: Announcements) -> None:
        self._ways: Sequence[Announcements] = ways

    def publish(self, topic: Topic, body: str) -> None:
        """See :class:`Announcements`."""
        for way in self._ways:
            way.publish(topic, body)

    def subscribe(self, topic: Topic, receive: Callable[[str], None]) -> None:
        """See :class:`Announcements`."""
        for way in self._ways:
            way.subscribe(topic, receive)

    def on_resume(self, reload: Callable[[], None]) -> None:
        """See :class:`Announcements`."""
        for way in self._ways:
            way.on_resume(reload)
