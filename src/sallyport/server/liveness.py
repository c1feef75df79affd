"""How long nothing has happened in a session, and whether its target still answers."""

from __future__ import annotations

from time import monotonic

from sallyport.server.peers import PeerState, PeerWatch
from sallyport.server.upstream import UpstreamLink
from sallyport.session.client.input import Blocked
from sallyport.session.machine import Session
from sallyport.session.server.entries import Entry


class Liveness:
    """Of one session, asked every second or so. ``seconds``: how long a target may leave what was
    sent to it unacknowledged, or a refused statement unanswered.
    """

    __slots__ = (
        "_active",
        "_link",
        "_progress",
        "_refused",
        "_refused_since",
        "_seconds",
        "_session",
        "_watch",
    )

    def __init__(self, session: Session, link: UpstreamLink, seconds: float) -> None:
        self._session = session
        self._link = link
        self._seconds = seconds
        self._watch = PeerWatch(link.transport, seconds)
        self._active = monotonic()
        self._progress: tuple[int, ...] = ()
        # the refused statement whose answer is due, and since when
        self._refused: Entry | None = None
        self._refused_since = 0.0

    def idle_seconds(self, now: float) -> float:
        """How long nothing has happened. ``now``: of the monotonic clock."""
        session = self._session
        entries = session.pipeline.entries
        progress = (session.number, session.counters.bytes, session.client_backlog, len(entries))
        if progress != self._progress or entries or session.blocked is Blocked.APPROVAL:
            self._progress, self._active = progress, now
        return now - self._active

    def is_target_silent(self) -> bool:
        return self._watch.state() is PeerState.VANISHED or self._is_refusal_overdue()

    def _is_refusal_overdue(self) -> bool:
        """What takes the place of a refused statement fails at once. Where it does not, the target
        answers nothing at all, and neither does the refusal reach the client.
        """
        oldest = self._session.pipeline.oldest
        refused = oldest if oldest is not None and oldest.refused_now else None
        if refused is None or refused is not self._refused:
            self._refused, self._refused_since = refused, monotonic()
            return False
        return monotonic() - self._refused_since >= self._seconds
