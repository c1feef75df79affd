"""node-postgres: simple protocol without values, extended with them, named statements, binary,
cursors.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from tests.drivers.expected import NOTICE, check_computed, check_masked
from tests.support.gateway import Gateway
from tests.support.node import run_node

_HERE = Path(__file__).parent / "node"


@pytest.fixture(scope="module")
def answers_by_port() -> dict[int, dict]:
    return {}


@pytest.fixture
def answers(door: Gateway, answers_by_port: dict[int, dict]) -> dict:
    """What tests/drivers/node/client.js got; one run serves all tests of a gateway."""
    if door.port not in answers_by_port:
        arguments = [str(door.port), door.token(), str(door.ca or "")]
        answers_by_port[door.port] = run_node(_HERE / "client.js", _HERE, *arguments)
    return answers_by_port[door.port]


@pytest.mark.parametrize("way", ["simple", "extended", "named", "again", "cursor"])
def test_masked(door: Gateway, answers: dict, way: str) -> None:
    rows = [(*row[:6], datetime.date.fromisoformat(row[6])) for row in answers[way]]
    check_masked(rows, door)


@pytest.mark.parametrize("way", ["computed", "computed_with_values"])
def test_computed_from_masks(door: Gateway, answers: dict, way: str) -> None:
    check_computed([tuple(row) for row in answers[way]], door)
    assert answers["notices"] == [NOTICE] * 2


def test_a_refusal_has_all_its_fields(answers: dict) -> None:
    refusal = answers["refusal"]
    assert refusal["code"] == "42501"
    assert refusal["severity"] == "ERROR"
    assert refusal["message"].startswith("[SP1002]")
    assert refusal["detail"]


def test_the_connection_goes_on_after_it(answers: dict) -> None:
    assert answers["after"] == [[1]]


def test_values_and_transactions(answers: dict) -> None:
    assert answers["values"] == [["Grace Chen", 3]]
    assert answers["rolled_back"] == [["0"]]


def test_a_pool_of_clients(answers: dict) -> None:
    assert answers["pool"] == list(range(20))
