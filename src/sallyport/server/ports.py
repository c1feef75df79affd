"""What the parts of the server ask of each other, as Protocols: a session's client, and the session
that the gateway keeps.
"""

from __future__ import annotations

from typing import Protocol

from sallyport.core.errors import Refusal
from sallyport.core.subject import Subject
from sallyport.server.arrivals import Arrival
from sallyport.server.peers import PeerState
from sallyport.server.tls import TlsLayer
from sallyport.session.held import WatchHold
from sallyport.session.machine import Session
from sallyport.watch.intake import Observation


class ClientPort(Protocol):
    """The client of a hosted session: a TCP connection, or a program in this process.

    Its bytes go to :meth:`~sallyport.server.host.SessionHost.receive`, its end to
    :meth:`~sallyport.server.host.SessionHost.end`. Every call is cheap and does not block; none of
    them raises once the client has gone.
    """

    def write(self, data: bytes | bytearray) -> None:
        """Send to the client, after what was sent before."""

    def pause(self) -> None:
        """Stop handing over what the client sends."""

    def resume(self) -> None:
        """Undo :meth:`pause`."""

    def close(self, *, at_once: bool = False) -> None:
        """Deliver what was written, then close. ``at_once``: nobody is there to read it. Calling it
        again is allowed.
        """

    def peer_state(self) -> PeerState:
        """Whether the client is still there. Asked every second."""

    @property
    def unsent(self) -> int:
        """Bytes that were written and not handed to the network yet."""

    @property
    def lane_descriptor(self) -> int:
        """Number of the socket over which its bytes go; -1 where there is none, or it is
        closing.
        """

    @property
    def tls(self) -> TlsLayer | None:
        """What encrypts them."""

    def write_encrypted(self, data: bytes) -> None:
        """As :meth:`write`, of what goes over the network as it is."""


class LaneOwner(Protocol):
    """Who has a session in the lane (:mod:`sallyport.server.lane`). All calls come on the event
    loop, from within :meth:`~sallyport.server.lane.Lane.poll`.
    """

    def lane_left(
        self,
        from_client: bytes,
        from_server: bytes,
        to_client: bytes,
        to_server: bytes,
        unjournaled: bytes,
    ) -> None:
        """The session is its owner's again. ``from_...``: was read and not handled. ``to_...``: was
        handled, and is still to be written before anything else, as it goes over the network: where
        the leg has TLS, it is encrypted. ``unjournaled``: is for the server behind that, once the
        journal has what the session may change.
        """
        ...

    def lane_recorded(self) -> None:
        """Much was recorded since the recorder last took it: look whether it is behind."""
        ...

    def lane_unjournaled(self) -> None:
        """What was to be sent last could not be journaled, so it never is. The session is still in
        the lane.
        """
        ...

    def lane_failed(self, error: OSError, is_client: bool) -> None:
        """A socket failed; :meth:`lane_left` was called before."""
        ...

    def lane_broken(self, error: Exception) -> None:
        """A fault of the gateway, or rows that do not fit: the session has to end;
        :meth:`lane_left` was called before.
        """
        ...


class Closable(Protocol):
    """Whatever a stopping gateway says goodbye to."""

    def shut(self, refusal: Refusal, reason: str) -> None:
        """End it, telling the client ``refusal``; ``reason`` is for the log and the recording."""


class PendingLogin(Arrival, Closable, Protocol):
    """A connection that has not logged in yet."""


class WatchedSession(Protocol):
    """What watching may ask of a session: :class:`sallyport.server.watch_access.WatchAccess`.

    ``network``: of its client. ``program``: what its client calls itself.
    """

    network: str
    program: str

    def take(self, now: float, *, everything: bool) -> tuple[list[Observation], Observation | None]:
        """What it did since it was last taken, and the large result that is passing. A few
        statements that ran as before may stay for later, unless ``everything`` is asked for. now:
        Unix seconds.
        """

    def hold(self, hold: WatchHold) -> None:
        """Its next statements wait for a person; what runs goes on."""

    def release(self, finding: str) -> None:
        """The finding was acknowledged: nothing waits because of it."""

    def tell(self, text: str, detail: str = "", hint: str = "") -> None:
        """A NOTICE for the client, at a message boundary."""

    def note(self, text: str) -> None:
        """For the session's recording."""


class HostedSession(Closable, Protocol):
    """A session in the gateway's registry: implemented by
    :class:`sallyport.server.host.SessionHost`.

    ``peer``: the client's address, for people. ``entrance``: wire, or mcp.
    """

    peer: str
    entrance: str
    subject: Subject

    @property
    def session(self) -> Session:
        """For looking at it."""

    def leave_lane(self) -> None:
        """Have what comes next judged the general way."""

    @property
    def id(self) -> str:
        """The recording's."""

    @property
    def target(self) -> str:
        """Name of the target."""

    @property
    def started(self) -> float:
        """Unix seconds."""

    @property
    def is_active(self) -> bool:
        """Whether an answer of the target is outstanding."""

    @property
    def is_idle(self) -> bool:
        """Between statements, in no transaction, and everything was handed to the network."""

    @property
    def watched(self) -> WatchedSession | None:
        """For who watches it; None: nobody does."""

    def cancel_requested(self) -> None:
        """The client asked, over another connection, to cancel what runs."""

    def check_peers(self) -> None:
        """End the session when either side has vanished."""

    def check_expiry(self, now: float) -> None:
        """End the session when its token has expired; ``now``: Unix seconds. Asked every second."""

    def check_idle(self, now: float, seconds: float) -> None:
        """End the session when nothing has happened in it for so long; ``now``: of the monotonic
        clock.
        """
