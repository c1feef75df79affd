"""The lane does what the session does: the same conversations, over sockets through the lane and
without it.

Bytes to the client, bytes to the server and what is recorded are compared, for anything a client
can send, in any timing and any pieces.
"""

from __future__ import annotations

import difflib
import random
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from sallyport.server.lane import COMPILED, Lane, LaneSession
from sallyport.server.latency import LatencyHistograms
from sallyport.server.plain import PlainTraffic
from sallyport.wire import backend, frontend
from sallyport.wire.frames import data_row
from tests.audit.helpers import begin
from tests.session.decode import messages, show
from tests.session.playbook import Stage
from tests.session.test_fuzz import ANY, FUZZ, MASKED, PUBLIC, SECRET, TIMING, WORDS, Conversation
from tests.support.postgres import Server
from tests.targets.query import catalog_of

pytestmark = pytest.mark.skipif(not COMPILED, reason="the lane exists compiled only")


@pytest.fixture(scope="module")
def stage(postgres: Server) -> Stage:
    return Stage(catalog_of(postgres.agent_dsn))


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


class LaneConversation(Conversation):
    """The same, with the session in the lane whenever its traffic is plain. ``small``: sockets that
    take little at once.
    """

    def __init__(self, stage: Stage, small: bool = False) -> None:
        super().__init__(stage, recording=_recording())
        self.lane = Lane(LatencyHistograms())
        self.ends: dict[bool, socket.socket] = {}
        self.inner: dict[bool, socket.socket] = {}
        for is_client in (True, False):
            self.ends[is_client], self.inner[is_client] = _pair(small)
        fds = [self.inner[is_client].fileno() for is_client in (True, False)]
        self.in_lane = LaneSession(
            self.lane, self, PlainTraffic(self.session, self.lane.scratch), *fds
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
        self, from_client: bytes, from_server: bytes, to_client: bytes, to_server: bytes
    ) -> None:
        self._receive()
        self.to_client += to_client
        self.requests += to_server
        if from_client:
            self.session.receive_from_client(from_client)
        if from_server:
            self.session.receive_from_server(from_server)
        self._collect()

    def lane_recorded(self) -> None:
        pass

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
        else:
            data, self.replies = self.replies[:size], self.replies[size:]
            self._deliver(data, False)
        if not self.closed:
            self._enter()

    def _deliver(self, data: bytes, is_client: bool) -> None:
        while data and self.in_lane.inside:
            with suppress(BlockingIOError):  # full: the lane reads no more before its own peer does
                data = data[self.ends[is_client].send(data) :]
            self.lane.poll()
            self._receive()
            self.lane.poll()  # what did not fit before
            self._receive()
        rest = _read(self.inner[is_client]) + data
        if rest and is_client:
            self.session.receive_from_client(rest)
        elif rest:
            self.session.receive_from_server(rest)
        self._collect()

    def _receive(self) -> None:
        self.to_client += _read(self.ends[True])
        self.requests += _read(self.ends[False])


def _of_statements(replies: bytes) -> list[bytes]:
    """Without BindComplete and descriptions: which pieces a request came in decides whether the
    session records them.
    """
    return [message for message in messages(replies) if message[:1] not in (b"2", b"T", b"n")]


def _difference(mine: bytes, theirs: bytes, from_client: bool) -> str:
    shown = [[show(m, from_client=from_client) for m in messages(data)] for data in (theirs, mine)]
    return "\n".join(difflib.unified_diff(*shown, "session", "lane", lineterm=""))


def _recording() -> SessionRecording:
    """Of a recorder whose thread does not run."""
    recording = begin(Recorder(Path("nowhere")))
    recording.chunks.take()  # its login
    return recording


def _without_times(event: Any) -> Any:
    times = {"at": 0.0, "seconds": 0.0} if isinstance(event, Complete) else {"at": 0.0}
    return msgspec.structs.replace(event, **times)


def _events(recording: SessionRecording) -> tuple[list[Any], dict[int, list[bytes]]]:
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


def compare(stage: Stage, rounds: Rounds, small: bool = False) -> int:
    """Both ways; gives how many statements passed the lane."""
    usual, fast = Conversation(stage, recording=_recording()), LaneConversation(stage, small)
    asked: dict[int, bytes] = {id(one): b"" for one in (usual, fast)}
    for one in (usual, fast):
        receive = one.server.receive

        def listen(request: bytes, one: Conversation = one, receive: Any = receive) -> Any:
            asked[id(one)] += request
            return receive(request)

        one.server.receive = listen  # type: ignore[method-assign]
    try:
        masked = []
        for one in (usual, fast):
            before = stage.judge.masked.copy()
            for data, timing in rounds:
                one.run(data, timing)
            if isinstance(one, LaneConversation) and one.in_lane.inside:
                one.in_lane.traffic.sync()
            masked.append(stage.judge.masked - before)
        assert masked[0] == masked[1]
        for mine, theirs in (
            (asked[id(fast)], asked[id(usual)]),
            (fast.to_client, usual.to_client),
        ):
            assert mine == theirs, _difference(mine, theirs, from_client=mine is not fast.to_client)
        assert _events(fast.recording) == _events(usual.recording)
        assert fast.recording.texts.take() == usual.recording.texts.take()
        assert fast.session.number == usual.session.number
        assert fast.session.transaction_status == usual.session.transaction_status
        assert fast.session.counters == usual.session.counters
        assert fast.closed == usual.closed
        return fast.lane.requests
    finally:
        fast.close()


