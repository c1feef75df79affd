"""``docs/read_recording.py``, the reader without any of Sallyport's code, on a real recording."""

from __future__ import annotations

import ast
import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.audit.verify import read_events
from tests.support.gateway import Gateway
from tests.support.recordings import keys_of
from tests.support.waiting import wait_for

READER = Path(__file__).parents[2] / "docs" / "read_recording.py"


def read(*files: Path, code: int = 0) -> list[list[Any]]:
    done = subprocess.run(
        [sys.executable, "-I", str(READER), *map(str, files)],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def command(gateway: Gateway, *words: str) -> list[dict[str, Any]]:
    done = gateway.run(*words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("encrypted", [True, False])
def test_it_reads_what_a_gateway_recorded(
    make_gateway: Callable[..., Gateway],
    encrypted: bool,
) -> None:
    gateway = make_gateway(extra={"recording": {"encryption": {"enabled": encrypted}}})
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.execute("SELECT id, email FROM customers ORDER BY id LIMIT %s", (50,), prepare=True)
        with pytest.raises(psycopg.Error):
            db.execute("DROP TABLE customers")
        db.execute("SELECT repeat('x', 2000) || i FROM generate_series(1, 100) i")
    data = gateway.home / "var"

    def ended() -> bool:
        rows = listed(gateway)
        return bool(rows) and rows[0]["status"] == "ended"

    wait_for(ended)
    (path,) = data.rglob("ses_*.sprec")
    events = read(path, data / "recording.key") if encrypted else read(path)
    expected = list(read_events(path, keys=keys_of(data)))
    names = [name for name, *_ in events]
    assert names[0] == "login" and names[-1] == "end" and names.count("statement") == 3
    # Our own reader splits an "answered" into a reply and its end.
    assert len(expected) == len(events) + names.count("answered")
    statements = [event[2:5] for event in events if event[0] == "statement"]
    assert exported(gateway, path.stem) == statements
    rows, content = replayed(gateway, path.stem), b"".join(map(data_of, events))
    assert len(rows) == 150
    assert all(value.encode() in content for values in rows for value in values)


def exported(gateway: Gateway, session: str) -> list[list[Any]]:
    """Number, SQL and verdict of the statements that the export has."""
    lines = command(gateway, "audit", "export", "--session", session, "--kind", "statement")
    return [[line["number"], line["sql"], line["verdict"]] for line in lines]


def replayed(gateway: Gateway, session: str) -> list[list[str]]:
    """The rows that a replay shows."""
    steps = command(gateway, "sessions", "replay", session, "--json")
    return [step["values"] for step in steps if step["step"] == "result_row"]


def data_of(event: list[Any]) -> bytes:
    return base64.b64decode(event[3]["base64"]) if event[0] in ("reply", "answered") else b""


def listed(gateway: Gateway) -> list[dict[str, Any]]:
    done = subprocess.run(
        gateway.command("sessions", "list", "--json"),
        capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, **gateway.environment},
    )  # fmt: skip
    return list(json.loads(done.stdout)) if done.stdout.startswith("[") else []


def test_it_needs_three_packages_and_few_lines() -> None:
    text = READER.read_text()
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 200
    names = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert names - sys.stdlib_module_names == {"zstandard", "cryptography", "msgpack"}
