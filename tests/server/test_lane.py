"""The lane does what the session does: the same conversations, over sockets through the lane and
without it.

Bytes to the client, bytes to the server and what is recorded are compared, for anything a client
can send, in any timing and any pieces.
"""

from __future__ import annotations

import random
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sallyport.server.lane import COMPILED
from sallyport.wire import backend, frontend
from sallyport.wire.frames import data_row
from tests.server.lane_conversation import (
    LaneConversation,
    compare,
    new_recording,
    recorded_events,
)
from tests.session.decode import messages
from tests.session.playbook import Stage
from tests.session.test_fuzz import ANY, FUZZ, MASKED, PUBLIC, SECRET, TIMING, WORDS, Conversation
from tests.support.postgres import Server
from tests.support.sampling import examples
from tests.targets.query import catalog_of

pytestmark = pytest.mark.skipif(not COMPILED, reason="the lane exists compiled only")


@pytest.fixture(scope="module")
def stage(postgres: Server) -> Stage:
    return Stage(catalog_of(postgres.agent_dsn))


@settings(FUZZ, max_examples=examples(300))
@given(messages_=ANY, timing=TIMING, small=st.booleans())
def test_any_conversation(
    stage: Stage, messages_: list[bytes], timing: list[tuple[str, int]], small: bool
) -> None:
    compare(stage, [(b"".join(messages_), timing)], small)


@settings(FUZZ, max_examples=examples(100))
@given(
    messages_=ANY, timing=TIMING, small=st.booleans(), tls=st.tuples(st.booleans(), st.booleans())
)
def test_any_conversation_over_tls(
    stage: Stage,
    messages_: list[bytes],
    timing: list[tuple[str, int]],
    small: bool,
    tls: tuple[bool, bool],
) -> None:
    compare(stage, [(b"".join(messages_), timing)], small, tls)


#: What the lane is for, with names and errors between.
_PREPARED = [
    frontend.bind("", name) + described + frontend.execute("", limit) + frontend.sync()
    for name in ("", "s")
    for described in (b"", frontend.describe(b"P", ""))
    for limit in (0, 0, 1, 5)
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
    *(frontend.query(q) for q in (SECRET, MASKED, PUBLIC,
    "SELECT id, ssn FROM customers WHERE id = 7") * 2),
    *(frontend.parse(name, q) + frontend.sync() for q in (SECRET, MASKED, PUBLIC) for name in ("",
    "s")),
]  # fmt: skip

CHANGE = "UPDATE products SET stock = 1 WHERE id = 1"
#: What changes something, and the ends of transactions.
_CHANGING = [
    *(frontend.query(text) for text in ("BEGIN", CHANGE, CHANGE, "COMMIT", "ROLLBACK")),
    *(
        frontend.parse("", text) + frontend.bind("", "") + frontend.execute("") + frontend.sync()
        for text in ("BEGIN", CHANGE, "COMMIT", PUBLIC)
    ),
    *(frontend.parse("s", text) + frontend.sync() for text in ("BEGIN", CHANGE, "COMMIT")),
    *(
        frontend.bind(portal, "s") + frontend.execute(portal) + frontend.sync()
        for portal in ("", "c")
    ),
]


@pytest.mark.parametrize("seed", range(examples(8)))
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
        tls = (source.random() < 0.3, source.random() < 0.3)
        handled += compare(stage, rounds, source.random() < 0.5, tls)
    assert handled > 500


@pytest.mark.parametrize("seed", range(examples(4)))
def test_changes_and_transactions_among_others(stage: Stage, seed: int) -> None:
    """The same intents in the same order, whenever the journal is written."""
    source = random.Random(seed)
    handled = 0
    for _ in range(100):
        words = [*_CHANGING, *source.sample(_PLAIN, 3), *source.sample(WORDS, source.randint(0, 2))]
        spoken = [source.choice(words) for _ in range(source.randint(6, 40))]
        rounds = [
            (b"".join(source.sample(spoken, source.choice([1, 1, 1, 2, 3]))), _timing(source))
            for _ in spoken
        ]
        tls = (source.random() < 0.2, source.random() < 0.2)
        handled += compare(stage, rounds, source.random() < 0.5, tls, late=source.random() < 0.5)
    assert handled > 500


