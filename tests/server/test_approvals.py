"""Approvals over real sockets: a driver waits, a reviewer decides over REST, PostgreSQL shows what
ran.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.wire import frontend
from tests.server.raw import Raw
from tests.support.approvals import (
    BOTH,
    CLIENTS,
    OTHER_AGENT,
    POLICY,
    SAME_MAIL,
    SECOND_DBA,
    Desk,
    Waiter,
    count,
    holding_gateway,
    make_tables,
    noted,
)
from tests.support.gateway import AGENT, Gateway
from tests.support.postgres import Server, start_server
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def issuer() -> Iterator[DevIssuer]:
    with DevIssuer(CLIENTS) as running:
        yield running


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    server = start_server(settings={"max_connections": "350"})
    make_tables(server)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, database: Server) -> Iterator[Gateway]:
    running = holding_gateway(issuer, database).start()
    yield running
    running.stop()


@pytest.fixture
def make(issuer: DevIssuer, database: Server) -> Iterator[Callable[..., Gateway]]:
    """Gateways that a test may change or stop."""
    with ExitStack() as stack:

        def one(**limits: Any) -> Gateway:
            running = holding_gateway(issuer, database, **limits).start()
            stack.callback(running.stop)
            return running

        yield one


@pytest.fixture
def dana(gateway: Gateway) -> Desk:
    return Desk(gateway)


@pytest.fixture
def agent(gateway: Gateway) -> Iterator[Waiter]:
    with Waiter(gateway) as one:
        yield one


def delete(id_: int, table: str = "waits") -> str:
    return f"DELETE FROM {table} WHERE id = {id_}"


# -- waiting ---------------------------------------------------------------------------------------


def test_it_waits_is_approved_and_runs(agent: Waiter, dana: Desk, database: Server) -> None:
    agent.run(delete(1))
    id_ = agent.id
    notice = agent.notices[0]
    assert notice.at - agent.sent < 5.0
    assert f"waits for approval {id_} until " in notice.text
    assert notice.detail == 'Rule "it waits" holds it; 1 of dba must approve it.'
    assert f"/approvals/{id_}" in notice.hint
    assert "Cancel the statement" in notice.hint
    wait_for(lambda: dana.show(id_)["preview"] is not None)
    shown = dana.show(id_)
    assert (shown["sql"], shown["status"], shown["preview"]["rows"]) == (delete(1), "pending", 1)
    assert shown["touches"] == ["delete public.waits"]
    assert agent.waiting
    assert count(database, "waits", "id = 1") == 1
    dana.approve(id_)
    assert agent.end().result == "DELETE 1"
    assert f"approval {id_}: approved by dana@example.com" in [n.text for n in agent.notices]
    assert count(database, "waits", "id = 1") == 0
    assert dana.status(id_) == "used"
    assert agent.usable()


def test_the_client_is_reminded(agent: Waiter, dana: Desk) -> None:
    agent.run(delete(2))
    wait_for(lambda: len(agent.notices) >= 3)
    first, *reminders = agent.notices
    assert first.detail
    assert all("still waits for approval" in n.text and not n.detail for n in reminders)
    assert agent.notices[1].at - agent.notices[0].at > 0.4
    dana.deny(agent.id, "no")
    agent.refused("SP1402", "42501")


def test_a_denials_reason_reaches_the_agent(agent: Waiter, dana: Desk, database: Server) -> None:
    agent.run(delete(3))
    dana.deny(agent.id, "these are shipped; cancel them in the shop\ninstead \x1b[31m")
    error = agent.refused("SP1402", "42501")
    assert (
        "denied by dana@example.com: these are shipped; cancel them in the shop instead [31m"
        in str(error)
    )
    assert error.diag.message_hint
    assert count(database, "waits", "id = 3") == 1
    assert agent.usable()


def test_nobody_decides_in_time(agent: Waiter, dana: Desk, database: Server) -> None:
    agent.run(delete(4, "soon"))
    id_ = agent.id
    agent.refused("SP1403", "57014")
    assert dana.status(id_) == "expired"
    assert dana.decide(id_, True).status_code == 409
    assert count(database, "soon", "id = 4") == 1
    assert agent.usable()


def test_cancel_withdraws_it(agent: Waiter, dana: Desk, database: Server) -> None:
    agent.run(delete(5))
    id_ = agent.id
    agent.db.cancel()
    agent.refused("SP1403", "57014")
    assert dana.status(id_) == "withdrawn"
    assert dana.decide(id_, True).status_code == 409
    assert count(database, "waits", "id = 5") == 1
    assert agent.usable()


@pytest.mark.parametrize("how", ["close", "reset", "terminate"])
def test_a_client_that_disappears_withdraws_it(
    gateway: Gateway, dana: Desk, database: Server, how: str
) -> None:
    import socket
    import struct

    raw = Raw(gateway)
    raw.login()
    raw.send(frontend.query(delete(6)))
    id_ = noted(raw.until("N"))
    if how == "reset":
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "terminate":
        raw.send(frontend.terminate())
    raw.socket.close()
    wait_for(lambda: dana.status(id_) == "withdrawn")
    assert "client" in dana.show(id_)["void_reason"]
    assert count(database, "waits", "id = 6") == 1


@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_a_client_that_disappears_behind_much_that_nobody_read(
    gateway: Gateway, dana: Desk, database: Server, how: str
) -> None:
    """Its end stands behind more than the gateway reads for a session that waits."""
    import socket
    import struct

    raw = Raw(gateway)
    raw.login()
    raw.send(frontend.query(delete(206)))
    id_ = noted(raw.until("N"))
    for _ in range(300):
        raw.send(frontend.query("SELECT 1 -- " + "x" * 8000))
    time.sleep(0.3)
    assert dana.status(id_) == "pending"
    if how == "reset":
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half":
        raw.socket.shutdown(socket.SHUT_WR)
    else:
        raw.socket.close()
    wait_for(lambda: dana.status(id_) == "withdrawn")
    raw.socket.close()


def test_a_session_that_waits_blocks_only_itself(gateway: Gateway, dana: Desk) -> None:
    with Raw(gateway) as raw:
        raw.login()
        raw.send(
            frontend.query(delete(7)),
            frontend.query("SELECT 'first'"),
            frontend.query("SELECT 'second'"),
        )
        id_ = noted(raw.until("N"))
        with psycopg.connect(gateway.dsn(), autocommit=True) as other:
            for _ in range(20):
                assert other.execute("SELECT count(*) FROM free").fetchone() == (200,)
        raw.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            raw.message()
        raw.socket.settimeout(5)
        dana.approve(id_)
        found = b"".join(raw.until("Z") + raw.until("Z") + raw.until("Z"))
        assert found.index(b"DELETE 1") < found.index(b"first") < found.index(b"second")


def test_bind_values_and_prepared_statements(agent: Waiter, dana: Desk, database: Server) -> None:
    """Each run of a prepared statement is a statement of its own, with its own values."""
    for value, approve in ((8, True), (9, False), (10, True)):
        agent.run("DELETE FROM waits WHERE id = %s", [value], prepare=True)
        shown = dana.show(agent.id)
        assert len(shown["binds"]) == 1
        (dana.approve if approve else dana.deny)(agent.id, "because")
        agent.end()
        assert (agent.result == "DELETE 1") is approve
    assert count(database, "waits", "id IN (8, 9, 10)") == 1


def test_pipelines_keep_their_order(gateway: Gateway, dana: Desk) -> None:
    with Waiter(gateway) as one:
        done: list[Any] = []

        def work() -> None:
            with one.db.pipeline():
                first = one.db.execute("SELECT %s::int", [1])
                held = one.db.execute("DELETE FROM waits WHERE id = %s", [11])
                last = one.db.execute("SELECT %s::int", [2])
                done.extend([first.fetchone(), held.statusmessage, last.fetchone()])

        thread = threading.Thread(target=work)
        thread.start()
        dana.approve(one.id)
        thread.join(10)
        assert done[0] == (1,)
        assert done[2] == (2,)
    assert count(gateway.targets["shop"], "waits", "id = 11") == 0


def test_batches_and_wrappers_are_refused(gateway: Gateway, database: Server) -> None:
    before = count(database, "waits")
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        for text, says in (
            (f"{delete(20)}; {delete(21)}", "in a message with other"),
            (f"SELECT 1; {delete(20)}", "in a message with other"),
            (f"PREPARE p AS {delete(20)}", "inside another statement"),
            (f"EXPLAIN ANALYZE {delete(20)}", "inside another statement"),
            ("COPY (DELETE FROM waits RETURNING id) TO STDOUT", "inside another statement"),
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match=says) as caught:
                db.execute(text)  # type: ignore[call-overload]
            assert str(caught.value).startswith("[SP1003]")
    assert count(database, "waits") == before


@pytest.mark.parametrize("sql", ["EXECUTE s(22)", "FETCH ALL FROM p", "MOVE ALL IN p"])
def test_names_made_by_parse_and_bind_are_no_way_around(
    gateway: Gateway, database: Server, sql: str
) -> None:
    with Raw(gateway) as raw:
        raw.login()
        raw.send(frontend.query("BEGIN"))
        raw.until("Z")
        text = "DELETE FROM waits WHERE id = $1 RETURNING id"
        raw.send(frontend.parse("s", text), frontend.bind("p", "s", [b"22"]), frontend.sync())
        assert not [m for m in raw.until("Z") if m[:1] == b"E"]
        raw.send(frontend.query(sql))
        assert b"[SP1003]" in raw.until("E")[-1]
        raw.until("Z")
        raw.send(frontend.query("COMMIT"))
        raw.until("Z")
    assert count(database, "waits", "id = 22") == 1


def test_copy_from_waits(agent: Waiter, dana: Desk, database: Server) -> None:
    done: list[Any] = []

    def work() -> None:
        with agent.db.cursor().copy("COPY waits (id, note) FROM STDIN") as copy:
            copy.write_row((1001, "new"))
        done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    assert dana.show(agent.id)["touches"] == ["insert public.waits"]
    dana.approve(agent.id)
    thread.join(10)
    assert done == [True]
    assert count(database, "waits", "id = 1001") == 1


def test_inside_a_transaction_the_deadline_is_shorter(
    gateway: Gateway, dana: Desk, database: Server
) -> None:
    with Waiter(gateway, autocommit=False) as one:
        one.db.execute("UPDATE free SET note = 'y' WHERE id = 1")
        one.run(delete(12))
        shown = dana.show(one.id)
        assert shown["in_transaction"] is True
        assert Desk.lifetime(shown) == pytest.approx(3.0, abs=0.1)
        one.refused("SP1403", "57014")
        assert one.db.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        one.db.rollback()
        assert one.usable()
        one.db.rollback()
        one.run(delete(12))
        dana.approve(one.id)
        assert one.end().result == "DELETE 1"
        one.db.rollback()
    assert count(database, "waits", "id = 12") == 1
    assert count(database, "free", "note = 'y'") == 0


# -- async -----------------------------------------------------------------------------------------


def _sent(db: psycopg.Connection[Any], sql: str, params: list[Any] | None = None) -> str:
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        db.execute(sql, params)  # type: ignore[call-overload]
    assert str(caught.value).startswith("[SP1406]"), caught.value
    return next(word for word in str(caught.value).split() if word.startswith("apr_"))


def test_async_runs_when_it_is_sent_again_and_once(
    gateway: Gateway, dana: Desk, database: Server
) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        id_ = _sent(db, delete(1, "later"))
        assert _sent(db, delete(1, "later")) == id_
        dana.approve(id_)
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        assert db.execute(delete(1, "later")).statusmessage == "DELETE 1"  # type: ignore[call-overload]
        assert dana.status(id_) == "used"
        assert _sent(db, delete(1, "later")) != id_
    assert count(database, "later") == 199


def test_async_in_a_transaction_has_its_rules_own_deadline(gateway: Gateway, dana: Desk) -> None:
    with psycopg.connect(gateway.dsn()) as db:
        shown = dana.show(_sent(db, delete(2, "later")))
        assert Desk.lifetime(shown) == pytest.approx(120, abs=1)


def test_async_denied_says_why(gateway: Gateway, dana: Desk) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        dana.deny(_sent(db, delete(3, "later")), "keep it")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"\[SP1402\].*keep it"):
            db.execute(delete(3, "later"))  # type: ignore[call-overload]


def test_async_is_for_this_text_these_values_and_this_subject(
    gateway: Gateway, dana: Desk, database: Server
) -> None:
    """Approve one, run another."""
    sql, before = "DELETE FROM later WHERE id = %s", count(database, "later")
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        id_ = _sent(db, sql, [50])
        literal = _sent(db, delete(50, "later"))
        assert literal != id_
        dana.approve(id_)
        others = {_sent(db, sql, [51]), _sent(db, delete(50, "later")), _sent(db, f"{sql} ", [50])}
        assert id_ not in others
        with psycopg.connect(gateway.dsn(gateway.token(OTHER_AGENT)), autocommit=True) as other:
            assert _sent(other, sql, [50]) != id_
        assert count(database, "later") == before
        assert dana.status(id_) == "approved"
        assert db.execute(sql, [50]).statusmessage == "DELETE 1"
        assert _sent(db, sql, [50]) != id_
    assert count(database, "later") == before - 1


def test_async_under_another_search_path_is_void(
    gateway: Gateway, dana: Desk, database: Server
) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        id_ = _sent(db, delete(60, "later"))
        dana.approve(id_)
        db.execute("SET search_path = pg_catalog, public")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"\[SP1404\].*search_path"):
            db.execute(delete(60, "later"))  # type: ignore[call-overload]
        assert dana.status(id_) == "voided"
        db.execute("SET search_path = public")
        assert _sent(db, delete(60, "later")) != id_
    assert count(database, "later", "id = 60") == 1


# -- what moves, who may ---------------------------------------------------------------------------


def test_an_approval_is_for_one_session(gateway: Gateway, dana: Desk, database: Server) -> None:
    with Waiter(gateway) as one, Waiter(gateway) as two:
        first, second = one.run(delete(30)).id, two.run(delete(30)).id
        assert first != second
        dana.approve(first)
        assert one.end().result == "DELETE 1"
        assert two.waiting
        dana.deny(second, "once is enough")
        two.refused("SP1402", "42501")
        # replayed: the same text again is a new question
        assert one.run(delete(30)).id not in (first, second)
        assert dana.decide(first, True).status_code == 409
        one.db.cancel()
        one.refused("SP1403", "57014")


def test_nobody_decides_their_own(gateway: Gateway, dana: Desk, database: Server) -> None:
    with Waiter(gateway, BOTH) as dora:
        id_ = dora.run(delete(31)).id
        for who in (BOTH, SAME_MAIL):
            for approve in (True, False):
                answer = Desk(gateway, who).decide(id_, approve, "mine")
                assert (answer.status_code, answer.json()["code"]) == (403, "SP1405"), answer.text
                assert "of your own" in answer.text
        assert Desk(gateway, AGENT).decide(id_, True, "let me").status_code == 403
        assert Desk(gateway, OTHER_AGENT).decide(id_, True, "let them").status_code == 403
        assert dora.waiting
        assert dana.decide(id_, False, "   ").status_code == 422
        dana.approve(id_)
        assert dora.end().result == "DELETE 1"


def test_a_quorum_is_of_different_people(agent: Waiter, gateway: Gateway, dana: Desk) -> None:
    id_ = agent.run(delete(1, "twice")).id
    dana.approve(id_)
    assert dana.decide(id_, True, "again").status_code == 409
    assert agent.waiting
    Desk(gateway, SECOND_DBA).approve(id_)
    assert agent.end().result == "DELETE 1"


def test_ddl_meanwhile_voids_it(agent: Waiter, dana: Desk, database: Server) -> None:
    id_ = agent.run(delete(32)).id
    with psycopg.connect(database.superuser_dsn, autocommit=True) as db:
        db.execute("CREATE TABLE public.something (id int)")
    error = agent.refused("SP1404", "42501")
    assert "the catalog" in str(error)
    assert dana.status(id_) == "voided"
    assert count(database, "waits", "id = 32") == 1
    assert agent.usable()


@pytest.mark.parametrize(
    "policy",
    [
        POLICY.replace("expires: 2m", "expires: 3m"),
        POLICY.replace("[delete, insert]", "[truncate]"),  # writing is allowed by another rule
    ],
    ids=["another deadline", "allowed now"],
)
def test_a_changed_policy_voids_it(
    make: Callable[..., Gateway], database: Server, policy: str
) -> None:
    gateway = make()
    with Waiter(gateway) as one:
        id_ = one.run(delete(33)).id
        gateway.write(policy=policy)
        error = one.refused("SP1404", "42501")
        assert "the policy" in str(error)
        assert Desk(gateway).status(id_) == "voided"
        assert one.usable()
    assert count(database, "waits", "id = 33") == 1


def test_a_gateway_that_stops_voids_it(make: Callable[..., Gateway], database: Server) -> None:
    gateway = make()
    with Waiter(gateway) as one:
        id_ = one.run(delete(34)).id
        gateway.restart()
        error = one.end().error
        assert error is not None
        assert error.sqlstate == "57P01", error
    shown = Desk(gateway).show(id_)
    assert (shown["status"], shown["void_reason"]) == ("voided", "the gateway is shutting down")
    assert Desk(gateway).decide(id_, True).status_code == 409
    assert count(database, "waits", "id = 34") == 1


def test_a_gateway_that_dies_voids_it_when_it_is_back(
    make: Callable[..., Gateway], database: Server
) -> None:
    gateway = make()
    with Waiter(gateway) as one:
        id_ = one.run(delete(35)).id
        gateway.kill()
        assert one.end().error is not None
    gateway.start()
    shown = Desk(gateway).show(id_)
    assert (shown["status"], shown["void_reason"]) == ("voided", "the gateway that held it ended")
    assert count(database, "waits", "id = 35") == 1


# -- what is recorded ------------------------------------------------------------------------------


def _recorded(gateway: Gateway, session: str) -> str:
    done = gateway.run("sessions", "replay", session)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_of_it_is_in_the_recording(gateway: Gateway, dana: Desk) -> None:
    with Waiter(gateway) as one:
        approved = one.run(delete(40)).id
        wait_for(lambda: dana.show(approved)["preview"] is not None)
        session = dana.show(approved)["session"]
        dana.approve(approved, "ticket 4711")
        one.end()
        denied = one.run(delete(41)).id
        dana.deny(denied, "not that one")
        one.end()
        cancelled = one.run(delete(42)).id
        one.db.cancel()
        one.end()
    wait_for(
        lambda: "Terminate" in _recorded(gateway, session) or "ended" in _recorded(gateway, session)
    )
    text = _recorded(gateway, session)
    for words in (
        (
            f'{approved} asked for by rule "it waits" (wait): delete public.waits; 1 of dba decide'
            " until 20"
        ),
        f"{approved} preview: 1 row",
        f"{approved} approved by dana@example.com ({gateway.issuer.url}) at 20",
        "over rest from 127.0.0.1: ticket 4711",
        f"{approved} used",
        f"{denied} denied by dana@example.com",
        "not that one",
        f"{cancelled} withdrawn: the client cancelled the statement",
        delete(40),
    ):
        assert words in text, text
    rows = json.loads(gateway.run("sessions", "list", "--json").stdout)
    assert any(row["id"] == session for row in rows)


# -- many ------------------------------------------------------------------------------------------


def _working(gateway: Gateway, sessions: int, statements: int) -> float:
    """Statements a second of so many sessions, each of which runs so many and waits for every
    answer.
    """

    def work(db: psycopg.Connection[Any]) -> int:
        for _ in range(statements):
            assert db.execute("SELECT id, note FROM free WHERE id = 7").fetchone() == (7, "x")
        return statements

    with ExitStack() as stack:
        open_ = [
            stack.enter_context(
                psycopg.connect(gateway.dsn(gateway.token(f"crowd-{20 + n % 5}")), autocommit=True)
            )
            for n in range(sessions)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(sessions))
        began = time.monotonic()
        done = sum(pool.map(work, open_))
        return done / (time.monotonic() - began)


def test_two_hundred_wait_while_fifty_work(make: Callable[..., Gateway], database: Server) -> None:
    gateway = make(held_reminder_seconds=5.0)
    before = count(database, "waits")
    _working(gateway, 50, 5)
    alone = _working(gateway, 50, 100)
    wanted = delete(9999)
    with ExitStack() as stack:
        held = [stack.enter_context(Waiter(gateway, f"crowd-{n % 20}")) for n in range(200)]
        for n, one in enumerate(held):
            one.run(f"{wanted} OR id = {2000 + n}")
        ids = [one.id for one in held]
        assert len(set(ids)) == 200
        beside = _working(gateway, 50, 100)
        assert all(one.waiting for one in held)
        print(
            f"\n200 held, 50 working: {beside:.0f}/s beside {alone:.0f}/s alone, ratio"
            f" {beside / alone:.2f}"
        )
        dana = Desk(gateway)
        for n in range(0, 200, 10):
            dana.approve(ids[n])
            assert held[n].end().result == "DELETE 0"
        held[1].db.cancel()
        held[1].refused("SP1403", "57014")
        assert sum(one.waiting for one in held) == 179
    assert count(database, "waits") == before
