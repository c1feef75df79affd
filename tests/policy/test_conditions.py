"""CEL conditions: bounded, checked at load, and on the restrictive side when they fail."""

from __future__ import annotations

import pytest

from sallyport.core.subject import Subject
from sallyport.policy.file.conditions import (
    MAX_LENGTH,
    compile_condition,
    subject_variables,
    time_variable,
)

VARIABLES = {
    "subject": subject_variables(
        Subject(
            "ann",
            "https://idp",
            frozenset({"b", "a"}),
            "bot",
            label="root",
            claims={"level": 3, "teams": ["x"]},
        )
    ),
    "statement": {
        "kind": "update",
        "actions": ["select", "update"],
        "relations": ["public.orders"],
        "columns": ["public.orders.total"],
        "functions": [],
        "has_where": None,
    },
    "target": "shop",
    "now": time_variable(1_700_000_000.0),
}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("true", True),
        ("subject.id == 'ann' && subject.agent == 'bot'", True),
        ("'a' in subject.groups", True),
        ("subject.groups == ['a', 'b']", True),
        ("subject.claims.level >= 3", True),
        ("subject.claims.teams.exists(t, t == 'x')", True),
        ("has(subject.claims.nothing)", False),
        ("statement.kind == 'update' && statement.has_where != true", True),
        ("statement.relations.all(r, r.startsWith('public.'))", True),
        ("statement.columns.exists(c, c.matches('[.]total$'))", True),
        ("target in ['shop', 'crm']", True),
        ("now.getFullYear() == 2023", True),
        ("now > timestamp('2024-01-01T00:00:00Z')", False),
        ("subject.claims.nothing == 1", None),  # no such claim
        ("subject.claims.level > '3'", None),  # another type
        ("1 / (subject.claims.level - 3) > 0", None),
        ("subject.groups[9] == 'a'", None),
        ("subject.id.matches('(')", None),
        ("subject.claims.level", None),  # no truth value
    ],
)
def test_values(source: str, value: bool | None) -> None:
    assert compile_condition(source).evaluate(VARIABLES) is value


def test_the_label_is_not_there_because_the_client_chose_it() -> None:
    assert "label" not in VARIABLES["subject"]
    with pytest.raises(ValueError, match=r"subject\.label"):
        compile_condition("subject.label == 'root'")


def test_uses() -> None:
    assert compile_condition("subject.groups.exists(g, g == 'now')").uses == {"subject"}
    assert compile_condition("now.getHours() > 8 && target == 'x'").uses == {"now", "target"}


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("", "not valid CEL"),
        ("1 +", "not valid CEL"),
        ("who == 1", "unknown name 'who'"),
        ("statement.kid == 'x'", "statement.kid"),
        ("fetch('http://x') == ''", "unknown function 'fetch'"),
        ("'text'", "gives a str"),
        ("target == '" + "x" * MAX_LENGTH + "'", "longer than"),
        ("(" * 40 + "true" + ")" * 40, "nested"),
        ("[" * 40 + "]" * 40, "nested"),
    ],
)
def test_what_cannot_be_used_is_found_at_load(source: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("(", r"\(")):
        compile_condition(source)


def test_names_inside_texts_are_not_names() -> None:
    assert (
        compile_condition("target != 'subject.grops' && target != \"statement.kid\"").evaluate(
            VARIABLES
        )
        is True
    )
