"""The index of statements: what it finds, in which order, and what words cannot do to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from sallyport.store.searchtables import search_texts
from sallyport.store.sharedsearch import SharedStatementSearch
from sallyport.store.statementindex import (
    IndexedStatement,
    SearchError,
    StatementIndexPort,
    StatementQuery,
)
from sallyport.store.statementsearch import FILE, StatementSearch
from tests.support.sampling import examples
from tests.support.stores import Store

START = 1_790_000_000.0


def statement(
    number: int,
    sql: str = "SELECT id FROM customers",
    **fields: Any,
) -> IndexedStatement:
    values: dict[str, Any] = {
        "at": START + number, "session": "ses_1", "number": number, "sql": sql,
        "subject": "agent-7", "email": "bob@example.com", "actors": ("robot",),
        "agent": "claude-code", "label": "bob",
        "target": "shop", "outcome": "allow", "code": "", "rule": "agents read",
        "relations": ("public.customers",), "columns": ("public.customers.id",), "masked": (),
        "sqlstate": "", "fingerprint": "50fde20626009aba", "rows": 1, "seconds": 0.25,
    }  # fmt: skip
    return IndexedStatement(**{**values, **fields})


@pytest.fixture
def make_index(store: Store) -> Iterator[Callable[..., StatementIndexPort]]:
    """``make_index(most=...)``: an index in the store."""
    with ExitStack() as stack:

        def make(**options: Any) -> StatementIndexPort:
            if store.address is None:
                return StatementSearch(store.directory, writable=True, **options)
            engine = store.open()
            stack.callback(engine.dispose)
            return SharedStatementSearch(engine, "one", **options)

        yield make


@pytest.fixture
def index(make_index: Callable[..., StatementIndexPort]) -> StatementIndexPort:
    return make_index()


def numbers(index: StatementIndexPort, *terms: tuple[str, str], **query: Any) -> list[int]:
    return [hit.statement.number for hit in index.search(StatementQuery(tuple(terms), **query))]


def test_every_field_comes_back_as_it_was_put_in(index: StatementIndexPort) -> None:
    held = statement(1, "UPDATE t SET a = 'x'", masked=("a.b.c",), outcome="hold")
    open_ended = statement(0, rows=None, seconds=None)
    index.add([held, open_ended], "cursor", 1.0)
    assert [hit.statement for hit in index.search(StatementQuery())] == [held, open_ended]


def test_each_kind_finds_its_own(index: StatementIndexPort) -> None:
    special = statement(
        2, subject="dana", email="dana@example.com", actors=("a", "second"),
        agent="cursor", label="x",
        target="crm", session="ses_2", outcome="deny", code="SP1001", rule="no ssn",
        relations=("hr.people",), columns=("hr.people.ssn",), masked=("hr.people.email",),
        sqlstate="42501", fingerprint="00000000000000ff",
    )  # fmt: skip
    index.add([statement(1), special, statement(3)], "", 1.0)
    for term in (
        ("subject", "dana"), ("subject", "Dana@Example.com"), ("actor", "second"),
        ("agent", "cursor"),
        ("label", "x"), ("target", "crm"), ("session", "ses_2"), ("verdict", "deny"),
        ("code", "SP1001"),
        ("rule", "no ssn"), ("relation", "hr.people"), ("relation", "PEOPLE"),
        ("column", "hr.people.ssn"),
        ("column", "people.ssn"), ("column", "ssn"), ("masked", "email"), ("sqlstate", "42501"),
        ("fingerprint", "00000000000000ff"),
    ):  # fmt: skip
        assert numbers(index, term) == [2], term
    assert numbers(index, ("relation", "peopl")) == []
    assert numbers(index, ("column", "email")) == []  # it is masked, which is another kind
    assert numbers(index, ("verdict", "deny"), ("agent", "claude-code")) == []


def test_newest_first_page_by_page_while_more_come(index: StatementIndexPort) -> None:
    index.add([statement(n) for n in (5, 1, 3, 2, 4)], "", 1.0)
    first = index.search(StatementQuery(limit=2))
    index.add([statement(9)], "", 1.0)
    rest = index.search(StatementQuery(limit=9, before=first[-1].key))
    assert [hit.statement.number for hit in first + rest] == [5, 4, 3, 2, 1]


def test_statements_of_one_moment_are_all_kept(index: StatementIndexPort) -> None:
    same = [statement(n, at=START) for n in range(5)]
    index.add(same[:3], "", 1.0)
    index.add(same[3:], "", 1.0)
    assert sorted(numbers(index)) == [0, 1, 2, 3, 4]


def test_times(index: StatementIndexPort) -> None:
    index.add([statement(n) for n in range(5)], "", 1.0)
    assert numbers(index, since=START + 1, until=START + 3) == [2, 1]
    assert numbers(index, ("target", "shop"), since=START + 1, until=START + 3) == [2, 1]


def test_words_phrases_and_beginnings(index: StatementIndexPort) -> None:
    index.add(
        [statement(1, "DROP TABLE old_orders"), statement(2, "SELECT 1 AS droplet, 'table'")],
        "",
        1.0,
    )
    assert numbers(index, phrases=("drop",)) == [1]
    assert numbers(index, phrases=("drop*",)) == [2, 1]
    assert numbers(index, phrases=("drop table",)) == [1]
    assert numbers(index, phrases=("table drop",)) == []
    assert numbers(index, phrases=("old_orders",)) == [1]


def test_no_word_is_syntax(index: StatementIndexPort) -> None:
    index.add([statement(1)], "", 1.0)
    check = given(word=st.text(min_size=1, max_size=40))(lambda word: _is_no_syntax(index, word))
    settings(max_examples=examples(100))(check)()


def _is_no_syntax(index: StatementIndexPort, word: str) -> None:
    for phrase in (
        word,
        f'a" OR "{word}',
        f"{word}*",
        f"sql : {word}",
        f"NEAR({word} x)",
        f"-{word}",
    ):
        try:
            matching = numbers(index, ("agent", word), phrases=(phrase,))
        except SearchError as error:
            assert "no word to search for" in str(error)
        else:
            assert matching == []


def test_an_unknown_kind_is_an_error_that_names_those_there_are(index: StatementIndexPort) -> None:
    with pytest.raises(SearchError, match=r"no 'flavour'. There is: subject, .*fingerprint"):
        numbers(index, ("flavour", "x"))


def test_the_oldest_go_and_cannot_be_found_any_more(
    make_index: Callable[..., StatementIndexPort], store: Store
) -> None:
    index = make_index(maximum=100)
    index.add([statement(n, f"SELECT {n} FROM t{n}", agent=f"a{n}") for n in range(101)], "c", 7.0)
    assert index.trim() == 6
    index.add([statement(500, "SELECT later")], "c2", 8.0)
    assert numbers(index, limit=200) == numbers(index, limit=200, phrases=("select",))
    assert numbers(index, limit=200) == [500, *range(100, 5, -1)]
    assert numbers(index, ("agent", "a3")) == numbers(index, phrases=("t3",)) == []
    state = index.state()
    assert (state.statements, state.dropped, state.cursor, state.complete_until) == (
        96,
        6,
        "c2",
        8.0,
    )
    assert state.oldest == START + 6
    assert '"a3"' not in _texts(store)


def _texts(store: Store) -> str:
    """What statements share, all of it."""
    if store.address is None:
        with sqlite3.connect(store.directory / FILE) as database:
            return "".join(text for (text,) in database.execute("SELECT text FROM texts"))
    engine = store.open()
    with engine.connect() as connection:
        texts = "".join(connection.execute(select(search_texts.c.text)).scalars())
    engine.dispose()
    return texts


def test_gateways_share_one_index(store: Store) -> None:
    if store.address is None:
        pytest.skip("one gateway has a file of its own")
    engine = store.open()
    first, second = (SharedStatementSearch(engine, name) for name in ("a", "b"))
    first.add([statement(1), statement(2)], "of a", 5.0)
    second.add([statement(n, session="ses_2") for n in (1, 2)], "of b", 7.0)
    reader = SharedStatementSearch(engine)
    keys = [hit.key for hit in reader.search(StatementQuery())]
    assert len(set(keys)) == 4 and keys == sorted(keys, reverse=True)
    assert [index.state().cursor for index in (first, second, reader)] == ["of a", "of b", ""]
    assert [index.state().statements for index in (first, second, reader)] == [4, 4, 4]
    assert reader.state().complete_until == 5.0, "what one has not put in is missing"
    assert second.forget(["ses_1"]) == 2
    first.clear()
    assert {hit.statement.session for hit in reader.search(StatementQuery())} == {"ses_2"}
    engine.dispose()


def test_a_gateway_trims_its_own_and_counts_what_retention_deleted(store: Store) -> None:
    if store.address is None:
        pytest.skip("one gateway has a file of its own")
    engine = store.open()
    first, second = SharedStatementSearch(engine, "a"), SharedStatementSearch(engine, "b")
    reader, strict = SharedStatementSearch(engine), SharedStatementSearch(engine, "b", maximum=2)
    second.add([statement(n, session="ses_old") for n in range(6)], "", 8.0)
    assert reader.forget(["ses_old"]) == 6
    assert reader.state().statements == 0 and strict.trim() == 0
    first.add([statement(n) for n in range(3, 9)], "", 8.0)
    second.add([statement(n, session="ses_2") for n in range(1, 5)], "", 8.0)
    assert strict.trim() > 0
    kept = [hit.statement.session for hit in reader.search(StatementQuery())]
    assert kept.count("ses_1") == 6 and 0 < kept.count("ses_2") <= 2
    assert reader.state().statements == len(kept)
    engine.dispose()


def test_long_texts_are_cut_and_say_so(index: StatementIndexPort) -> None:
    index.add([statement(1, "SELECT " + "x" * 5000)], "", 1.0)
    (hit,) = index.search(StatementQuery())
    assert hit.shortened and len(hit.statement.sql) == 4000


def test_a_file_of_another_version_is_made_anew_by_its_writer_alone(tmp_path: Path) -> None:
    index = StatementSearch(tmp_path, writable=True)
    index.add([statement(1)], "", 1.0)
    with sqlite3.connect(index.path) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(SearchError, match="another version"):
        StatementSearch(tmp_path).search(StatementQuery())
    assert StatementSearch(tmp_path, writable=True).state().statements == 0


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 300])
def test_a_damaged_file_is_an_error_to_readers_and_made_anew_by_the_writer(
    tmp_path: Path, damage: bytes
) -> None:
    StatementSearch(tmp_path, writable=True).add([statement(1)], "", 1.0)
    (tmp_path / "search.db").write_bytes(damage)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"search.db{suffix}").unlink(missing_ok=True)
    with pytest.raises(SearchError, match="audit reindex"):
        StatementSearch(tmp_path).search(StatementQuery())
    assert StatementSearch(tmp_path, writable=True).search(StatementQuery()) == []


def test_without_a_file_it_says_who_makes_it(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="A gateway makes it"):
        StatementSearch(tmp_path)


def test_a_forgotten_session_leaves_nothing_in_the_file(tmp_path: Path) -> None:
    index = StatementSearch(tmp_path, writable=True)
    secret = statement(1, session="ses_gone", sql="SELECT 'zebrafinch' FROM aviary")
    kept = statement(2, session="ses_kept", sql="SELECT 'kingfisher'")
    index.add([secret, kept], "", 2.0)
    assert index.forget(["ses_gone"]) == 1
    assert index.search(StatementQuery(phrases=("zebrafinch",))) == []
    assert [hit.statement.session for hit in index.search(StatementQuery())] == ["ses_kept"]
    assert index.state().statements == 1
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"zebrafinch" not in files
    assert b"kingfisher" in files
