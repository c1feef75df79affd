"""Which columns a statement is recorded with."""

from __future__ import annotations

import pytest

from sallyport.judge import SubjectJudge
from sallyport.judge.verdict import COLUMNS
from tests import test_judge

catalog, facts_dsn, view = test_judge.catalog, test_judge.facts_dsn, test_judge.view  # fixtures


def columns(view: SubjectJudge, sql: str) -> set[str]:
    (verdict,) = view.judge(sql.encode()).statements
    return {name.removeprefix("fx.") for name in verdict.columns}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", set()),
        ("SELECT count(*) FROM users", set()),
        ("SELECT email FROM users", {"users.email"}),
        ("SELECT 1 FROM users WHERE ssn = '1'", {"users.ssn"}),
        ("SELECT 1 FROM users ORDER BY email", {"users.email"}),
        ("UPDATE users SET ssn = '1' WHERE email = 'x'", {"users.ssn", "users.email"}),
        ("INSERT INTO users (id, email) VALUES (1, 'x')", {"users.id", "users.email"}),
        ("DELETE FROM users WHERE id = 1", {"users.id"}),
        ("WITH x AS (SELECT email FROM users) SELECT 1 FROM x", {"users.email"}),
        (
            "SELECT u.email FROM users u JOIN orders o ON o.user_id = u.id",
            {"users.email", "users.id", "orders.user_id"},
        ),
    ],
)
def test_columns_that_are_used(view: SubjectJudge, sql: str, expected: set[str]) -> None:
    assert columns(view, sql) == expected


def test_there_are_no_more_than_are_kept(view: SubjectJudge) -> None:
    assert 5 < len(columns(view, "SELECT * FROM users")) <= COLUMNS
