"""What the database keeps of masked values beside their columns: rows of materialized views that
they chose or ordered, numbers of sequences, statistics of values that occur together.
"""

from __future__ import annotations

import re

import pytest

from tests.sql.rewrite.database import POLICY, RewritingDatabase


@pytest.mark.parametrize(
    "sql",
    [
        "select id from row_kept",
        "select count(*) from groups_kept",
        "select name from rows_sorted limit 1",
        "explain select name from rows_sorted",
        "select id from over_sorted",
        "select id from rows_ranked",
        "select id from rows_split",
        "select o.id from orders o where exists (select from row_kept k where k.id = o.id)",
        "update products set name = 'x' from rows_sorted r where r.id = products.id",
        "copy (table rows_sorted) to stdout",
    ],
)
def test_rows_that_masked_values_chose_or_ordered_are_not_read(
    rewriting_database: RewritingDatabase, sql: str
) -> None:
    refusal = rewriting_database.refusal(sql)
    assert refusal.startswith("SP1206"), refusal
    assert "when it was refreshed" in refusal
    trusted = 'views: {"s.row*": trusted, "s.groups*": trusted}\n' + POLICY.removeprefix(
        "version: 1\n"
    )
    assert not rewriting_database.refusal(sql, "version: 1\n" + trusted)


def test_rows_that_masked_values_only_fill_are_read(rewriting_database: RewritingDatabase) -> None:
    sent = rewriting_database.sent(
        "select ssn || '', loud || '', many from rows_joined where id = 3"
    )
    assert rewriting_database.answer(sent)[1] == [("****3", "[redacted]", 1)]


def test_who_sees_the_values_reads_the_rows(rewriting_database: RewritingDatabase) -> None:
    unmasked = POLICY[: POLICY.index("masks:")] + 'search_paths: ["s, s2"]\n'
    assert not rewriting_database.refusal("select name from rows_sorted", unmasked)
    policy = POLICY.replace("keep_last: 1}}, filter: masked", "keep_last: 1}}, filter: allow")
    assert not rewriting_database.refusal("select name from rows_sorted", policy)


@pytest.mark.parametrize("call", ["nextval('s.codes')", "currval('codes')", "lastval()"])
def test_numbers_in_defaults_of_masked_columns_are_not_told(
    rewriting_database: RewritingDatabase, call: str
) -> None:
    refusal = rewriting_database.refusal(f"select {call}")
    assert refusal.startswith("SP1201")
    assert "s.coded.ssn" in refusal
    assert not rewriting_database.refusal("insert into coded (id) values (1)")
    assert not rewriting_database.refusal("select nextval('s.free_numbers')")


def test_last_values_of_such_sequences_are_masked(rewriting_database: RewritingDatabase) -> None:
    for name, numbers in (("codes", [(None,)]), ("free_numbers", [(1,)])):
        sent = rewriting_database.sent(f"select last_value + 0 from {name}")
        assert rewriting_database.answer(sent)[1] == numbers


@pytest.mark.parametrize(
    "sql",
    [
        "select o.id from TABLE t join orders o on o.id = t.id where label = 'l1' and kind = 'k1'",
        "select label, count(*) from TABLE where label < 'l3' and kind < 'k3' group by label",
    ],
)
def test_plans_do_not_depend_on_masked_values_beside_others(
    rewriting_database: RewritingDatabase, sql: str
) -> None:
    def plan(text: str, table: str) -> str:
        rows = rewriting_database.answer(f"explain {text}")[1]
        return re.sub(rf"\b{table}\b|cost=\S+", "", "\n".join(row[0] for row in rows))

    as_sent, as_written = [], []
    for table in ("spread", "alike"):
        text = sql.replace("TABLE", table)
        as_sent.append(plan(rewriting_database.sent(text), table))
        as_written.append(plan(text, table))
    assert as_written[0] != as_written[1]
    assert as_sent[0] == as_sent[1]


def test_conditions_on_one_column_still_use_its_index(
    rewriting_database: RewritingDatabase,
) -> None:
    sent = rewriting_database.sent("select label from spread where id = 3 and label = 'l3'")
    assert "OFFSET" not in sent


@pytest.mark.parametrize("option", ["memory", "costs off, memory", "memory, analyze"])
def test_explain_does_not_tell_how_much_was_read_of_statistics(
    rewriting_database: RewritingDatabase, option: str
) -> None:
    refusal = rewriting_database.refusal(
        f"explain ({option}) select id from spread where label = 'l1' and kind = 'k1'"
    )
    assert refusal.startswith("SP1201")
    assert not rewriting_database.refusal("explain (memory) select upper(email) from customers")
