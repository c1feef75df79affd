"""Receipts: signed, bound to one statement, and silent about it."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sallyport.audit.archive import RecordingError, find_recordings
from sallyport.audit.receipts import (
    Receipt,
    commitment,
    find_statement,
    open_secret,
    opening_of,
    receipt_of,
)
from sallyport.audit.tlog.keyfile import read_key
from sallyport.audit.tlog.notes import NoteError, SigningKey
from sallyport.cli.sessions import register
from tests.audit.helpers import Forger, begin, judged
from tests.audit.tlog.records import running
from tests.support.waiting import wait_for

SQL = "SELECT * FROM t WHERE id = $1"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("receipts")
    with running(data) as recorder:
        session = begin(recorder, "ses_a")
        session.statement(judged(1, "SELECT 1", outcome="allow", rule="r1", policy_version="v1"))
        session.complete(1, "SELECT 1", 1, "", 0.001)
        wait_for(lambda: not session.backlog)
        session.statement(
            judged(2, SQL, outcome="deny", code="SP1002", binds=[b"123-45-6789", None]),
        )
        session.end("terminated")
    return data


def recording(data: Path) -> Path:
    return find_recordings(data / "recordings")["ses_a"]


def test_what_it_says(data: Path) -> None:
    secret, key = open_secret(data), read_key(data / "audit.key")
    assert open_secret(data) == secret
    assert stat.S_IMODE((data / "receipts.key").stat().st_mode) == 0o600
    recorded = find_statement(recording(data), "ses_a", 2)
    text = str(receipt_of(recorded, "ses_a", secret).sign(key))
    assert "123-45" not in text and "SELECT" not in text
    receipt = Receipt.check(text, key.public)
    assert (receipt.number, receipt.outcome, receipt.code) == (2, "deny", "SP1002")
    assert receipt.block == 1 and receipt.head == Forger(recording(data)).blocks[1].hash.hex()
    opening = opening_of(secret, "ses_a", 2)
    assert receipt.opens(opening, SQL, [b"123-45-6789", None])
    for binds in ([b"123-45-6780", None], [b"123-45-6789"], [None, b"123-45-6789"], []):
        assert not receipt.opens(opening, SQL, binds)
    assert not receipt.opens(opening_of(secret, "ses_a", 1), SQL, [b"123-45-6789", None])
    for changed in (text.replace("deny", "allow"), text.replace("receipt 1", "receipt 2")):
        with pytest.raises(NoteError):
            Receipt.check(changed, key.public)
    with pytest.raises(NoteError):
        Receipt.check(text, SigningKey.generate(key.public.name).public)


def test_values_do_not_run_into_each_other() -> None:
    opening = bytes(32)
    texts = [("ab", [b"c"]), ("a", [b"bc"]), ("abc", []), ("ab", [b"c", b""]), ("ab", [b"c", None])]
    assert len({commitment(opening, sql, binds) for sql, binds in texts}) == len(texts)


def test_none_for_a_recording_that_was_changed(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / recording(data).name
    copy.write_bytes(recording(data).read_bytes())
    forger = Forger(copy)
    forger.replace_events(0, [raw.replace(b"SELECT 1", b"SELECT 2") for raw in forger.events(0)])
    forger.write()
    with pytest.raises(RecordingError, match="block 0 was changed"):
        find_statement(copy, "ses_a", 2)
    with pytest.raises(RecordingError, match="no statement 9"):
        find_statement(recording(data), "ses_a", 9)


def test_commands(data: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    register(app)
    file = tmp_path / "receipt"

    def run(*words: object, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["audit", *map(str, words)])
        assert result.exit_code == code, (result.output, result.exception)
        return result.output

    key = run("key", "--data", data).strip()
    opening = run("receipt", "ses_a", 1, "-o", file, "--data", data).split("opening: ")[1].strip()
    assert len(base64.b64decode(opening)) == 32
    check = ("check-receipt", file, "--key", key)
    assert "was not checked" in run(*check)
    assert "rule r1" in run(*check, "--opening", opening, "--statement", "SELECT 1")
    assert "another statement" in run(
        *check,
        "--opening",
        opening,
        "--statement",
        "SELECT 2",
        code=1,
    )
    output = run(*check, "--opening", opening, "--recording", recording(data), "--json")
    assert json.loads(output)["ok"]
    file.write_text(file.read_text().replace("allow", "denyy"))
    assert "FAILED" in run(*check, code=1)
