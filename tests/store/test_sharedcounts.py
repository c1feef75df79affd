"""What processes of several gateways count, by way of a real store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, func, select, update

from sallyport.core.counts import Counts
from sallyport.store.postgres import open_postgres
from sallyport.store.sharedcounts import SqlSharedCounts
from sallyport.store.tables import shared_counts
from tests.support.postgres import Server
from tests.support.stores import store_database

DANA = "subject\0dana"
READ = "read\0shop\0dana"


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
