"""Statements in the store: found as the recording's reader would find them, bounded, and older
databases keep working.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from sallyport.audit.ports import ENDED, WHOLE, SessionQuery, StatementText
from sallyport.audit.recovery import recover_interrupted
from sallyport.policy.versions import PolicyVersion
from sallyport.store import database, statements
from sallyport.store.database import open_database
from sallyport.store.policies import SqlPolicyVersions
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.statements import StatementIndex
from sallyport.store.writer import Writer
from tests.store.test_session_index import row
from tests.support.stores import Store


@pytest.fixture
def writer(engine: Engine) -> Iterator[Writer]:
    writer = Writer(engine, interval=0.01)
    writer.start()
    yield writer
    writer.close()


TEXTS = (
    StatementText(3, "allow", "SELECT id FROM orders WHERE note = '50%_off'", ("public.orders",)),
    StatementText(
        5, "deny", "select ssn from customers", ("public.customers", 'public.Odd"\nName')
    ),
    StatementText(7, "allow", "select 1", ()),
)
QUERIES = [
    SessionQuery(**criteria)  # type: ignore[arg-type]
    for criteria in (
        {"text": "from ORDERS"}, {"text": "from  orders\n where"}, {"text": "%_"}, {"text": "0%_o"},
        {"text": "0x_o"},
        {"text": "ssn"}, {"text": "ssn", "verdict": "allow"}, {"verdict": "deny"},
        {"verdict": "hold"},
        {"relation": "orders"}, {"relation": "Public.Customers"}, {"relation": "order"},
        {"relation": "%"},
        {"relation": "orders", "text": "ssn"}, {"relation": "ublic.orders"}, {"text": "\\"},
        {"text": "'"},
    )
]  # fmt: skip


def test_the_store_finds_what_a_reader_would(engine: Engine, writer: Writer) -> None:
    index = SqlSessionIndex(engine, writer)
    assert index.statements("s_1", TEXTS)
    assert index.statements("s_2", [StatementText(1, "hold", "select 2", ())])
    assert writer.flush()
    for query in QUERIES:
        expected = next((text.number for text in TEXTS if query.has(text)), None)
        matching = index.matching(["s_1"], query)
        assert (matching["s_1"].number if matching else None) == expected, query
        assert index.matching(["s_3"], query) == {}, query


def test_too_many_rows_and_the_oldest_go(engine: Engine, writer: Writer) -> None:
    index = SqlSessionIndex(engine, writer)
    small = StatementIndex(engine, maximum=100)
    for number in range(30):
        id_ = f"s_{number:02}"
        index.save(
            row(id_, started=float(number), status=ENDED if number else "live", searchable=WHOLE)
        )
        index.statements(id_, [StatementText(n, "allow", f"select {n}", ()) for n in range(5)])
    assert writer.flush()
    assert small.trim() == 12, "150 rows, 90 are left"
    assert small.trim() == 0
    searchable = {row.id: row.searchable for row in index.recent(limit=None)}
    assert searchable["s_00"] == WHOLE, "what is live stays"
    assert [searchable["s_12"], searchable["s_13"]] == ["", WHOLE]
    assert index.matching(["s_12"], SessionQuery(text="select")) == {}
    assert set(index.matching(["s_00", "s_13"], SessionQuery(text="select"))) == {"s_00", "s_13"}


def test_trimming_happens_by_itself(
    engine: Engine, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "_BETWEEN", 20)
    index = StatementIndex(engine, writer, maximum=10)
    sessions = SqlSessionIndex(engine, writer)
    sessions.save(row("s_1", status=ENDED, searchable=WHOLE))
    index.add("s_1", [StatementText(n, "allow", f"select {n}", ()) for n in range(30)])
    assert writer.flush()
    assert sessions.get("s_1").searchable == ""  # type: ignore[union-attr]


def test_a_chore_that_fails_writes_nothing_twice(engine: Engine, writer: Writer) -> None:
    def fail() -> None:
        raise sa.exc.OperationalError("tidy", {}, Exception("no"))

    writer.chores.append(fail)
    kept = SqlPolicyVersions(engine, writer)
    kept.keep(PolicyVersion("a", "", "", 1.0, ""))
    assert writer.flush()
    kept.keep(PolicyVersion("b", "", "", 2.0, ""))
    assert writer.flush()
    assert [stored.version for stored in kept.recent()] == ["b", "a"]


def test_rows_do_not_pile_up_for_a_database_that_is_away(engine: Engine) -> None:
    writer = Writer(engine)  # not started: nothing is written
    index = SqlSessionIndex(engine, writer)
    some = [StatementText(n, "allow", f"select {n}", ()) for n in range(1000)]
    taken = [index.statements(f"s_{number}", some) for number in range(30)]
    assert taken == [True] * 20 + [False] * 10


def test_rows_survive_and_the_dead_are_read_again(
    engine: Engine, writer: Writer, store: Store, tmp_path: Path
) -> None:
    index = SqlSessionIndex(engine, writer)
    index.save(row("s_1", searchable=WHOLE))
    index.statements("s_1", TEXTS)
    assert writer.flush()
    again = store.open()
    later = SqlSessionIndex(again)
    assert recover_interrupted(tmp_path, later) == 1
    assert later.get("s_1").searchable == "part"  # type: ignore[union-attr]
    assert later.matching(["s_1"], SessionQuery(text="orders"))["s_1"].number == 3
    again.dispose()


def test_sessions_from_before_are_not_said_to_be_searchable(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / database.FILE}")
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        columns = (
            "id subject issuer groups agent label target client application started reason"
            " statements refused rows bytes file last_hash status"
        )
        values = {name: "" for name in columns.split()} | {
            "id": "s_old",
            "groups": "[]",
            "started": 1.0,
            "statements": 1,
        }
        names = ", ".join(f'"{name}"' for name in values)
        connection.execute(
            sa.text(
                f"INSERT INTO sessions ({names}) VALUES ({', '.join(f':{n}' for n in values)})"
            ),
            values,
        )
    engine.dispose()
    migrated = open_database(tmp_path)
    assert SqlSessionIndex(migrated).get("s_old").searchable == ""  # type: ignore[union-attr]
    migrated.dispose()
