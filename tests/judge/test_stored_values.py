"""What the database keeps of masked values beside their columns: numbers of sequences."""

from __future__ import annotations

import pytest

from tests.sql.rewrite.database import RewritingDatabase


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
