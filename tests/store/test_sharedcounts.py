"""What processes of several gateways count, by way of a real store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select, update

from sallyport.core.counts import Counts
from sallyport.store.dialect import SERVER_CLOCK
from sallyport.store.postgres import open_postgres
from sallyport.store.sharedcounts import SqlSharedCounts
from sallyport.store.tables import shared_counts
from tests.support.postgres import Server
from tests.support.stores import store_database

DANA = "subject\0dana"
READ = "read\0shop\0dana"
OLD = "read\0shop\0dora"


@pytest.fixture
def engine(postgres: Server) -> Iterator[Engine]:
    with store_database(postgres) as address:
        engine = open_postgres(address)
        yield engine
        engine.dispose()


class Process:
    """One worker of a gateway."""

    def __init__(
        self,
        engine: Engine,
        gateway: str,
        worker: int = 0,
        memory: str = "",
        counts: Counts | None = None,
    ) -> None:
        self.dead: set[str] = set()
        self.counts = counts if counts is not None else Counts(memory_id=memory)
        self.counts.share(3600.0)
        owner = f"{gateway}-{worker}-{self.counts.memory_id}"
        self.shared = SqlSharedCounts(
            engine, self.counts, worker, owner, gateway, lambda owner: owner in self.dead
        )
        self.owner = owner
        self.shared.begin()

    def sessions(self) -> int:
        self.shared.exchange()
        return self.counts.total(DANA).sessions

    def rows(self) -> int:
        self.shared.exchange()
        return self.counts.total(READ).first


def test_each_knows_what_all_count(engine: Engine) -> None:
    first, second, third = (Process(engine, name) for name in ("a", "b", "c"))
    first.counts.take({DANA: 9})
    second.counts.take({DANA: 9})
    second.counts.put(READ, 5, 50, int(2e9))
    for process in (first, second):
        process.shared.exchange()
    assert [p.sessions() for p in (third, first, second)] == [2, 2, 2]
    assert third.rows() == 5
    first.counts.give_back([DANA])
    first.shared.exchange()
    assert [p.sessions() for p in (third, second)] == [1, 1]


def test_neighbours_of_one_memory_are_not_counted_twice(engine: Engine) -> None:
    """They add each other up in their memory already."""
    first = Process(engine, "a", 0, "m")
    second = Process(engine, "a", 1, "m")
    second.counts.take({DANA: 9})
    second.shared.exchange()
    assert first.sessions() == 0
    assert Process(engine, "b").sessions() == 1


def test_sums_outlive_a_gateway_and_sessions_do_not(engine: Engine) -> None:
    first, second = Process(engine, "a"), Process(engine, "b")
    first.counts.take({DANA: 9})
    first.counts.put(READ, 5, 50, int(2e9))
    first.shared.exchange()
    assert second.sessions() == 1
    second.dead.add(first.owner)
    second.shared.begin_again()
    assert second.sessions() == 0 and second.rows() == 5
    again = Process(engine, "a")  # the same gateway starts again
    assert again.sessions() == 0 and again.rows() == 5
    third = Process(engine, "c")
    assert third.sessions() == 0 and third.rows() == 5
    hour = update(shared_counts).values(changed=shared_counts.c.changed - 3700)
    with engine.begin() as connection:
        connection.execute(hour)
    third.shared.begin_again()
    assert third.rows() == 0, "an hour later"


def test_a_worker_that_starts_again_has_no_sessions(engine: Engine) -> None:
    worker = Process(engine, "a", 1, "m")
    worker.counts.take({DANA: 9})
    worker.shared.exchange()
    elsewhere = Process(engine, "b")
    assert elsewhere.sessions() == 1
    Process(engine, "a", 1, "m")
    assert elsewhere.sessions() == 0


def test_after_an_outage_what_was_read_counts_no_longer_than_its_hour(engine: Engine) -> None:
    """The store comes back empty, as a standby may that lacks the last transactions."""
    first, second = Process(engine, "a"), Process(engine, "b")
    first.counts.put(READ, 5, 50, int(time.time() - 3500))  # counts for some minutes still
    first.counts.put(OLD, 7, 70, int(time.time() - 3700))
    first.counts.take({DANA: 9})
    assert first.rows() == 5
    lose(engine)
    for process in (first, second):
        process.shared.begin_again()
    first.shared.exchange()
    assert (second.rows(), second.sessions()) == (5, 1)
    assert second.counts.total(OLD).first == 0
    (age,) = ages(engine, first.owner, rows=5)
    assert 3400 < age < 3660
    first.counts.put(READ, 6, 60, int(time.time()))
    first.shared.exchange()
    assert second.rows() == 6, "what is counted anew is of now"
    (age,) = ages(engine, first.owner, rows=6)
    assert age < 1000


def test_a_session_whose_end_the_store_lost_is_not_counted_for_ever(engine: Engine) -> None:
    first, second = Process(engine, "a"), Process(engine, "b")
    first.counts.take({DANA: 9})
    assert first.sessions() == 1 and second.sessions() == 1
    first.counts.give_back([DANA])
    first.shared.exchange()
    with engine.begin() as connection:  # as before: the last transaction is lost
        connection.execute(update(shared_counts).values(sessions=1))
    for process in (first, second):
        process.shared.begin_again()
    first.shared.exchange()
    assert second.sessions() == 0


def test_another_server_whose_clock_is_behind_is_read_at_once(engine: Engine) -> None:
    first, second = Process(engine, "a"), Process(engine, "b")
    second.shared._read_until += 3600.0  # as the server of before told it
    second.shared.begin_again()
    second.shared.exchange()
    first.counts.take({DANA: 9})
    first.shared.exchange()
    assert second.sessions() == 1


def test_an_outage_during_an_exchange_is_not_forgotten(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Process(engine, "a"), Process(engine, "b")
    first.counts.take({DANA: 9})
    assert second.sessions() == 0
    real = SqlSharedCounts._read

    def read(shared: SqlSharedCounts, *words: Any) -> Any:
        rows = real(shared, *words)
        monkeypatch.undo()
        shared.begin_again()
        lose(engine)
        return rows

    first.shared.exchange()
    monkeypatch.setattr(SqlSharedCounts, "_read", read)
    first.shared.exchange()
    first.shared.exchange()
    assert second.sessions() == 1


def lose(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(delete(shared_counts))


def ages(engine: Engine, owner: str, rows: int) -> list[float]:
    """Of what a process has told, in seconds by the store's clock."""
    mine = (shared_counts.c.owner == owner, shared_counts.c.rows == rows)
    with engine.connect() as connection:
        query = select(SERVER_CLOCK - shared_counts.c.changed).where(*mine)
        return list(connection.execute(query).scalars())


def test_what_is_over_is_removed(engine: Engine) -> None:
    first = Process(engine, "a")
    first.counts.take({DANA: 9})
    first.shared.exchange()
    first.shared.end()
    day = update(shared_counts).values(changed=shared_counts.c.changed - 90_000)
    with engine.begin() as connection:
        connection.execute(day)
    Process(engine, "b")
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(shared_counts)).scalar() == 0