def test_changes_and_transactions_stay_in_the_lane(stage: Stage) -> None:
    conversation = LaneConversation(stage)
    for name, text in (("b", "BEGIN"), ("u", CHANGE), ("e", "COMMIT")):
        _ask(conversation, frontend.parse(name, text) + frontend.sync())
    simple = [frontend.query(text) for text in ("BEGIN", CHANGE, PUBLIC, CHANGE, "COMMIT")]
    prepared = [
        frontend.bind("", name) + frontend.execute("") + frontend.sync() for name in ("b", "u", "e")
    ]
    for question in (*simple, *prepared):
        _ask(conversation, question)  # the first time, its description is compared elsewhere
    before = conversation.lane.requests
    for question in (*simple, *prepared, *simple):
        _ask(conversation, question)
        assert conversation.in_lane.inside
    assert conversation.lane.requests - before == 13
    conversation.close()


@pytest.mark.parametrize("described", [b"", frontend.describe(b"P", "")])
def test_a_portal_that_is_suspended_stays_in_the_lane(stage: Stage, described: bytes) -> None:
    """What asyncpg sends for fetchrow and fetchval."""
    conversation = LaneConversation(stage)
    _ask(conversation, frontend.parse("s", PUBLIC) + frontend.sync())
    bound = frontend.bind("", "s") + described
    _ask(conversation, bound + frontend.execute("") + frontend.sync())
    before = conversation.lane.requests
    for _ in range(3):
        _ask(conversation, bound + frontend.execute("", 1) + frontend.sync())
        assert conversation.in_lane.inside
    assert conversation.lane.requests - before == 3
    assert conversation.to_client.endswith(
        backend.portal_suspended() + backend.ready_for_query(b"I")
    )
    conversation.close()


@pytest.mark.parametrize("seed", range(examples(4)))
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


def _run(name: str, limit: int = 0) -> bytes:
    return frontend.bind("", name) + frontend.execute("", limit)


_TEXTS = [(text, []) for text in (SECRET, MASKED, PUBLIC, CHANGE, "BEGIN", "COMMIT")]
#: Parts of pipelines: what stands between two Syncs. With names that are made, used and closed.
_PARTS = [
    *(_run(name) for name in ("", "s", "t")),
    *(_run(name, 1) for name in ("", "s")),
    *(
        frontend.bind("", name) + frontend.describe(b"P", "") + frontend.execute("")
        for name in ("", "s", "t")
    ),
    *(
        frontend.parse(name, text, types) + described
        for name in ("", "s", "t")
        for text, types in (*_TEXTS, (PUBLIC + " LIMIT $1", [20]))
        for described in (b"", frontend.describe(b"S", name), frontend.describe(b"S", "t"))
    ),
    *(frontend.parse("", text) + _run("") for text, _ in _TEXTS),
    *(frontend.close(b"S", name) for name in ("s", "t")),
]
#: What makes the lane give a pipeline back in its middle.
_OTHERS = [
    frontend.flush(),
    frontend.execute(""),
    frontend.bind("c", "s"),
    frontend.parse("s", "SELECT nothing"),
    frontend.query(PUBLIC),
    frontend.close(b"S", ""),
    frontend.describe(b"S", "s"),
]


@pytest.mark.parametrize("seed", range(examples(8)))
def test_pipelines(stage: Stage, seed: int) -> None:
    """Parts before one Sync, whole or in pieces, and the names that they make and close."""
    source = random.Random(seed)
    handled = 0
    for _ in range(60):
        parts = [*source.sample(_PARTS, 8), *source.sample(_OTHERS, source.randint(0, 2))]
        spoken = []
        for _ in range(source.randint(2, 10)):
            spoken += [source.choice(parts) for _ in range(source.choice([1, 1, 2, 3, 8]))]
            spoken.append(frontend.sync())
        rounds = []
        while spoken:
            count = source.choice([1, 2, 5])
            rounds.append((b"".join(spoken[:count]), _timing(source)))
            del spoken[:count]
        tls = (source.random() < 0.2, source.random() < 0.2)
        handled += compare(stage, rounds, source.random() < 0.5, tls, late=source.random() < 0.5)
    assert handled > 200


