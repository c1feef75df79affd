"""Conversations that pass the lane whenever they can, over sockets, beside the same without it."""

from __future__ import annotations

import difflib
import socket
import ssl
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from sallyport.audit.events import (
    Complete,
    CopyIn,
    End,
    Note,
    Reply,
    Statement,
    decode_event,
    spelled_out,
    split_events,
)
from sallyport.audit.recorder import Recorder
from sallyport.audit.recording import SessionRecording
from sallyport.server.lane import Lane
from sallyport.server.lane_legs import LaneSession
from sallyport.server.latency import LatencyHistograms
from sallyport.server.plain import PlainTraffic
from sallyport.server.tls import TlsLayer, client_context, server_context
from tests.audit.helpers import begin
from tests.session.decode import messages, show
from tests.session.playbook import Stage
from tests.session.test_fuzz import Conversation
from tests.support.certificates import Authority
from tests.support.places import scratch_dir


def _pair(small: bool) -> tuple[socket.socket, socket.socket]:
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
        if small:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    return ends


def _read(end: socket.socket) -> bytes:
    data = b""
    while True:
        try:
            piece = end.recv(1 << 20)
        except BlockingIOError:
            return data
        if not piece:
            return data
        data += piece


@cache
def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext | None]:
    """Of a server and of a client that trusts it."""
    home = scratch_dir("lane-tls")
    authority = Authority(home)
    files = authority.issue("peer")
    server = server_context(files.certificate, files.key)
    return server, client_context("verify-full", authority.file)


def _layers() -> tuple[TlsLayer, TlsLayer]:
    """The two ends of one TLS connection, past its handshake: server and client."""
    server, client = _contexts()
    assert client is not None
    ends = (
        TlsLayer(server, server_side=True),
        TlsLayer(client, server_side=False, server_hostname="localhost"),
    )
    ends[1].begin()
    for _ in range(3):
        ends[0].receive(ends[1].outgoing())
        ends[1].receive(ends[0].outgoing())
    assert ends[0].established
    assert ends[1].established
    return ends


class Intents:
    """A journal in memory, and its writer. ``late``: it is written on a thread, so that the lane
    hears of it later.
    """

    def __init__(self, late: bool) -> None:
        self.late, self.failed, self.appended = late, False, 0
        self.events: list[bytes] = []
        self._gates: list[Any] = []

    def append(self, recording: SessionRecording, statement: bytes, accepted: int) -> int:
        """See :class:`sallyport.audit.journal.Journal`."""
        assert accepted == recording.accepted
        self.events.append(statement)
        self.appended += 1
        return self.appended

    def commit(self, gate: Any) -> None:
        """See :class:`sallyport.server.intents.IntentWriter`."""
        self._gates = [gate]
        if not self.late:
            self.written()

    def written(self) -> None:
        """Everything is."""
        for gate in self._gates:
            gate.release(self.appended)
        self._gates = []


def journaled(recording: SessionRecording) -> list[Any]:
    """Its intents, without times."""
    assert isinstance(recording.journal, Intents)
    return [_without_times(decode_event(event)) for event in recording.journal.events]


