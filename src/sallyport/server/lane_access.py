"""A hosted session's way into the lane and out of it.

A session is in the lane while its traffic is plain. Whoever wants to do anything to it but look
calls :meth:`LaneAccess.leave` first; to look at its numbers, :meth:`LaneAccess.sync`.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from sallyport.core.errors import CONNECT_AND_TELL, ProtocolError, Refusal, refuse
from sallyport.judge import Verdict
from sallyport.server.lane import Lane
from sallyport.server.lane_legs import LaneSession
from sallyport.server.pacing import Pacing
from sallyport.server.plain import PlainTraffic
from sallyport.server.ports import ClientPort
from sallyport.server.upstream import UpstreamLink
from sallyport.session.machine import Session

log = structlog.get_logger("sallyport.lane")

LANE_FAILED = refuse(
    "SP1804",
    "the gateway failed while an answer passed",
    hint=CONNECT_AND_TELL,
)


class LaneHost(Protocol):
    """Whose session it is: :class:`sallyport.server.host.SessionHost`."""

    @property
    def session(self) -> Session: ...

    @property
    def is_plain(self) -> bool:
        """Whether its traffic may pass the lane."""

    def receive(self, data: bytes) -> None:
        """Bytes from the client, in order."""

    def receive_from_server(self, data: bytes) -> None:
        """Bytes from the target, in order."""

    def client_lost(self, is_silent: bool) -> None:
        """The client's connection is gone."""

    def fault(self, message: str, detail: str) -> None:
        """The gateway and the server disagree: nothing more may pass."""

    def not_journaled(self) -> None:
        """What was to be sent last could not be journaled, so it was not sent."""

    def shut(self, refusal: Refusal, reason: str) -> None:
        """End the session, telling the client why."""


class LaneAccess:
    """Of one session. Implements :class:`~sallyport.server.ports.LaneOwner`."""

    __slots__ = ("_host", "_is_due", "_is_held", "_lane_session", "_link", "_pacing", "_port")

    def __init__(
        self, lane: Lane, host: LaneHost, port: ClientPort, link: UpstreamLink, pacing: Pacing
    ) -> None:
        self._host, self._port, self._link, self._pacing = host, port, link, pacing
        traffic = PlainTraffic(host.session, lane.scratch)
        self._lane_session = LaneSession(
            lane, self, traffic, port.lane_descriptor, link.lane_descriptor, port.tls, link.tls
        )
        self._is_due = False  # to enter at the next turn of the event loop
        self._is_held = False  # nothing is read for the time being

    @property
    def is_inside(self) -> bool:
        return bool(self._lane_session.inside)

    @property
    def is_idle(self) -> bool:
        """Outside the lane, or nothing is outstanding in it and everything was handed to the
        network.
        """
        return not self._lane_session.inside or self._lane_session.is_idle

    @property
    def backlog(self) -> int:
        """Bytes received from the client and not handled: of a request that is not whole."""
        return self._lane_session.backlog

    def consider(self) -> None:
        """The session may have become plain: enter it once what it wrote has gone out."""
        if not self._is_due and not self._lane_session.inside and self._host.is_plain:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._enter)

    def _enter(self) -> None:
        self._is_due = False
        port, link = self._port, self._link
        if self._lane_session.inside or not self._host.is_plain or self._pacing.is_paused:
            return
        if port.unsent or link.unsent or port.lane_descriptor < 0 or link.lane_descriptor < 0:
            return
        port.pause()
        link.pause()
        try:
            self._lane_session.enter()
        except OSError as error:
            log.warning("a session cannot enter the lane", reason=error.strerror)
            port.resume()
            link.resume()

    def sync(self) -> None:
        """Bring the session's numbers up to date."""
        if self._lane_session.inside:
            self._lane_session.traffic.sync()

    def running_rows(self) -> tuple[Verdict, int, int, int] | None:
        """Of a large result that is passing: its verdict, its statement's number, and its rows and
        their bytes so far. None when there is none in the lane.
        """
        pending = self._lane_session.traffic.first if self._lane_session.inside else None
        if pending is None or not pending.flows:
            return None
        return pending.statement.verdict, pending.number, pending.rows, pending.size

    def leave(self) -> None:
        """The session is the host's again. Nothing happens outside the lane."""
        self._lane_session.leave()

    def hold(self, hold: bool) -> None:
        """Read nothing for the time being, or again."""
        self._is_held = hold
        self._lane_session.hold(hold)

    # -- called by the lane ------------------------------------------------------------------------

    def lane_left(
        self,
        from_client: bytes,
        from_server: bytes,
        to_client: bytes,
        to_server: bytes,
        unjournaled: bytes,
    ) -> None:
        """See :class:`~sallyport.server.ports.LaneOwner`."""
        host = self._host
        if to_server:
            self._link.write_encrypted(to_server)
        if unjournaled:
            self._link.write(unjournaled)
        if to_client:
            self._port.write_encrypted(to_client)
        self._link.resume()
        self._port.resume()
        if self._is_held:
            self._is_held = False
            self._pacing.pause_for_recorder()
        if from_client:
            host.receive(from_client)
        if from_server:
            host.receive_from_server(from_server)

    def lane_recorded(self) -> None:
        """See :class:`~sallyport.server.ports.LaneOwner`."""
        self._pacing.check_recorder()

    def lane_unjournaled(self) -> None:
        """See :class:`~sallyport.server.ports.LaneOwner`."""
        self._host.not_journaled()

    def lane_failed(self, error: OSError, is_client: bool) -> None:
        """See :class:`~sallyport.server.ports.LaneOwner`."""
        is_silent = isinstance(error, TimeoutError)  # ETIMEDOUT: keepalive
        if is_client:
            self._host.client_lost(is_silent)
        else:
            self._link.is_silent = is_silent
            self._link.abort()

    def lane_broken(self, error: Exception) -> None:
        """See :class:`~sallyport.server.ports.LaneOwner`."""
        if isinstance(error, ProtocolError):
            self._host.fault("the server's answer is not valid in the protocol", str(error))
            return
        log.error("the lane failed", error=type(error).__name__, exc_info=error)
        self._host.shut(LANE_FAILED, "the gateway failed")
