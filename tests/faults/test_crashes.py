"""A gateway that is killed, and what somebody does to its recordings before and after the next
start.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.audit import events as ev
from sallyport.audit.archive import RecordingError
from sallyport.audit.verify import read_events
from sallyport.store.database import open_readonly
from sallyport.store.sessions import SqlSessionIndex
from tests.audit.forging import append_events, cut_blocks
from tests.support.gateway import Gateway
from tests.support.recordings import keys_of
from tests.support.waiting import wait_for

STATEMENTS = 60


def command(gateway: Gateway, *words: str) -> subprocess.CompletedProcess[str]:
    return gateway.run(*words)


def recorded(place: Path) -> list[ev.Statement]:
    """Every statement that is on disk, in the recordings of a data directory."""
    return [
        event
        for path in place.rglob("*.sprec")
        for event in read_events(path, keys=keys_of(place.parent))
        if isinstance(event, ev.Statement)
    ]


def has_recorded(place: Path, count: int) -> bool:
    try:
        return len(recorded(place)) == count
    except RecordingError:
        return False  # a file that has just been made


def indexed(gateway: Gateway) -> int:
    """Statements that the index counts."""
    engine = open_readonly(gateway.home / "var")
    try:
        return sum(row.statements for row in SqlSessionIndex(engine).recent())
    finally:
        engine.dispose()


def listed(gateway: Gateway, *words: str) -> list[dict[str, Any]]:
    done = command(gateway, "sessions", "list", "--json", *words)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def problems(gateway: Gateway) -> list[str]:
    """What ``audit verify`` says is wrong; its exit status must agree."""
    done = command(gateway, "audit", "verify", "--json")
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert results
    assert "Traceback" not in done.stderr
    assert done.returncode == (0 if all(result["ok"] for result in results) else 1), done.stderr
    return [problem["kind"] for result in results for problem in result["problems"]]


@pytest.fixture
def crashed(make_gateway: Callable[..., Gateway]) -> Iterator[tuple[Gateway, Path]]:
    """A gateway that was killed while a session was open, and the session's recording."""
    gateway = make_gateway()
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        place = gateway.home / "var" / "recordings"
        for number in range(STATEMENTS):
            db.execute(f"SELECT {number} AS answer, count(*) FROM products")
            if number % 20 == 19:
                wait_for(partial(has_recorded, place, number + 1))
            # the index knows a block behind the first 20 statements, perhaps not the last
            if number == 39:
                wait_for(lambda: indexed(gateway) > 20)
        (path,) = place.rglob("*.sprec")
        gateway.kill()
    yield gateway, path


def test_the_next_start_brings_the_index_up_to_date(crashed: tuple[Gateway, Path]) -> None:
    gateway, _ = crashed
    gateway.start()
    (row,) = listed(gateway)
    assert (row["status"], row["statements"], row["rows"]) == (
        "interrupted",
        STATEMENTS,
        STATEMENTS,
    )
    assert "stopped during the session" in row["reason"]
    assert len(listed(gateway, "--text", f"SELECT {STATEMENTS - 1} AS answer")) == 1
    assert problems(gateway) == []


def test_a_torn_tail_is_set_aside_and_its_place_recorded(crashed: tuple[Gateway, Path]) -> None:
    gateway, path = crashed
    size = path.stat().st_size
    append_events(path, [(ev.NOTE, 0.0, "test", "x" * 500)])
    with path.open("r+b") as file:
        file.truncate(size + 70)
    gateway.start()
    (row,) = listed(gateway)
    assert row["statements"] == STATEMENTS
    assert f"70 bytes of an incomplete block were set aside at byte {size}" in row["reason"]
    assert path.stat().st_size == size
    assert problems(gateway) == []
    with path.open("ab") as file:
        file.write(b"\0" * 70)
    assert problems(gateway) == ["truncated tail"]


def test_what_is_cut_off_an_interrupted_recording_is_found(crashed: tuple[Gateway, Path]) -> None:
    gateway, path = crashed
    gateway.start()
    cut_blocks(path, 2)
    assert "truncated tail" in problems(gateway)


def test_what_is_appended_to_an_interrupted_recording_is_found(
    crashed: tuple[Gateway, Path],
) -> None:
    gateway, path = crashed
    gateway.start()
    append_events(
        path, [(ev.NOTE, 0.0, "test", "forged"), (ev.END, 0.0, "the client ended the session")]
    )
    assert "insertion" in problems(gateway)


def test_what_was_cut_off_before_the_next_start_is_found(crashed: tuple[Gateway, Path]) -> None:
    gateway, path = crashed
    cut_blocks(path, 1)
    gateway.start()
    assert "a recording of an earlier run is damaged" in gateway.log.read_text()
    assert "truncated tail" in problems(gateway)


def test_a_recording_deleted_before_the_next_start_is_found(crashed: tuple[Gateway, Path]) -> None:
    gateway, path = crashed
    path.unlink()
    gateway.start()
    assert problems(gateway) == ["deletion"]


def test_a_session_that_the_index_never_heard_of_is_restored(crashed: tuple[Gateway, Path]) -> None:
    import sqlite3

    gateway, _ = crashed
    with sqlite3.connect(gateway.home / "var" / "sallyport.db") as db:
        db.execute("DELETE FROM sessions")
        db.execute("DELETE FROM statements")
    db.close()
    gateway.start()
    (row,) = listed(gateway, "--text", f"SELECT {STATEMENTS - 1} AS answer")
    assert (row["status"], row["statements"]) == ("interrupted", STATEMENTS)
    assert problems(gateway) == []
