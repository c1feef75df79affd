"""What of a recording goes to the index: each statement once, bounded, and it says when something is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sallyport.audit import events as ev
from sallyport.audit import texts
from sallyport.audit.ports import PART, WHOLE, SessionQuery, SessionRow, StatementText
from sallyport.audit.recorder import Recorder
from sallyport.audit.texts import StatementTexts
from tests.audit.helpers import ListIndex, begin, until


def statement(
    number: int, sql: str, outcome: str = "allow", relations: tuple[str, ...] = (), binds: object = None
) -> ev.RawEvent:
    return (ev.STATEMENT, 0.0, number, sql, outcome, "", "", "", "", "simple", binds, (), relations, ())


def test_each_statement_once_and_in_one_line() -> None:
    collected = StatementTexts()
    found = collected.new(
        [
            statement(1, "select 1\n  from t", relations=("public.t",)),
            (ev.REPLY, 0.0, 1, b"D: a value"),
            statement(2, "select 1\n  from t", relations=("public.t",), binds=(b"secret",)),
            statement(3, "select 1\n  from t", "deny", ("public.t",)),
        ]
    )
    assert found == [
        StatementText(1, "allow", "select 1 from t", ("public.t",)),
        StatementText(3, "deny", "select 1 from t", ("public.t",)),
    ]
    assert collected.new([statement(4, "select 1\n  from t", relations=("public.t",))]) == []
    assert collected.whole


@pytest.mark.parametrize(
    "sql",
    ["x" * (texts.LONGEST + 1), "x" + " " * 5 * texts.LONGEST + "y"],
    ids=["long", "cut before it is one line"],
)
def test_what_is_cut_is_not_whole(sql: str) -> None:
    collected = StatementTexts()
    (found,) = collected.new([statement(1, sql)])
    assert len(found.sql) <= texts.LONGEST
    assert not collected.whole


def test_a_session_is_bounded() -> None:
    many = StatementTexts()
    assert len(many.new(statement(n, f"select {n}") for n in range(texts.TEXTS + 50))) == texts.TEXTS
    assert not many.whole
    large = StatementTexts()
    each = "x" * texts.LONGEST
    found = large.new(statement(n, f"{each[:-3]}{n:03}") for n in range(texts.TEXTS))
    assert sum(len(one.sql) for one in found) <= texts.CHARACTERS + texts.LONGEST
    assert not large.whole


@pytest.fixture
def index() -> ListIndex:
    return ListIndex()


@pytest.fixture
def recorder(tmp_path: Path, index: ListIndex) -> Iterator[Recorder]:
    made = Recorder(tmp_path, index, interval=0.005)
    made.start()
    yield made
    made.close()


def test_the_index_gets_texts_and_never_values(recorder: Recorder, index: ListIndex) -> None:
    session = begin(recorder)
    session.statement(1, "select $1", outcome="allow", binds=[b"CANARY"], relations=("public.t",))
    session.reply(1, b"CANARY")
    session.copy_in(1, b"CANARY")
    session.statement(2, "select 2", outcome="hold")
    session.end("done")
    until(lambda: session.backlog == 0 and index.last(session.row.id).status == "ended")
    assert index.texts[session.row.id] == [
        StatementText(1, "allow", "select $1", ("public.t",)),
        StatementText(2, "hold", "select 2", ()),
    ]
    assert index.last(session.row.id).searchable == WHOLE


def test_a_session_that_does_not_fit_says_so(recorder: Recorder, index: ListIndex) -> None:
    session = begin(recorder)
    for number in range(texts.TEXTS + 1):
        session.statement(number + 1, f"select {number}", outcome="allow")
    until(lambda: session.backlog == 0 and index.last(session.row.id).searchable == PART)
    assert len(index.texts[session.row.id]) == texts.TEXTS


def test_an_index_that_takes_nothing_is_no_whole_one(tmp_path: Path) -> None:
    class Full(ListIndex):
        def statements(self, session_id: str, found: object) -> bool:
            return False

    index = Full()
    recorder = Recorder(tmp_path, index, interval=0.005)
    recorder.start()
    session = begin(recorder)
    session.statement(1, "select 1", outcome="allow")
    until(lambda: index.last(session.row.id).searchable == PART)
    recorder.close()


ROW = SessionRow("s", "a", "i", (), "", "", "shop", "", "", 1.0)


@pytest.mark.parametrize(
    ("query", "yes"),
    [
        (SessionQuery(text="FROM  orders"), True),
        (SessionQuery(text="from orders\nwhere"), True),
        (SessionQuery(text="from%"), False),
        (SessionQuery(relation="orders"), True),
        (SessionQuery(relation="PUBLIC.Orders"), True),
        (SessionQuery(relation="rders"), False),
        (SessionQuery(relation="lic.orders"), False),
        (SessionQuery(verdict="deny"), False),
        (SessionQuery(text="orders", relation="orders", verdict="allow"), True),
        (SessionQuery(text="orders", relation="customers"), False),
    ],
)
def test_what_is_looked_for(query: SessionQuery, yes: bool) -> None:
    assert query.by_statement
    assert query.has(StatementText(1, "allow", "select 1 from orders WHERE x", ("public.orders",))) is yes
