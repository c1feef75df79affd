# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""The sockets of sessions in the lane (:mod:`sallyport.server.lane`), and what watches them. Exists
compiled only (types in ``lane_legs.pxd``).

Source: epoll(7).
"""

from __future__ import annotations

from typing import Any

from sallyport.server.plain import PlainTraffic
from sallyport.wire.frames import Output

try:
    import cython
except ImportError:
    from sallyport.wire import interpreted as cython

if not cython.compiled:
    # C functions that lane_legs.pxd imports; only ever called by compiled code.
    EPOLL_CLOEXEC: Any = None
    EPOLL_CTL_ADD: Any = None
    EPOLL_CTL_MOD: Any = None
    EPOLL_CTL_DEL: Any = None
    EPOLLIN: Any = None
    EPOLLOUT: Any = None
    epoll_create1: Any = None
    epoll_ctl: Any = None
    errno: Any = None
    close: Any = None
    PyBytes_FromStringAndSize: Any = None

#: Bytes of a buffer that an idle leg keeps.
_KEPT = 16384
#: Bytes that wait for the journal, beyond which their client is not read.
MOST_KEPT = 65536


class Leg:
    """One socket of a session. ``out``: what it did not take yet, from ``out_start`` on, as it goes
    over the network. ``tls``: None where that is plaintext.
    """

    def __init__(self, fd: int, is_client: bool, tls: Any) -> None:
        self.fd = fd
        self.is_client = is_client
        self.tls = tls
        self.out = Output(0)
        self.out_start = 0
        self.part = Output(0)  # what was read of a request or answer that is not whole
        self.kept: Any = None  # of the server's: what waits for the journal, before encryption
        self.events = 0  # that it is watched for
        self.watched = False
        self.session: Any = None
        self.other: Any = None

    def take(self) -> bytes:
        """What is left of ``out``, which is empty then."""
        start = self.out_start
        rest = PyBytes_FromStringAndSize(
            cython.cast("const char *", self.out.data) + start, self.out.n - start
        )
        self.empty()
        return rest  # type: ignore[no-any-return]

    def begin(self) -> int:
        """What was in ``part`` is read again; its memory is kept where it is little."""
        if self.part.capacity > _KEPT:
            self.part = Output(0)
        self.part.n = 0
        return 0

    def empty(self) -> int:
        """Nothing of ``out`` is left; its memory is kept where it is little."""
        if self.out.capacity > _KEPT:
            self.out = Output(0)
        self.out.n = 0
        self.out_start = 0
        return 0


class LaneSession:
    """One session in the lane. ``client_tls``, ``server_tls``: of its legs, past the handshake."""

    def __init__(
        self,
        lane: LegWatcher,
        owner: Any,
        traffic: PlainTraffic,
        client_fd: int,
        server_fd: int,
        client_tls: Any = None,
        server_tls: Any = None,
    ) -> None:
        self.lane = lane
        self.owner = owner
        self.traffic = traffic
        self.client = Leg(client_fd, True, client_tls)
        self.server = Leg(server_fd, False, server_tls)
        self.client.other = self.server
        self.server.other = self.client
        self.client.session = self.server.session = self
        self.inside = False
        self.held = False
        self.waits = False  # for the journal
        self.tell_at = 0  # bytes that were recorded when its owner is to be told again

    def enter(self) -> None:
        """Take the sockets over. The session is plain, and neither transport reads or has anything
        to write.

        Raises OSError, and then nothing was taken.
        """
        self.traffic.begin()
        self.lane.watch(self.client, EPOLLIN)
        try:
            self.lane.watch(self.server, EPOLLIN)
        except OSError:
            self.lane.unwatch(self.client)
            raise
        self.inside = True

    def leave(self, from_client: bytes = b"", from_server: bytes = b"") -> None:
        """Give the sockets back; does nothing outside the lane."""
        if not self.inside:
            return
        self.inside = self.held = self.waits = False
        lane = self.lane
        lane.unwatch(self.client)
        lane.unwatch(self.server)
        part = self.client.part
        if part.n:
            from_client = part.finish() + from_client
            part.n = 0
        part = self.server.part
        if part.n:
            from_server = part.finish() + from_server
            part.n = 0
        lane.left.append(self)  # events of this round may still point at its legs
        try:
            self.traffic.leave()
        finally:  # its sockets are read again, or nobody would see its end
            kept, self.server.kept = self.server.kept, None
            self.owner.lane_left(
                from_client,
                from_server,
                self.client.take(),
                self.server.take(),
                b"" if kept is None else kept.finish(),
            )

    def hold(self, hold: bool) -> None:
        """Read neither socket for the time being, or again."""
        if self.inside and self.held != hold:
            self.held = hold
            self.lane.rewatch(self.client)
            self.lane.rewatch(self.server)

    @property
    def backlog(self) -> int:
        """Bytes of a request that is not whole."""
        return self.client.part.n

    @property
    def is_idle(self) -> bool:
        """Nothing is outstanding, and everything was handed to the network."""
        if self.traffic.pending or self.waits:
            return False
        return not self.client.out.n and not self.server.out.n


class LegWatcher:
    """An epoll descriptor for legs. ``left``: sessions that have left since it was asked last, to
    whose legs events may still point. Raises OSError.
    """

    event: Any  # epoll_event when compiled

    def __init__(self) -> None:
        self.descriptor = epoll_create1(EPOLL_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(errno, "no epoll descriptor")
        self.left: list[Any] = []

    def __dealloc__(self) -> None:
        if self.descriptor >= 0:
            close(self.descriptor)

    def watch(self, leg: Leg, events: int) -> int:
        """Watch a leg for these events. Raises OSError."""
        operation = EPOLL_CTL_MOD if leg.watched else EPOLL_CTL_ADD
        self.event.events = events
        self.event.data.ptr = cython.cast("void *", leg)
        if epoll_ctl(self.descriptor, operation, leg.fd, cython.address(self.event)) < 0:
            raise OSError(errno, "a socket cannot be watched")
        leg.watched = True
        leg.events = events
        return 0

    def rewatch(self, leg: Leg) -> int:
        """Read it unless the other one does not take what is written, or nothing is to be read;
        write when something is left.
        """
        session: LaneSession = leg.session
        events = 0
        if not session.held and leg.other.out.n == 0:
            waiting: Any = leg.other.kept
            if waiting is None or waiting.n <= MOST_KEPT:
                events = EPOLLIN
        if leg.out.n:
            events |= EPOLLOUT
        if events != leg.events:
            self.watch(leg, events)
        return 0

    def unwatch(self, leg: Leg) -> int:
        if leg.watched:
            leg.watched = False
            leg.events = 0
            epoll_ctl(self.descriptor, EPOLL_CTL_DEL, leg.fd, cython.NULL)
        return 0
