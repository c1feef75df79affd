"""What of a recording goes to the index: each statement once, bounded, and it says when something
is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sallyport.audit import texts
from sallyport.audit.ports import PART, WHOLE, SessionQuery, SessionRow, StatementText
from sallyport.audit.recorder import Recorder
from sallyport.audit.texts import StatementTexts
from tests.audit.helpers import ListIndex, begin, judged
from tests.support.waiting import wait_for


def test_each_statement_once_and_in_one_line() -> None:
    texts_ = StatementTexts()
    assert texts_.add(1, "select 1\n  from t", "allow", ("public.t",))
    assert texts_.add(2, "select 1\n  from t", "allow", ("public.t",))
    assert texts_.add(3, "select 1\n  from t", "deny", ("public.t",))
    assert texts_.take() == [
        StatementText(1, "allow", "select 1 from t", ("public.t",)),
        StatementText(3, "deny", "select 1 from t", ("public.t",)),
    ]
    assert texts_.add(4, "select 1\n  from t", "allow", ("public.t",))
    assert texts_.take() == []
    assert texts_.whole


@pytest.mark.parametrize(
    "sql",
    ["x" * (texts.LONGEST + 1), "x" + " " * 5 * texts.LONGEST + "y"],
    ids=["long", "cut before it is one line"],
)
def test_what_is_cut_is_not_whole(sql: str) -> None:
    chosen = StatementTexts()
    assert chosen.add(1, sql, "allow", ())
    (text,) = chosen.take()
    assert len(text.sql) <= texts.LONGEST
    assert not chosen.whole


def test_a_session_is_bounded() -> None:
    many = StatementTexts()
    going_on = [
        many.add(number, f"select {number}", "allow", ()) for number in range(texts.TEXTS + 50)
    ]
    assert going_on == [True] * texts.TEXTS + [False] * 50
    assert len(many.take()) == texts.TEXTS
    assert not many.whole
    large = StatementTexts()
    each = "x" * texts.LONGEST
    for number in range(texts.TEXTS):
        large.add(number, f"{each[:-3]}{number:03}", "allow", ())
    assert sum(len(text.sql) for text in large.take()) <= texts.CHARACTERS + texts.LONGEST
    assert not large.whole


def test_what_is_offered_is_chosen_from_when_it_is_taken() -> None:
    chosen = StatementTexts()
    verdict = judged(1, "", outcome="allow", relations=("public.t",)).verdict
    chosen.offered += [(1, b"select  'caf\xc3\xa9'", verdict), (2, "select  'caf\xe9'", verdict)]
    assert chosen.take() == [StatementText(1, "allow", "select 'caf\xe9'", ("public.t",))]
    chosen.offered += [
        (number, f"select {number}", verdict) for number in range(3, texts.TEXTS + 50)
    ]
    assert len(chosen.take()) == texts.TEXTS - 1
    assert not chosen.offered
    assert not chosen.whole


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
    session.statement(
        judged(1, "select $1", outcome="allow", binds=[b"CANARY"], relations=("public.t",))
    )
    session.reply(1, b"CANARY")
    session.copy_in(1, b"CANARY")
    session.statement(judged(2, "select 2", outcome="hold"))
    session.end("done")
    wait_for(lambda: session.backlog == 0 and index.last(session.row.id).status == "ended")
    assert index.texts[session.row.id] == [
        StatementText(1, "allow", "select $1", ("public.t",)),
        StatementText(2, "hold", "select 2", ()),
    ]
    assert index.last(session.row.id).searchable == WHOLE


def test_a_session_that_does_not_fit_says_so(recorder: Recorder, index: ListIndex) -> None:
    session = begin(recorder)
    for number in range(texts.TEXTS + 1):
        session.statement(judged(number + 1, f"select {number}", outcome="allow"))
    wait_for(lambda: session.backlog == 0 and index.last(session.row.id).searchable == PART)
    assert len(index.texts[session.row.id]) == texts.TEXTS
    wait_for(lambda: not session.chunks.indexing)
    session.statement(judged(texts.TEXTS + 2, "select", outcome="allow"))
    assert not session.texts.offered


def test_an_index_that_takes_nothing_is_no_whole_one(tmp_path: Path) -> None:
    class Full(ListIndex):
        def statements(self, session_id: str, texts: object) -> bool:
            return False

    index = Full()
    recorder = Recorder(tmp_path, index, interval=0.005)
    recorder.start()
    session = begin(recorder)
    session.statement(judged(1, "select 1", outcome="allow"))
    wait_for(lambda: index.last(session.row.id).searchable == PART)
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
    assert (
        query.has(StatementText(1, "allow", "select 1 from orders WHERE x", ("public.orders",)))
        is yes
    )
