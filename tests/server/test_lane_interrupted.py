"""A pipeline that is in the lane while somebody cancels it, ends its session or changes the policy:
what the client, the server and the record get is what they get without the lane.

Whoever cancels, kills, locks, or ends a session whose token has expired, has it leave the lane
first (:meth:`sallyport.server.host.SessionHost.leave_lane`); a policy is seen by the lane itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import pytest

from sallyport.core.errors import refuse
from sallyport.server.lane import COMPILED
from sallyport.wire import backend, frontend
from tests.server.lane_conversation import (
    LaneConversation,
    journaled,
    new_recording,
    recorded_events,
)
from tests.session.decode import messages
from tests.session.playbook import POLICY, Stage
from tests.session.test_fuzz import MASKED, PUBLIC, SECRET, Conversation
from tests.support.postgres import Server
from tests.targets.query import catalog_of

pytestmark = pytest.mark.skipif(not COMPILED, reason="the lane exists compiled only")

_CHANGE = "UPDATE products SET stock = 1 WHERE id = 1"
_TEXTS = {"s": SECRET, "m": MASKED, "p": PUBLIC, "c": _CHANGE}
_KILLED = refuse("SP1703", "the session was ended by an administrator")
_CANCELLED = backend.error_response("ERROR", "57014", "canceling statement due to user request")
#: Refuses what is asked of products.
_STRICTER = POLICY.replace(
    "rules:", 'rules:\n  - {name: none, deny: [all], relations: ["public.products"]}'
)


@pytest.fixture(scope="module")
def catalog(postgres: Server) -> Any:
    return catalog_of(postgres.agent_dsn)


def _leave(way: Conversation) -> None:
    if isinstance(way, LaneConversation):
        way.in_lane.leave()


def _cancel(way: Conversation, stage: Stage, delivered: int, answer: bytes) -> None:
    """The server's error stands in the place of what it has not answered whole."""
    _leave(way)
    ends = accumulate(map(len, messages(answer)), initial=0)
    end = next(end for end in ends if end >= delivered)
    status = b"E" if way.session.transaction_status == b"T" else b"I"
    way.replies = answer[delivered:end] + _CANCELLED + backend.ready_for_query(status)


def _kill(way: Conversation, stage: Stage, delivered: int, answer: bytes) -> None:
    _leave(way)
    way.session.close(_KILLED, "killed")
    way._collect()
    way.replies = way.from_client = b""


def _change_policy(way: Conversation, stage: Stage, delivered: int, answer: bytes) -> None:
    stage.change_policy(_STRICTER)


def _reload_policy(way: Conversation, stage: Stage, delivered: int, answer: bytes) -> None:
    stage.change_policy(POLICY)


Event = Callable[[Conversation, Stage, int, bytes], None]
_EVENTS: dict[str, Event] = {
    "cancelled": _cancel,
    "killed": _kill,
    "policy changed": _change_policy,
    "policy reloaded": _reload_policy,
}


def _run(name: str) -> bytes:
    return frontend.bind("", name) + frontend.execute("")


def _play(
    way: Conversation, stage: Stage, event: Event, source: random.Random
) -> tuple[bytes, bytes, Any, list[Any], Any]:
    """Statements that are known; then a pipeline of them that an event breaks into, and another
    one, unless the session is over.
    """
    asked = bytearray()
    receive = way.server.receive

    def listen(request: bytes) -> Any:
        asked.extend(request)
        return receive(request)

    way.server.receive = listen  # type: ignore[method-assign]
    for name, text in _TEXTS.items():
        way.run(frontend.parse(name, text) + frontend.sync(), [])
        way.run(_run(name) + frontend.sync(), [])
    assert not isinstance(way, LaneConversation) or way.in_lane.inside
    names = source.choices(list(_TEXTS), k=source.randint(2, 8))
    pipeline = b"".join(map(_run, names)) + frontend.sync()
    sent = source.choice([len(pipeline), len(pipeline), source.randrange(len(pipeline))])
    way.from_client = pipeline
    way.step("c", sent)
    way.step("s", 1 << 20)
    answer = bytes(way.replies)
    delivered = source.randrange(len(answer) + 1)
    if delivered:
        way.step("r", delivered)
    if event is not _cancel or sent == len(pipeline):
        event(way, stage, delivered, answer)
    if not way.closed:
        way.run(way.from_client, [])
        way.run(_run("s") + _run("p") + frontend.sync(), [])
    _leave(way)
    way.run(b"", [])
    return (
        bytes(asked),
        way.to_client,
        recorded_events(way.recording),
        journaled(way.recording),
        (way.closed, way.session.number, way.session.transaction_status, way.session.counters),
    )


@pytest.mark.parametrize("event", _EVENTS)
def test_an_event_in_the_middle_of_a_pipeline(catalog: Any, event: str) -> None:
    handled = 0
    for seed in range(40):
        results = []
        for late in (None, False, True):
            stage = Stage(catalog)
            if late is None:
                way = Conversation(stage, recording=new_recording())
            else:
                way = LaneConversation(stage, late=late)
            results.append(_play(way, stage, _EVENTS[event], random.Random(seed)))
            if isinstance(way, LaneConversation):
                handled += way.lane.requests
                way.close()
        assert results[1] == results[0], seed
        assert results[2] == results[0], seed
    assert handled > 400


def test_a_policy_reaches_the_next_part_of_a_pipeline(catalog: Any) -> None:
    """Not only its next Sync: what the lane knows is void with the policy."""
    stage = Stage(catalog)
    conversation = LaneConversation(stage)
    conversation.run(frontend.parse("p", PUBLIC) + frontend.sync(), [])
    conversation.run(_run("p") + frontend.sync(), [])
    conversation.run(_run("p") + _run("p"), [])
    assert conversation.in_lane.inside
    conversation.to_client = b""
    stage.change_policy(_STRICTER)
    conversation.run(_run("p") + frontend.sync(), [])
    assert b"SP1" in conversation.to_client
    assert PUBLIC.encode() not in conversation.requests
    conversation.close()