def _is_readable(end: socket.socket) -> bool:
    """Whether something was sent that nobody has read."""
    try:
        return bool(end.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


class LaneConversation(Conversation):
    """The same, with the session in the lane whenever its traffic is plain. ``small``: sockets that
    take little at once. ``tls``: of the client's leg, and of the server's. ``late``: see
    :class:`Intents`.
    """

    def __init__(
        self,
        stage: Stage,
        small: bool = False,
        tls: tuple[bool, bool] = (False, False),
        late: bool = False,
    ) -> None:
        super().__init__(stage, recording=new_recording(late))
        self.intents: Intents = self.recording.journal
        self.lane = Lane(LatencyHistograms(), self.intents)
        self.outer: dict[bool, TlsLayer] = {}  # of the peers
        self.layers: dict[bool, TlsLayer] = {}  # of the gateway
        if tls[0]:
            self.layers[True], self.outer[True] = _layers()
        if tls[1]:
            self.outer[False], self.layers[False] = _layers()
        self.ends: dict[bool, socket.socket] = {}
        self.inner: dict[bool, socket.socket] = {}
        for is_client in (True, False):
            self.ends[is_client], self.inner[is_client] = _pair(small)
        fds = [self.inner[is_client].fileno() for is_client in (True, False)]
        layers = [self.layers.get(is_client) for is_client in (True, False)]
        self.in_lane = LaneSession(
            self.lane, self, PlainTraffic(self.session, self.lane.scratch), *fds, *layers
        )
        self._enter()

    def close(self) -> None:
        self.in_lane.leave()
        for end in (*self.ends.values(), *self.inner.values()):
            end.close()

    def _enter(self) -> None:
        if self.session.is_plain and not self.closed and not self.in_lane.inside:
            self.in_lane.enter()

    # what the lane tells its owner

    def lane_left(
        self,
        from_client: bytes,
        from_server: bytes,
        to_client: bytes,
        to_server: bytes,
        unjournaled: bytes,
    ) -> None:
        self._receive()
        self.to_client += self._opened(True, to_client)
        self.requests += self._opened(False, to_server) + unjournaled
        if from_client:
            self.session.receive_from_client(from_client)
        if from_server:
            self.session.receive_from_server(from_server)
        self._collect()

    def lane_recorded(self) -> None:
        pass

    def lane_unjournaled(self) -> None:
        raise AssertionError("the journal does not fail here")

    def lane_failed(self, error: OSError, is_client: bool) -> None:
        raise error

    def lane_broken(self, error: Exception) -> None:
        raise error

    # the ways of bytes

    def step(self, who: str, size: int) -> None:
        if who == "c":
            data, self.from_client = self.from_client[:size], self.from_client[size:]
            self._deliver(data, True)
        elif who == "s":
            data, self.requests = self.requests[:size], self.requests[size:]
            self.replies += self.server.receive(data)
        elif who == "o":
            super().step(who, size)
        else:
            data, self.replies = self.replies[:size], self.replies[size:]
            self._deliver(data, False)
        if not self.closed:
            self._enter()

    def _deliver(self, data: bytes, is_client: bool) -> None:
        outer, inner = self.outer.get(is_client), self.layers.get(is_client)
        if not self.in_lane.inside:
            self._hand_over(data, is_client)
            return
        if outer is not None:
            data = outer.send(data)
        while self.in_lane.inside and (data or _is_readable(self.inner[is_client])):
            with suppress(BlockingIOError):  # full: the lane reads no more before its own peer does
                data = data[self.ends[is_client].send(data) :] if data else data
            self.lane.poll()
            self._receive()
            self.intents.written()
            self.lane.poll()  # what did not fit before
            self._receive()
        rest = _read(self.inner[is_client]) + data
        self._hand_over(rest if inner is None else inner.receive(rest), is_client)

    def _hand_over(self, data: bytes, is_client: bool) -> None:
        """To the session, as its transports do."""
        if data and is_client:
            self.session.receive_from_client(data)
        elif data:
            self.session.receive_from_server(data)
        self._collect()

    def _receive(self) -> None:
        self.to_client += self._opened(True, _read(self.ends[True]))
        self.requests += self._opened(False, _read(self.ends[False]))

    def _opened(self, is_client: bool, data: bytes) -> bytes:
        """What came over the network, as its receiver reads it."""
        layer = self.outer.get(is_client)
        return data if layer is None or not data else layer.receive(data)


def _of_statements(replies: bytes) -> list[bytes]:
    """Without BindComplete and descriptions: which pieces a request came in decides whether the
    session records them.
    """
    return [message for message in messages(replies) if message[:1] not in (b"2", b"T", b"n")]


def _difference(mine: bytes, theirs: bytes, from_client: bool) -> str:
    shown = [[show(m, from_client=from_client) for m in messages(data)] for data in (theirs, mine)]
    return "\n".join(difflib.unified_diff(*shown, "session", "lane", lineterm=""))


def new_recording(late: bool = False) -> Any:
    """Of a recorder whose thread does not run. ``late``: see :class:`Intents`."""
    recorder = Recorder(Path("nowhere"))
    recorder.journal = Intents(late)  # type: ignore[assignment]
    recording = begin(recorder)
    recording.chunks.take()  # its login
    return recording


def _without_times(event: Any) -> Any:
    times = {"at": 0.0, "seconds": 0.0} if isinstance(event, Complete) else {"at": 0.0}
    return msgspec.structs.replace(event, **times)


def recorded_events(recording: SessionRecording) -> tuple[list[Any], dict[int, list[bytes]]]:
    """What was recorded, without times: replies by statement, since the lane waits for the rest of
    a small answer; all else in order.
    """
    events: list[Any] = []
    while (chunk := recording.chunks.take()) is not None:
        for raw in split_events(chunk.buffer[: chunk.size], chunk.events):
            events += spelled_out(decode_event(raw))
    replies: dict[int, bytes] = {}
    for event in events:
        if isinstance(event, Reply):
            replies[event.number] = replies.get(event.number, b"") + event.data
    kinds = ((Statement, CopyIn), (Complete,), (Note, End))
    rest = [[_without_times(e) for e in events if isinstance(e, kind)] for kind in kinds]
    return rest, {number: m for number, data in replies.items() if (m := _of_statements(data))}


Rounds = list[tuple[bytes, list[tuple[str, int]]]]


def compare(
    stage: Stage,
    rounds: Rounds,
    small: bool = False,
    tls: tuple[bool, bool] = (False, False),
    late: bool = False,
) -> int:
    """Both ways; gives how many statements passed the lane."""
    usual, fast = (
        Conversation(stage, recording=new_recording()),
        LaneConversation(stage, small, tls, late),
    )
    try:
        asked, masked = zip(*(_hold(stage, way, rounds) for way in (usual, fast)), strict=True)
        assert masked[0] == masked[1]
        assert asked[0] == asked[1], _difference(asked[1], asked[0], from_client=True)
        replies = fast.to_client, usual.to_client
        assert replies[0] == replies[1], _difference(*replies, from_client=False)
        assert recorded_events(fast.recording) == recorded_events(usual.recording)
        assert journaled(fast.recording) == journaled(usual.recording)
        assert fast.recording.texts.take() == usual.recording.texts.take()
        assert _confirmed(fast) == _confirmed(usual)
        # but for the unnamed one, which the session's own short way forgets
        portals = fast.session.portals.confirmed, usual.session.portals.confirmed
        assert portals[0].keys() - {b""} == portals[1].keys() - {b""}
        for attribute in ("number", "transaction_status", "counters"):
            assert getattr(fast.session, attribute) == getattr(usual.session, attribute)
        assert _pipeline(fast) == _pipeline(usual)
        assert fast.closed == usual.closed
        return fast.lane.requests
    finally:
        fast.close()


def _pipeline(way: Conversation) -> tuple[object, ...]:
    pipeline = way.session.pipeline
    return pipeline.unsynced, pipeline.executed, pipeline.has_block


def _confirmed(way: Conversation) -> dict[bytes, tuple[Any, ...]]:
    """What the session knows of prepared statements."""
    return {
        name: (prepared.script, prepared.sent, prepared.types, prepared.declared)
        for name, prepared in way.session.statements.confirmed.items()
    }


def _hold(stage: Stage, way: Conversation, rounds: Rounds) -> tuple[bytes, Counter[str]]:
    """A conversation: what the server was asked, and which columns of how many rows were masked."""
    asked, receive, before = bytearray(), way.server.receive, stage.judge.masked.copy()

    def listen(request: bytes) -> Any:
        asked.extend(request)
        return receive(request)

    way.server.receive = listen  # type: ignore[method-assign]
    for data, timing in rounds:
        way.run(data, timing)
    if isinstance(way, LaneConversation):
        way.in_lane.leave()
        way.run(b"", [])  # what was kept of a request that is not whole
    return bytes(asked), stage.judge.masked - before