#: How a Bind begins, of a statement with a name of one letter.
_BOUND = b"B\0\0\0\r\0"


def test_what_drivers_send_stays_in_the_lane(stage: Stage) -> None:
    """Statements prepared by name and closed, BEGIN with the first one, pipelines, batches."""
    prepare = frontend.parse("s", SECRET) + frontend.describe(b"S", "s") + frontend.sync()
    close = frontend.close(b"S", "s") + frontend.sync()
    begin = frontend.parse("", "BEGIN") + _run("") + frontend.parse("", PUBLIC) + _run("")
    end = frontend.parse("", "COMMIT") + _run("") + frontend.sync()
    batch = frontend.parse("u", CHANGE) + 300 * _run("u") + frontend.flush()
    spoken = [
        *(prepare, _run("s") + frontend.sync(), 20 * _run("s") + frontend.sync(), close),
        *(begin + frontend.sync(), end, begin + end),
        *(batch, frontend.close(b"S", "u") + frontend.sync()),
    ]
    conversation = LaneConversation(stage)
    for message in spoken:
        _ask(conversation, message)  # what is new is judged and compared elsewhere
    before = conversation.lane.requests
    for kept in (0, 3):  # bytes of a Bind that come before the rest
        for message in spoken:
            parts = message.split(_BOUND)
            parts = [part + _BOUND[:kept] for part in parts[:-1]] + parts[-1:]
            for number, part in enumerate(parts):
                piece = _BOUND[kept:] + part if number else part
                conversation.run(piece, [("c", 1 << 20)])
                assert conversation.in_lane.inside, message
    assert conversation.lane.requests - before == 2 * 332
    assert b"E" not in {m[:1] for m in messages(conversation.to_client)}
    conversation.close()


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
    first, second = LaneConversation(stage), LaneConversation(stage)
    for conversation in (first, second):
        answer = partial(_answer, _result(stage, 3, "whole"))
        conversation.server.receive = answer  # type: ignore[method-assign]
    for conversation in (first, first, second, first, second, second):
        _ask(conversation, question)
    assert first.lane.requests
    assert second.lane.requests
    for conversation in (second, first, second):
        conversation.in_lane.traffic.sync()
    both = first.session.counters.rows + second.session.counters.rows
    assert stage.judge.masked[column] - before == both > 0
    _ask(second, question)
    second.close()
    assert stage.judge.masked[column] - before > both
    first.close()


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
    before = conversation.lane.requests
    _ask(conversation, question)
    assert conversation.lane.requests == before + 1
    conversation.recording.failed = True
    _ask(conversation, question)
    assert conversation.lane.requests == before + 1
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
        usual = Conversation(stage, recording=new_recording())
        fast = LaneConversation(stage, seed % 2 == 1, (seed in (2, 3), seed in (3, 4)))
        sizes = [source.choice([7, 900, 40_000, 1 << 17]) for _ in range(4000)]
        timing = [("c", 1 << 20), ("s", 1 << 20), *(("r", size) for size in sizes)]
        for conversation in (usual, fast):
            for message, answer in ((parse, parsed), (question, small), (question, large)):
                conversation.server.receive = partial(_answer, answer)  # type: ignore
                conversation.run(message, timing)
        assert fast.lane.requests
        assert b"078-05-1120" not in fast.to_client
        assert fast.to_client == usual.to_client
        assert recorded_events(fast.recording) == recorded_events(usual.recording)
        fast.close()


def _answer(answer: bytes, request: bytes) -> bytes:
    return answer if request else b""
