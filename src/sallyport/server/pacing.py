"""Back-pressure: which of a session's two sides is not read at the moment, and why.

A client that does not read stops the reading of its target, a target that does not read stops the
reading of its client, and a recorder that falls behind stops both. Each reason comes and goes by
itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import IntFlag
from typing import Protocol

from sallyport.audit.recorder import Recorder
from sallyport.audit.recording import SessionRecording
from sallyport.server.limits import GatewayLimits
from sallyport.server.ports import ClientPort
from sallyport.server.upstream import UpstreamLink

#: Seconds between two looks at a recorder that is behind.
_BACKLOG_POLL = 0.005


class PauseReason(IntFlag):
    """Why a side is not read."""

    NONE = 0
    SERVER_SLOW = 1  # the client: its target does not read
    SESSION_WAITS = 2  # the client: it has sent enough for a session that waits
    RECORDER_SLOW = 4  # both
    CLIENT_SLOW = 8  # the target: its client does not read
    CANCELLING = 16  # the target: a CancelRequest is on its way there


class LaneHold(Protocol):
    """What reads both sides in place of their transports while it ``is_inside``."""

    @property
    def is_inside(self) -> bool: ...

    def hold(self, hold: bool) -> None:
        """Read nothing for the time being, or again."""


class Pacing:
    """Of one session. ``recorder``: of all sessions. ``on_unrecordable``: called once when this
    session's recording fails while it is waited for.
    """

    __slots__ = (
        "_client_reasons",
        "_is_stopped",
        "_limits",
        "_link",
        "_on_unrecordable",
        "_port",
        "_recorder",
        "_recording",
        "_server_reasons",
        "lane",
    )

    def __init__(
        self,
        port: ClientPort,
        link: UpstreamLink,
        recording: SessionRecording,
        recorder: Recorder,
        limits: GatewayLimits,
        on_unrecordable: Callable[[], None],
    ) -> None:
        self._port = port
        self._link = link
        self._recording = recording
        self._recorder = recorder
        self._limits = limits
        self._on_unrecordable = on_unrecordable
        self._client_reasons = self._server_reasons = PauseReason.NONE
        self._is_stopped = False
        self.lane: LaneHold | None = None

    @property
    def is_paused(self) -> bool:
        """Whether one of the sides is not read."""
        return bool(self._client_reasons or self._server_reasons)

    @property
    def is_cancelling(self) -> bool:
        """Whether a CancelRequest is on its way to the target."""
        return PauseReason.CANCELLING in self._server_reasons

    def pause_client(self, reason: PauseReason, pause: bool) -> None:
        """Read the client only while there is no reason not to."""
        before = self._client_reasons
        self._client_reasons = before | reason if pause else before & ~reason
        if bool(before) is not bool(self._client_reasons):
            (self._port.pause if pause else self._port.resume)()

    def pause_server(self, reason: PauseReason, pause: bool) -> None:
        """Read the target only while there is no reason not to."""
        before = self._server_reasons
        self._server_reasons = before | reason if pause else before & ~reason
        if bool(before) is not bool(self._server_reasons):
            (self._link.pause if pause else self._link.resume)()

    def check_recorder(self) -> None:
        """Read nothing more while the recorder is too far behind."""
        if not self._is_behind(1) or PauseReason.RECORDER_SLOW in self._client_reasons:
            return
        if self.lane is not None and self.lane.is_inside:
            self.lane.hold(True)
        else:
            self.pause_for_recorder()
        asyncio.get_running_loop().call_later(_BACKLOG_POLL, self._poll_recorder)

    def pause_for_recorder(self) -> None:
        """Read neither side until the recorder has caught up, which is being watched."""
        self.pause_server(PauseReason.RECORDER_SLOW, True)
        self.pause_client(PauseReason.RECORDER_SLOW, True)

    def stop(self) -> None:
        """The session has ended."""
        self._is_stopped = True

    def _is_behind(self, part: int) -> bool:
        """Whether more is waiting to be written than a ``part`` of what may be."""
        limits = self._limits
        return (
            self._recording.backlog > limits.session_backlog_bytes // part
            or self._recorder.backlog > limits.recorder_backlog_bytes // part
        )

    def _poll_recorder(self) -> None:
        if self._is_stopped:
            return
        if self._recording.failed:  # what comes now could not be recorded, so it must not be seen
            self._on_unrecordable()
            return
        if self._is_behind(2):
            asyncio.get_running_loop().call_later(_BACKLOG_POLL, self._poll_recorder)
            return
        if self.lane is not None:
            self.lane.hold(False)
        self.pause_server(PauseReason.RECORDER_SLOW, False)
        self.pause_client(PauseReason.RECORDER_SLOW, False)
