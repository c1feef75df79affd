"""kill -9 loses nothing that changed something: every acknowledged write is in the recordings after
the restart.

``SALLYPORT_KILLS=20 SALLYPORT_CLIENTS=8,100,200`` for more than CI has time for; ``python -m bench
--durability`` does the same and prints what each mode costs.
"""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from sallyport.audit import events as ev
from sallyport.audit.blocks import FILE_HEAD
from sallyport.audit.verify import read_events
from tests.faults.test_crashes import command, listed, problems
from tests.support import acknowledged as ack
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.recordings import keys_of
from tests.support.waiting import wait_for

KILLS = int(os.environ.get("SALLYPORT_KILLS", "2"))
CLIENTS = [int(count) for count in os.environ.get("SALLYPORT_CLIENTS", "8").split(",")]


@pytest.fixture
def table(postgres: Server) -> Iterator[None]:
    with ack.table(postgres):
        yield


@pytest.mark.parametrize("clients", CLIENTS)
@pytest.mark.parametrize("durability", ["standard", "strict"])
def test_acknowledged_writes_survive_a_kill(
    make_gateway: Callable[..., Gateway],
    postgres: Server,
    table: None,
    durability: str,
    clients: int,
) -> None:
    extra = {**ack.LIMITS, "recording": {"durability": durability}}
    gateway = make_gateway(policy=ack.POLICY, extra=extra)
    for number in range(KILLS):
        statements = max(40 * clients, 200) + 37 * number
        result = ack.kill_once(gateway, postgres, clients, f"kill{number}", statements)
        assert result.acknowledged >= statements
        assert result.missing == []
        assert problems(gateway) == []


def test_what_only_the_journal_has_is_shown(
    make_gateway: Callable[..., Gateway], postgres: Server
) -> None:
    """Before the next start by ``audit verify``, and from then on by everything that shows
    recordings.
    """
    gateway = make_gateway()
    place = gateway.home / "var" / "recordings"
    statement = "UPDATE products SET stock = stock WHERE id = 7"
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        # larger than anything else
        db.execute("SELECT md5(n::text) FROM generate_series(1, 20000) n")
        wait_for(lambda: has_completed(place))
        (path,) = place.rglob("*.sprec")
        size = path.stat().st_size
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        db.execute(statement)  # nothing more goes into the recording
        gateway.kill()
    verification = command(gateway, "audit", "verify")
    assert verification.returncode == 1
    assert "lacks statements 2; the next start adds them" in verification.stdout

    gateway.start()
    assert "recovered from the journal" in gateway.log.read_text()
    (row,) = listed(gateway, "--text", "set stock = stock where id = 7")
    assert (row["status"], row["statements"]) == ("interrupted", 2)
    assert "recovered from the journal, outcome not known: 1" in row["reason"]
    shown = command(gateway, "sessions", "show", row["id"], "--json").stdout.splitlines()[-1]
    assert (json.loads(shown)["sql"], json.loads(shown)["command"]) == (
        statement,
        "recovered, outcome not known",
    )
    replayed = command(gateway, "sessions", "replay", row["id"], "--instant").stdout
    assert statement in replayed and "it may have run, its outcome is not known" in replayed
    verified = command(gateway, "audit", "verify", row["id"])
    assert verified.returncode == 0
    assert "statements recovered from the journal, outcome not known: 1" in verified.stdout


def has_completed(place: Path) -> bool:
    """Whether the end of a statement is on disk."""
    keys = keys_of(place.parent)
    written = [path for path in place.rglob("*.sprec") if path.stat().st_size >= FILE_HEAD.size]
    return any(
        isinstance(event, ev.Complete) for path in written for event in read_events(path, keys=keys)
    )