@settings(FUZZ, max_examples=300)
@given(messages_=ANY, timing=TIMING, small=st.booleans())
def test_any_conversation(
    stage: Stage, messages_: list[bytes], timing: list[tuple[str, int]], small: bool
) -> None:
    compare(stage, [(b"".join(messages_), timing)], small)


#: What the lane is for, with names and errors between.
_PREPARED = [
    frontend.bind("", name) + described + frontend.execute("") + frontend.sync()
    for name in ("", "s")
    for described in (b"", frontend.describe(b"P", ""))
]
#: What libpq's PQexecParams sends, and drivers that prepare only what comes again.
_PARSED = [
    frontend.parse("", query, types)
    + frontend.bind("", "", [b"7", None][: len(types)])
    + described
    + frontend.execute("")
    + frontend.sync()
    for query in (
        SECRET,
        MASKED,
        PUBLIC,
        "SELECT id, ssn FROM customers WHERE id = 7",
        PUBLIC + " LIMIT $1",
    )
    for types in ([], [23], [0, 23])
    for described in (b"", frontend.describe(b"P", ""))
]
_PLAIN = [
    *_PREPARED, *_PREPARED, *_PREPARED, *_PARSED,
    *(frontend.query(q) for q in (SECRET, MASKED, PUBLIC, "SELECT id, ssn FROM customers WHERE id = 7") * 2),
    *(frontend.parse(name, q) + frontend.sync() for q in (SECRET, MASKED, PUBLIC) for name in ("", "s")),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_plain_statements_among_others(stage: Stage, seed: int) -> None:
    source = random.Random(seed)
    handled = 0
    for _ in range(150):
        words = [
            *source.sample(_PLAIN, 8),
            *source.sample(WORDS, source.randint(0, 4)),
            frontend.sync(),
        ]
        spoken = [source.choice(words) for _ in range(source.randint(6, 40))]
        rounds = [
            (b"".join(source.sample(spoken, source.choice([1, 1, 1, 2, 3]))), _timing(source))
            for _ in spoken
        ]
        handled += compare(stage, rounds, source.random() < 0.5)
    assert handled > 500


@pytest.mark.parametrize("seed", range(4))
def test_texts_parsed_bound_and_run_in_one_go(stage: Stage, seed: int) -> None:
    """With others between that use, replace or close the unnamed statement and portal, pipelined or
    not.
    """
    source = random.Random(seed)
    handled = 0
    between = [
        *_PREPARED,
        frontend.query(PUBLIC),
        frontend.parse("", MASKED) + frontend.sync(),
        frontend.parse("", "SELECT nothing") + frontend.sync(),
        frontend.describe(b"S", "") + frontend.sync(),
        frontend.describe(b"P", "") + frontend.sync(),
        frontend.execute("") + frontend.sync(),
        frontend.close(b"S", "") + frontend.sync(),
        frontend.query("BEGIN"),
        frontend.query("COMMIT"),
        frontend.query("SELECT nothing"),
    ]
    for _ in range(150):
        parsed = source.sample(_PARSED, 3)
        spoken = [
            source.choice(parsed if source.random() < 0.7 else between)
            for _ in range(source.randint(6, 30))
        ]
        rounds = []
        while spoken:
            count = source.choice([1, 1, 1, 2, 3])
            rounds.append((b"".join(spoken[:count]), _timing(source)))
            del spoken[:count]
        handled += compare(stage, rounds, source.random() < 0.5)
    assert handled > 500


def _timing(source: random.Random) -> list[tuple[str, int]]:
    """Requests mostly whole, answers in any pieces."""
    first = [("c", source.choice([9, 40, 1 << 20, 1 << 20, 1 << 20])), ("s", 1 << 20)]
    return first + [
        ("r", source.choice([1, 9, 40, 1000])) for _ in range(source.choice([0, 1, 10]))
    ]


def _ask(conversation: LaneConversation, request: bytes) -> None:
    conversation.run(request, [("c", 1 << 20), ("s", 1 << 20), ("r", 1 << 20)])


def test_masked_rows_of_sessions_that_share_a_verdict_are_counted_once(stage: Stage) -> None:
    column, question = "public.customers.ssn", frontend.query(_BIG)
    before = stage.judge.masked[column]
    one, other = LaneConversation(stage), LaneConversation(stage)
    for conversation in (one, other):
        answer = partial(_answer, _result(stage, 3, "whole"))
        conversation.server.receive = answer  # type: ignore[method-assign]
    for conversation in (one, one, other, one, other, other):
        _ask(conversation, question)
    assert one.lane.requests
    assert other.lane.requests
    for conversation in (other, one, other):
        conversation.in_lane.traffic.sync()
    both = one.session.counters.rows + other.session.counters.rows
    assert stage.judge.masked[column] - before == both > 0
    _ask(other, question)
    other.close()
    assert stage.judge.masked[column] - before > both
    one.close()


def test_texts_are_offered_to_the_index_once(stage: Stage) -> None:
    conversation = LaneConversation(stage)
    _ask(conversation, frontend.parse("s", PUBLIC) + frontend.sync())
    bound = frontend.bind("", "s") + frontend.execute("") + frontend.sync()
    for question in (
        frontend.query(SECRET),
        bound,
        frontend.query(SECRET),
        bound,
        frontend.query(SECRET),
    ) * 5:
        _ask(conversation, question)
    assert conversation.lane.requests > 15
    texts = conversation.recording.texts
    assert len(texts.offered) < 6  # the general way offers what it sees, too
    assert [text.sql for text in texts.take()] == [SECRET, PUBLIC]
    conversation.recording.chunks.indexing = False
    _ask(conversation, frontend.query(MASKED))
    _ask(conversation, frontend.query(MASKED))
    assert not texts.offered
    conversation.close()


@pytest.mark.parametrize("prepared", [False, True])
def test_nothing_passes_once_it_cannot_be_recorded(stage: Stage, prepared: bool) -> None:
    conversation = LaneConversation(stage)
    _ask(conversation, frontend.parse("s", PUBLIC) + frontend.sync())
    question = frontend.query(PUBLIC)
    if prepared:
        question = frontend.bind("", "s") + frontend.execute("") + frontend.sync()
    _ask(conversation, question)
    assert conversation.lane.requests == 1
    conversation.recording.failed = True
    _ask(conversation, question)
    assert conversation.lane.requests == 1
    assert b"SP1801" in conversation.to_client
    conversation.close()


# -- results that pass in pieces -------------------------------------------------------------------

_BIG = "SELECT id, ssn, name FROM customers"
_ENDS = {
    "whole": backend.command_complete("SELECT 3000") + backend.ready_for_query(b"I"),
    "failed": backend.error_response("ERROR", "57014", "canceled") + backend.ready_for_query(b"I"),
    "noticed": (
        backend.notice_response("NOTICE", "00000", "hello")
        + backend.command_complete("SELECT 3000")
        + backend.ready_for_query(b"I")
    ),
    "a long row": (
        data_row([b"1", b"078-05-1120", b"x" * 200_000])
        + backend.command_complete("SELECT 3001")
        + backend.ready_for_query(b"I")
    ),
}


def _parsed(sql: str) -> bytes:
    return frontend.parse("", sql) + frontend.bind("", "") + frontend.execute("") + frontend.sync()


def _result(stage: Stage, rows: int, end: str, how: str = "query") -> bytes:
    head = backend.parse_complete() if how == "parsed" else b""
    head += backend.bind_complete() if how != "query" else b""
    head += stage.describe("customers.id", "customers.ssn", "customers.name")
    row = data_row([b"7", b"078-05-1120", b"somebody of some length"])
    return head + rows * row + _ENDS[end]


@pytest.mark.parametrize("how", ["query", "prepared", "parsed"])
@pytest.mark.parametrize("end", _ENDS)
def test_a_large_result_passes_in_pieces(stage: Stage, end: str, how: str) -> None:
    parse = frontend.parse("s", _BIG) + frontend.sync()
    bound = frontend.bind("", "s") + frontend.execute("") + frontend.sync()
    question = {"query": frontend.query(_BIG), "prepared": bound, "parsed": _parsed(_BIG)}[how]
    parsed = backend.parse_complete() + backend.ready_for_query(b"I")
    small, large = (_result(stage, *size, how) for size in ((1, "whole"), (3000, end)))
    for seed in range(6):
        source = random.Random(seed)
        usual = Conversation(stage, recording=_recording())
        fast = LaneConversation(stage, seed % 2 == 1)
        sizes = [source.choice([7, 900, 40_000, 1 << 17]) for _ in range(4000)]
        timing = [("c", 1 << 20), ("s", 1 << 20), *(("r", size) for size in sizes)]
        for one in (usual, fast):
            for message, answer in ((parse, parsed), (question, small), (question, large)):
                one.server.receive = partial(_answer, answer)  # type: ignore[method-assign]
                one.run(message, timing)
        assert fast.lane.requests
        assert b"078-05-1120" not in fast.to_client
        assert fast.to_client == usual.to_client
        assert _events(fast.recording) == _events(usual.recording)
        fast.close()


def _answer(answer: bytes, request: bytes) -> bytes:
    return answer if request else b""
