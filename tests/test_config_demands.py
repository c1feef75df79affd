"""Conditions that name a claim, and whether they keep strangers out: judged against the evaluator
itself.
"""

from __future__ import annotations

import pytest

from sallyport.config.demands import demands_value
from sallyport.identity.claims import cel

NAMES = ("repository_id", "repository_owner_id")
#: Somebody who chooses everything but the id.
STRANGERS = [
    {
        "repository_id": "666",
        "repository_owner_id": "667",
        "environment": environment,
        "repository": "o/r",
    }
    for environment in ("prod", "74", "")
]
OURS = {
    "repository_id": "74",
    "repository_owner_id": "65",
    "environment": "prod",
    "repository": "o/r",
}

DEMANDS = (
    'claims.repository_id == "74"',
    "'74' == claims.repository_id",
    "claims['repository_id'] == '74'",
    'claims.repository_id in ["74", "75"]',
    '(claims.repository_id == "74") && claims.environment == "prod"',
    (
        'claims.environment == "prod" && (claims.repository_id == "74" ||'
        ' claims.repository_owner_id in ["65"])'
    ),
    'claims.repository_owner_id == "65" && claims.event != "a || b"',
)
OPEN = (
    'claims.repository_id != ""',
    "has(claims.repository_id)",
    "claims.repository_id == claims.repository_id",
    'claims.repository_id.matches("[0-9]+")',
    'claims.repository_id == "74" || true',
    'claims.repository_id == "74" || claims.environment == "prod"',
    'claims.environment == "prod" ? true : claims.repository_id == "74"',
    '!(claims.repository_id == "74")',
    '!(claims.repository_id == "74" && claims.environment == "x")',
    'claims.environment == "claims.repository_id == 74"',
    '(claims.repository_id == "74") == false',
    'claims.environment != "a" // && claims.repository_id == "74"',
    'claims.repository_id > "1"',
    'claims.repository_id in claims.repository_id.split("")',
    'claims.environment in ["prod", claims.repository_id == "74" ? "x" : "74"]',
    'claims.repository_idx == "74"',
    '["74"].exists(x, x == claims.repository_id) || claims.repository_id == "74"',
    'claims.repository_id == ""',
)


@pytest.mark.parametrize("source", DEMANDS)
def test_what_demands_a_value_keeps_strangers_out(source: str) -> None:
    assert demands_value(source, NAMES)
    expression = cel(source)
    assert all(expression.evaluate({"claims": claims}) is not True for claims in STRANGERS)


@pytest.mark.parametrize("source", OPEN)
def test_what_only_names_the_claim_does_not_count(source: str) -> None:
    assert not demands_value(source, NAMES)


def test_our_own_pass_what_is_demanded() -> None:
    assert sum(cel(source).evaluate({"claims": OURS}) is True for source in DEMANDS) >= 6
