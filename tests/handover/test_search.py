"""Searching what a gateway recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sallyport.cli.main import build
from tests.handover.house import HOSTILE, SECRET_EMAIL, SECRET_SSN, Handed
from tests.support.waiting import wait_for


def found(handed: Handed, *words: object) -> list[dict[str, Any]]:
    lines = handed.run("sessions", "search", "--json", *words).output.splitlines()
    return [json.loads(line) for line in lines[:-1]]


@pytest.fixture(autouse=True)
def _indexed(handed: Handed) -> None:
    """The indexer works behind the gateway."""
    count = len(handed.lines("--kind", "statement"))
    wait_for(lambda: len(found(handed, "--limit", 500)) >= count)


def test_by_what_it_touched_and_what_became_of_it(handed: Handed) -> None:
    (masked,) = found(handed, "masked:customers.email", "select id")
    assert masked["session"] == handed.session and masked["number"] == 1
    assert "public.customers.ssn" in masked["columns"] and masked["rows"] == 3
    refused = found(handed, "verdict:deny", f"session:{handed.session}", "drop")
    assert {hit["sql"] for hit in refused} == {"DROP TABLE orders"}
    (failed,) = found(handed, "sqlstate:22012")
    assert failed["sql"] == "SELECT 1/0" and failed["verdict"] == "allow"
    (changed,) = found(handed, "column:products.name")
    assert changed["sql"].startswith("UPDATE products")
    code = found(handed, "verdict:deny", "drop")[0]["code"]
    assert code and all(hit["code"] == code for hit in found(handed, f"code:{code}"))
    like = found(handed, f"fingerprint:{masked['fingerprint']}")
    assert [hit["number"] for hit in like] == [1]


def test_values_behind_masks_are_not_found_and_not_in_the_file(handed: Handed) -> None:
    assert found(handed, SECRET_SSN) == []
    data = handed.gateway.home / "var"
    for path in data.glob("search.db*"):
        content = path.read_bytes()
        assert SECRET_SSN.encode() not in content and SECRET_EMAIL.encode() not in content


def test_pages_give_everything_once(handed: Handed) -> None:
    everything = [(hit["session"], hit["number"]) for hit in found(handed, "--limit", 500)]
    gathered, after = [], []
    while True:
        lines = handed.run("sessions", "search", "--json", "--limit", 3, *after).output.splitlines()
        *hits, last = map(json.loads, lines)
        gathered += [(hit["session"], hit["number"]) for hit in hits]
        if last["next"] is None:
            break
        after = ["--after", last["next"]]
    assert gathered == everything and len(set(gathered)) == len(gathered)


def test_the_table_is_inert_and_errors_say_what_to_do(handed: Handed) -> None:
    shown = handed.run("sessions", "search", "said").output
    assert "script" in shown and "\x1b" not in shown and "\u202e" not in shown
    refused = handed.run("sessions", "search", "colour:red", code=2).output
    assert "there is no filter 'colour'" in refused and "fingerprint" in refused


def test_an_index_that_was_lost_is_made_again(handed: Handed, tmp_path: Path) -> None:
    before = found(handed, f"session:{handed.session}", "--limit", 500)
    copy = tmp_path / "data"
    ignored = shutil.ignore_patterns("search.db*", "*.lock")
    shutil.copytree(handed.gateway.home / "var", copy, ignore=ignored)
    run = CliRunner()
    lost = run.invoke(build(), ["sessions", "search", "--data", str(copy)])
    assert lost.exit_code == 2 and "audit reindex" in lost.output
    assert run.invoke(build(), ["audit", "reindex", "--data", str(copy)]).exit_code in (0, 1)
    words = ["sessions", "search", "--json", "--limit", "500", f"session:{handed.session}"]
    again = run.invoke(build(), [*words, "--data", str(copy)]).output.splitlines()
    assert [json.loads(line) for line in again[:-1]] == before
    assert HOSTILE  # texts that act were among them
